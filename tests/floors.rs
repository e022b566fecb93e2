//! Checks the structure of `src/`: every module imports only from floors below its own, and the bounds of the style that clippy cannot see
//! hold. `ARCHITECTURE.md` says what each floor is for; `floors/structure.rs` has the rules for the inside of a floor.
//!
//! `crate::`, `self::` and `super::` paths are followed, also through `use` groups and in the bodies of macros; what is in
//! comments and strings is none. What a macro puts together out of pieces is not seen.

#![expect(clippy::disallowed_methods, reason = "reads the sources; there is no clock or disk to bend here")]

#[path = "floors/checker.rs"]
mod checker;
#[path = "floors/graph.rs"]
mod graph;
#[path = "floors/modules.rs"]
mod modules;
#[path = "floors/reading.rs"]
mod reading;
#[path = "floors/structure.rs"]
mod structure;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use reading::{Import, Source};

/// Every top-level module: its floor, its name, and what it may import.
const FLOORS: &[(u8, &str, &str)] = &[
    (0, "oci", ""),
    (0, "metrics", ""),
    (0, "sys", ""),
    (1, "config", "oci"),
    (2, "outbound", "oci metrics sys config"),
    (2, "state", "oci metrics sys config"),
    (3, "store", "oci metrics sys config"),
    (3, "upstream", "oci metrics sys config outbound state"),
    (3, "auth", "oci metrics sys config outbound state"),
    (4, "cache", "oci metrics sys config store"),
    (5, "fills", "oci metrics sys config store upstream cache"),
    (6, "registry", "oci metrics sys config outbound state store upstream cache fills"),
    (7, "web", "oci metrics sys config outbound state auth registry"),
    (8, "server", "oci metrics sys config outbound state web"),
    (9, "cli", "oci metrics sys config outbound state store upstream auth registry web server"),
    (10, "main", "cli"),
];

/// The most lines of production code in one file.
const MAX_LINES: usize = 400;

#[test]
fn imports_run_downward() {
    let imports = sources().iter().flat_map(reading::imports).collect::<Vec<_>>();
    report(imports.iter().filter_map(violation).collect());
}

#[test]
fn every_module_has_a_floor() {
    let sources = sources();
    let root = sources.iter().find(|source| source.path == "src/lib.rs").expect("the crate has a lib.rs");
    // Only tests compile `fuzz_replay`; it belongs to no floor.
    let declared =
        reading::declared_modules(root).into_iter().filter(|name| name != "fuzz_replay").collect::<BTreeSet<_>>();
    let known = FLOORS.iter().map(|(_, name, _)| name.to_string()).filter(|name| name != "main").collect();
    assert_eq!(declared, known, "left: the modules of src/lib.rs; right: those with a floor in tests/floors.rs");
}

#[test]
fn table_of_floors_runs_downward() {
    for (floor, name, allowed) in FLOORS {
        for other in allowed.split_whitespace() {
            let below = row(other).map(|(below, _, _)| below);
            assert!(below.is_some_and(|below| below < floor), "{name} on floor {floor} may import {other}");
        }
    }
}

#[test]
fn files_are_short() {
    let mut violations = Vec::new();
    for source in sources() {
        let lines = reading::production_lines(&source);
        if lines > MAX_LINES {
            violations.push(format!("{}: {lines} lines of production code; at most {MAX_LINES}", source.path));
        }
    }
    report(violations);
}

#[test]
fn no_lint_is_silenced_without_a_reason() {
    let mut violations = Vec::new();
    for source in sources() {
        for line in reading::silenced_lints(&source) {
            violations.push(format!("{}:{line}: a lint is silenced without `reason = \"…\"`", source.path));
        }
    }
    report(violations);
}

#[track_caller]
fn report(violations: Vec<String>) {
    assert!(violations.is_empty(), "{} found:\n{}", violations.len(), violations.join("\n"));
}

fn row(name: &str) -> Option<&'static (u8, &'static str, &'static str)> {
    FLOORS.iter().find(|(_, known, _)| *known == name)
}

/// Why this import may not be, if so.
fn violation(import: &Import) -> Option<String> {
    let target = import.to.first().map_or("*", String::as_str);
    if import.from == target || import.from.is_empty() {
        return None;
    }
    let Some((floor, name, allowed)) = row(&import.from) else {
        return Some(format!("{import}: {} has no floor in tests/floors.rs", import.from));
    };
    let Some((other, _, _)) = row(target) else {
        return Some(format!("{import}: {target:?} is no module with a floor; name the module that it comes from"));
    };
    if allowed.split_whitespace().any(|allowed| allowed == target) {
        return None;
    }
    let allowed = if allowed.is_empty() { "nothing" } else { allowed };
    let rule = format!("{target} stands on floor {other}; {name}, on floor {floor}, may import: {allowed}");
    Some(format!("{import}: {rule}"))
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = vec![root.join("src")];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).expect("src/ can be read") {
            let path = entry.expect("src/ can be read").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("sources are UTF-8");
                let path = path.strip_prefix(root).expect("it lies below the root").display().to_string();
                found.push(Source { path, text });
            }
        }
    }
    assert!(!found.is_empty(), "no sources in {}", root.display());
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}
