//! Reading sources: what they import, declare and silence.

use std::fmt;

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};

/// The crate's name, which `main.rs` writes where others write `crate`.
pub(super) const CRATE: &str = "entrepot";

/// A file of `src/`, its path from the package's root.
pub(super) struct Source {
    pub(super) path: String,
    pub(super) text: String,
}

/// An import found in a file.
#[derive(Debug)]
pub(super) struct Import {
    pub(super) path: String,
    pub(super) line: usize,
    /// The top-level module that imports; empty for `lib.rs`, the root itself.
    pub(super) from: String,
    /// The absolute path that is imported, beginning with a top-level module; `*` stands for a glob.
    pub(super) to: Vec<String>,
}

impl fmt::Display for Import {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: imports crate::{}", self.path, self.line, self.to.join("::"))
    }
}

/// The path of the module that a file is: `src/a/b.rs` and `src/a/b/mod.rs` are `a::b`, `src/lib.rs` is the root.
pub(super) fn module_of(path: &str) -> Vec<String> {
    let inner = path.strip_prefix("src/").unwrap_or(path).trim_end_matches(".rs");
    let mut parts: Vec<String> = inner.split('/').map(str::to_owned).collect();
    if parts.last().is_some_and(|last| last == "mod") || parts == ["lib"] {
        parts.pop();
    }
    parts
}

/// What a file imports from the crate, in its order.
pub(super) fn imports(source: &Source) -> Vec<Import> {
    let tokens = tokens(&source.text);
    let module = module_of(&source.path);
    let mut found = Vec::new();
    // The modules written out in this file that we are in, each with the depth of braces outside it.
    let mut inline: Vec<(String, usize)> = Vec::new();
    let mut depth = 0;
    for at in 0..tokens.len() {
        match tokens[at].text.as_str() {
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                inline.pop_if(|(_, outside)| *outside == depth);
            }
            "mod" if text_at(&tokens, at + 2) == "{" => inline.push((tokens[at + 1].text.clone(), depth)),
            start if is_path_start(&tokens, at, start) => {
                let here: Vec<String> =
                    module.iter().cloned().chain(inline.iter().map(|(name, _)| name.clone())).collect();
                let mut walk = Walk { tokens: &tokens, here: &here, found: Vec::new() };
                walk.tree(at, None);
                found.extend(walk.found.into_iter().map(|(line, to)| Import {
                    path: source.path.clone(),
                    line,
                    from: module.first().cloned().unwrap_or_default(),
                    to,
                }));
            }
            _ => {}
        }
    }
    found
}

/// Does a path begin here that says where it begins? (One inside a group is reached from the group's own beginning.)
fn is_path_start(tokens: &[Token], at: usize, text: &str) -> bool {
    let before = |steps: usize| at.checked_sub(steps).map_or("", |before| text_at(tokens, before));
    // `::entrepot` begins, `a::entrepot` goes on.
    let goes_on = before(1) == "::" && !(text == CRATE && matches!(before(2), "use" | "{" | "}" | ";" | "(" | ""));
    let rooted = matches!(text, "crate" | "self" | "super" | CRATE) && text_at(tokens, at + 1) == "::";
    // `use crate as other` would hide every path that follows.
    let renamed = text == "crate" && text_at(tokens, at + 1) == "as";
    (rooted || renamed) && !goes_on && !is_grouped(tokens, at)
}

/// Is this token inside the braces of a `use` group, that is, follows the nearest open brace a `::`?
fn is_grouped(tokens: &[Token], at: usize) -> bool {
    let mut closed = 0;
    for index in (0..at).rev() {
        match tokens[index].text.as_str() {
            "}" => closed += 1,
            "{" if closed > 0 => closed -= 1,
            "{" => return index > 0 && tokens[index - 1].text == "::",
            _ => {}
        }
    }
    false
}

pub(super) fn text_at(tokens: &[Token], at: usize) -> &str {
    tokens.get(at).map_or("", |token| token.text.as_str())
}

/// Follows one path, or one tree of a `use`, and finds what it leads to.
struct Walk<'a> {
    tokens: &'a [Token],
    /// The module that the path is written in.
    here: &'a [String],
    found: Vec<(usize, Vec<String>)>,
}

