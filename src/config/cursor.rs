//! A cursor points at a key in the tree, and reads its value as one type or another.
//!
//! A value of the wrong type is reported, with its content and a valid example. After that it is treated as absent.

use std::path::Path;
use std::str::FromStr;

use super::document::{Location, Node, NodeContent, Report};
use super::keys::join;
use super::secret::Secret;

/// Reads the file that a `file:/path` secret names, or returns why it cannot be read: `it does not exist; write …`.
pub type ReadSecret<'a> = &'a dyn Fn(&Path) -> Result<String, String>;

/// Holds the report of mistakes, and the access to secrets.
pub(super) struct ReadContext<'a> {
    pub(super) report: Report,
    pub(super) secrets: ReadSecret<'a>,
}

/// A position in the tree: a key, whether it is written or not.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'t> {
    pub(super) path: String,
    node: Option<&'t Node>,
    /// The location of the key; for an absent key that of the section around it.
    key_location: &'t Location,
}

impl<'t> Cursor<'t> {
    pub(super) fn root(node: &'t Node) -> Self {
        Self { path: String::new(), node: Some(node), key_location: &node.location }
    }

    /// Returns the cursor of `key` in this section. A null counts as not written.
    pub(super) fn get(&self, key: &str) -> Self {
        let member = self.node.and_then(|node| node.get(key));
        let node = member.map(|member| &member.value).filter(|node| !node.is_null());
        let key_location = member.map_or(self.key_location, |member| &member.key_location);
        Self { path: join(&self.path, key), node, key_location }
    }

    /// Returns the cursor at the end of a path of keys.
    pub(super) fn at(&self, keys: &[&str]) -> Self {
        keys.iter().fold(self.clone(), |cursor, key| cursor.find(key))
    }

    /// Returns the cursor of `key`, in upper or lower case, since names of hosts are read in lower case.
    pub(super) fn find(&self, key: &str) -> Self {
        let members = self.node.map_or(&[][..], Node::members);
        let written = members.iter().find(|member| member.key.eq_ignore_ascii_case(key));
        self.get(written.map_or(key, |member| &member.key))
    }

    /// Returns the keys that are written in this section, each with its cursor.
    pub(super) fn children(&self) -> impl Iterator<Item = (&'t str, Self)> + '_ {
        let members = self.node.map_or(&[][..], Node::members);
        members.iter().map(|member| (member.key.as_str(), self.get(&member.key)))
    }

    /// Returns true if `key` is written here, even with a null.
    pub(super) fn has(&self, key: &str) -> bool {
        self.node.is_some_and(|node| node.get(key).is_some())
    }

    /// Returns true if `key` is written in a file and empty. An empty variable unsets a key and does not count.
    pub(super) fn is_empty(&self, key: &str) -> bool {
        let member = self.node.and_then(|node| node.get(key));
        member.is_some_and(|member| member.value.is_empty() && member.value.location.line.is_some())
    }

    /// Returns the elements of a list. A single value counts as a list of one.
    pub(super) fn each(&self) -> Vec<Self> {
        match self.node.map(|node| &node.content) {
            Some(NodeContent::List(_)) => self.items().collect(),
            Some(_) => vec![self.clone()],
            None => Vec::new(),
        }
    }

    /// Returns the elements of a list, each with its index in the path.
    pub(super) fn items(&self) -> impl Iterator<Item = Self> + '_ {
        let items = match self.node.map(|node| &node.content) {
            Some(NodeContent::List(items)) => items.as_slice(),
            _ => &[],
        };
        let item = |(index, node): (usize, &'t Node)| Self {
            path: join(&self.path, &index.to_string()),
            node: Some(node),
            key_location: &node.location,
        };
        items.iter().enumerate().map(item)
    }

    pub(super) fn is_map(&self) -> bool {
        matches!(self.node.map(|node| &node.content), Some(NodeContent::Map(_)))
    }

    pub(super) fn is_written(&self) -> bool {
        self.node.is_some()
    }

