//! Parses YAML text into a tree.
//!
//! The YAML is that of Go's yaml.v2: it has merge keys, anchors, and scalars whose type the reader decides. Parsing never
//! panics. The depth of nesting and the expansion of aliases are bounded.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, Tag};

use super::problem::{Location, Report};
use super::tree::{Member, Node, NodeContent, Scalar, Style, TextOrigin};

/// The deepest nesting of maps and lists.
const MAX_DEPTH: usize = 64;
/// The largest expansion of all aliases together, in nodes plus bytes of text.
const MAX_EXPANSION: usize = 1 << 20;

/// Returns the tree of `text`. Reports a syntax error and returns `None` if the text cannot be parsed to its end.
pub(in crate::config) fn parse(text: &str, origin: &TextOrigin, report: &mut Report) -> Option<Node> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder::new(origin, report);
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        match event {
            Ok((event, span)) => builder.event(event, span)?,
            Err(error) => return builder.syntax_error(&error),
        }
    }
    let location = origin.whole();
    Some(builder.root.unwrap_or_else(|| Node::null(location)))
}

/// Builds the tree from the parser's events, without recursion.
struct Builder<'a> {
    origin: &'a TextOrigin,
    report: &'a mut Report,
    stack: Vec<Frame>,
    anchors: HashMap<usize, Anchored>,
    expansion: usize,
    documents: usize,
    root: Option<Node>,
}

/// A list or map whose end has not been parsed yet.
struct Frame {
    location: Location,
    anchor: usize,
    content: Unfinished,
}

enum Unfinished {
    List(Vec<Node>),
    Map(MapFrame),
}

#[derive(Default)]
struct MapFrame {
    members: Vec<Member>,
    /// Holds the key whose value comes next.
    key: Option<(Scalar, Location)>,
    seen: HashMap<String, Location>,
    merges: Vec<Node>,
}

struct Anchored {
    node: Node,
    weight: usize,
    depth: usize,
}

impl<'a> Builder<'a> {
    fn new(origin: &'a TextOrigin, report: &'a mut Report) -> Self {
        let (stack, anchors) = (Vec::new(), HashMap::new());
        Self { origin, report, stack, anchors, expansion: 0, documents: 0, root: None }
    }

    /// Handles one event. Reports a mistake and returns `None` if parsing cannot go on.
    fn event(&mut self, event: Event<'_>, span: Span) -> Option<()> {
        let location = self.location(span.start);
        match event {
            Event::DocumentStart(_) => self.document(&location),
            Event::Scalar(text, style, anchor, tag) => {
                let style = self.style(style, tag.as_deref(), &location);
                let content = NodeContent::Scalar(Scalar { text: text.into_owned(), style });
                self.complete(Node { location, content }, anchor);
                Some(())
            }
            Event::SequenceStart(anchor, _) => self.open(location, anchor, Unfinished::List(Vec::new())),
            Event::MappingStart(anchor, _) => self.open(location, anchor, Unfinished::Map(MapFrame::default())),
            Event::SequenceEnd | Event::MappingEnd => {
                self.close();
                Some(())
            }
            Event::Alias(anchor) => self.alias(anchor, location),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Some(()),
        }
    }

    /// Returns the location of a place in the text. The parser counts lines from 1 and columns from 0.
    fn location(&self, marker: Marker) -> Location {
        self.origin.at(marker.line(), marker.col() + 1)
    }

    fn document(&mut self, location: &Location) -> Option<()> {
        self.documents += 1;
        if self.documents > 1 {
            self.report
                .error(location, "a second document begins here; write one document, without `---` between its parts");
            return None;
        }
        Some(())
    }

    fn style(&mut self, style: ScalarStyle, tag: Option<&Tag>, location: &Location) -> Style {
        match tag.map(|tag| (tag.is_yaml_core_schema(), tag.suffix.as_str())) {
            Some((true, "str")) => Style::Text,
            Some((true, "int" | "float" | "bool" | "null" | "merge")) => Style::Plain,
            None if style == ScalarStyle::Plain => Style::Plain,
            None => Style::Text,
            Some(_) => {
                // The message does not repeat the tag: in a variable it may be the beginning of a password.
                self.report.error(location, "a tag (`!…`) has no meaning here; remove it, or put the text in quotes");
                Style::Text
            }
        }
    }

