//! YAML text into a tree.
//!
//! YAML as Go's yaml.v2 takes it: merge keys, anchors, and scalars whose type the reader decides. Never panics, and is bounded
//! in depth and in what aliases may unfold to.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};

use super::problem::{Place, Report};
use super::tree::{Entry, Node, Origin, Scalar, Style, Value};

/// How deep maps and lists may nest.
const MAX_DEPTH: usize = 64;
/// What aliases may unfold to in all, in nodes plus bytes of text.
const MAX_UNFOLDED: usize = 1 << 20;

/// The tree of `text`; `None` if it could not be read to its end, which is then reported.
pub(super) fn parse(text: &str, origin: &Origin, report: &mut Report) -> Option<Node> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder::new(origin, report);
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        match event {
            Ok((event, span)) => builder.event(event, span)?,
            Err(error) => return builder.syntax_error(&error),
        }
    }
    let place = origin.whole();
    Some(builder.root.unwrap_or_else(|| Node::null(place)))
}

/// Puts the parser's events together, without recursion.
struct Builder<'a> {
    origin: &'a Origin,
    report: &'a mut Report,
    stack: Vec<Frame>,
    anchors: HashMap<usize, Anchored>,
    unfolded: usize,
    documents: usize,
    root: Option<Node>,
}

/// A list or map that is not complete yet.
struct Frame {
    place: Place,
    anchor: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map(MapFrame),
}

#[derive(Default)]
struct MapFrame {
    entries: Vec<Entry>,
    /// The key whose value comes next.
    key: Option<(Scalar, Place)>,
    seen: HashMap<String, Place>,
    merges: Vec<Node>,
}

struct Anchored {
    node: Node,
    weight: usize,
    depth: usize,
}

impl<'a> Builder<'a> {
    fn new(origin: &'a Origin, report: &'a mut Report) -> Self {
        let (stack, anchors) = (Vec::new(), HashMap::new());
        Self { origin, report, stack, anchors, unfolded: 0, documents: 0, root: None }
    }

    /// Takes one event; `None` ends the reading, and the reason is reported.
    fn event(&mut self, event: Event<'_>, span: Span) -> Option<()> {
        let place = self.origin.at(span.start);
        match event {
            Event::DocumentStart(_) => self.document(&place),
            Event::Scalar(text, style, anchor, tag) => {
                let style = self.style(style, tag.as_deref(), &place);
                let value = Value::Scalar(Scalar { text: text.into_owned(), style });
                self.complete(Node { place, value }, anchor);
                Some(())
            }
            Event::SequenceStart(anchor, _) => self.open(place, anchor, Content::List(Vec::new())),
            Event::MappingStart(anchor, _) => self.open(place, anchor, Content::Map(MapFrame::default())),
            Event::SequenceEnd | Event::MappingEnd => {
                self.close();
                Some(())
            }
            Event::Alias(anchor) => self.alias(anchor, place),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Some(()),
        }
    }

    fn document(&mut self, place: &Place) -> Option<()> {
        self.documents += 1;
        if self.documents > 1 {
            self.report.error(place, "a second document begins here; write one, without `---` between its parts");
            return None;
        }
        Some(())
    }

    fn style(&mut self, style: ScalarStyle, tag: Option<&Tag>, place: &Place) -> Style {
        match tag.map(|tag| (tag.is_yaml_core_schema(), tag.suffix.as_str())) {
            Some((true, "str")) => Style::Text,
            Some((true, "int" | "float" | "bool" | "null" | "merge")) => Style::Plain,
            None if style == ScalarStyle::Plain => Style::Plain,
            None => Style::Text,
            Some(_) => {
                // Not repeated: in a variable it may be the beginning of a password.
                self.report.error(place, "a tag (`!…`) means nothing here; leave it out, or put the text in quotes");
                Style::Text
            }
        }
    }

