//! Log lines as `registry:2` writes them: logfmt or JSON, on standard error, one line for one event whatever is in it.
//!
//! Of the crate it uses `config` and `sys` only. It must never fail a request: a line that cannot be written is lost.

mod line;

use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{Log, LogFormat, LogLevel};
use crate::sys::Clock;
use line::Fields;

/// Writes every event of this process to standard error from now on; to be called once.
pub fn start(log: &Log) -> Result<(), String> {
    let layer = Lines::new(log, Clock::system(), std::io::stderr);
    tracing_subscriber::registry()
        .with(layer.with_filter(levels(log.level)))
        .try_init()
        .map_err(|error| format!("logging cannot be started: {error}"))
}

/// What is written: our own events as configured; of those of the libraries below us, warnings at most, since theirs speak of
/// connections and frames that nobody asked about.
fn levels(level: LogLevel) -> Targets {
    let ours = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    Targets::new().with_default(ours.min(LevelFilter::WARN)).with_target(env!("CARGO_CRATE_NAME"), ours)
}

/// Turns events into lines. A layer of its own, since `tracing-subscriber`'s keeps a span's fields as text, and JSON needs
/// them as values.
struct Lines<W> {
    formatter: LogFormat,
    /// `log.fields`.
    always: Fields,
    clock: Clock,
    writer: W,
}

impl<W> Lines<W> {
    fn new(log: &Log, clock: Clock, writer: W) -> Self {
        let mut always = Fields::default();
        for (name, value) in &log.fields {
            always.set(name, Value::from(value.as_str()));
        }
        Self { formatter: log.formatter, always, clock, writer }
    }

    fn render(&self, level: Level, fields: Fields) -> String {
        let time = rfc3339(self.clock.now());
        match self.formatter {
            LogFormat::Text => line::text(&time, level_name(level), fields),
            LogFormat::Json => line::json(&time, level_name(level), fields),
        }
    }
}

impl<S, W> Layer<S> for Lines<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        // Recorded before the span is locked: a value's `Display` may itself log.
        let mut fields = Fields::default();
        values.record(&mut fields);
        let Some(span) = context.span(id) else { return };
        if let Some(known) = span.extensions_mut().get_mut::<Fields>() {
            known.extend(&fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut own = Fields::default();
        event.record(&mut own);
        let mut fields = self.always.clone();
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(of_span) = span.extensions().get::<Fields>() {
                fields.extend(of_span);
            }
        }
        fields.extend(&own);
        let level = *event.metadata().level();
        let line = self.render(level, fields);
        // Nobody could be told that the log cannot be written.
        let _ = self.writer.make_writer_for(event.metadata()).write_all(line.as_bytes());
    }
}

/// The level's name in logrus.
fn level_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warning",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// RFC 3339 with nanoseconds, in UTC. Before 1970, which a machine without a clock may believe, `humantime` would panic.
fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_nanos(time.max(UNIX_EPOCH)).to_string()
}

#[cfg(test)]
mod tests;