impl Walk<'_> {
    /// Follows from `at`, with what stood before it, and returns where it ends. A `use` of a path that leads out of a group's
    /// own module (`use super::{a, super::b}`) is followed too.
    fn tree(&mut self, mut at: usize, before: Option<Vec<String>>) -> usize {
        let mut path = before;
        let line = self.tokens[at].line;
        loop {
            match text_at(self.tokens, at) {
                "crate" | CRATE if path.is_none() => path = Some(Vec::new()),
                "self" => path = Some(path.unwrap_or_else(|| self.here.to_vec())),
                "super" => {
                    let mut parent = path.unwrap_or_else(|| self.here.to_vec());
                    parent.pop();
                    path = Some(parent);
                }
                "{" => return self.group(at, &path.unwrap_or_default()),
                segment => path.get_or_insert_default().push(segment.to_owned()),
            }
            at += 1;
            let goes_on = text_at(self.tokens, at) == "::" && text_at(self.tokens, at + 1) != "<";
            if !goes_on {
                break;
            }
            at += 1;
        }
        self.found.push((line, path.unwrap_or_default()));
        at
    }

    fn group(&mut self, open: usize, before: &[String]) -> usize {
        let mut at = open + 1;
        loop {
            match text_at(self.tokens, at) {
                "}" | "" => return at + 1,
                "," => at += 1,
                "as" => at += 2,
                _ => at = self.tree(at, Some(before.to_vec())),
            }
        }
    }
}

/// The modules that a file declares, written out or not.
pub(super) fn declared_modules(source: &Source) -> Vec<String> {
    let tokens = tokens(&source.text);
    let declared = |at: &usize| tokens[*at].text == "mod" && matches!(text_at(&tokens, at + 2), ";" | "{");
    (0..tokens.len()).filter(declared).map(|at| tokens[at + 1].text.clone()).collect()
}

/// The lines of attributes that allow or expect a lint and say no reason.
pub(super) fn silenced_lints(source: &Source) -> Vec<usize> {
    let tokens = tokens(&source.text);
    let mut lines = Vec::new();
    let mut depth = 0;
    for at in 0..tokens.len() {
        let before = |steps: usize| at.checked_sub(steps).map_or("", |before| text_at(&tokens, before));
        let opens_attribute = before(1) == "#" || before(1) == "!" && before(2) == "#";
        match tokens[at].text.as_str() {
            "[" if depth > 0 || opens_attribute => depth += 1,
            "]" if depth > 0 => depth -= 1,
            "allow" | "expect" if depth > 0 && text_at(&tokens, at + 1) == "(" => {
                let reasoned =
                    tokens[at..].iter().take_while(|token| token.text != ")").any(|token| token.text == "reason");
                lines.extend((!reasoned).then_some(tokens[at].line));
            }
            _ => {}
        }
    }
    lines
}

/// How many lines stand before the tests that end a file; none in a file of tests.
pub(super) fn production_lines(source: &Source) -> usize {
    if source.path.ends_with("/tests.rs") || source.path.contains("/tests/") {
        return 0;
    }
    let lines: Vec<&str> = source.text.lines().collect();
    let opens_tests =
        |pair: &[&str]| pair[0].trim() == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{');
    lines.windows(2).position(opens_tests).unwrap_or(lines.len())
}

/// A word, `::`, a brace or a single other character; a literal is `""`.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) line: usize,
    pub(super) text: String,
}

/// The tokens of a Rust source, in which comments are none and documentation is a literal.
pub(super) fn tokens(source: &str) -> Vec<Token> {
    let stream: TokenStream = source.parse().expect("a source that compiles can be read");
    let mut tokens = Vec::new();
    flatten(stream, &mut tokens);
    tokens
}

fn flatten(stream: TokenStream, tokens: &mut Vec<Token>) {
    let mut trees = stream.into_iter();
    while let Some(tree) = trees.next() {
        let line = tree.span().start().line;
        let mut push = |text: &str| tokens.push(Token { line, text: text.to_owned() });
        match tree {
            TokenTree::Ident(word) => push(word.to_string().trim_start_matches("r#")),
            TokenTree::Literal(_) => push("\"\""),
            TokenTree::Punct(first) if first.as_char() == ':' && first.spacing() == Spacing::Joint => {
                trees.next();
                push("::");
            }
            TokenTree::Punct(other) => push(&other.to_string()),
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                push(open);
                flatten(group.stream(), tokens);
                tokens.push(Token { line: group.span_close().start().line, text: close.to_owned() });
            }
        }
    }
}