    fn open(&mut self, place: Place, anchor: usize, content: Content) -> Option<()> {
        if self.stack.len() >= MAX_DEPTH {
            self.report.error(&place, format!("nested more than {MAX_DEPTH} deep"));
            return None;
        }
        self.stack.push(Frame { place, anchor, content });
        Some(())
    }

    fn close(&mut self) {
        let Some(Frame { place, anchor, content }) = self.stack.pop() else {
            return;
        };
        let value = match content {
            Content::List(items) => Value::List(items),
            Content::Map(map) => Value::Map(self.merged(map)),
        };
        self.complete(Node { place, value }, anchor);
    }

    fn alias(&mut self, anchor: usize, place: Place) -> Option<()> {
        let Some(anchored) = self.anchors.get(&anchor) else {
            self.report.error(&place, "this alias stands inside what it names; write the value out");
            return None;
        };
        self.unfolded = self.unfolded.saturating_add(anchored.weight);
        if self.unfolded > MAX_UNFOLDED || self.stack.len() + anchored.depth > MAX_DEPTH {
            self.report.error(&place, "aliases unfold to too much here; write the values out");
            return None;
        }
        let node = anchored.node.clone();
        self.complete(node, 0);
        Some(())
    }

    /// Puts a whole node where it belongs: into the list or map around it, or at the root.
    fn complete(&mut self, node: Node, anchor: usize) {
        if anchor > 0 {
            let (weight, depth) = node.measure();
            self.anchors.insert(anchor, Anchored { node: node.clone(), weight, depth });
        }
        match self.stack.last_mut().map(|frame| &mut frame.content) {
            None => self.root = Some(node),
            Some(Content::List(items)) => items.push(node),
            Some(Content::Map(map)) => map.take(node, self.report),
        }
    }

    /// The map's entries, then those of its `<<` that it does not write itself.
    fn merged(&mut self, map: MapFrame) -> Vec<Entry> {
        let MapFrame { mut entries, merges, mut seen, .. } = map;
        for merge in merges {
            let place = merge.place.clone();
            let maps = match merge.value {
                Value::List(items) => items,
                value => vec![Node { place: merge.place, value }],
            };
            for map in maps {
                let Value::Map(others) = map.value else {
                    self.report.error(&place, "`<<` takes a map, or a list of maps, such as *defaults");
                    continue;
                };
                let fresh = others.into_iter().filter(|e| seen.insert(e.key.clone(), e.key_place.clone()).is_none());
                entries.extend(fresh);
            }
        }
        entries
    }

    fn syntax_error(&mut self, error: &ScanError) -> Option<Node> {
        let info = error.info();
        let hint = if info.contains("anchor") || info.contains("alias") {
            "; a text that begins with `*` or `&` needs quotes, as in \"**\""
        } else if info.contains('\t') || info.contains("tab") {
            "; indent with spaces"
        } else if matches!(self.origin, Origin::Variable(_)) {
            "; the value is YAML: put quotes around a text with special characters, within those of the shell"
        } else {
            "; see whether the lines above are indented alike and their quotes and brackets closed"
        };
        self.report.error(&self.origin.at(*error.marker()), format!("this is not YAML: {info}{hint}"));
        None
    }
}

impl MapFrame {
    /// A key or a value, whichever is next.
    fn take(&mut self, node: Node, report: &mut Report) {
        let Some((key, key_place)) = self.key.take() else {
            self.key = Some(match node.value {
                Value::Scalar(scalar) => (scalar, node.place),
                _ => {
                    report.error(&node.place, "a key is a word, not a list or a map; put braces in quotes");
                    (Scalar { text: "?".to_owned(), style: Style::Text }, node.place)
                }
            });
            return;
        };
        let merge = key.is_merge();
        if let Some(first) = self.seen.get(&key.text) {
            let message = format!("`{}` is written twice, first on {}; keep one", key.text, first.short());
            return report.error(&key_place, message);
        }
        self.seen.insert(key.text.clone(), key_place.clone());
        if merge {
            self.merges.push(node);
        } else {
            self.entries.push(Entry { key: key.text, key_place, value: node });
        }
    }
}
