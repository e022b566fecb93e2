//! `REGISTRY_A_B_C` over key `a.b.c`: environment variables into the tree, shorter names first.

use std::sync::Arc;

use super::parse;
use super::problem::{Place, Report};
use super::schema::{self, Form, Key, Kind};
use super::tree::{Entry, Node, Origin, Scalar, Value};

const PREFIX: &str = "REGISTRY_";
/// More parts than any key has.
const MAX_PARTS: usize = 16;
/// More bytes than any key's variable has.
const MAX_NAME: usize = 100;

/// What the variables did that the tree does not show.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Touched {
    /// `proxy` or something in it was set.
    pub(super) proxy: bool,
    /// `mirror` as a whole, its `local` or its `upstreams` were set.
    pub(super) mirror: bool,
}

/// One variable: the parts of its name after `REGISTRY_`, in lower case.
struct Variable<'e> {
    name: &'e str,
    parts: Vec<String>,
    value: &'e str,
}

/// What the known variables among `environment` set; names what it does not know.
pub(super) struct Overrides<'e> {
    variables: Vec<Variable<'e>>,
}

impl<'e> Overrides<'e> {
    pub(super) fn new(environment: &'e [(String, String)], report: &mut Report) -> Self {
        let mut variables: Vec<Variable<'_>> =
            environment.iter().filter_map(|(name, value)| variable(name, value)).collect();
        variables.sort_by_cached_key(|variable| {
            // `_2_` before `_10_`: list elements are appended in this order.
            let part = |part: &String| (part.parse::<u64>().unwrap_or(u64::MAX), part.clone());
            (variable.parts.len(), variable.parts.iter().map(part).collect::<Vec<_>>(), variable.name)
        });
        variables.retain(|variable| {
            let known = variable.parts.len() <= MAX_PARTS && is_known(Kind::Section(schema::TOP), &variable.parts);
            if !known {
                report.warn(&Place::whole(variable.name), unknown(variable));
            }
            known
        });
        for pair in variables.windows(2) {
            if let [first, second] = pair
                && first.parts == second.parts
            {
                let message = format!("sets the same key as {}, and wins; keep one", first.name);
                report.warn(&Place::whole(second.name), message);
            }
        }
        Self { variables }
    }

    pub(super) fn touched(&self) -> Touched {
        let mut touched = Touched::default();
        for variable in &self.variables {
            match variable.parts.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
                ["proxy", ..] => touched.proxy = true,
                ["mirror"] | ["mirror", "local" | "upstreams", ..] => touched.mirror = true,
                _ => {}
            }
        }
        touched
    }

    /// Sets every variable's value, which is YAML, in `root`.
    pub(super) fn apply(&self, root: &mut Node, report: &mut Report) {
        for variable in &self.variables {
            let place = Place::whole(variable.name);
            let Some(value) = parse::parse(variable.value, &Origin::Variable(Arc::from(variable.name)), report) else {
                continue;
            };
            if let Err(reason) = set(root, Kind::Section(schema::TOP), &variable.parts, value) {
                report.error(&place, reason);
            }
        }
    }
}

/// A bare word where a driver is chosen (`storage: filesystem`) becomes the driver without parameters.
pub(super) fn expand_drivers(root: &mut Node) {
    let Value::Map(entries) = &mut root.value else {
        return;
    };
    for entry in entries {
        let driver = |key: &Key| key.name == entry.key && matches!(key.kind, Kind::Driver(_));
        if schema::TOP.iter().any(driver) {
            expand_driver(&mut entry.value);
        }
    }
}

fn expand_driver(node: &mut Node) {
    let Value::Scalar(Scalar { text, .. }) = &node.value else {
        return;
    };
    if node.is_empty() {
        return;
    }
    let entry = Entry { key: text.clone(), key_place: node.place.clone(), value: Node::null(node.place.clone()) };
    node.value = Value::Map(vec![entry]);
}

fn variable<'e>(name: &'e str, value: &'e str) -> Option<Variable<'e>> {
    let prefix = name.get(..PREFIX.len())?;
    let rest = &name[PREFIX.len()..];
    if !prefix.eq_ignore_ascii_case(PREFIX) || rest.is_empty() {
        return None;
    }
    let parts = rest.split('_').map(str::to_ascii_lowercase).collect();
    Some(Variable { name, parts, value })
}

fn is_known(kind: Kind, parts: &[String]) -> bool {
    let Some((first, rest)) = parts.split_first() else {
        return true;
    };
    if first.is_empty() {
        return false;
    }
    match kind {
        Kind::Section(keys) | Kind::Driver(keys) => find(keys, first).is_some_and(|key| is_known(key.kind, rest)),
        Kind::Named(keys) => is_known(Kind::Section(keys), rest),
        Kind::Texts => is_known(Kind::List, rest),
        Kind::List => first.parse::<usize>().is_ok() && rest.is_empty(),
        Kind::Sections(keys) => first.parse::<usize>().is_ok() && is_known(Kind::Section(keys), rest),
        Kind::Free => rest.is_empty() || is_known(Kind::Free, rest),
        Kind::Leaf(_) => false,
    }
}

