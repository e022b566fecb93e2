//! Measures long lists: 10^5 tags of one repository, 10^5 repositories, 10^4 referrers of one digest.
//!
//! ```sh
//! cargo bench --bench lists          # everything; writes docs/measured/LISTS.md; takes 5 GB of the temporary directory meanwhile
//! cargo bench --bench lists -- 100   # a hundredth of it; writes nothing
//! ```
//!
//! The store has the layout of `registry:2`. The built server serves it, and so does `registry:2` itself where it is installed.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on fails at that line")]
#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark is outside the product, and measures with the machine's clock"
)]

mod distribution;
mod reading;
mod report;
mod store;
#[allow(dead_code, reason = "shared with the tests, which use the rest")]
#[path = "../../tests/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use distribution::Distribution;
use reading::{List, ListReading, Memory};
use report::{Index, Row};
use store::Sizes;
use support::registry::Registry;

/// The number of entries on a page.
const PAGE: usize = 1000;
/// A server that needs longer than this for one list is not waited for.
const WAIT_LIMIT: Duration = Duration::from_secs(120);

fn main() {
    let part = std::env::args().skip(1).find_map(|word| word.parse().ok());
    let sizes = Sizes::part(part.unwrap_or(1));
    let begun = Instant::now();
    let empty = {
        let registry = Registry::start();
        indexed(&registry);
        Memory::of(registry.pid()).resident
    };
    let registry = Registry::configured(|place| {
        store::write(&place.directory.join("data"), &sizes);
        println!("the store is written after {:.0} s", begun.elapsed().as_secs_f64());
        place.usual()
    });
    let mut rows = vec![read("Entrepot, before its index is built", &registry, &List::catalog(PAGE))];
    let index = Index::new(&indexed(&registry), Memory::of(registry.pid()), empty);
    for list in lists(&sizes) {
        rows.push(read("Entrepot", &registry, &list));
    }
    match Distribution::find() {
        Some(program) => {
            let distribution = Distribution::start(&program, &registry.data());
            let pid = distribution.pid();
            for list in [List::tags(PAGE), List::catalog(PAGE)] {
                let read = ListReading::of(distribution.addr(), pid, &list, WAIT_LIMIT);
                rows.push(Row::new("registry:2", &list, read));
            }
        }
        None => println!("docker-registry is not installed: nothing to compare with"),
    }
    rows.iter().for_each(|row| println!("{}", row.line()));
    println!("{}", index.text());
    if part.is_none() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/measured/LISTS.md");
        std::fs::write(path, report::document(&sizes, &rows, &index)).unwrap();
        println!("written to docs/measured/LISTS.md after {:.0} s", begun.elapsed().as_secs_f64());
    }
}

fn lists(sizes: &Sizes) -> [List; 5] {
    let subject = sizes.subject();
    [
        List::tags(PAGE),
        List::catalog(PAGE),
        List::referrers(&subject, "?n=1000"),
        List::referrers(&subject, ""),
        List::referrers(&subject, "?artifactType=a/rare"),
    ]
}

fn read(name: &'static str, registry: &Registry, list: &List) -> Row {
    Row::new(name, list, ListReading::of(registry.addr(), registry.pid(), list, WAIT_LIMIT))
}

/// Returns the server's figures about its index, once it has one.
fn indexed(registry: &Registry) -> serde_json::Value {
    let begun = Instant::now();
    loop {
        if let Some(line) = registry.log().lines().find(|line| line.contains("indexed the store")) {
            return serde_json::from_str(line).unwrap();
        }
        assert!(begun.elapsed() < 5 * WAIT_LIMIT, "the store was not indexed:\n{}", registry.log());
        std::thread::sleep(Duration::from_millis(20));
    }
}
