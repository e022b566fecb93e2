//! Events become lines in an in-memory writer.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use super::*;

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl io::Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn log(formatter: LogFormat, fields: &[(&str, &str)]) -> Log {
    let fields: BTreeMap<_, _> = fields.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    Log { level: LogLevel::Info, formatter, fields, access: true }
}

/// Returns the lines that these events write. The time of each line is checked and then removed.
fn lines(log: &Log, events: impl FnOnce()) -> Vec<String> {
    let memory = Memory::default();
    let (writer, guard) = LogWriter::start(memory.clone());
    let layer = LineLayer::new(log, Clock::system(), writer);
    let subscriber = tracing_subscriber::registry().with(layer.with_filter(levels(log.level)));
    tracing::subscriber::with_default(subscriber, events);
    drop(guard);
    let text = String::from_utf8(memory.0.lock().unwrap().clone()).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines().map(without_time).collect()
}

fn without_time(line: &str) -> String {
    let (before, rest) = [("time=\"", "\" "), ("{\"time\":\"", "\",")]
        .into_iter()
        .find_map(|(start, end)| line.strip_prefix(start)?.split_once(end))
        .unwrap_or_else(|| panic!("no time in {line}"));
    assert_eq!(before.len(), "2026-11-21T08:53:00.123456789Z".len(), "{before}");
    assert!(humantime::parse_rfc3339(before).is_ok(), "{before}");
    rest.to_owned()
}

fn text(events: impl FnOnce()) -> Vec<String> {
    lines(&log(LogFormat::Text, &[]), events)
}

fn json(events: impl FnOnce()) -> Vec<String> {
    lines(&log(LogFormat::Json, &[]), events)
}

#[test]
fn text_has_the_format_of_logrus() {
    let written = text(|| {
        tracing::info!(http.request.method = "GET", http.response.status = 200, "response completed");
        tracing::warn!(vars.name = "library/alpine", "slow");
        tracing::error!(err.code = %"a b", ok = true, ratio = 0.5, "x=y");
        tracing::info!(empty = "", r#type = "blob", digest = ?Some(1));
    });
    assert_eq!(
        written,
        [
            r#"level=info msg="response completed" http.request.method=GET http.response.status=200"#,
            r"level=warning msg=slow vars.name=library/alpine",
            r#"level=error msg="x=y" err.code="a b" ok=true ratio=0.5"#,
            r#"level=info empty= type=blob digest="Some(1)""#,
        ]
    );
}

#[test]
fn json_has_the_same_field_names() {
    let written = json(|| {
        tracing::info!(http.request.method = "GET", http.response.status = 200, "response completed");
        tracing::warn!(ok = true, ratio = 0.5, endless = f64::INFINITY, delta = -1, r#type = "blob");
    });
    assert_eq!(
        written,
        [
            r#""level":"info","msg":"response completed","http.request.method":"GET","http.response.status":200}"#,
            r#""level":"warning","msg":"","ok":true,"ratio":0.5,"endless":"inf","delta":-1,"type":"blob"}"#,
        ]
    );
}

#[test]
fn one_event_is_one_line() {
    let nasty = "a\nb\r\t\"\\\u{1b}[31m\u{7f}\u{85}\u{9b}\u{2028}\u{202e}\u{feff}é";
    let log_injected = || tracing::info!(value = nasty, "first\ntime=\"now\" level=info msg=forged");
    assert_eq!(
        text(log_injected),
        [concat!(
            r#"level=info msg="first\ntime=\"now\" level=info msg=forged""#,
            r#" value="a\nb\r\t\"\\\x1b[31m\x7f\u0085\u009b\u2028\u202e\ufeffé""#
        )]
    );
    let written = json(log_injected);
    assert_eq!(written.len(), 1);
    assert!(!written[0].contains(is_control_or_separator), "{}", written[0]);
    let read: Value = serde_json::from_str(&format!("{{{}", written[0])).unwrap();
    assert_eq!(read["value"], nasty);
}

fn is_control_or_separator(c: char) -> bool {
    c.is_control() || c == '\u{2028}' || c == '\u{202e}'
}

#[test]
fn lines_have_the_fields_of_the_configuration_and_of_spans() {
    let log =
        log(LogFormat::Text, &[("service", "registry"), ("environment", "a b"), ("a key\n", "v"), ("level", "x")]);
    let written = lines(&log, || {
        let outer = tracing::info_span!("request", http.request.id = "r1", vars.name = tracing::field::Empty);
        outer.record("vars.name", "library/alpine");
        let _entered = outer.entered();
        let _inner = tracing::info_span!("fill", digest = "d1").entered();
        tracing::info!(service = "mine", "done");
    });
    let expected = "level=info msg=done a_key_=v environment=\"a b\" fields.level=x service=mine http.request.id=r1 \
                    vars.name=library/alpine digest=d1";
    assert_eq!(written, [expected]);
}

#[test]
fn reserved_names_are_not_overwritten() {
    let written = json(|| tracing::info!(time = 1, level = 2, msg = 3, "m"));
    assert_eq!(written, [r#""level":"info","msg":"m","fields.time":1,"fields.level":2,"fields.msg":3}"#]);
}

#[test]
fn libraries_log_warnings_at_most() {
    let said = |level| {
        let mut log = log(LogFormat::Text, &[]);
        log.level = level;
        lines(&log, || {
            tracing::debug!("own debug");
            tracing::info!("own info");
            tracing::warn!("own warn");
            tracing::error!("own error");
            tracing::info!(target: "hyper::proto", "library info");
            tracing::warn!(target: "hyper::proto", "library warn");
        })
        .len()
    };
    let counts = [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug].map(said);
    assert_eq!(counts, [1, 3, 4, 5]);
}

#[test]
fn an_error_is_written_with_its_causes() {
    #[derive(Debug, thiserror::Error)]
    #[error("the upstream does not answer")]
    struct Outer(#[source] io::Error);
    let error = Outer(io::Error::other("connection refused"));
    let written = text(|| tracing::error!(error = &error as &dyn std::error::Error, "pull failed"));
    assert_eq!(written, [r#"level=error msg="pull failed" error="the upstream does not answer: connection refused""#]);
}

#[test]
fn a_time_before_1970_does_not_panic() {
    for time in [std::time::UNIX_EPOCH - std::time::Duration::from_secs(1), std::time::UNIX_EPOCH] {
        assert_eq!(rfc3339(time), "1970-01-01T00:00:00.000000000Z");
    }
}