    /// Returns the text of a scalar as it is written.
    pub(super) fn raw(&self) -> Option<&'t str> {
        match self.node.map(|node| &node.content) {
            Some(NodeContent::Scalar(scalar)) => Some(scalar.text.as_str()),
            _ => None,
        }
    }

    /// Returns the location of the value; for an absent value that of the key or of the section around it.
    pub(super) fn location(&self) -> &'t Location {
        self.node.map_or(self.key_location, |node| &node.location)
    }

    /// Reports a mistake here. The message continues the key's name.
    pub(super) fn error(&self, reading: &mut ReadContext<'_>, message: &str) {
        reading.report.error(self.location(), format!("{} {message}", self.path));
    }

    /// Reports a warning here. The message continues the key's name.
    pub(super) fn warn(&self, reading: &mut ReadContext<'_>, message: &str) {
        reading.report.warn(self.location(), format!("{} {message}", self.path));
    }

    /// Reads a scalar as text. `""` counts as not written, as in Go.
    pub(super) fn text(&self, reading: &mut ReadContext<'_>) -> Option<&'t str> {
        self.scalar(reading, "write one text").filter(|text| !text.is_empty())
    }

    /// Reads a scalar with `parse`, or reports a mistake that ends with `write`.
    pub(super) fn parsed<T>(
        &self,
        reading: &mut ReadContext<'_>,
        parse: impl Fn(&str) -> Option<T>,
        write: &str,
    ) -> Option<T> {
        let text = self.scalar(reading, write)?;
        let parsed = parse(text);
        if parsed.is_none() {
            self.error(reading, &format!("is {text:?}; {write}"));
        }
        parsed
    }

    /// Reads a secret: the value, or the content of the file that `file:/path` names.
    pub(super) fn secret(&self, reading: &mut ReadContext<'_>) -> Option<Secret> {
        let text = self.text(reading)?;
        let Some(path) = text.strip_prefix("file:") else {
            return Some(Secret::new(text.to_owned()));
        };
        match (reading.secrets)(Path::new(path)) {
            Ok(content) => {
                let secret = content.trim_end_matches(['\r', '\n']);
                if secret.is_empty() {
                    self.error(reading, &format!("names {path}: it is empty; write the secret there"));
                }
                Some(Secret::new(secret.to_owned()))
            }
            Err(reason) => {
                self.error(reading, &format!("names {path}: {reason}"));
                None
            }
        }
    }

    /// Reads a list of scalars, each with its location. A single one may be written without brackets.
    pub(super) fn texts(&self, reading: &mut ReadContext<'_>) -> Vec<(&'t str, &'t Location)> {
        let items = match self.node.map(|node| (&node.content, node)) {
            Some((NodeContent::List(items), _)) => items.as_slice(),
            Some((_, node)) => std::slice::from_ref(node),
            None => &[],
        };
        let mut texts = Vec::new();
        for item in items {
            match &item.content {
                NodeContent::Scalar(scalar) if !item.is_empty() => texts.push((scalar.text.as_str(), &item.location)),
                _ => {
                    let message =
                        format!("{} holds an item that is {}; write a list of texts", self.path, item.describe());
                    reading.report.error(&item.location, message);
                }
            }
        }
        texts
    }

    /// Reads a list whose elements are parsed. The message of a mistake is that of the parser.
    pub(super) fn list<T: FromStr<Err: std::fmt::Display>>(&self, reading: &mut ReadContext<'_>) -> Vec<T> {
        let mut list = Vec::new();
        for (text, location) in self.texts(reading) {
            match text.parse() {
                Ok(item) => list.push(item),
                Err(error) => reading.report.error(location, format!("{}: {error}", self.path)),
            }
        }
        list
    }

    fn scalar(&self, reading: &mut ReadContext<'_>, write: &str) -> Option<&'t str> {
        let node = self.node?;
        if let NodeContent::Scalar(scalar) = &node.content {
            return Some(scalar.text.as_str());
        }
        self.error(reading, &format!("is {}; {write}", node.describe()));
        None
    }
}
