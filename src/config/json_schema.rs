//! The JSON Schema (draft 2020-12) of a configuration, for editors.
//!
//! It is made of the declared keys, their defaults, and the descriptions in `config/reference.yml`. It accepts every value that
//! `check` accepts, and refuses most of the others. Only `check` finds contradictions.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::keys::{Key, KeyShape, Notation, Support, descriptions, join};
use super::mirror::SAMPLE;
use super::root;

/// Returns the JSON Schema of a configuration.
pub fn json_schema() -> String {
    format!("{:#}\n", document())
}

/// Returns the JSON Schema as a value.
pub(super) fn document() -> Value {
    let builder = Builder { descriptions: descriptions() };
    let mut top = builder.section(root::schema(), "");
    top.insert("required".to_owned(), json!(["version"]));
    // Any value may be written under these keys, for anchors.
    top.insert("patternProperties".to_owned(), json!({"^x-": {}}));
    let mut document = Map::new();
    document.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    document.insert("title".to_owned(), json!("Configuration of Entrepot"));
    document.insert(
        "description".to_owned(),
        json!("The configuration of `entrepot serve`: the format of registry:2, and `mirror`."),
    );
    document.extend(top);
    document.insert("type".to_owned(), json!("object"));
    Value::Object(document)
}

struct Builder {
    descriptions: BTreeMap<String, String>,
}

impl Builder {
    fn section(&self, keys: &[Key], path: &str) -> Map<String, Value> {
        let mut properties = Map::new();
        for key in keys {
            let schema = self.key(key, &join(path, key.name));
            properties.insert(key.name.to_owned(), Value::Object(schema));
        }
        object(json!({"type": ["object", "null"], "properties": properties, "additionalProperties": false}))
    }

    fn key(&self, key: &Key, path: &str) -> Map<String, Value> {
        let mut schema = Map::new();
        let description = match key.support {
            Support::Supported => self.descriptions.get(path).cloned(),
            Support::Silent => Some("A key of registry:2. Nothing is lost without it.".to_owned()),
            Support::Ignored { why, .. } => Some(format!("This key has no effect: {why}.")),
            Support::Refused { instead, .. } | Support::RefusedIf { instead, .. } => {
                Some(format!("This key is not supported: {instead}."))
            }
        };
        if let Some(description) = description {
            schema.insert("description".to_owned(), json!(description));
        }
        match key.support {
            Support::Supported => schema.extend(self.supported(key, path)),
            Support::Silent => {}
            Support::RefusedIf { filled, .. } => schema.extend(object(empty_at(filled))),
            Support::Ignored { .. } => {
                schema.insert("deprecated".to_owned(), json!(true));
            }
            Support::Refused { unless, .. } => schema.extend(refused(key, unless)),
        }
        schema
    }

    fn supported(&self, key: &Key, path: &str) -> Map<String, Value> {
        let mut schema = match &key.shape {
            KeyShape::Scalar(notation) => object(scalar(*notation)),
            KeyShape::List => list(),
            KeyShape::Texts => object(json!({"type": ["object", "null"], "additionalProperties": list()})),
            KeyShape::Section(keys) => self.section(keys, path),
            KeyShape::DriverSection(keys) => {
                let mut schema = self.section(keys, path);
                schema.insert("type".to_owned(), json!(["object", "string", "null"]));
                schema.insert("pattern".to_owned(), json!(format!("^(?:|{})$", drivers(keys).join("|"))));
                schema
            }
            KeyShape::Named(keys) => {
                let section = self.section(keys, &join(path, "NAME"));
                object(json!({"type": ["object", "null"], "additionalProperties": section}))
            }
            KeyShape::Sections(keys) => {
                let mut section = self.section(keys, &join(path, "0"));
                section.insert("type".to_owned(), json!("object"));
                object(json!({"type": ["array", "null"], "items": section}))
            }
            KeyShape::Anything => Map::new(),
        };
        // A default that contains the name of the upstream is none for other upstreams.
        if let Some(default) = key.default.as_ref().filter(|default| !default.to_string().contains(SAMPLE)) {
            schema.insert("default".to_owned(), default.clone());
        }
        schema
    }
}

