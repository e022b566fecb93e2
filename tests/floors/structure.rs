//! The rules for the inside of a floor: the order of modules at every depth, no import cycle between files, faces, and the
//! names of types.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use super::graph::{Edge, Graph};
use super::modules::Module;
use super::reading::Source;
use super::{report, sources};

/// The type names that may be defined twice, since both are obvious in their place.
const TWICE: &[&str] = &["Credentials", "Fill", "Mirror", "Upstream"];

/// The names that every floor, or every command, may define for itself.
const EXEMPT: &[&str] = &["Error", "Arguments"];

/// The one `mod.rs` that may define something, since its children are the parts of what it defines.
const WHOLE: &str = "src/registry/mod.rs";

/// The graph of the product's own sources, with its edges.
static PRODUCT: LazyLock<(Graph, Vec<Edge>)> = LazyLock::new(|| {
    let graph = Graph::new(&sources());
    let edges = graph.edges();
    (graph, edges)
});

#[test]
fn modules_keep_their_order_at_every_depth() {
    let (graph, edges) = (&PRODUCT.0, &PRODUCT.1);
    assert!(edges.len() > 100, "the graph of imports has only {} edges", edges.len());
    report(edges.iter().filter_map(|edge| graph.order_violation(edge)).collect());
}

#[test]
fn no_files_import_each_other_in_a_cycle() {
    let cycles = PRODUCT.0.cycles(&PRODUCT.1);
    let violations = cycles.iter().map(|files| format!("{}: {} files: {}", files[0], files.len(), files.join(" ")));
    report(violations.collect());
}

#[test]
fn files_that_declare_modules_are_faces() {
    report(PRODUCT.0.modules().filter_map(not_a_face).collect());
}

#[test]
fn no_part_holds_the_whole_registry() {
    report(PRODUCT.0.modules().flat_map(misplaced_phrases).collect());
}

#[test]
fn a_type_name_means_one_type() {
    assert!(TWICE.len() <= 20, "at most 20 type names may be defined twice");
    report(repeated_types(PRODUCT.0.modules(), TWICE));
}

fn not_a_face(module: &Module) -> Option<String> {
    if module.children.is_empty() || module.is_face() || module.file == WHOLE {
        return None;
    }
    let names: Vec<&str> = module.definitions.iter().map(|definition| definition.name.as_str()).collect();
    Some(format!("{}: declares modules, so it may define nothing: {}", module.file, names.join(" ")))
}

fn misplaced_phrases(module: &Module) -> Vec<String> {
    let found = module.phrases.iter().filter(|(_, phrase)| !may_stand_in(module, phrase));
    found.map(|(line, phrase)| format!("{}:{line}: `{phrase}` does not belong here", module.file)).collect()
}

fn may_stand_in(module: &Module, phrase: &str) -> bool {
    let path: Vec<&str> = module.path.iter().map(String::as_str).collect();
    match phrase {
        "impl Registry" => module.file == WHOLE,
        "Arc<Registry>" => {
            matches!(path[..], ["registry"] | ["registry", "open" | "jobs", ..] | ["web" | "server" | "cli", ..])
        }
        _ => false,
    }
}

/// Finds visible type names that more than one file defines, but for those in `twice`, which two files may define.
fn repeated_types<'m>(modules: impl Iterator<Item = &'m Module>, twice: &[&str]) -> Vec<String> {
    let mut places: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for module in modules {
        let types = module.definitions.iter().filter(|definition| definition.is_type && definition.is_visible);
        for definition in types.filter(|definition| !EXEMPT.contains(&definition.name.as_str())) {
            places.entry(&definition.name).or_default().push(format!("{}:{}", module.file, definition.line));
        }
    }
    let most = |name: &str| if twice.contains(&name) { 2 } else { 1 };
    let repeated = places.into_iter().filter(|(name, places)| places.len() > most(name));
    repeated.map(|(name, places)| format!("{}: `{name}` is defined in {}", places[0], places.join(", "))).collect()
}

/// Made-up sources that prove that each rule can fail.
mod proofs {
    use super::*;

