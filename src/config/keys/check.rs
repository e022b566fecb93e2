//! Checks a tree against the declared keys: unknown keys, keys without effect, refused keys, and sections that are not
//! maps.

use super::schema::{Key, KeyShape, Support, join, nearest, walk};
use crate::config::document::{Member, Node, NodeContent, Report, boolean};

/// The names of drivers that users write under `auth` to mean no authentication.
const OPEN: &[&str] = &["anonymous", "open", "no", "off", "false", "disabled"];

/// The section whose keys are parameters of a driver, of which `registry:2` ignores the unknown ones.
const FREE: &str = "storage.filesystem";

/// Reports every mistake in `root` that the declared `keys` show. The sections check the values when they read them.
pub(in crate::config) fn check(root: &Node, keys: &[Key], report: &mut Report) {
    if root.is_null() {
        report.error(&root.location, "the configuration is empty; begin it with `version: 0.1`");
    } else if matches!(root.content, NodeContent::Map(_)) {
        Checker { top: keys, report }.section(root, keys, "");
    } else {
        let message =
            format!("the configuration is {}; write keys with values, beginning with `version: 0.1`", root.describe());
        report.error(&root.location, message);
    }
}

struct Checker<'c> {
    top: &'c [Key],
    report: &'c mut Report,
}

impl Checker<'_> {
    fn section(&mut self, node: &Node, keys: &[Key], path: &str) {
        for member in node.members() {
            match keys.iter().find(|key| key.name == member.key) {
                Some(key) => self.known(member, key, &join(path, key.name)),
                None if path.is_empty() && member.key.starts_with("x-") => {}
                None if path == FREE && nearest(&member.key, keys.iter().map(|key| key.name)).is_none() => {
                    let message = format!("{path}.{} has no effect: the driver has no such parameter", member.key);
                    self.report.warn(&member.key_location, message);
                }
                None => {
                    let hint = self.hint(&member.key, node, keys, path);
                    let within = if path.is_empty() { String::new() } else { format!(" in {path}") };
                    let message = format!("the key `{}`{within} is unknown; {hint}", member.key);
                    self.report.error(&member.key_location, message);
                }
            }
        }
    }

    fn known(&mut self, member: &Member, key: &Key, path: &str) {
        match key.support {
            Support::Silent => {}
            Support::Supported => self.supported(&member.value, key, path),
            Support::Ignored { unless, .. } | Support::Refused { unless, .. } if equals(&member.value, unless) => {}
            Support::Ignored { .. } | Support::Refused { .. } if member.value.is_empty() && !key.is_driver => {}
            Support::Ignored { why, .. } => {
                self.report.warn(&member.key_location, format!("{path} has no effect: {why}"));
            }
            Support::Refused { instead, .. } => {
                self.report.error(&member.key_location, format!("{path} is not supported: {instead}"));
            }
            Support::RefusedIf { filled, instead, .. } if is_filled(&member.value, filled) => {
                self.report.error(&member.key_location, format!("{path} is not supported: {instead}"));
            }
            Support::RefusedIf { .. } if member.value.is_empty() => {}
            Support::RefusedIf { otherwise, .. } => {
                self.report.warn(&member.key_location, format!("{path} {otherwise}"));
            }
        }
    }

    fn supported(&mut self, node: &Node, key: &Key, path: &str) {
        use KeyShape::{Anything, DriverSection, List, Named, Scalar, Section, Sections, Texts};
        // The value of a driver section may be a word, and `""` is no word.
        if node.is_null() || node.is_empty() && matches!(key.shape, DriverSection(_)) {
            return;
        }
        match &key.shape {
            Section(_) | DriverSection(_) | Named(_) | Texts if !matches!(node.content, NodeContent::Map(_)) => {
                let message = format!("{path} is {}; write {}", node.describe(), example(&key.shape));
                self.report.error(&node.location, message);
            }
            Section(keys) => self.section(node, keys, path),
            DriverSection(keys) => {
                self.section(node, keys, path);
                self.one_driver(node, keys, path);
            }
            Named(keys) => self.named(node, keys, path),
            Sections(keys) => self.sections(node, &key.shape, keys, path),
            Scalar(_) => self.scalar(node, path),
            Texts | List | Anything => {}
        }
    }

    /// The message does not repeat the value, which may be part of a secret.
    fn scalar(&mut self, node: &Node, path: &str) {
        if matches!(&node.content, NodeContent::Scalar(scalar) if scalar.text.contains("${")) {
            let message = format!(
                "{path} holds `${{…}}`, which is not expanded; write the value, or set the key by its REGISTRY_* variable"
            );
            self.report.warn(&node.location, message);
        }
    }

    /// Reports a second driver. Unknown keys were reported already; they count as no driver.
    fn one_driver(&mut self, node: &Node, keys: &[Key], path: &str) {
        let is_driver = |name: &str| keys.iter().any(|key| key.is_driver && key.name == name);
        let drivers: Vec<&Member> = node.members().iter().filter(|member| is_driver(&member.key)).collect();
        if let [first, second, ..] = drivers.as_slice() {
            let location = if second.value.is_null() { &second.key_location } else { &second.value.location };
            let message = format!(
                "{path}.{} is a second driver beside `{}`; keep one and remove the other",
                second.key, first.key
            );
            self.report.error(location, message);
        }
    }

    fn named(&mut self, node: &Node, keys: &[Key], path: &str) {
        for member in node.members() {
            let path = join(path, &member.key);
            if member.value.is_null() || matches!(member.value.content, NodeContent::Map(_)) {
                self.section(&member.value, keys, &path);
            } else {
                let found = member.value.describe();
                let message = format!("{path} is {found}; write a map of its keys, or {{}} for the defaults");
                self.report.error(&member.value.location, message);
            }
        }
    }

    fn sections(&mut self, node: &Node, shape: &KeyShape, keys: &[Key], path: &str) {
        let NodeContent::List(items) = &node.content else {
            let message = format!("{path} is {}; write {}", node.describe(), example(shape));
            return self.report.error(&node.location, message);
        };
        for (index, item) in items.iter().enumerate() {
            let path = join(path, &index.to_string());
            if matches!(item.content, NodeContent::Map(_)) {
                self.section(item, keys, &path);
            } else {
                let message = format!("{path} is {}; write {}", item.describe(), map_of(keys));
                self.report.error(&item.location, message);
            }
        }
    }

    /// Says what to write instead of an unknown key: the nearest key here, else its section, else the keys of this section.
    fn hint(&self, name: &str, section: &Node, keys: &[Key], path: &str) -> String {
        if path == "auth" && OPEN.contains(&name) {
            return "remove `auth` to let every client in without a login".to_owned();
        }
        if let Some(empty) = unindented(name, section, keys) {
            return format!("indent it below `{empty}`, which is empty");
        }
        if let Some(near) = nearest(name, keys.iter().map(|key| key.name)) {
            return format!("did you mean `{near}`?");
        }
        let mut elsewhere = Vec::new();
        walk(self.top, "", &mut |path, key| {
            if key.name == name {
                elsewhere.push(path.to_owned());
            }
        });
        match elsewhere.as_slice() {
            [path] => format!("it belongs at {path}"),
            [one, other] => format!("it belongs at {one} or {other}"),
            _ => format!("the keys here are {}", names(keys).join(", ")),
        }
    }
}