    fn open(&mut self, location: Location, anchor: usize, content: Unfinished) -> Option<()> {
        if self.stack.len() >= MAX_DEPTH {
            self.report.error(
                &location,
                format!("maps and lists are nested more than {MAX_DEPTH} deep; write them with fewer levels"),
            );
            return None;
        }
        self.stack.push(Frame { location, anchor, content });
        Some(())
    }

    fn close(&mut self) {
        let Some(Frame { location, anchor, content }) = self.stack.pop() else {
            return;
        };
        let content = match content {
            Unfinished::List(items) => NodeContent::List(items),
            Unfinished::Map(map) => NodeContent::Map(self.merged(map)),
        };
        self.complete(Node { location, content }, anchor);
    }

    fn alias(&mut self, anchor: usize, location: Location) -> Option<()> {
        let Some(anchored) = self.anchors.get(&anchor) else {
            self.report.error(&location, "this alias is inside the value that it names; write the value in full");
            return None;
        };
        self.expansion = self.expansion.saturating_add(anchored.weight);
        if self.expansion > MAX_EXPANSION || self.stack.len() + anchored.depth > MAX_DEPTH {
            self.report.error(&location, "the aliases expand to too much here; write the values in full");
            return None;
        }
        let node = anchored.node.clone();
        self.complete(node, 0);
        Some(())
    }

    /// Adds a complete node to the list or map around it, or makes it the root.
    fn complete(&mut self, node: Node, anchor: usize) {
        if anchor > 0 {
            let (weight, depth) = node.measure();
            self.anchors.insert(anchor, Anchored { node: node.clone(), weight, depth });
        }
        match self.stack.last_mut().map(|frame| &mut frame.content) {
            None => self.root = Some(node),
            Some(Unfinished::List(items)) => items.push(node),
            Some(Unfinished::Map(map)) => map.take(node, self.report),
        }
    }

    /// Returns the members of the map, followed by those that its `<<` adds.
    fn merged(&mut self, map: MapFrame) -> Vec<Member> {
        let MapFrame { mut members, merges, mut seen, .. } = map;
        for merge in merges {
            let location = merge.location.clone();
            let maps = match merge.content {
                NodeContent::List(items) => items,
                content => vec![Node { location: merge.location, content }],
            };
            for map in maps {
                let NodeContent::Map(others) = map.content else {
                    self.report.error(&location, "`<<` takes a map or a list of maps, such as *defaults");
                    continue;
                };
                let fresh = others.into_iter().filter(|e| seen.insert(e.key.clone(), e.key_location.clone()).is_none());
                members.extend(fresh);
            }
        }
        members
    }

    fn syntax_error(&mut self, error: &ScanError) -> Option<Node> {
        let info = error.info();
        let hint = if info.contains("anchor") || info.contains("alias") {
            "; put a text that begins with `*` or `&` in quotes, as in \"**\""
        } else if info.contains('\t') || info.contains("tab") {
            "; indent with spaces"
        } else if matches!(self.origin, TextOrigin::Variable(_)) {
            "; the value is YAML: put a text with special characters in quotes, inside those of the shell"
        } else {
            "; check the indentation, the quotes and the brackets of the lines above"
        };
        self.report.error(&self.location(*error.marker()), format!("this is not YAML: {info}{hint}"));
        None
    }
}

impl MapFrame {
    /// Adds a node, which is a key or the value of the key before it.
    fn take(&mut self, node: Node, report: &mut Report) {
        let Some((key, key_location)) = self.key.take() else {
            self.key = Some(match node.content {
                NodeContent::Scalar(scalar) => (scalar, node.location),
                _ => {
                    report.error(&node.location, "a key is a list or a map; write a word, and put braces in quotes");
                    (Scalar { text: "?".to_owned(), style: Style::Text }, node.location)
                }
            });
            return;
        };
        let merge = key.is_merge();
        if let Some(first) = self.seen.get(&key.text) {
            let message = format!("`{}` is written twice, first on {}; remove one", key.text, first.short());
            return report.error(&key_location, message);
        }
        self.seen.insert(key.text.clone(), key_location.clone());
        if merge {
            self.merges.push(node);
        } else {
            self.members.push(Member { key: key.text, key_location, value: node });
        }
    }
}