    fn graph(files: &[(&str, &str)]) -> Graph {
        let source = |(path, text): &(&str, &str)| Source { path: (*path).to_owned(), text: (*text).to_owned() };
        Graph::new(&files.iter().map(source).collect::<Vec<_>>())
    }

    fn edges(files: &[(&str, &str)]) -> BTreeSet<String> {
        let name = |path: &[String]| path.join("::");
        graph(files).edges().iter().map(|edge| format!("{} -> {}", name(&edge.from), name(&edge.to))).collect()
    }

    fn violations(files: &[(&str, &str)]) -> Vec<String> {
        let graph = graph(files);
        graph.edges().iter().filter_map(|edge| graph.order_violation(edge)).collect()
    }

    const LIB: (&str, &str) = ("src/lib.rs", "pub mod a; pub mod b;");

    #[test]
    fn re_exports_lead_to_the_file_that_defines() {
        let a = ("src/a/mod.rs", "mod low; mod high; pub use low::{Low, Other as Another};");
        let low = ("src/a/low.rs", "pub struct Low; pub enum Other { One } fn private() {}");
        for (text, expected) in [
            ("use super::Low;", "a::high -> a::low"),
            ("use crate::a::Another;", "a::high -> a::low"),
            ("fn f() { super::Another::One; }", "a::high -> a::low"),
            ("use super::low; fn f() { low::private() }", "a::high -> a::low"),
            ("use crate::a; fn f(x: a::Low) {}", "a::high -> a::low"),
            ("use super::*;", "a::high -> a::low"),
            ("use super::low as bottom; fn f() { bottom::private() }", "a::high -> a::low"),
            ("use super::{low::{self}, Low};", "a::high -> a::low"),
        ] {
            let found = edges(&[LIB, a, low, ("src/a/high.rs", text), ("src/b.rs", "")]);
            assert_eq!(found, BTreeSet::from([expected.to_owned()]), "{text}");
        }
    }

    #[test]
    fn tests_and_other_crates_are_no_edges() {
        let a = (
            "src/a/mod.rs",
            "mod low; mod high; #[cfg(test)] mod tests; #[cfg(fuzzing)] pub mod fuzzing; pub use high::High;",
        );
        for text in [
            "use std::fmt; fn f() -> fmt::Result { Vec::new() }",
            "#[cfg(test)] mod tests { use super::super::high::High; }",
            "#[cfg(test)] use super::High; struct Low;",
            "// use super::High;",
            "pub(in crate::a) fn f() {}",
        ] {
            let files = [LIB, a, ("src/a/low.rs", text), ("src/a/high.rs", "pub struct High;"), ("src/b.rs", "")];
            let tests = ("src/a/tests.rs", "use super::high::High;");
            let fuzzing = ("src/a/fuzzing.rs", "use super::high::High;");
            assert_eq!(edges(&[&files[..], &[tests, fuzzing]].concat()), BTreeSet::new(), "{text}");
        }
    }

    #[test]
    fn an_import_from_below_in_the_list_is_found() {
        let a = ("src/a/mod.rs", "mod low; mod high; mod deep; pub use high::High;");
        let high = ("src/a/high.rs", "use super::low::Low; pub struct High;");
        let deep = ("src/a/deep/mod.rs", "mod one; mod two;");
        let two = ("src/a/deep/two.rs", "use super::super::High; use crate::a::low; pub fn two() { low::f() }");
        let files = |low, one| {
            let one = ("src/a/deep/one.rs", one);
            violations(&[LIB, a, ("src/a/low.rs", low), high, deep, one, two, ("src/b.rs", "use crate::a::High;")])
        };
        assert_eq!(files("pub struct Low;", ""), [""; 0]);
        for (low, one, expected) in [
            (
                "use super::High; pub struct Low;",
                "",
                "src/a/low.rs:1: imports from src/a/high.rs, but src/a/mod.rs lists `high` below `low`",
            ),
            (
                "pub struct Low; fn f() { super::deep::two::two() }",
                "",
                "src/a/low.rs:1: imports from src/a/deep/two.rs, but src/a/mod.rs lists `deep` below `low`",
            ),
            (
                "pub struct Low;",
                "use super::two;\nfn f() { two::two() }",
                "src/a/deep/one.rs:1: imports from src/a/deep/two.rs, but src/a/deep/mod.rs lists `two` below `one`",
            ),
            (
                "pub struct Low;",
                "use crate::b;\n\nfn f() { b::g() }",
                "src/a/deep/one.rs:3: imports from src/b.rs, but src/lib.rs lists `b` below `a`",
            ),
        ] {
            assert_eq!(files(low, one), [expected]);
        }
    }

