//! Puts environment variables into the tree: `REGISTRY_A_B_C` overrides key `a.b.c`. Variables with shorter names are
//! applied first.

use std::sync::Arc;

use super::schema::{Key, KeyShape, Notation, Support, walk};
use crate::config::document::{Location, Member, Node, NodeContent, Report, Scalar, TextOrigin, parse};

const PREFIX: &str = "REGISTRY_";
/// A limit for the parts of a variable's name; no key has as many.
const MAX_PARTS: usize = 16;
/// A limit in bytes for names that get a suggestion; no key's variable is as long.
const MAX_NAME: usize = 100;

/// Holds facts about the variables that the tree does not show.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::config) struct Touched {
    /// True if a variable set `proxy` or a key in it.
    pub(in crate::config) proxy: bool,
    /// True if a variable set `mirror` as a whole, its `local` or its `upstreams`.
    pub(in crate::config) mirror: bool,
}

/// A variable. `parts` are those of its name after `REGISTRY_`, in lower case.
struct Variable<'e> {
    name: &'e str,
    parts: Vec<String>,
    value: &'e str,
}

/// Holds the `REGISTRY_*` variables that name a key.
pub(in crate::config) struct Overrides<'e> {
    keys: &'e Arc<[Key]>,
    variables: Vec<Variable<'e>>,
}

impl<'e> Overrides<'e> {
    /// Collects the variables that name one of `keys`, and warns of the other `REGISTRY_*` variables.
    pub(in crate::config) fn new(
        environment: &'e [(String, String)],
        keys: &'e Arc<[Key]>,
        report: &mut Report,
    ) -> Self {
        let mut variables: Vec<Variable<'_>> =
            environment.iter().filter_map(|(name, value)| variable(name, value)).collect();
        variables.sort_by_cached_key(|variable| {
            // `_2_` comes before `_10_`, since elements are appended to lists in this order.
            let part = |part: &String| (part.parse::<u64>().unwrap_or(u64::MAX), part.clone());
            (variable.parts.len(), variable.parts.iter().map(part).collect::<Vec<_>>(), variable.name)
        });
        variables.retain(|variable| {
            let known =
                variable.parts.len() <= MAX_PARTS && is_known(&KeyShape::Section(keys.clone()), &variable.parts);
            if !known {
                report.warn(&Location::whole(variable.name), unknown(variable, keys));
            }
            known
        });
        for pair in variables.windows(2) {
            if let [first, second] = pair
                && first.parts == second.parts
            {
                let message = format!("sets the same key as {} and overrides it; remove one of them", first.name);
                report.warn(&Location::whole(second.name), message);
            }
        }
        Self { keys, variables }
    }

    /// Returns which keys of the mirror the variables set.
    pub(in crate::config) fn touched(&self) -> Touched {
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

    /// Sets the value of each variable, which is YAML, in `root`.
    pub(in crate::config) fn apply(&self, root: &mut Node, report: &mut Report) {
        for variable in &self.variables {
            let location = Location::whole(variable.name);
            let Some(value) = parse(variable.value, &TextOrigin::Variable(Arc::from(variable.name)), report) else {
                continue;
            };
            let shape = KeyShape::Section(self.keys.clone());
            if let Err(reason) = set(root, &shape, &variable.parts, value) {
                report.error(&location, reason);
            }
        }
    }
}

/// Turns a bare word that chooses a driver (`storage: filesystem`) into a map with that driver and no parameters.
pub(in crate::config) fn expand_drivers(root: &mut Node, keys: &[Key]) {
    let NodeContent::Map(members) = &mut root.content else {
        return;
    };
    for member in members {
        let section = keys.iter().find(|key| key.name == member.key);
        if let Some(KeyShape::DriverSection(drivers)) = section.map(|key| &key.shape) {
            expand_driver(&mut member.value);
            spell_drivers(&mut member.value, drivers);
        }
    }
}

/// Spells the names of drivers in lower case, since `registry:2` reads `None` as `none`.
fn spell_drivers(section: &mut Node, drivers: &[Key]) {
    let NodeContent::Map(members) = &mut section.content else { return };
    for member in members {
        let is_it = |driver: &&Key| driver.is_driver && driver.name.eq_ignore_ascii_case(&member.key);
        if let Some(driver) = drivers.iter().find(is_it) {
            driver.name.clone_into(&mut member.key);
        }
    }
}

fn expand_driver(node: &mut Node) {
    let NodeContent::Scalar(Scalar { text, .. }) = &node.content else {
        return;
    };
    if node.is_empty() {
        return;
    }
    let value = Node::null(node.location.clone());
    let member = Member { key: text.clone(), key_location: node.location.clone(), value };
    node.content = NodeContent::Map(vec![member]);
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

fn is_known(shape: &KeyShape, parts: &[String]) -> bool {
    let Some((first, rest)) = parts.split_first() else {
        return true;
    };
    if first.is_empty() {
        return false;
    }
    let is_index = || first.parse::<usize>().is_ok();
    match shape {
        KeyShape::Section(keys) | KeyShape::DriverSection(keys) => {
            find(keys, first).is_some_and(|key| is_known(&key.shape, rest))
        }
        KeyShape::Named(keys) => is_known(&KeyShape::Section(keys.clone()), rest),
        KeyShape::Texts => is_known(&KeyShape::List, rest),
        KeyShape::List => is_index() && rest.is_empty(),
        KeyShape::Sections(keys) => is_index() && is_known(&KeyShape::Section(keys.clone()), rest),
        KeyShape::Anything => rest.is_empty() || is_known(&KeyShape::Anything, rest),
        KeyShape::Scalar(_) => false,
    }
}

fn find<'k>(keys: &'k [Key], name: &str) -> Option<&'k Key> {
    keys.iter().find(|key| key.name == name)
}

