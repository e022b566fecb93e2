//! `config/reference.yml` as the source of what is said of each key: the comment above it.

use std::collections::BTreeMap;

const REFERENCE: &str = include_str!("../../config/reference.yml");

/// What stands above each key, by its path; upstreams are called `NAME`, elements of a list `0`.
pub(super) fn sentences() -> BTreeMap<String, String> {
    let mut sentences = BTreeMap::new();
    let mut above: Vec<&str> = Vec::new();
    // The keys that are open around a line, each with its column.
    let mut open: Vec<(usize, String)> = Vec::new();
    for line in REFERENCE.lines() {
        if line.trim().is_empty() {
            above.clear();
        } else if let Some(comment) = comment(line) {
            above.push(comment);
        } else if let Some((column, item, name)) = key(line) {
            open.retain(|(other, _)| *other < column);
            let within = open.last().map_or("", |(_, path)| path.as_str());
            let name = if within == "mirror.upstreams" { "NAME" } else { name };
            let name = if item { format!("0.{name}") } else { name.to_owned() };
            let path = super::schema::join(within, &name);
            if item {
                open.push((column - 1, super::schema::join(within, "0")));
            }
            if !above.is_empty() {
                sentences.entry(path.clone()).or_insert_with(|| above.join(" "));
            }
            above.clear();
            open.push((column, path));
        }
    }
    sentences
}

/// What follows `# `. A key behind a bare `#` keeps its indentation, which is more than one space.
fn comment(line: &str) -> Option<&str> {
    line.trim_start().strip_prefix("# ").filter(|comment| !comment.starts_with(' '))
}

/// The key of a line, at which column, and whether it begins an item of a list. A key behind a bare `#` is one too.
fn key(line: &str) -> Option<(usize, bool, &str)> {
    let line = line.strip_prefix('#').unwrap_or(line);
    let text = line.trim_start();
    let (item, text) = text.strip_prefix("- ").map_or((false, text), |rest| (true, rest));
    let (name, _) = text.split_once(':')?;
    Some((line.len() - text.len(), item, name))
}
