//! Reads a file of `src/` as a module: which child modules it declares, which names it defines, and what it imports.
//!
//! Code that only tests or fuzz targets compile is left out, since the rules are about the product.

use std::collections::BTreeMap;

use super::reading::{CRATE, Source, Token, module_of, text_at, tokens};

/// The keywords that begin the definition of a type.
const TYPES: &[&str] = &["struct", "enum", "trait", "type", "union"];

/// The keywords that begin any other definition.
const OTHERS: &[&str] = &["fn", "const", "static", "macro_rules", "impl"];

/// A file of `src/` as a module.
#[derive(Debug, Default)]
pub(super) struct Module {
    pub(super) file: String,
    pub(super) path: Vec<String>,
    /// The child modules, in the order in which the file declares them.
    pub(super) children: Vec<String>,
    /// The names that the file defines at its top level.
    pub(super) definitions: Vec<Definition>,
    /// The names that a `use` at the top level brings into scope, each with the absolute path that it stands for. A glob is `*`.
    pub(super) names: Vec<Imported>,
    /// Every path in the file that leads to another place of the crate, as an absolute path.
    pub(super) imports: Vec<Imported>,
    /// The lines with `Arc<Registry>`, `impl Registry` and `impl Deref for`.
    pub(super) phrases: Vec<(usize, &'static str)>,
}

/// A definition at the top level of a file.
#[derive(Debug)]
pub(super) struct Definition {
    pub(super) line: usize,
    pub(super) name: String,
    pub(super) is_type: bool,
    /// Whether the definition has a `pub`, restricted or not.
    pub(super) is_visible: bool,
}

/// A name and the absolute path that it stands for.
#[derive(Clone, Debug)]
pub(super) struct Imported {
    pub(super) line: usize,
    pub(super) name: String,
    pub(super) path: Vec<String>,
    pub(super) is_reexport: bool,
}

impl Module {
    pub(super) fn read(source: &Source) -> Self {
        let tokens = without_tests(tokens(&source.text));
        let mut module = Self { file: source.path.clone(), path: module_of(&source.path), ..Self::default() };
        module.read_top_level(&tokens);
        module.read_paths(&tokens);
        module.read_phrases(&tokens);
        module
    }

    /// Returns true for a file that only declares modules and re-exports names.
    pub(super) fn is_face(&self) -> bool {
        self.definitions.is_empty()
    }

    fn read_top_level(&mut self, tokens: &[Token]) {
        let mut depth = 0_usize;
        for at in 0..tokens.len() {
            let text = tokens[at].text.as_str();
            match text {
                "{" | "(" | "[" => depth += 1,
                "}" | ")" | "]" => depth = depth.saturating_sub(1),
                _ if depth > 0 => {}
                "mod" if text_at(tokens, at + 2) == ";" => self.children.push(tokens[at + 1].text.clone()),
                _ if TYPES.contains(&text) || OTHERS.contains(&text) => self.define(tokens, at),
                _ => {}
            }
        }
    }

    fn define(&mut self, tokens: &[Token], at: usize) {
        let text = tokens[at].text.as_str();
        let next = text_at(tokens, at + 1);
        // `const fn` is found at its `fn`; `impl` after `->`, `:` or `=` belongs to a definition that was found already.
        if text == "const" && matches!(next, "fn" | "unsafe" | "async") {
            return;
        }
        let name = match text {
            "macro_rules" => text_at(tokens, at + 2),
            "impl" => "impl",
            _ => next,
        };
        let is_visible = is_visible(tokens, at);
        let (line, name, is_type) = (tokens[at].line, name.to_owned(), TYPES.contains(&text));
        self.definitions.push(Definition { line, name, is_type, is_visible });
    }

    fn read_paths(&mut self, tokens: &[Token]) {
        let mut scope: BTreeMap<String, Vec<String>> =
            self.children.iter().map(|child| (child.clone(), joined(&self.path, child))).collect();
        // First every `use`, so that the names are known wherever they stand; then the paths in the code.
        for at in 0..tokens.len() {
            if tokens[at].text == "use" {
                let is_reexport = is_visible(tokens, at);
                let mut found = Vec::new();
                if let Some((path, first)) = self.start(tokens, at + 1, &scope) {
                    leaves(tokens, first, &path, &mut found);
                }
                for (line, name, path) in found {
                    scope.insert(name.clone(), path.clone());
                    let imported = Imported { line, name, path, is_reexport };
                    self.names.push(imported.clone());
                    self.imports.push(imported);
                }
            }
        }
        for at in 0..tokens.len() {
            let is_visibility = before(tokens, at) == "in" && at >= 3 && text_at(tokens, at - 3) == "pub";
            let goes_on = before(tokens, at) == "::" || before(tokens, at) == "use";
            if is_visibility || goes_on || text_at(tokens, at + 1) != "::" {
                continue;
            }
            if let Some((path, first)) = self.start(tokens, at, &scope) {
                let mut found = Vec::new();
                leaves(tokens, first, &path, &mut found);
                let imported = |(line, name, path)| Imported { line, name, path, is_reexport: false };
                self.imports.extend(found.into_iter().map(imported));
            }
        }
    }