/// Sets the node that `parts` lead to from `node`. The parts are those of a known key.
fn set(node: &mut Node, shape: &KeyShape, parts: &[String], mut value: Node) -> Result<(), String> {
    let Some((first, rest)) = parts.split_first() else {
        if matches!(shape, KeyShape::DriverSection(_)) {
            expand_driver(&mut value);
        }
        *node = value;
        return Ok(());
    };
    let in_list = match shape {
        KeyShape::List => Some(KeyShape::Scalar(Notation::Text)),
        KeyShape::Sections(keys) => Some(KeyShape::Section(keys.clone())),
        KeyShape::Anything | KeyShape::Scalar(_) => {
            let is_list = matches!(node.content, NodeContent::List(_));
            (is_list || (node.is_null() && first.parse::<usize>().is_ok())).then_some(KeyShape::Anything)
        }
        _ => None,
    };
    if let Some(shape) = in_list {
        return set(element(node, first, &value.location)?, &shape, rest, value);
    }
    let (name, shape) = match shape {
        KeyShape::Section(keys) | KeyShape::DriverSection(keys) => match find(keys, first) {
            Some(key) => (key.name, key.shape.clone()),
            None => (first.as_str(), KeyShape::Anything),
        },
        KeyShape::Named(keys) => (first.as_str(), KeyShape::Section(keys.clone())),
        KeyShape::Texts => (first.as_str(), KeyShape::List),
        _ => (first.as_str(), KeyShape::Anything),
    };
    set(member(node, name, &value.location)?, &shape, rest, value)
}

/// Returns the value of `name` in the map `node`, and adds it if it is missing.
fn member<'n>(node: &'n mut Node, name: &str, location: &Location) -> Result<&'n mut Node, String> {
    if node.is_null() {
        *node = Node { location: location.clone(), content: NodeContent::Map(Vec::new()) };
    }
    let found = node.describe();
    let at = node.location.to_string();
    let NodeContent::Map(members) = &mut node.content else {
        return Err(format!("`{name}` cannot be set, since {at} holds {found} instead of a map; write a map there"));
    };
    let index = members.iter().position(|member| member.key.eq_ignore_ascii_case(name)).unwrap_or_else(|| {
        let (key_location, value) = (location.clone(), Node::null(location.clone()));
        members.push(Member { key: name.to_owned(), key_location, value });
        members.len() - 1
    });
    Ok(&mut members[index].value)
}

/// Returns element `index` of the list `node`, and adds it if it is the next one.
fn element<'n>(node: &'n mut Node, index: &str, location: &Location) -> Result<&'n mut Node, String> {
    if node.is_null() {
        *node = Node { location: location.clone(), content: NodeContent::List(Vec::new()) };
    } else if matches!(node.content, NodeContent::Scalar(_)) {
        // A single element may be written without brackets.
        *node = Node { location: node.location.clone(), content: NodeContent::List(vec![node.clone()]) };
    }
    let NodeContent::List(items) = &mut node.content else {
        return Err(format!("element {index} cannot be set, since {} holds a map instead of a list", node.location));
    };
    let length = items.len();
    match index.parse::<usize>() {
        Ok(index) if index < length => Ok(&mut items[index]),
        Ok(index) if index == length => {
            items.push(Node::null(location.clone()));
            Ok(&mut items[index])
        }
        _ => Err(format!("element {index} cannot be set; the next one is number {length}")),
    }
}

/// Says why the variable is ignored.
fn unknown(variable: &Variable<'_>, keys: &[Key]) -> String {
    let name = variable.name.to_ascii_uppercase();
    if variable.value.starts_with("tcp://") || name.contains("_SERVICE_") || name.contains("_PORT_") {
        return "ignored: Kubernetes sets it for a service of this name".to_owned();
    }
    if name == "REGISTRY_CONFIGURATION_PATH" {
        return "ignored: pass the path to `entrepot serve`, or set ENTREPOT_CONFIG".to_owned();
    }
    if name == "REGISTRY_AUTH_FILE" {
        return "ignored: podman and skopeo use it; the password file is REGISTRY_AUTH_HTPASSWD_PATH".to_owned();
    }
    format!("ignored: no key has this name{}", hint(&name, keys))
}

/// Returns the name of the variable that `name` is probably a misspelling of.
fn hint(name: &str, keys: &[Key]) -> String {
    let mut names = Vec::new();
    walk(keys, "", &mut |path, key| {
        if matches!(key.support, Support::Supported) {
            names.push(format!("{PREFIX}{}", path.replace('.', "_").to_uppercase()));
        }
    });
    let close = |other: String| {
        let distance = strsim::osa_distance(name, &other);
        (distance <= name.len() / 3).then_some((distance, other))
    };
    // A longer name resembles no key, and comparing it would take long.
    let near = names.into_iter().filter(|_| name.len() <= MAX_NAME).filter_map(close).min();
    near.map_or_else(String::new, |(_, near)| format!("; did you mean {near}?"))
}
