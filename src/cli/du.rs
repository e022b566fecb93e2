//! `entrepot du`: prints how the disk space of a running server is used.

use http::Method;
use indicatif::HumanBytes;

use super::outcome::CommandError;
use super::output::{Output, Table, json_line, remark};
use super::remote::{Lines, RemoteServer, ServerArguments, repository};
use crate::web::{BadEntryUsage, BlobUsage, UnlinkedUsage, UsageEntry, UsageLine, UsageTotals};

/// The longest line that is accepted from the server, in bytes.
const MAX_LINE: usize = 1 << 16;
/// The number of rows that are aligned together.
const ROWS_PER_PAGE: usize = 1000;

#[derive(clap::Args)]
#[command(after_help = "\
Each line is a repository: its size, the part of it that no other repository
shares, its kind, and its name. A layer that several repositories share counts
in the size of each, and once in the totals.

The totals come last: hosted content, unfinished uploads, the cache and its
limit, unfinished fills, and the free space. `unlinked` is the part of the store
or of the cache that no repository uses. 1 KiB is 1024 bytes.

With --json, each line is an object: one with `name` for each repository, one
with `unlinked`, and one with the totals.

Examples:
  entrepot du
  entrepot du local/team/app
  entrepot du --json | jq -r 'select(.name) | [.own_bytes, .name] | @tsv' | sort -rn | head")]
pub(super) struct Arguments {
    /// Prints this repository only, without totals
    #[arg(value_name = "REPO", value_parser = repository)]
    repository: Option<String>,
    /// Prints lines of JSON, with the fields of GET /api/v1/usage
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArguments,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), CommandError> {
    let mut server = RemoteServer::open(arguments.server).await?;
    let mut report = UsageReport::new(arguments.json);
    if let Some(name) = arguments.repository {
        let (usage, _) = server.get(&format!("/api/v1/repositories/{}/usage", server.strip_host(&name))).await?;
        report.repository(&usage)?;
        return report.end();
    }
    let answer = server.send(Method::GET, "/api/v1/usage/repositories", None).await?;
    let mut lines = Lines::new(answer, MAX_LINE);
    while let Some(line) = lines.next().await.map_err(|reason| server.broken(&reason))? {
        report.line(server.parse(&line)?)?;
    }
    let (totals, _) = server.get("/api/v1/usage").await?;
    report.totals(&totals)?;
    report.end()
}

struct UsageReport {
    output: Output,
    json: bool,
    table: Table,
    rows: usize,
    /// The content without a repository; `None` in a report about one repository.
    unlinked: Option<UnlinkedUsage>,
}

impl UsageReport {
    fn new(json: bool) -> Self {
        let table = Table::new(&[">BYTES", ">OWN", "KIND", "REPOSITORY"]);
        Self { output: Output::new(), json, table, rows: 0, unlinked: None }
    }

    /// Adds a line of the answer about all repositories.
    fn line(&mut self, line: UsageLine) -> Result<(), CommandError> {
        match line {
            UsageLine::Repository(usage) => self.repository(&usage),
            UsageLine::Unlinked { .. } if self.json => self.output.line(json_line(&line)?),
            UsageLine::Unlinked { unlinked } => {
                self.unlinked = Some(unlinked);
                Ok(())
            }
        }
    }

    fn repository(&mut self, usage: &UsageEntry) -> Result<(), CommandError> {
        if self.json {
            return self.output.line(json_line(usage)?);
        }
        let (bytes, own) = (HumanBytes(usage.bytes).to_string(), HumanBytes(usage.own_bytes).to_string());
        self.table.row([bytes, own, usage.kind.as_str().to_owned(), usage.name.clone()]);
        self.rows += 1;
        if self.rows.is_multiple_of(ROWS_PER_PAGE) { self.table.print(&mut self.output) } else { Ok(()) }
    }

    fn totals(&mut self, totals: &UsageTotals) -> Result<(), CommandError> {
        if self.json {
            return self.output.line(json_line(totals)?);
        }
        self.table.print(&mut self.output)?;
        if self.rows > 0 {
            self.output.line("")?;
        }
        let bytes = |bytes: u64| HumanBytes(bytes).to_string();
        let UsageTotals { hosted, uploads, cache, unfinished, disk, bad_entries } = totals;
        let mut lines = vec![
            ("hosted", bytes(hosted.bytes), format!("{} blobs", hosted.blobs)),
            ("uploads", bytes(uploads.bytes), format!("{} begun", uploads.count)),
            ("cache", bytes(cache.bytes), format!("of {}, {} blobs", bytes(cache.limit), cache.blobs)),
            ("  links", bytes(cache.link_bytes), format!("{} links of repositories to content", cache.links)),
            (
                "unfinished",
                bytes(unfinished.bytes),
                format!("{} blobs, {} arriving", unfinished.blobs, bytes(unfinished.arriving)),
            ),
            ("free", bytes(disk.free), format!("of {}", bytes(disk.total))),
        ];
        if let Some(unlinked) = &self.unlinked {
            let unlinked_line = |usage: &BlobUsage, what: &str| {
                ("  unlinked", bytes(usage.bytes), format!("{} blobs in no repository; {what}", usage.blobs))
            };
            lines.insert(3, unlinked_line(&unlinked.cache, "evicted when space is needed"));
            lines.insert(1, unlinked_line(&unlinked.hosted, "Entrepot has no garbage collection yet"));
        }
        for (name, bytes, details) in lines {
            self.output.line(format!("{name:<13}  {bytes:>12}  {details}"))?;
        }
        for BadEntryUsage { place, problem } in bad_entries {
            remark(format!("warning: {place} cannot be used and is not counted: {problem}"));
        }
        Ok(())
    }

    fn end(mut self) -> Result<(), CommandError> {
        self.table.print(&mut self.output)?;
        self.output.flush()
    }
}
