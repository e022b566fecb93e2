//! Reads the descriptions of the keys from `config/reference.yml`: the comment above each key describes it.

use std::collections::BTreeMap;

use super::schema::join;

const REFERENCE: &str = include_str!("../../../config/reference.yml");

/// Returns the comment above each key, by its path. The path has `NAME` for an upstream and `0` for an element of a list.
pub(in crate::config) fn descriptions() -> BTreeMap<String, String> {
    let mut descriptions = BTreeMap::new();
    let mut comments: Vec<&str> = Vec::new();
    // The sections around the line, each with its column.
    let mut open: Vec<(usize, String)> = Vec::new();
    for line in REFERENCE.lines() {
        if line.trim().is_empty() {
            comments.clear();
        } else if let Some(comment) = comment(line) {
            comments.push(comment);
        } else if let Some((column, is_item, name)) = key(line) {
            open.retain(|(other, _)| *other < column);
            let within = open.last().map_or("", |(_, path)| path.as_str());
            let name = if within == "mirror.upstreams" { "NAME" } else { name };
            let name = if is_item { format!("0.{name}") } else { name.to_owned() };
            let path = join(within, &name);
            if is_item {
                open.push((column - 1, join(within, "0")));
            }
            if !comments.is_empty() {
                descriptions.entry(path.clone()).or_insert_with(|| comments.join(" "));
            }
            comments.clear();
            open.push((column, path));
        }
    }
    descriptions
}

/// Returns the text after `# `. A key behind a bare `#` is no comment: it keeps its indentation of more than one space.
fn comment(line: &str) -> Option<&str> {
    line.trim_start().strip_prefix("# ").filter(|comment| !comment.starts_with(' '))
}

/// Returns the key in a line, with its column, and true if it begins an item of a list. A bare `#` before the key is skipped.
fn key(line: &str) -> Option<(usize, bool, &str)> {
    let line = line.strip_prefix('#').unwrap_or(line);
    let text = line.trim_start();
    let (is_item, text) = text.strip_prefix("- ").map_or((false, text), |rest| (true, rest));
    let (name, _) = text.split_once(':')?;
    Some((line.len() - text.len(), is_item, name))
}
