//! A key of the tree by its path, and what its value is as this type or that.
//!
//! A value of the wrong type is reported with what was found and what to write, and then counts as not written.

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use super::problem::{Place, Report};
use super::tree::{Node, Value};
use super::{ReadSecret, Secret, scalar, schema};

/// What reading needs besides the tree.
pub(super) struct Reading<'a> {
    pub(super) report: Report,
    pub(super) secrets: ReadSecret<'a>,
}

/// A key, written or not.
#[derive(Clone, Debug)]
pub(super) struct At<'t> {
    pub(super) path: String,
    node: Option<&'t Node>,
    /// Where the key is written; where the section around it is, if it is not.
    place: &'t Place,
}

impl<'t> At<'t> {
    pub(super) fn root(node: &'t Node) -> Self {
        Self { path: String::new(), node: Some(node), place: &node.place }
    }

    pub(super) fn get(&self, key: &str) -> Self {
        let entry = self.node.and_then(|node| node.get(key));
        // An empty value is as good as none.
        let node = entry.map(|entry| &entry.value).filter(|node| !node.is_null());
        let place = entry.map_or(self.place, |entry| &entry.key_place);
        Self { path: schema::join(&self.path, key), node, place }
    }

    /// The keys written in here, each with its value.
    pub(super) fn children(&self) -> impl Iterator<Item = (&'t str, Self)> + '_ {
        let entries = self.node.map_or(&[][..], Node::entries);
        entries.iter().map(|entry| (entry.key.as_str(), self.get(&entry.key)))
    }

    /// `key`, in letters of either case: names of hosts are read in small ones.
    pub(super) fn find(&self, key: &str) -> Self {
        let entries = self.node.map_or(&[][..], Node::entries);
        let written = entries.iter().find(|entry| entry.key.eq_ignore_ascii_case(key));
        self.get(written.map_or(key, |entry| &entry.key))
    }

    /// `key`, if it is written in a file and holds nothing.
    pub(super) fn empty(&self, key: &str) -> Option<Self> {
        let entry = self.node.and_then(|node| node.get(key))?;
        let empty = entry.value.is_empty() && entry.value.place.line.is_some();
        empty.then(|| self.get(key))
    }

    /// The elements of a list, each at its number; what stands alone is one.
    pub(super) fn each(&self) -> Vec<Self> {
        match self.node.map(|node| &node.value) {
            Some(Value::List(_)) => self.items().collect(),
            Some(_) => vec![self.clone()],
            None => Vec::new(),
        }
    }

    /// The elements of a list, each at its number.
    pub(super) fn items(&self) -> impl Iterator<Item = Self> + '_ {
        let items = match self.node.map(|node| &node.value) {
            Some(Value::List(items)) => items.as_slice(),
            _ => &[],
        };
        let item = |(index, node): (usize, &'t Node)| Self {
            path: schema::join(&self.path, &index.to_string()),
            node: Some(node),
            place: &node.place,
        };
        items.iter().enumerate().map(item)
    }

    /// Is it a map, of whatever keys?
    pub(super) fn is_map(&self) -> bool {
        matches!(self.node.map(|node| &node.value), Some(Value::Map(_)))
    }

    pub(super) fn is_written(&self) -> bool {
        self.node.is_some()
    }

    /// The scalar as it is written, of whatever type.
    pub(super) fn raw(&self) -> Option<&'t str> {
        match self.node.map(|node| &node.value) {
            Some(Value::Scalar(scalar)) => Some(scalar.text.as_str()),
            _ => None,
        }
    }

    pub(super) fn place(&self) -> &'t Place {
        self.node.map_or(self.place, |node| &node.place)
    }

    pub(super) fn error(&self, reading: &mut Reading<'_>, message: &str) {
        reading.report.error(self.place(), format!("{} {message}", self.path));
    }

    pub(super) fn warn(&self, reading: &mut Reading<'_>, message: &str) {
        reading.report.warn(self.place(), format!("{} {message}", self.path));
    }

    /// A scalar; `""` counts as not written, as in Go.
    pub(super) fn text(&self, reading: &mut Reading<'_>) -> Option<&'t str> {
        self.scalar(reading, "write one text").filter(|text| !text.is_empty())
    }

    pub(super) fn flag(&self, reading: &mut Reading<'_>) -> Option<bool> {
        self.parsed(reading, scalar::boolean, "write true or false")
    }

    pub(super) fn duration(&self, reading: &mut Reading<'_>) -> Option<Duration> {
        self.parsed(reading, scalar::duration, "write a duration with its unit, such as 10s, 10m or 1h30m")
    }

    /// A duration that is not zero.
    pub(super) fn timeout(&self, reading: &mut Reading<'_>) -> Option<Duration> {
        let some = |text: &str| scalar::duration(text).filter(|duration| !duration.is_zero());
        self.parsed(reading, some, "write a duration above zero with its unit, such as 5s or 1m")
    }

    /// Bytes.
    pub(super) fn size(&self, reading: &mut Reading<'_>) -> Option<u64> {
        self.parsed(reading, scalar::size, "write a size, such as 200GiB, 10GB or a number of bytes")
    }

    pub(super) fn number(&self, reading: &mut Reading<'_>) -> Option<u64> {
        self.parsed(reading, scalar::number, "write a whole number")
    }

    /// One of a few words, in letters of either case.
    pub(super) fn choice<T: Copy>(&self, reading: &mut Reading<'_>, words: &[(&str, T)], write: &str) -> Option<T> {
        let find = |text: &str| words.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, value)| *value);
        self.parsed(reading, find, write)
    }

    /// The scalar as `parse` takes it, or a mistake that says what to write.
    pub(super) fn parsed<T>(
        &self,
        reading: &mut Reading<'_>,
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

    /// A secret: the value, or the content of the file that `file:/path` names.
    pub(super) fn secret(&self, reading: &mut Reading<'_>) -> Option<Secret> {
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

    /// A list of scalars, each with its place; one alone may stand without brackets.
    pub(super) fn texts(&self, reading: &mut Reading<'_>) -> Vec<(&'t str, &'t Place)> {
        let items = match self.node.map(|node| (&node.value, node)) {
            Some((Value::List(items), _)) => items.as_slice(),
            Some((_, node)) => std::slice::from_ref(node),
            None => &[],
        };
        let mut texts = Vec::new();
        for item in items {
            match &item.value {
                Value::Scalar(scalar) if !item.is_empty() => texts.push((scalar.text.as_str(), &item.place)),
                _ => {
                    let message =
                        format!("{} holds an item that is {}; write a list of texts", self.path, item.describe());
                    reading.report.error(&item.place, message);
                }
            }
        }
        texts
    }

    /// A list of what can be parsed; the parser's own words are the message.
    pub(super) fn list<T: FromStr<Err: std::fmt::Display>>(&self, reading: &mut Reading<'_>) -> Vec<(T, &'t Place)> {
        let mut list = Vec::new();
        for (text, place) in self.texts(reading) {
            match text.parse() {
                Ok(item) => list.push((item, place)),
                Err(error) => reading.report.error(place, format!("{}: {error}", self.path)),
            }
        }
        list
    }

    fn scalar(&self, reading: &mut Reading<'_>, write: &str) -> Option<&'t str> {
        let node = self.node?;
        if let Value::Scalar(scalar) = &node.value {
            return Some(scalar.text.as_str());
        }
        self.error(reading, &format!("is {}; {write}", node.describe()));
        None
    }
}