/// Returns the drivers that a bare word may choose, in any case.
fn drivers(keys: &[Key]) -> Vec<String> {
    let accepted = |key: &&Key| key.is_driver && matches!(key.support, Support::Supported | Support::Ignored { .. });
    keys.iter().filter(accepted).map(|key| in_any_case(key.name)).collect()
}

/// Allows the values of a refused key that are no mistake: an empty one, and `unless`.
fn refused(key: &Key, unless: &str) -> Map<String, Value> {
    if key.is_driver {
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

/// Describes a section in which the keys at these paths are empty.
fn empty_at(paths: &[&str]) -> Value {
    let mut properties = Map::new();
    for path in paths {
        let key = path.split('.').next().unwrap_or(path);
        let below: Vec<&str> = paths.iter().filter_map(|path| path.strip_prefix(key)?.strip_prefix('.')).collect();
        properties.entry(key).or_insert_with(|| empty_at(&below));
    }
    let empty = json!({"enum": [null, "", [], {}]});
    if properties.is_empty() { empty } else { json!({"anyOf": [empty, {"type": "object", "properties": properties}]}) }
}

/// The booleans of YAML 1.1, which are texts in YAML 1.2.
const YES: &[&str] = &["y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"];
const NO: &[&str] = &["n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"];
const UNITS: &str = "nanos|nsec|ns|usec|us|µs|μs|millis|msec|ms|seconds?|secs?|s|minutes?|mins?|min|m|hours?|hrs?|h|days?|d|weeks?|w|months?|years?|y";
const DIGITS: &str = "\\s*\\+?(?:[0-9][0-9_]*|0x[0-9A-Fa-f_]+|0o[0-7_]+|0b[01_]+)\\s*";

fn scalar(notation: Notation) -> Value {
    let number = |first: u64, last: u64, pattern: String| json!({"type": ["integer", "string", "null"], "minimum": first, "maximum": last, "pattern": pattern});
    match notation {
        Notation::Text => json!({"type": ["string", "number", "boolean", "null"]}),
        Notation::Flag => {
            let words = [YES, NO].concat().join("|");
            json!({"type": ["boolean", "string", "null"], "pattern": format!("^(?:{words})$")})
        }
        // A number without a unit can only be 0.
        Notation::Duration => number(0, 0, format!("^\\s*\\+?(?:0|(?:[0-9]+(?:\\.[0-9]+)?(?:{UNITS}))+)\\s*$")),
        Notation::GoDuration => {
            let pattern =
                format!("^\\s*(?:\\+?(?:[0-9]+(?:\\.[0-9]+)?(?:{UNITS}))+|{DIGITS}|[0-9.]+(?:[eE][0-9]+)?)\\s*$");
            json!({"type": ["number", "string", "null"], "minimum": 0, "pattern": pattern})
        }
        Notation::Size => {
            number(0, u64::MAX, "^\\s*[0-9]+(?:\\.[0-9]*)?\\s*(?:[kKmMgGtTpPeE]?[iI]?[bB]?)\\s*$".to_owned())
        }
        Notation::Number(first, last) => number(first, last, format!("^{DIGITS}$")),
        Notation::Auto(first, last) => number(first, last, format!("^(?:auto|{DIGITS})$")),
        Notation::Words(words) => {
            let letters: Vec<String> = words.iter().map(|word| in_any_case(word)).collect();
            let pattern = format!("^(?:{})$", letters.join("|"));
            json!({"anyOf": [{"enum": words}, {"type": "string", "pattern": pattern}, {"type": "null"}]})
        }
        Notation::Pattern(pattern) => json!({"type": ["string", "null"], "pattern": pattern}),
        Notation::Version => json!({"enum": [0.1, "0.1"]}),
    }
}

/// Describes a list of scalars, or a single one.
fn list() -> Map<String, Value> {
    let scalar = ["string", "number", "boolean"];
    object(json!({"type": ["array", "string", "number", "boolean", "null"], "items": {"type": scalar}}))
}

/// Returns a regular expression that matches the word in upper and lower case.
fn in_any_case(word: &str) -> String {
    word.chars().map(|c| format!("[{}{}]", c.to_ascii_uppercase(), c.to_ascii_lowercase())).collect()
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
