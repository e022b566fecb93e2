//! Formats one event as one line of logfmt or JSON.

use std::error::Error;
use std::fmt::{self, Write as _};

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};

/// The names that every line has. A field with such a name is written as `fields.NAME`, as in logrus.
const RESERVED: [&str; 3] = ["time", "level", "msg"];

/// Named values in the order of their first appearance. A later value replaces an earlier one with the same name.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields {
    /// The event's message.
    pub(super) message: Option<String>,
    values: Vec<(String, Value)>,
}

impl Fields {
    pub(super) fn set(&mut self, name: &str, value: Value) {
        let name = field_name(name);
        match self.values.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => self.values.push((name, value)),
        }
    }

    /// Returns the value with this name.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.values.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// Adds the values of `other`, and takes over its message if it has one.
    pub(super) fn extend(&mut self, other: &Self) {
        for (name, value) in &other.values {
            self.set(name, value.clone());
        }
        if other.message.is_some() {
            self.message.clone_from(&other.message);
        }
    }

    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = Some(text),
            ("message", value) => self.message = Some(value.to_string()),
            (name, value) => self.set(name, value),
        }
    }
}

/// Returns a name that needs no quotes: every character except letters, digits and `.-_/@` becomes `_`.
fn field_name(name: &str) -> String {
    let name = name.strip_prefix("r#").unwrap_or(name);
    if RESERVED.contains(&name) {
        return format!("fields.{name}");
    }
    name.chars().map(|c| if c.is_alphanumeric() || ".-_/@".contains(c) { c } else { '_' }).collect()
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, Value::from(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, Value::from(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Value::from(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Value::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, Value::from(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no infinity.
        let number = serde_json::Number::from_f64(value);
        self.put(field, number.map_or_else(|| Value::from(value.to_string()), Value::Number));
    }

    /// Records an error and the chain of its causes.
    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let mut text = value.to_string();
        let mut cause = value.source();
        while let Some(error) = cause {
            let _ = write!(text, ": {error}");
            cause = error.source();
        }
        self.put(field, Value::from(text));
    }
}

/// Formats an event as `time="…" level=info msg="…" name=value …`, as logrus's text formatter does without a terminal.
pub(super) fn text(time: &str, level: &str, fields: Fields) -> String {
    let mut line = format!("time=\"{time}\" level={level}");
    if let Some(message) = fields.message {
        line.push_str(" msg=");
        push_value(&mut line, &message);
    }
    for (name, value) in fields.values {
        let _ = write!(line, " {name}=");
        match value {
            Value::String(text) => push_value(&mut line, &text),
            other => push_value(&mut line, &other.to_string()),
        }
    }
    line.push('\n');
    line
}

/// Writes a value without quotes where logrus does, else as a Go string literal.
fn push_value(line: &mut String, value: &str) {
    let bare = |b: u8| b.is_ascii_alphanumeric() || b"-._/@^+".contains(&b);
    if value.bytes().all(bare) {
        line.push_str(value);
        return;
    }
    line.push('"');
    for c in value.chars() {
        match c {
            '"' => line.push_str("\\\""),
            '\\' => line.push_str("\\\\"),
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            c if is_unprintable(c) => push_escape(line, c),
            c => line.push(c),
        }
    }
    line.push('"');
}

/// Formats an event as a JSON object with `level`, `msg`, `time` and the fields, as logrus's JSON formatter does.
pub(super) fn json(time: &str, level: &str, fields: Fields) -> String {
    let mut object = Map::new();
    object.insert("time".to_owned(), Value::from(time));
    object.insert("level".to_owned(), Value::from(level));
    object.insert("msg".to_owned(), Value::from(fields.message.unwrap_or_default()));
    object.extend(fields.values);
    let mut line = String::new();
    // `serde_json` leaves unprintable characters beyond ASCII as they are. They occur in strings only, so escaping them here keeps
    // the value.
    for c in Value::Object(object).to_string().chars() {
        if is_unprintable(c) { push_json_escape(&mut line, c) } else { line.push(c) }
    }
    line.push('\n');
    line
}

/// Returns true for a character that could end a line, move a cursor, or disguise a text: control characters, line and paragraph
/// separators, and characters that hide text or change its direction.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Escapes a character as Go's `%q` does.
fn push_escape(line: &mut String, c: char) {
    let code = u32::from(c);
    let _ = if code < 0x80 { write!(line, "\\x{code:02x}") } else { write!(line, "\\u{code:04x}") };
}

fn push_json_escape(line: &mut String, c: char) {
    let _ = write!(line, "\\u{:04x}", u32::from(c));
}
