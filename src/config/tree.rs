//! A configuration as a tree that knows where each of its nodes is written.

use std::sync::Arc;

use saphyr_parser::Marker;

use super::problem::Place;

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A scalar as written; what type it has is for the reader to say.
#[derive(Clone, Debug)]
pub(super) struct Scalar {
    pub(super) text: String,
    pub(super) style: Style,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// May be a null, a boolean or a number.
    Plain,
    /// Quoted, or tagged `!!str`: a text in any case.
    Text,
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_place: Place,
    pub(super) value: Node,
}

impl Node {
    pub(super) fn null(place: Place) -> Self {
        let scalar = Scalar { text: String::new(), style: Style::Plain };
        Self { place, value: Value::Scalar(scalar) }
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(scalar) if scalar.is_null())
    }

    /// Nothing, `""`, `[]` or `{}`: as good as not written.
    pub(super) fn is_empty(&self) -> bool {
        match &self.value {
            Value::Scalar(scalar) => scalar.is_null() || scalar.text.is_empty(),
            Value::List(items) => items.is_empty(),
            Value::Map(entries) => entries.is_empty(),
        }
    }

    pub(super) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// What stands here, in words for a message.
    pub(super) fn describe(&self) -> String {
        match &self.value {
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
            Value::Scalar(scalar) if scalar.is_null() => "empty".to_owned(),
            Value::Scalar(scalar) if scalar.text.chars().count() > 60 => "a long text".to_owned(),
            Value::Scalar(scalar) => format!("{:?}", scalar.text),
        }
    }

    /// Nodes and bytes of text, and how deep it nests.
    pub(super) fn measure(&self) -> (usize, usize) {
        let over = |nodes: &mut dyn Iterator<Item = &Node>| {
            nodes.fold((1, 1), |(weight, depth), node| {
                let (w, d) = node.measure();
                (weight + w, depth.max(d + 1))
            })
        };
        match &self.value {
            Value::Scalar(scalar) => (1 + scalar.text.len(), 0),
            Value::List(items) => over(&mut items.iter()),
            Value::Map(entries) => over(&mut entries.iter().map(|entry| &entry.value)),
        }
    }
}

impl Scalar {
    pub(super) fn is_null(&self) -> bool {
        self.style == Style::Plain && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }

    pub(super) fn is_merge(&self) -> bool {
        self.style == Style::Plain && self.text == "<<"
    }
}

/// Where a text comes from.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    /// A file: places have lines and columns.
    File(Arc<str>),
    /// An environment variable: its name is place enough.
    Variable(Arc<str>),
}

impl Origin {
    pub(super) fn whole(&self) -> Place {
        match self {
            Self::File(name) | Self::Variable(name) => Place::whole(name),
        }
    }

    pub(super) fn at(&self, marker: Marker) -> Place {
        let number = |n: usize| Some(u32::try_from(n).unwrap_or(u32::MAX));
        match self {
            // The parser counts lines from 1 and columns from 0.
            Self::File(name) => {
                Place { file: name.clone(), line: number(marker.line()), column: number(marker.col() + 1) }
            }
            Self::Variable(_) => self.whole(),
        }
    }
}
