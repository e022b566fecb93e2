//! The checker itself, on made-up sources.

use super::reading::{Source, declared_modules, imports, module_of, production_lines, silenced_lints};
use super::violation;

fn source(path: &str, text: &str) -> Source {
    Source { path: path.to_owned(), text: text.to_owned() }
}

fn paths(path: &str, text: &str) -> Vec<String> {
    let found = imports(&source(path, text));
    found.iter().map(|import| format!("{}:{}", import.line, import.to.join("::"))).collect()
}

fn violations(path: &str, text: &str) -> Vec<String> {
    imports(&source(path, text)).iter().filter_map(violation).collect()
}

#[test]
fn an_upward_import_is_found() {
    assert_eq!(
        violations("src/store/blobs.rs", "use crate::oci::Digest;\n\nuse crate::web::{Route, Body};\n"),
        [
            "src/store/blobs.rs:3: imports crate::web::Route: web stands on floor 7; store, on floor 3, may import: \
             oci metrics sys config",
            "src/store/blobs.rs:3: imports crate::web::Body: web stands on floor 7; store, on floor 3, may import: \
             oci metrics sys config",
        ]
    );
}

#[test]
fn every_way_to_break_the_rule_is_found() {
    for (path, text) in [
        ("src/store/mod.rs", "use crate::upstream::Client;"),
        ("src/oci/digest.rs", "fn f() { crate::sys::random_id() }"),
        ("src/oci/digest.rs", "fn f(x: &crate::sys::Clock) {}"),
        ("src/oci/digest.rs", "use crate::{oci::Tag, sys};"),
        ("src/oci/digest.rs", "use crate::{\n  oci::{self, Tag as T},\n  config::{values::{A}},\n};"),
        ("src/oci/digest.rs", "pub(crate) use crate::sys::disk;"),
        ("src/oci/digest.rs", "use super::super::sys::disk;"),
        ("src/oci/mod.rs", "use super::sys;"),
        ("src/oci/mod.rs", "use self::super::{oci, sys::disk};"),
        ("src/oci/digest.rs", "use super::{Tag, super::{sys}};"),
        ("src/oci/digest.rs", "mod tests { use super::super::super::web::Route; }"),
        ("src/oci/digest.rs", "mod a { mod b { } } use super::super::web;"),
        ("src/oci/digest.rs", "use crate::*;"),
        ("src/oci/digest.rs", "use crate as house;"),
        ("src/oci/digest.rs", "use ::entrepot::sys;"),
        ("src/oci/digest.rs", "use entrepot::sys;"),
        ("src/oci/digest.rs", "macro_rules! m { () => { $crate::sys::disk::read() } }"),
        ("src/oci/digest.rs", "fn f<'a>(x: &'a str) -> char { let c = '\"'; crate::web::g(); c }"),
        ("src/registry/mod.rs", "use crate::auth::Admitted;"),
        ("src/web/mod.rs", "use crate::store::Store;"),
        ("src/server/mod.rs", "use crate::registry::Registry;"),
        ("src/config/mod.rs", "use crate::sys::disk;"),
        ("src/attic/mod.rs", "use crate::oci::Tag;"),
        ("src/main.rs", "fn main() { entrepot::web::handle() }"),
    ] {
        assert_eq!(violations(path, text).len(), 1, "{path}: {text}: {:?}", paths(path, text));
    }
}

#[test]
fn correct_sources_pass() {
    for (path, text) in [
        ("src/oci/digest.rs", "use super::{Tag, name::Reference};"),
        ("src/oci/digest.rs", "mod tests { use super::*; fn f() { super::super::Tag; } }"),
        ("src/oci/digest.rs", "mod a { mod b { use super::super::super::name; } }"),
        ("src/oci/digest.rs", "use std::sync::Arc; use tracing::info; pub(in crate::oci) fn f() {}"),
        ("src/oci/digest.rs", "// use crate::web;\n/* crate::web /* crate::web */ crate::web */"),
        ("src/oci/digest.rs", r###"const A: &str = "crate::web"; const B: &[u8] = br#"" crate::web"#; "###),
        ("src/oci/digest.rs", r#"const C: &str = "\"crate::web"; const D: [char; 2] = ['"', '\'']; "#),
        ("src/oci/digest.rs", "/// See [`crate::web`].\nimpl Digest { fn g(self) { self.web(); Self::web() } }"),
        ("src/web/mod.rs", "use crate::{auth::Gate, oci::{Digest, Tag as T}, registry};"),
        ("src/cli/serve.rs", "use crate::{server, store, web::App}; use super::logging;"),
        ("src/main.rs", "fn main() { entrepot::cli::run() }"),
        ("src/lib.rs", "pub mod oci; pub use crate::oci::Digest;"),
    ] {
        assert_eq!(violations(path, text), [""; 0], "{path}: {text}");
    }
}

#[test]
fn groups_are_followed_to_their_leaves() {
    let text = "use crate::{\n    a,\n    b::{self, c as d, e::*},\n    super_market,\n};\nuse self::f::<u8>::g;";
    let expected = ["2:a", "3:b", "3:b::c", "3:b::e::*", "4:super_market", "6:oci::digest::f"];
    assert_eq!(paths("src/oci/digest.rs", text), expected);
}

#[test]
fn modules_of_files() {
    for (path, module) in [
        ("src/lib.rs", ""),
        ("src/main.rs", "main"),
        ("src/metrics.rs", "metrics"),
        ("src/oci/mod.rs", "oci"),
        ("src/auth/gate/tests.rs", "auth::gate::tests"),
    ] {
        assert_eq!(module_of(path).join("::"), module, "{path}");
    }
    assert_eq!(declared_modules(&source("src/lib.rs", "pub mod a; mod b { } // mod c;\nfn model() {}")), ["a", "b"]);
}

#[test]
fn silenced_lints_need_a_reason() {
    for (text, lines) in [
        ("#[allow(dead_code)]", vec![1]),
        ("\n#![allow(\n  dead_code,\n)]", vec![2]),
        ("#[cfg_attr(test, allow(dead_code))]", vec![1]),
        ("#[expect(dead_code)]", vec![1]),
        ("#[derive(A)]\n#[allow(dead_code, reason = \"so that (it) stays\")]", vec![]),
        ("x.expect(\"it is\"); y[z.expect(\"it is\")]; // #[allow(dead_code)]", vec![]),
    ] {
        assert_eq!(silenced_lints(&source("src/a.rs", text)), lines, "{text}");
    }
}

#[test]
fn tests_at_the_end_are_not_counted() {
    let count = |path: &str, text: &str| production_lines(&source(path, text));
    assert_eq!(count("src/a.rs", "a\nb\n#[cfg(test)]\nmod tests {\n}\n"), 2);
    assert_eq!(count("src/a.rs", "#[cfg(test)]\nuse x;\nb\n#[cfg(test)]\nmod tests;\n"), 5);
    assert_eq!(count("src/a/tests.rs", "a\nb\n"), 0);
}
