//! Checks the documents: every link leads somewhere, no paper is cited that is not in the repository, and the first pages stay short.
#![expect(clippy::disallowed_methods, reason = "reads the repository's own files; no clock or disk is simulated here")]

#[path = "documents/citations.rs"]
mod citations;
#[path = "documents/commands.rs"]
mod commands;
#[path = "documents/links.rs"]
mod links;
#[path = "documents/words.rs"]
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Folders that hold no part of the repository, or inputs that are not read as text.
const SKIPPED: &[&str] = &[".git", "target", "corpus", "artifacts", "logs", "seeds"];

/// Documents with a limit, in bytes: a reader takes them in at one sitting.
const LIMITS: &[(&str, usize)] = &[("README.md", 5_000), ("ARCHITECTURE.md", 8_000)];

/// Documents that no other document needs to link to.
const ENTRANCES: &[&str] = &["README.md"];

#[test]
fn every_link_leads_somewhere() {
    let documents = documents();
    let broken = documents.iter().flat_map(|(path, text)| links::broken(path, text, &documents, &exists));
    report(broken.collect());
}

#[test]
fn every_document_is_linked() {
    let documents = documents();
    let linked: BTreeSet<String> =
        documents.iter().flat_map(|(path, text)| links::targets(path, text)).map(|target| target.path).collect();
    let lost = documents.keys().filter(|path| !linked.contains(*path) && !ENTRANCES.contains(&path.as_str()));
    report(lost.map(|path| format!("{path}: no document links to it")).collect());
}

#[test]
fn every_command_exists() {
    report(documents().iter().flat_map(|(path, text)| commands::unknown(path, text)).collect());
}

#[test]
fn every_configuration_is_right() {
    report(documents().iter().flat_map(|(path, text)| commands::refused(path, text)).collect());
}

#[test]
fn no_paper_outside_the_repository_is_cited() {
    let texts = texts(|name| !name.ends_with(".lock") && name != "LICENSE");
    let cited = texts.iter().filter(|(path, _)| is_checked(path));
    report(cited.flat_map(|(path, text)| citations::find(path, text)).collect());
}

#[test]
fn sentences_name_their_subjects() {
    let texts = texts(|name| !name.ends_with(".lock") && name != "LICENSE");
    let mut count = words::Count::default();
    texts.iter().filter(|(path, _)| is_checked(path)).for_each(|(path, text)| count.add(path, text));
    report(count.excess());
}

#[test]
fn first_pages_are_short() {
    let documents = documents();
    let long = LIMITS.iter().filter_map(|(path, limit)| {
        let length = documents.get(*path).map_or(0, String::len);
        (length == 0 || length > *limit).then(|| format!("{path}: {length} bytes; it must have 1 to {limit}"))
    });
    report(long.collect());
}

#[test]
fn measurements_carry_their_date() {
    let documents = documents();
    let measured: Vec<_> = documents.iter().filter(|(path, _)| path.starts_with("docs/measured/")).collect();
    assert!(!measured.is_empty(), "docs/measured/ holds no document");
    let undated = measured.iter().filter(|(_, text)| !text.lines().take(5).any(is_date));
    report(undated.map(|(path, _)| format!("{path}: \"Measured on YEAR-MONTH-DAY.\" is missing")).collect());
}

#[test]
fn every_metric_is_described() {
    let read = |path: &str| fs::read_to_string(root().join(path)).expect("the repository can be read");
    let (defined, described) =
        (metrics(&read("src/metrics/all.rs"), '"'), metrics(&read("docs/reference/metrics.md"), '`'));
    assert!(!defined.is_empty(), "src/metrics/all.rs defines no metric");
    let missing = defined.difference(&described).map(|name| format!("docs/reference/metrics.md: {name} is missing"));
    let unknown =
        described.difference(&defined).map(|name| format!("docs/reference/metrics.md: {name} does not exist"));
    report(missing.chain(unknown).collect());
}

/// Returns the names of metrics that stand alone between two `quote` characters.
fn metrics(text: &str, quote: char) -> BTreeSet<String> {
    let is_metric = |text: &&str| {
        let rest = ["registry_", "entrepot_"].into_iter().find_map(|start| text.strip_prefix(start));
        rest.is_some_and(|rest| rest.len() > 1 && rest.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
    };
    text.lines().flat_map(|line| line.split(quote)).filter(is_metric).map(str::to_owned).collect()
}

#[test]
fn metrics_in_a_text() {
    let text = "| `entrepot_fills_total` | `type` |\n`entrepot_*` and `registry_` are no names, `a entrepot_b` neither";
    assert_eq!(metrics(text, '`'), BTreeSet::from(["entrepot_fills_total".to_owned()]));
}

fn is_date(line: &str) -> bool {
    let date = line
        .strip_suffix('.')
        .and_then(|line| ["Measured on ", "Recorded on "].into_iter().find_map(|start| line.strip_prefix(start)));
    let parts: Vec<&str> = date.unwrap_or_default().split('-').collect();
    let digits = |part: &str, len| part.len() == len && part.bytes().all(|b| b.is_ascii_digit());
    matches!(parts[..], [year, month, day] if digits(year, 4) && digits(month, 2) && digits(day, 2))
}

#[test]
fn dates_good_and_bad() {
    for (line, good) in [
        ("Measured on 2026-11-21.", true),
        ("Recorded on 2026-11-21.", true),
        ("Measured on 2026-11-21", false),
        ("Measured on 21 November.", false),
        ("Measured on 2026-11.", false),
        ("", false),
    ] {
        assert_eq!(is_date(line), good, "{line:?}");
    }
}

/// Returns true for a file whose sentences are checked. This test itself names the forbidden words.
fn is_checked(path: &str) -> bool {
    !path.starts_with("tests/documents")
}

#[track_caller]
fn report(violations: Vec<String>) {
    assert!(violations.is_empty(), "{} found:\n{}", violations.len(), violations.join("\n"));
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn exists(path: &str) -> bool {
    root().join(path).exists()
}

/// All Markdown documents by their paths from the root.
fn documents() -> BTreeMap<String, String> {
    texts(|name| name.ends_with(".md"))
}

/// All text files that `wanted` accepts by name, by their paths from the root.
fn texts(wanted: impl Fn(&str) -> bool) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut open: Vec<PathBuf> = vec![root().to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).expect("the repository can be read") {
            let path = entry.expect("the repository can be read").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                if !SKIPPED.contains(&name.as_str()) {
                    open.push(path);
                }
            } else if wanted(&name)
                && let Ok(text) = fs::read_to_string(&path)
            {
                let path = path.strip_prefix(root()).expect("the file is below the root").display().to_string();
                found.insert(path, text);
            }
        }
    }
    assert!(!found.is_empty(), "no files found in {}", root().display());
    found
}