/// Returns true if the node has this value. An empty `value` stands for no value, which nothing equals.
fn equals(node: &Node, value: &str) -> bool {
    let NodeContent::Scalar(found) = &node.content else {
        return false;
    };
    let same = found.text == value || boolean(&found.text).is_some_and(|flag| flag.to_string() == value);
    !value.is_empty() && same
}

/// Returns true if a key at one of the paths has a value, or the node has one and is no map.
fn is_filled(node: &Node, paths: &[&str]) -> bool {
    let value = |path: &str| path.split('.').try_fold(node, |node, key| node.get(key).map(|member| &member.value));
    let is_map = matches!(node.content, NodeContent::Map(_));
    !is_map && !node.is_empty() || paths.iter().any(|path| value(path).is_some_and(|value| !value.is_empty()))
}

/// Describes a valid value of this shape.
fn example(shape: &KeyShape) -> String {
    match shape {
        KeyShape::Section(keys) | KeyShape::DriverSection(keys) => map_of(keys),
        KeyShape::Sections(keys) => format!("a list, each of its items {}", map_of(keys)),
        KeyShape::Named(_) => "a map of registries, such as {ghcr.io: {}}".to_owned(),
        _ => "a map of names and values".to_owned(),
    }
}

fn map_of(keys: &[Key]) -> String {
    format!("a map with the keys {}", names(keys).join(", "))
}

/// Returns the empty sibling section that has a key of this name, so that the key only lacks its indentation.
fn unindented(name: &str, section: &Node, keys: &[Key]) -> Option<&'static str> {
    let holds = |key: &Key| match &key.shape {
        KeyShape::Section(keys) | KeyShape::DriverSection(keys) => keys.iter().any(|key| key.name == name),
        _ => false,
    };
    let is_empty = |key: &Key| section.get(key.name).is_some_and(|member| member.value.is_null());
    keys.iter().find(|key| holds(key) && is_empty(key)).map(|key| key.name)
}

/// Returns the names of the supported keys.
fn names(keys: &[Key]) -> Vec<&'static str> {
    keys.iter().filter(|key| matches!(key.support, Support::Supported)).map(|key| key.name).collect()
}
