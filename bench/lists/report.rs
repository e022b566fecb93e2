//! The report in docs/measured/LISTS.md.

use crate::reading::{List, ListReading, Memory};
use crate::store::Sizes;

/// One list from one server.
pub struct Row {
    who: &'static str,
    list: String,
    read: ListReading,
}

/// The cost of the index.
pub struct Index {
    repositories: u64,
    manifests: u64,
    links: u64,
    millis: u64,
    /// Resident memory beyond the memory of a server with an empty store, in KiB.
    resident: u64,
}

impl Row {
    pub fn new(who: &'static str, list: &List, read: ListReading) -> Self {
        Self { who, list: list.title.clone(), read }
    }

    /// Returns a row of the table.
    pub fn line(&self) -> String {
        let ListReading { entries, requests, took, slowest, longest, before, after, is_whole } = &self.read;
        let whole = if *is_whole { "" } else { ", then stopped" };
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

    /// Returns the number of entries per second.
    fn rate(&self) -> f64 {
        self.read.entries as f64 / self.read.took.as_secs_f64()
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
            "The index of {} repositories, {} manifests and {} layers was built in {:.1} s, in the background. Building it and answering \
             requests meanwhile took {:.1} MiB of memory: {:.0} bytes for each of these {entries} entries.",
            self.repositories,
            self.manifests,
            self.links,
            self.millis as f64 / 1000.0,
            self.resident as f64 / 1024.0,
            self.resident as f64 * 1024.0 / entries as f64
        )
    }
}

/// Returns today's date (UTC) as YEAR-MONTH-DAY.
fn today() -> String {
    humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string()[..10].to_owned()
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

Measured on {}.

This page shows the cost of reading three lists page by page: {tags} tags of one repository, {repositories} repositories, and {referrers}
referrers of one digest. It is written by `cargo bench --bench lists`, which writes a store in `registry:2`'s layout and serves it. Where
Debian's `docker-registry` is installed, it serves the same store for comparison. (`registry:2` has no referrers API and returns all tags
in one answer.) Times depend on the machine. Requests run one after another, each on a new connection.

- **entries, requests**: the number of entries received, each counted once, and the number of pages.
- **s, slowest ms**: the time for the whole list, and for its slowest page.
- **MiB of a page**: the size of the largest page.
- **before, peak, after**: the server's resident memory in MiB. The peak covers only the reading of this list.

| list | with | entries | requests | s | slowest ms | MiB of a page | before | peak | after |
| --- | --- | --: | --: | --: | --: | --: | --: | --: | --: |
{lines}
Entries per second, as a multiple of `registry:2`'s rate:

{ratios}
## The index

{}
",
        today(),
        index.text()
    )
}