    #[test]
    fn an_import_of_what_a_parent_defines_is_found() {
        let a = ("src/a/mod.rs", "mod low; pub struct Whole(low::Low);");
        let low = ("src/a/low.rs", "use super::Whole; pub struct Low;");
        let found = violations(&[LIB, a, low, ("src/b.rs", "")]);
        assert_eq!(
            found,
            [
                "src/a/low.rs:1: imports what src/a/mod.rs, which lies above it, defines; move that into a file of its own"
            ]
        );
        let faces = graph(&[LIB, a, low]);
        assert_eq!(faces.modules().filter_map(not_a_face).count(), 1);
    }

    #[test]
    fn cycles_are_found_through_re_exports() {
        let a = ("src/a/mod.rs", "mod one; mod two; mod three; pub use one::One; pub use three::Three;");
        let cycles = |three| {
            let one = ("src/a/one.rs", "use super::two::Two; pub struct One;");
            let two = ("src/a/two.rs", "use super::Three; pub struct Two;");
            let graph = graph(&[LIB, a, one, two, ("src/a/three.rs", three), ("src/b.rs", "")]);
            graph.cycles(&graph.edges())
        };
        assert_eq!(cycles("pub struct Three;"), [[""; 0]; 0]);
        assert_eq!(
            cycles("use crate::a; pub struct Three(a::One);"),
            [["src/a/one.rs", "src/a/three.rs", "src/a/two.rs"]]
        );
    }

    #[test]
    fn types_that_share_a_name_are_found() {
        let lib = ("src/lib.rs", "pub mod a; pub mod b; pub mod c;");
        let count = |a, b, c, twice: &[&str]| {
            let graph = graph(&[lib, ("src/a.rs", a), ("src/b.rs", b), ("src/c.rs", c)]);
            repeated_types(graph.modules(), twice).len()
        };
        assert_eq!(count("pub struct Turn;", "pub(crate) enum Turn {}", "", &[]), 1);
        assert_eq!(count("pub struct Turn;", "pub(super) type Turn = u8;", "", &["Turn"]), 0);
        assert_eq!(count("pub struct Turn;", "pub trait Turn {}", "pub struct Turn;", &["Turn"]), 1);
        assert_eq!(count("pub struct Turn;", "struct Turn;", "pub fn turn() {}", &[]), 0);
        assert_eq!(count("pub enum Error {}", "pub enum Error {}", "pub enum Error {}", &[]), 0);
    }

    #[test]
    fn parts_that_hold_the_whole_are_found() {
        let lib = ("src/lib.rs", "pub mod registry; pub mod web;");
        let whole = (
            "src/registry/mod.rs",
            "mod hosted; mod open; pub struct Registry; impl Registry {} fn f(x: Arc<Registry>) {}",
        );
        let part = ("src/registry/hosted.rs", "struct Part(Arc<Registry>); impl Registry {} impl Deref for Part {}");
        let open = ("src/registry/open.rs", "fn open() -> Arc<Registry> {}");
        let web = ("src/web.rs", "struct App(Arc<Registry>);");
        let found: Vec<String> = graph(&[lib, whole, part, open, web]).modules().flat_map(misplaced_phrases).collect();
        let expected = ["Arc<Registry>", "impl Registry", "impl Deref"]
            .map(|phrase| format!("src/registry/hosted.rs:1: `{phrase}` does not belong here"));
        assert_eq!(found, expected);
    }
}
