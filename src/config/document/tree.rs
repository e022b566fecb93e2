//! A configuration as a tree in which each node knows its location.

use std::sync::Arc;

use super::problem::Location;

/// A node of the tree.
#[derive(Clone, Debug)]
pub(in crate::config) struct Node {
    pub(in crate::config) location: Location,
    pub(in crate::config) content: NodeContent,
}

/// The content of a node.
#[derive(Clone, Debug)]
pub(in crate::config) enum NodeContent {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Member>),
}

/// A scalar as it is written. The reader of a key decides which type it has.
#[derive(Clone, Debug)]
pub(in crate::config) struct Scalar {
    pub(in crate::config) text: String,
    pub(in crate::config) style: Style,
}

/// The style of a scalar, which decides whether it can be something other than a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum Style {
    /// It may be a null, a boolean or a number.
    Plain,
    /// It is quoted or tagged `!!str`, and therefore always a text.
    Text,
}

/// A key of a map with its value.
#[derive(Clone, Debug)]
pub(in crate::config) struct Member {
    pub(in crate::config) key: String,
    pub(in crate::config) key_location: Location,
    pub(in crate::config) value: Node,
}

impl Node {
    /// Returns an empty node.
    pub(in crate::config) fn null(location: Location) -> Self {
        let scalar = Scalar { text: String::new(), style: Style::Plain };
        Self { location, content: NodeContent::Scalar(scalar) }
    }

    /// Returns true for a YAML null.
    pub(in crate::config) fn is_null(&self) -> bool {
        matches!(&self.content, NodeContent::Scalar(scalar) if scalar.is_null())
    }

    /// Returns true for a null, `""`, `[]` or `{}`, which all mean the same as an absent key.
    pub(in crate::config) fn is_empty(&self) -> bool {
        match &self.content {
            NodeContent::Scalar(scalar) => scalar.is_null() || scalar.text.is_empty(),
            NodeContent::List(items) => items.is_empty(),
            NodeContent::Map(members) => members.is_empty(),
        }
    }

    /// Returns the members of a map; empty for anything else.
    pub(in crate::config) fn members(&self) -> &[Member] {
        match &self.content {
            NodeContent::Map(members) => members,
            _ => &[],
        }
    }

    /// Returns the member of a map with this key.
    pub(in crate::config) fn get(&self, key: &str) -> Option<&Member> {
        self.members().iter().find(|member| member.key == key)
    }

    /// Describes the content in the words of a message.
    pub(in crate::config) fn describe(&self) -> String {
        match &self.content {
            NodeContent::List(_) => "a list".to_owned(),
            NodeContent::Map(_) => "a map".to_owned(),
            NodeContent::Scalar(scalar) if scalar.is_null() => "empty".to_owned(),
            NodeContent::Scalar(scalar) if scalar.text.chars().count() > 60 => "a long text".to_owned(),
            NodeContent::Scalar(scalar) => format!("{:?}", scalar.text),
        }
    }

    /// Returns the size in nodes plus bytes of text, and the depth of nesting.
    pub(in crate::config) fn measure(&self) -> (usize, usize) {
        let over = |nodes: &mut dyn Iterator<Item = &Node>| {
            nodes.fold((1, 1), |(size, depth), node| {
                let (s, d) = node.measure();
                (size + s, depth.max(d + 1))
            })
        };
        match &self.content {
            NodeContent::Scalar(scalar) => (1 + scalar.text.len(), 0),
            NodeContent::List(items) => over(&mut items.iter()),
            NodeContent::Map(members) => over(&mut members.iter().map(|member| &member.value)),
        }
    }
}

impl Scalar {
    /// Returns true for a YAML null.
    pub(in crate::config) fn is_null(&self) -> bool {
        self.style == Style::Plain && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }

    /// Returns true for the key `<<` of YAML 1.1, which merges maps.
    pub(in crate::config) fn is_merge(&self) -> bool {
        self.style == Style::Plain && self.text == "<<"
    }
}

/// The origin of a text.
#[derive(Clone, Debug)]
pub(in crate::config) enum TextOrigin {
    /// A file. Its locations have lines and columns.
    File(Arc<str>),
    /// An environment variable. Its name is the whole location.
    Variable(Arc<str>),
}

impl TextOrigin {
    /// Returns the location of the text as a whole.
    pub(in crate::config) fn whole(&self) -> Location {
        match self {
            Self::File(name) | Self::Variable(name) => Location::whole(name),
        }
    }

    /// Returns the location of a line and a column, both counted from 1.
    pub(in crate::config) fn at(&self, line: usize, column: usize) -> Location {
        let number = |n: usize| Some(u32::try_from(n).unwrap_or(u32::MAX));
        match self {
            Self::File(name) => Location { file: name.clone(), line: number(line), column: number(column) },
            Self::Variable(_) => self.whole(),
        }
    }
}
