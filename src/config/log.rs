//! `log`: the log, which is written to stderr.

use std::collections::BTreeMap;

use super::scalar_type::{Choices, FLAG};
use super::section::{Keys, Section};

/// The values of `log`.
#[derive(Clone, Debug)]
pub struct Log {
    pub level: LogLevel,
    pub formatter: LogFormat,
    /// Texts that every line carries.
    pub fields: BTreeMap<String, String>,
    /// True if each request is logged in one line; `accesslog.disabled` turns it off.
    pub access: bool,
}

/// The least severity that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// The levels, and those of logrus, which `registry:2` uses.
const LEVELS: Choices<LogLevel> = Choices {
    words: &["error", "warn", "info", "debug", "warning", "trace", "fatal", "panic"],
    values: &[
        LogLevel::Error,
        LogLevel::Warn,
        LogLevel::Info,
        LogLevel::Debug,
        LogLevel::Warn,
        LogLevel::Debug,
        LogLevel::Error,
        LogLevel::Error,
    ],
    write: "write error, warn, info or debug",
};

const FORMATS: Choices<LogFormat> = Choices {
    words: &["text", "json", "logstash"],
    values: &[LogFormat::Text, LogFormat::Json, LogFormat::Json],
    write: "write text or json",
};

impl Default for Log {
    fn default() -> Self {
        Self { level: LogLevel::Info, formatter: LogFormat::Text, fields: BTreeMap::new(), access: true }
    }
}

/// Declares `log`, and `loglevel`, which was its name for the level.
pub(super) fn keys(log: &mut Log, keys: &mut Keys<'_, '_>) {
    let mut old = None;
    keys.choice("loglevel", &LEVELS, &mut old);
    if keys.is_written("loglevel") {
        keys.warn("loglevel", "is an old name; write `log: {level: …}`");
    }
    log.level = old.unwrap_or(log.level);
    keys.section("log", log);
}

impl Section for Log {
    fn keys(&mut self, keys: &mut Keys<'_, '_>) {
        keys.choice("level", &LEVELS, &mut self.level);
        keys.choice("formatter", &FORMATS, &mut self.formatter);
        if keys.raw("formatter").is_some_and(|text| text.eq_ignore_ascii_case("logstash")) {
            keys.warn("formatter", "is \"logstash\", which is written as plain JSON; write json");
        }
        keys.texts("fields", &mut self.fields);
        let mut disabled = !self.access;
        keys.group("accesslog", |keys| keys.scalar("disabled", &FLAG, &mut disabled));
        self.access = !disabled;
        keys.ignored(&[("hooks", "no mail is sent for log lines")]);
        keys.ignored_unless("reportcaller", "false", "log lines name no source line");
    }
}
