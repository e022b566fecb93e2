//! Turns `tracing` events into log lines.

use std::io::IsTerminal as _;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry, reload};

use super::line::{self, Fields};
use super::request_line;
use super::writer::{LogGuard, LogWriter};
use crate::config::{Log, LogFormat, LogLevel};
use crate::sys::Clock;

/// The target of events that are logged at every level: what an operator must know about the protection of the server.
pub(in crate::cli) const NOTICE: &str = "notice";

/// The level of the running log.
pub(in crate::cli) struct RunningLevel(reload::Handle<Targets, Registry>);

impl RunningLevel {
    /// Logs events of this level and above from now on.
    pub(in crate::cli) fn set(&self, level: LogLevel) {
        // This fails only if the log has ended.
        let _ = self.0.reload(levels(level));
    }
}

/// Starts writing every event of this process to standard error. A process calls this once. Dropping the guard writes the lines
/// that are still queued.
pub(in crate::cli) fn start(log: &Log) -> Result<(LogGuard, RunningLevel), String> {
    let is_terminal = std::io::stderr().is_terminal();
    let (writer, guard) = LogWriter::start(std::io::stderr());
    let layer = LineLayer { is_terminal, ..LineLayer::new(log, Clock::system(), writer) };
    let (filter, level) = reload::Layer::new(levels(log.level));
    tracing_subscriber::registry()
        .with(layer.with_filter(filter))
        .try_init()
        .map_err(|error| format!("cannot start logging: {error}"))?;
    Ok((guard, RunningLevel(level)))
}

/// Returns the filter: Entrepot's own events at the configured level, those of libraries at `warn` or above. The lower levels of
/// libraries are about single connections and frames.
fn levels(level: LogLevel) -> Targets {
    let own = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    Targets::new()
        .with_default(own.min(LevelFilter::WARN))
        .with_target(env!("CARGO_CRATE_NAME"), own)
        .with_target(NOTICE, LevelFilter::WARN)
}

/// Writes each event as a line. The layers of `tracing-subscriber` keep a span's fields as text, but JSON needs typed values.
struct LineLayer {
    formatter: LogFormat,
    /// True if a person reads the log at a terminal. A request is then one short line.
    is_terminal: bool,
    /// The fields of `log.fields`, which every line gets.
    constant: Fields,
    clock: Clock,
    writer: LogWriter,
}

impl LineLayer {
    fn new(log: &Log, clock: Clock, writer: LogWriter) -> Self {
        let mut constant = Fields::default();
        for (name, value) in &log.fields {
            constant.set(name, Value::from(value.as_str()));
        }
        Self { formatter: log.formatter, is_terminal: false, constant, clock, writer }
    }

    fn render(&self, level: Level, fields: Fields) -> String {
        let time = rfc3339(self.clock.now());
        match self.formatter {
            // An error has a cause in the log that no short line could hold.
            LogFormat::Text if self.is_terminal && level >= Level::INFO && request_line::is_request(&fields) => {
                request_line::short(&time, &fields)
            }
            LogFormat::Text => line::text(&time, level_name(level), fields),
            LogFormat::Json => line::json(&time, level_name(level), fields),
        }
    }
}

impl<S> Layer<S> for LineLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        // The values are recorded before the span is locked, since a value's `Display` may itself log.
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
        let mut fields = self.constant.clone();
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(of_span) = span.extensions().get::<Fields>() {
                fields.extend(of_span);
            }
        }
        fields.extend(&own);
        let level = *event.metadata().level();
        let line = self.render(level, fields);
        self.writer.write(line, |lost| self.render(Level::WARN, lost_lines(lost)));
    }
}

/// Returns the fields of the line that reports lost lines.
fn lost_lines(lost: usize) -> Fields {
    let mut fields = Fields::default();
    fields.message = Some("log lines were lost, because standard error took them too slowly".to_owned());
    fields.set("lost", Value::from(lost));
    fields
}

/// Returns the level's name in logrus.
fn level_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warning",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// Formats a time as RFC 3339 with nanoseconds, in UTC. `humantime` panics before 1970, and a machine without a clock may be
/// there: such a time becomes 1970.
fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_nanos(time.max(UNIX_EPOCH)).to_string()
}

#[cfg(test)]
mod tests;
