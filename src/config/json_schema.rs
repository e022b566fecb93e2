//! The JSON Schema (draft 2020-12) of a configuration, for editors: made of the one table of keys, of the sentences in
//! `config/reference.yml`, and of the defaults that an empty configuration has.
//!
//! It takes everything that `read` takes, and refuses what it can; contradictions are found by `check` alone.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::schema::{self, Form, Key, Kind, Status};
use super::{Source, print, reference};

/// An upstream about which nothing is written: what mentions it is no default.
const SAMPLE: &str = "registry.example";

pub(super) fn json_schema() -> Value {
    let defaults = defaults();
    let sentences = reference::sentences();
    let maker = Maker { sentences: &sentences };
    let mut top = maker.section(schema::TOP, "", Some(&defaults));
    top.insert("required".to_owned(), json!(["version"]));
    // Anything may stand under these; parts of the file refer to it.
    top.insert("patternProperties".to_owned(), json!({"^x-": {}}));
    let mut whole = Map::new();
    whole.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    whole.insert("title".to_owned(), json!("Configuration of Entrepot"));
    whole.insert(
        "description".to_owned(),
        json!("What `entrepot serve` runs: registry:2's format, with `mirror` besides."),
    );
    whole.extend(top);
    whole.insert("type".to_owned(), json!("object"));
    Value::Object(whole)
}

/// What an empty configuration with one upstream means.
fn defaults() -> Value {
    let text = format!("version: 0.1\nmirror: {{upstreams: {{{SAMPLE}: }}}}");
    let source = Source { name: String::new(), text: &text, built_in: false };
    let loaded = super::load(source, &[], &|_| Err(String::new()));
    loaded.map_or(Value::Null, |loaded| print::tree(&loaded.config))
}

struct Maker<'s> {
    sentences: &'s BTreeMap<String, String>,
}

impl Maker<'_> {
    fn section(&self, keys: &[Key], path: &str, defaults: Option<&Value>) -> Map<String, Value> {
        let mut properties = Map::new();
        for key in keys {
            let path = schema::join(path, key.name);
            let default = defaults.and_then(|defaults| defaults.get(key.name));
            properties.insert(key.name.to_owned(), Value::Object(self.key(key, &path, default)));
        }
        object(json!({"type": ["object", "null"], "properties": properties, "additionalProperties": false}))
    }

    fn key(&self, key: &Key, path: &str, default: Option<&Value>) -> Map<String, Value> {
        let mut schema = Map::new();
        match key.status {
            Status::Supported => {
                if let Some(sentence) = self.sentences.get(path) {
                    schema.insert("description".to_owned(), json!(sentence));
                }
                schema.extend(self.supported(key, path, default));
            }
            Status::Silent => {
                schema.insert("description".to_owned(), json!("Of registry:2; nothing is lost without it."));
            }
            Status::Ignored { why, .. } => {
                schema = object(json!({"description": format!("Has no effect: {why}."), "deprecated": true}));
            }
            Status::Refused { unless, instead } => {
                schema.insert("description".to_owned(), json!(format!("Not supported: {instead}.")));
                schema.extend(refused(path, unless));
            }
        }
        schema
    }

    fn supported(&self, key: &Key, path: &str, default: Option<&Value>) -> Map<String, Value> {
        let mut schema = match key.kind {
            Kind::Leaf(form) => object(leaf(form)),
            Kind::List => list(),
            Kind::Texts => object(json!({"type": ["object", "null"], "additionalProperties": list()})),
            Kind::Section(keys) => self.section(keys, path, default),
            Kind::Driver(keys) => {
                let mut schema = self.section(keys, path, default);
                schema.insert("type".to_owned(), json!(["object", "string", "null"]));
                schema.insert("pattern".to_owned(), json!(format!("^(?:{})$", drivers(keys).join("|"))));
                schema
            }
            Kind::Named(keys) => {
                let default = default.and_then(|default| default.get(SAMPLE));
                let section = self.section(keys, &schema::join(path, "NAME"), default);
                object(json!({"type": ["object", "null"], "additionalProperties": section}))
            }
            Kind::Sections(keys) => {
                let mut section = self.section(keys, &schema::join(path, "0"), None);
                section.insert("type".to_owned(), json!("object"));
                object(json!({"type": ["array", "null"], "items": section}))
            }
            Kind::Free => Map::new(),
        };
        if matches!(key.kind, Kind::Leaf(_) | Kind::List)
            && let Some(default) = default
            && !default.to_string().contains(SAMPLE)
        {
            schema.insert("default".to_owned(), default.clone());
        }
        schema
    }
}