fn find(keys: &'static [Key], name: &str) -> Option<&'static Key> {
    keys.iter().find(|key| key.name == name)
}

/// Puts `value` where `parts` lead from `node`; the parts are known to lead somewhere.
fn set(node: &mut Node, kind: Kind, parts: &[String], mut value: Node) -> Result<(), String> {
    let Some((first, rest)) = parts.split_first() else {
        if matches!(kind, Kind::Driver(_)) {
            expand_driver(&mut value);
        }
        *node = value;
        return Ok(());
    };
    let (name, kind) = match kind {
        Kind::Section(keys) | Kind::Driver(keys) => {
            find(keys, first).map_or((first.as_str(), Kind::Free), |k| (k.name, k.kind))
        }
        Kind::Named(keys) => (first.as_str(), Kind::Section(keys)),
        Kind::Texts => (first.as_str(), Kind::List),
        Kind::List => return set(element(node, first, &value.place)?, Kind::Leaf(Form::Text), rest, value),
        Kind::Sections(keys) => return set(element(node, first, &value.place)?, Kind::Section(keys), rest, value),
        Kind::Free | Kind::Leaf(_) => {
            let list = matches!(node.value, Value::List(_)) || (node.is_null() && first.parse::<usize>().is_ok());
            if list {
                return set(element(node, first, &value.place)?, Kind::Free, rest, value);
            }
            (first.as_str(), Kind::Free)
        }
    };
    set(member(node, name, &value.place)?, kind, rest, value)
}

/// The value of `name` in the map `node`, added where it is missing.
fn member<'n>(node: &'n mut Node, name: &str, place: &Place) -> Result<&'n mut Node, String> {
    if node.is_null() {
        *node = Node { place: place.clone(), value: Value::Map(Vec::new()) };
    }
    let found = node.describe();
    let at = node.place.to_string();
    let Value::Map(entries) = &mut node.value else {
        return Err(format!("there is no `{name}` to set, since {at} holds {found}, not a map; write one there"));
    };
    let index = entries.iter().position(|entry| entry.key.eq_ignore_ascii_case(name)).unwrap_or_else(|| {
        let (key_place, value) = (place.clone(), Node::null(place.clone()));
        entries.push(Entry { key: name.to_owned(), key_place, value });
        entries.len() - 1
    });
    Ok(&mut entries[index].value)
}

/// Element `index` of the list `node`, added where it is the next one.
fn element<'n>(node: &'n mut Node, index: &str, place: &Place) -> Result<&'n mut Node, String> {
    if node.is_null() {
        *node = Node { place: place.clone(), value: Value::List(Vec::new()) };
    } else if matches!(node.value, Value::Scalar(_)) {
        // One alone may stand without brackets.
        *node = Node { place: node.place.clone(), value: Value::List(vec![node.clone()]) };
    }
    let Value::List(items) = &mut node.value else {
        return Err(format!("there is no element {index} to set, since {} holds a map, not a list", node.place));
    };
    let length = items.len();
    match index.parse::<usize>() {
        Ok(index) if index < length => Ok(&mut items[index]),
        Ok(index) if index == length => {
            items.push(Node::null(place.clone()));
            Ok(&mut items[index])
        }
        _ => Err(format!("there is no element {index} to set; the next one is number {length}")),
    }
}

fn unknown(variable: &Variable<'_>) -> String {
    let name = variable.name.to_ascii_uppercase();
    if variable.value.starts_with("tcp://") || name.contains("_SERVICE_") || name.contains("_PORT_") {
        return "ignored: Kubernetes sets it by itself for a service of this name".to_owned();
    }
    if name == "REGISTRY_CONFIGURATION_PATH" {
        return "ignored: give the path to `entrepot serve`, or in ENTREPOT_CONFIG".to_owned();
    }
    if name == "REGISTRY_AUTH_FILE" {
        return "ignored: it is podman's and skopeo's own; the password file is REGISTRY_AUTH_HTPASSWD_PATH".to_owned();
    }
    format!("ignored: no key has this name{}", hint(&name))
}

fn hint(name: &str) -> String {
    let mut names = Vec::new();
    schema::walk(schema::TOP, "", &mut |path, key| {
        if matches!(key.status, schema::Status::Supported) {
            names.push(format!("{PREFIX}{}", path.replace('.', "_").to_uppercase()));
        }
    });
    let close = |other: String| {
        let distance = strsim::osa_distance(name, &other);
        (distance <= name.len() / 3).then_some((distance, other))
    };
    // What is longer than any key has none that is near, and would take long to compare.
    let near = names.into_iter().filter(|_| name.len() <= MAX_NAME).filter_map(close).min();
    near.map_or_else(String::new, |(_, near)| format!("; did you mean {near}?"))
}
