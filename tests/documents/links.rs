//! Links of Markdown documents, and the anchors they may name.

use std::collections::{BTreeMap, BTreeSet};

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

/// Where a relative link leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// The path from the repository's root.
    pub(super) path: String,
    pub(super) anchor: Option<String>,
}

/// Describes each link of a document that leads nowhere. `documents` are all documents by path; `exists` tells whether a path exists.
pub(super) fn broken(
    path: &str,
    text: &str,
    documents: &BTreeMap<String, String>,
    exists: &dyn Fn(&str) -> bool,
) -> Vec<String> {
    let mut found = Vec::new();
    for link in links(text) {
        match resolve(path, &link) {
            Err(reason) => found.push(format!("{path}: {link}: {reason}")),
            Ok(None) => {}
            Ok(Some(target)) if !exists(&target.path) => found.push(format!("{path}: {link}: no such file")),
            Ok(Some(Target { path: to, anchor: Some(anchor) })) => match documents.get(&to) {
                Some(text) if anchors(text).contains(&anchor) => {}
                Some(_) => found.push(format!("{path}: {link}: no heading of {to} has the anchor #{anchor}")),
                None => found.push(format!("{path}: {link}: {to} is no document, so it has no anchors")),
            },
            Ok(Some(_)) => {}
        }
    }
    // A reference without a definition is plain text to Markdown.
    found.extend(undefined(text).into_iter().map(|label| format!("{path}: [{label}] has no definition")));
    found
}

/// Returns where the relative links of a document lead.
pub(super) fn targets(path: &str, text: &str) -> Vec<Target> {
    links(text).iter().filter_map(|link| resolve(path, link).ok().flatten()).collect()
}

/// Returns the destinations of all links and images of a document.
fn links(text: &str) -> Vec<String> {
    let destination = |event| match event {
        Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => Some(dest_url.to_string()),
        _ => None,
    };
    Parser::new_ext(text, options()).filter_map(destination).collect()
}

/// Returns the labels of references such as `[text][label]` that are not defined.
fn undefined(text: &str) -> Vec<String> {
    let mut labels = Vec::new();
    let mut note = |link: pulldown_cmark::BrokenLink<'_>| {
        if link.link_type == pulldown_cmark::LinkType::Reference {
            labels.push(link.reference.to_string());
        }
        None
    };
    Parser::new_with_broken_link_callback(text, options(), Some(&mut note)).for_each(drop);
    labels
}

/// Resolves a link of the document `from`. Returns `None` for the address of a web page, which is not checked here.
fn resolve(from: &str, link: &str) -> Result<Option<Target>, String> {
    if link.starts_with("https://") || link.starts_with("mailto:") {
        return Ok(None);
    }
    if link.contains("://") {
        return Err("write an https:// address or a relative path".to_owned());
    }
    if link.starts_with('/') {
        return Err("write a path relative to the document".to_owned());
    }
    let (file, anchor) = link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor.to_owned())));
    if file.is_empty() {
        return Ok(Some(Target { path: from.to_owned(), anchor }));
    }
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in file.trim_end_matches('/').split('/') {
        match part {
            "." => {}
            ".." if parts.pop().is_none() => return Err("leads out of the repository".to_owned()),
            ".." => {}
            name => parts.push(name),
        }
    }
    Ok(Some(Target { path: parts.join("/"), anchor }))
}

/// Returns the anchors that GitHub gives to the headings of a document.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut heading: Option<String> = None;
    for event in Parser::new_ext(text, options()) {
        match event {
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::Text(text) | Event::Code(text) => {
                if let Some(heading) = &mut heading {
                    heading.push_str(&text);
                }
            }
            Event::End(TagEnd::Heading(_)) => {
                let first = anchor(&heading.take().unwrap_or_default());
                let names = (0..).map(|n| if n == 0 { first.clone() } else { format!("{first}-{n}") });
                found.extend(names.into_iter().find(|name| !found.contains(name)));
            }
            _ => {}
        }
    }
    found
}

/// Returns a heading's anchor: lower case, spaces as dashes, without punctuation.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn options() -> Options {
    Options::ENABLE_TABLES
}

#[test]
fn anchors_of_headings() {
    for (heading, want) in [
        ("X-Cache", "x-cache"),
        ("What was promised", "what-was-promised"),
        ("From `registry:2`", "from-registry2"),
        ("a/b, c & d", "ab-c--d"),
        ("`ls`, `rm`", "ls-rm"),
        ("snake_case", "snake_case"),
    ] {
        let document = format!("# {heading}\n");
        assert_eq!(anchors(&document), BTreeSet::from([want.to_owned()]), "{heading}");
    }
    let twice = anchors("# A\n\n## A\n\n```sh\n# no heading\n```\n");
    assert_eq!(twice, BTreeSet::from(["a".to_owned(), "a-1".to_owned()]));
}

#[test]
fn links_good_and_bad() {
    let page = |text: &str| text.to_owned();
    let documents = BTreeMap::from([
        ("README.md".to_owned(), page("# Top\n\n## Second part\n")),
        ("docs/guide/a.md".to_owned(), page("# A\n")),
    ]);
    let files = ["README.md", "docs", "docs/guide", "docs/guide/a.md", "config/default.yml"];
    let exists = |path: &str| files.contains(&path);
    for (from, text, good) in [
        ("README.md", "[a](docs/guide/a.md)", true),
        ("README.md", "[a](docs/guide/a.md#a)", true),
        ("README.md", "[a](#second-part)", true),
        ("README.md", "[a](docs/guide/)", true),
        ("README.md", "[a](https://example.com/x#y)", true),
        ("README.md", "[a][b]\n\n[b]: docs/guide/a.md", true),
        ("README.md", "`[a](nowhere.md)`", true),
        ("README.md", "```\n[a](nowhere.md)\n```", true),
        ("README.md", "| `[:TAG\\|@DIGEST]` | list[0] | [ ] |", true),
        ("docs/guide/a.md", "[a](../../README.md#top)", true),
        ("docs/guide/a.md", "[a](../../config/default.yml)", true),
        ("docs/guide/a.md", "[a](./a.md)", true),
        ("README.md", "[a](docs/guide/b.md)", false),
        ("README.md", "[a](docs/guide/a.md#b)", false),
        ("README.md", "[a](#third-part)", false),
        ("README.md", "[a](config/default.yml#x)", false),
        ("README.md", "[a][b]", false),
        ("README.md", "![a](picture.png)", false),
        ("README.md", "[a](/docs/guide/a.md)", false),
        ("README.md", "[a](http://example.com)", false),
        ("docs/guide/a.md", "[a](README.md)", false),
        ("docs/guide/a.md", "[a](../../../README.md)", false),
    ] {
        let found = broken(from, text, &documents, &exists);
        assert_eq!(found.is_empty(), good, "{from}: {text:?}: {found:?}");
    }
}