/// What a bare word may name.
fn drivers(keys: &[Key]) -> Vec<&'static str> {
    let supported = keys.iter().filter(|key| matches!(key.status, Status::Supported));
    supported.map(|key| key.name).filter(|name| !schema::NOT_DRIVERS.contains(name)).collect()
}

/// Nothing may be written, or what means that it is not asked for.
fn refused(path: &str, unless: &str) -> Map<String, Value> {
    if super::check::is_driver(path) {
        return object(json!({"not": {}}));
    }
    let mut harmless = vec![json!(null), json!(""), json!([]), json!({})];
    match unless {
        "" => {}
        "false" => {
            harmless.push(json!(false));
            harmless.extend(NO.iter().map(|no| json!(no)));
        }
        text => harmless.push(json!(text)),
    }
    object(json!({"enum": harmless}))
}

/// YAML 1.1's booleans, which YAML 1.2 takes for texts.
const YES: &[&str] = &["y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"];
const NO: &[&str] = &["n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"];
const UNITS: &str = "nanos|nsec|ns|usec|us|µs|μs|millis|msec|ms|seconds?|secs?|s|minutes?|mins?|min|m|hours?|hrs?|h|days?|d|weeks?|w|months?|years?|y";
const DIGITS: &str = "\\s*\\+?(?:[0-9][0-9_]*|0x[0-9A-Fa-f_]+|0o[0-7_]+|0b[01_]+)\\s*";

fn leaf(form: Form) -> Value {
    let number = |first: u64, last: u64, pattern: String| json!({"type": ["integer", "string", "null"], "minimum": first, "maximum": last, "pattern": pattern});
    match form {
        Form::Text => json!({"type": ["string", "number", "boolean", "null"]}),
        Form::Flag => {
            let words = [YES, NO].concat().join("|");
            json!({"type": ["boolean", "string", "null"], "pattern": format!("^(?:{words})$")})
        }
        // The number is 0: without a unit there is no other.
        Form::Duration => number(0, 0, format!("^\\s*\\+?(?:0|(?:[0-9]+(?:\\.[0-9]+)?(?:{UNITS}))+)\\s*$")),
        Form::Size => number(0, u64::MAX, "^\\s*[0-9]+(?:\\.[0-9]*)?\\s*(?:[kKmMgGtTpPeE]?[iI]?[bB]?)\\s*$".to_owned()),
        Form::Number(first, last) => number(first, last, format!("^{DIGITS}$")),
        Form::Auto(first, last) => number(first, last, format!("^(?:auto|{DIGITS})$")),
        Form::Words(words) => {
            let letters: Vec<String> = words.iter().map(|word| in_any_case(word)).collect();
            let pattern = format!("^(?:{})$", letters.join("|"));
            json!({"anyOf": [{"enum": words}, {"type": "string", "pattern": pattern}, {"type": "null"}]})
        }
        Form::Like(pattern) => json!({"type": ["string", "null"], "pattern": pattern}),
        Form::Version => json!({"enum": [0.1, "0.1"]}),
    }
}

/// A list, or one alone.
fn list() -> Map<String, Value> {
    let scalar = ["string", "number", "boolean"];
    object(json!({"type": ["array", "string", "number", "boolean", "null"], "items": {"type": scalar}}))
}

fn in_any_case(word: &str) -> String {
    word.chars().map(|c| format!("[{}{}]", c.to_ascii_uppercase(), c.to_ascii_lowercase())).collect()
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