    /// Returns the absolute path that a path's first segments stand for, and the index of the segment that follows them.
    fn start(
        &self,
        tokens: &[Token],
        at: usize,
        scope: &BTreeMap<String, Vec<String>>,
    ) -> Option<(Vec<String>, usize)> {
        let mut at = if text_at(tokens, at) == "::" { at + 1 } else { at };
        let mut path = match text_at(tokens, at) {
            "crate" | CRATE => Vec::new(),
            "self" if text_at(tokens, at + 1) == "::" => self.path.clone(),
            "super" => self.path[..self.path.len().checked_sub(1)?].to_vec(),
            name => scope.get(name)?.clone(),
        };
        at += 1;
        if text_at(tokens, at) != "::" {
            // `use name;` or `use name as other;` of a name that is in scope already.
            return None;
        }
        at += 1;
        while text_at(tokens, at) == "super" {
            path.pop();
            at += 2;
        }
        Some((path, at))
    }

    fn read_phrases(&mut self, tokens: &[Token]) {
        for (at, token) in tokens.iter().enumerate() {
            let is = |words: &[&str]| words.iter().enumerate().all(|(n, word)| text_at(tokens, at + n) == *word);
            let found = if is(&["Arc", "<", "Registry", ">"]) {
                "Arc<Registry>"
            } else if is(&["impl", "Registry"]) {
                "impl Registry"
            } else if is(&["Deref", "for"]) {
                "impl Deref"
            } else {
                continue;
            };
            self.phrases.push((token.line, found));
        }
    }
}

/// Finds where a path leads, or each path of a group, with the name that it gets here.
fn leaves(tokens: &[Token], mut at: usize, prefix: &[String], found: &mut Vec<(usize, String, Vec<String>)>) -> usize {
    let line = tokens.get(at).map_or(0, |token| token.line);
    let mut path = prefix.to_vec();
    loop {
        match text_at(tokens, at) {
            "{" => {
                at += 1;
                while !matches!(text_at(tokens, at), "}" | "") {
                    at = if text_at(tokens, at) == "," { at + 1 } else { leaves(tokens, at, &path, found) };
                }
                return at + 1;
            }
            // The `self` of a group stands for the path before it.
            "self" => {}
            "super" => drop(path.pop()),
            // A turbofish or a qualified path ends what is of interest.
            "<" => break,
            segment => path.push(segment.to_owned()),
        }
        at += 1;
        if text_at(tokens, at) != "::" {
            break;
        }
        at += 1;
    }
    let mut name = path.last().cloned().unwrap_or_default();
    if text_at(tokens, at) == "as" {
        name = text_at(tokens, at + 1).to_owned();
        at += 2;
    }
    found.push((line, name, path));
    at
}

/// Leaves out the items that have an attribute with `cfg(test)` or `cfg(fuzzing)`.
fn without_tests(tokens: Vec<Token>) -> Vec<Token> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if let Some(end) = test_attribute(&tokens, at) {
            at = item_end(&tokens, end);
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    kept
}

/// Returns the index behind an attribute that begins at `at` and restricts an item to tests or fuzz targets.
fn test_attribute(tokens: &[Token], at: usize) -> Option<usize> {
    let is_start = text_at(tokens, at) == "#" && text_at(tokens, at + 1) == "[" && text_at(tokens, at + 2) == "cfg";
    let end = at + tokens[at..].iter().position(|token| token.text == "]")? + 1;
    let is_test = tokens[at..end].iter().any(|token| matches!(token.text.as_str(), "test" | "fuzzing"));
    (is_start && is_test).then_some(end)
}

/// Returns the index behind the item that begins at `at`: behind its semicolon or its last brace.
fn item_end(tokens: &[Token], at: usize) -> usize {
    let mut depth = 0_usize;
    let mut is_use = false;
    for (index, token) in tokens.iter().enumerate().skip(at) {
        match token.text.as_str() {
            "use" if depth == 0 => is_use = true,
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth = depth.saturating_sub(1),
            _ => {}
        }
        let ends = token.text == ";" || token.text == "," || token.text == "}" && !is_use;
        if depth == 0 && ends {
            return index + 1;
        }
    }
    tokens.len()
}

fn is_visible(tokens: &[Token], at: usize) -> bool {
    let mut at = at;
    while at > 0 && matches!(text_at(tokens, at - 1), "unsafe" | "async" | "const" | "extern") {
        at -= 1;
    }
    if before(tokens, at) == ")" {
        at = tokens[..at].iter().rposition(|token| token.text == "(").unwrap_or(0);
    }
    before(tokens, at) == "pub"
}

fn before(tokens: &[Token], at: usize) -> &str {
    at.checked_sub(1).map_or("", |before| text_at(tokens, before))
}

fn joined(path: &[String], name: &str) -> Vec<String> {
    path.iter().cloned().chain([name.to_owned()]).collect()
}
