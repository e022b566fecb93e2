//! Writes values as YAML.

use saphyr::{Mapping, Scalar, ScalarStyle, Yaml, YamlEmitter};
use serde_json::Value;

/// Returns `value` as a YAML document in block style.
pub(in crate::config) fn write(value: &Value) -> String {
    let mut text = String::new();
    match YamlEmitter::new(&mut text).dump(&yaml(value)) {
        Ok(()) => format!("{}\n", text.trim_start_matches("---\n")),
        Err(error) => format!("# This configuration cannot be printed: {error}\n"),
    }
}

fn yaml(value: &Value) -> Yaml<'_> {
    match value {
        Value::String(text) => string(text),
        Value::Array(items) => Yaml::Sequence(items.iter().map(yaml).collect()),
        Value::Object(map) => {
            Yaml::Mapping(map.iter().map(|(key, value)| (string(key), yaml(value))).collect::<Mapping<'_>>())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {
            Yaml::Representation(value.to_string().into(), ScalarStyle::Plain, None)
        }
    }
}

fn string(text: &str) -> Yaml<'_> {
    Yaml::Value(Scalar::String(text.into()))
}
