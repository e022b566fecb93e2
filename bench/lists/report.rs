//! What is written down.

use crate::leaf::{Leafed, List, Memory};
use crate::store::Sizes;

/// One list through one server.
pub struct Row {
    who: &'static str,
    list: String,
    leafed: Leafed,
}

/// What the index took.
pub struct Index {
    repositories: u64,
    manifests: u64,
    links: u64,
    millis: u64,
    /// Resident memory beyond that of a server with an empty store, in KiB.
    resident: u64,
}

impl Row {
    pub fn new(who: &'static str, list: &List, leafed: Leafed) -> Self {
        Self { who, list: list.title.clone(), leafed }
    }

    /// A line of the table.
    pub fn line(&self) -> String {
        let Leafed { entries, requests, took, slowest, longest, before, after, is_whole } = &self.leafed;
        let whole = if *is_whole { "" } else { ", then given up" };
        let mib = |kib: u64| format!("{:.1}", kib as f64 / 1024.0);
        format!(
            "| {} | {} | {entries}{whole} | {requests} | {:.2} | {:.1} | {:.2} | {} | {} | {} |",
            self.list,
            self.who,
            took.as_secs_f64(),
            slowest.as_secs_f64() * 1000.0,
            *longest as f64 / f64::from(1 << 20),
            mib(before.resident),
            mib(after.peak),
            mib(after.resident)
        )
    }

    /// How many entries a second.
    fn rate(&self) -> f64 {
        self.leafed.entries as f64 / self.leafed.took.as_secs_f64()
    }
}

impl Index {
    pub fn new(line: &serde_json::Value, memory: Memory, empty: u64) -> Self {
        let count = |key: &str| line[key].as_u64().unwrap();
        Self {
            repositories: count("repositories"),
            manifests: count("manifests"),
            links: count("links"),
            millis: count("millis"),
            resident: memory.resident.saturating_sub(empty),
        }
    }

    pub fn text(&self) -> String {
        let entries = self.repositories + self.manifests + self.links;
        format!(
            "{} repositories, {} manifests and {} layers were entered in {:.1} s behind the requests. The server's memory grew by {:.1} \
             MiB by that and by answering meanwhile: {:.0} bytes for each of these {entries} entries.",
            self.repositories,
            self.manifests,
            self.links,
            self.millis as f64 / 1000.0,
            self.resident as f64 / 1024.0,
            self.resident as f64 * 1024.0 / entries as f64
        )
    }
}

pub fn document(sizes: &Sizes, rows: &[Row], index: &Index) -> String {
    let Sizes { tags, repositories, referrers } = sizes;
    let lines: String = rows.iter().map(|row| row.line() + "\n").collect();
    let rate =
        |who: &str, list: &str| rows.iter().find(|row| row.who == who && row.list.starts_with(list)).map(Row::rate);
    let ratios: String = ["tags", "catalog"]
        .into_iter()
        .filter_map(|list| Some(format!("- {list}: {:.1}\n", rate("Entrepot", list)? / rate("registry:2", list)?)))
        .collect();
    format!(
        "# Long lists, measured

What it costs to leaf through {tags} tags of one repository, {repositories} repositories, and {referrers} referrers of one digest.
This page is written by `cargo bench --bench lists`, which writes a store as `registry:2` does and serves it; where Debian's
`docker-registry` is installed, it serves the same store for comparison (it has no referrers, and gives all tags at once). Times are
of the machine that it ran on, one request after another, each on a connection of its own.

- **entries, requests**: what came, each once, and in how many pages.
- **s, slowest ms**: for all of it; for the page that took longest.
- **MiB of a page**: the longest one.
- **before, peak, after**: the server's resident memory in MiB; the peak is that of the leafing alone.

| list | with | entries | requests | s | slowest ms | MiB of a page | before | peak | after |
| --- | --- | --: | --: | --: | --: | --: | --: | --: | --: |
{lines}
Entries a second, times those of `registry:2`:

{ratios}
## The index

{}
",
        index.text()
    )
}
