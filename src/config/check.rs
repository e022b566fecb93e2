//! A tree against the schema: unknown keys, keys without effect, protections that are not there, sections that are none.

use super::problem::Report;
use super::scalar;
use super::schema::{self, Key, Kind, Status};
use super::tree::{Entry, Node, Value};

/// Reports everything that the schema says about `root`; values are left to `read`.
pub(super) fn check(root: &Node, report: &mut Report) {
    if root.is_null() {
        report.error(&root.place, "the configuration is empty; begin it with `version: 0.1`");
    } else if matches!(root.value, Value::Map(_)) {
        section(root, schema::TOP, "", report);
    } else {
        let found = root.describe();
        report.error(
            &root.place,
            format!("the configuration is {found}; write keys with values, beginning with `version: 0.1`"),
        );
    }
}

fn section(node: &Node, keys: &'static [Key], path: &str, report: &mut Report) {
    for entry in node.entries() {
        match keys.iter().find(|key| key.name == entry.key) {
            Some(key) => known(entry, key, &schema::join(path, key.name), report),
            None if path.is_empty() && entry.key.starts_with("x-") => {}
            None => report.error(&entry.key_place, unknown(&entry.key, node, keys, path)),
        }
    }
}

fn known(entry: &Entry, key: &Key, path: &str, report: &mut Report) {
    match key.status {
        Status::Silent => {}
        Status::Supported => supported(&entry.value, key, path, report),
        Status::Ignored { unless, .. } | Status::Refused { unless, .. } if is(&entry.value, unless) => {}
        Status::Ignored { .. } | Status::Refused { .. } if entry.value.is_empty() && !is_driver(path) => {}
        Status::Ignored { why, .. } => report.warn(&entry.key_place, format!("{path} has no effect: {why}")),
        Status::Refused { instead, .. } => {
            report.error(&entry.key_place, format!("{path} is not supported: {instead}"));
        }
    }
}

fn supported(node: &Node, key: &Key, path: &str, report: &mut Report) {
    if node.is_null() {
        return;
    }
    match key.kind {
        Kind::Section(_) | Kind::Driver(_) | Kind::Named(_) | Kind::Texts if !matches!(node.value, Value::Map(_)) => {
            report.error(&node.place, format!("{path} is {}; write {}", node.describe(), example(key)));
        }
        Kind::Section(keys) | Kind::Driver(keys) => section(node, keys, path, report),
        Kind::Named(keys) => named(node, keys, path, report),
        Kind::Sections(keys) => sections(node, key, keys, path, report),
        Kind::Leaf(_) => leaf(node, path, report),
        Kind::Texts | Kind::List | Kind::Free => {}
    }
}

/// The value is not repeated: it may be a part of a secret.
fn leaf(node: &Node, path: &str, report: &mut Report) {
    if matches!(&node.value, Value::Scalar(scalar) if scalar.text.contains("${")) {
        let message = format!(
            "{path} holds `${{…}}`, which nobody fills in; write the value, or set the key by its REGISTRY_* variable"
        );
        report.warn(&node.place, message);
    }
}

fn named(node: &Node, keys: &'static [Key], path: &str, report: &mut Report) {
    for entry in node.entries() {
        let path = schema::join(path, &entry.key);
        if entry.value.is_null() || matches!(entry.value.value, Value::Map(_)) {
            section(&entry.value, keys, &path, report);
        } else {
            let found = entry.value.describe();
            report.error(
                &entry.value.place,
                format!("{path} is {found}; write a map of its keys, or {{}} for the defaults"),
            );
        }
    }
}

fn sections(node: &Node, key: &Key, keys: &'static [Key], path: &str, report: &mut Report) {
    let Value::List(items) = &node.value else {
        return report.error(&node.place, format!("{path} is {}; write {}", node.describe(), example(key)));
    };
    for (index, item) in items.iter().enumerate() {
        let path = schema::join(path, &index.to_string());
        if matches!(item.value, Value::Map(_)) {
            section(item, keys, &path, report);
        } else {
            report.error(&item.place, format!("{path} is {}; write {}", item.describe(), map_of(keys)));
        }
    }
}

/// A driver is chosen by being named: nothing beside it does not make it absent.
pub(super) fn is_driver(path: &str) -> bool {
    let child = path.strip_prefix("auth.").or(path.strip_prefix("storage."));
    child.is_some_and(|name| !name.contains('.') && !schema::NOT_DRIVERS.contains(&name))
}

/// Is it `value`? Never, where none is given.
fn is(node: &Node, value: &str) -> bool {
    if value.is_empty() {
        return false;
    }
    let Value::Scalar(found) = &node.value else {
        return false;
    };
    found.text == value || scalar::boolean(&found.text).is_some_and(|flag| flag.to_string() == value)
}

/// What a section may look like.
fn example(key: &Key) -> String {
    match key.kind {
        Kind::Section(keys) | Kind::Driver(keys) => map_of(keys),
        Kind::Sections(keys) => format!("a list, each of its items {}", map_of(keys)),
        Kind::Named(_) => "a map of registries, such as {ghcr.io: {}}".to_owned(),
        _ => "a map of names and values".to_owned(),
    }
}

fn map_of(keys: &[Key]) -> String {
    format!("a map with the keys {}", names(keys).join(", "))
}

/// What to say of a key that nobody knows: the nearest one here, else where it belongs, else what there is.
fn unknown(name: &str, section: &Node, keys: &'static [Key], path: &str) -> String {
    let at = if path.is_empty() { String::new() } else { format!(" in {path}") };
    if path == "auth" && OPEN.contains(&name) {
        return format!("nobody knows the key `{name}`{at}; leave `auth` out for a server that is open to everybody");
    }
    if let Some(empty) = unindented(name, section, keys) {
        return format!("nobody knows the key `{name}`{at}; indent it below `{empty}`, which holds nothing");
    }
    if let Some(near) = schema::nearest(name, keys.iter().map(|key| key.name)) {
        return format!("nobody knows the key `{name}`{at}; did you mean `{near}`?");
    }
    let mut elsewhere = Vec::new();
    schema::walk(schema::TOP, "", &mut |path, key| {
        if key.name == name {
            elsewhere.push(path.to_owned());
        }
    });
    match elsewhere.as_slice() {
        [place] => format!("nobody knows the key `{name}`{at}; it belongs at {place}"),
        [one, other] => format!("nobody knows the key `{name}`{at}; it belongs at {one} or {other}"),
        _ => format!("nobody knows the key `{name}`{at}; the keys here are {}", names(keys).join(", ")),
    }
}

/// What people write for no authentication.
const OPEN: &[&str] = &["none", "anonymous", "open", "no", "off", "false", "disabled"];

/// The section beside it that it was meant for: empty, since its keys are not indented.
fn unindented(name: &str, section: &Node, keys: &'static [Key]) -> Option<&'static str> {
    let holds = |key: &Key| match key.kind {
        Kind::Section(keys) | Kind::Driver(keys) => keys.iter().any(|key| key.name == name),
        _ => false,
    };
    let is_empty = |key: &Key| section.get(key.name).is_some_and(|entry| entry.value.is_null());
    keys.iter().find(|key| holds(key) && is_empty(key)).map(|key| key.name)
}

/// What may be written here.
fn names(keys: &[Key]) -> Vec<&'static str> {
    keys.iter().filter(|key| matches!(key.status, Status::Supported)).map(|key| key.name).collect()
}
