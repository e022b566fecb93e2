//! `entrepot du`: what a running server's disk is taken by.

use http::Method;
use indicatif::HumanBytes;

use super::Ended;
use super::ask::{Server, ServerArguments};
use super::ls::repository;
use super::output::{Output, Table, line_of_json};
use super::server_url::cause;
use crate::web::{BlobUsage, UnlinkedUsage, UsageEntry, UsageLine, UsageTotals};

/// A line of the server's is shorter than this.
const LONGEST_LINE: usize = 1 << 16;
/// So many rows are aligned together.
const TOGETHER: usize = 1000;

#[derive(clap::Args)]
#[command(after_help = "\
For each repository: its bytes, those of them that no other repository has, and its name. Layers that several have are in the
bytes of each, and once in the totals, which come last: the private store, uploads, the cache and what it may hold, in both what
no repository has (`unlinked`), what is left of unfinished fills, and what is free.

With --json each line is an object: a repository's has a `name`; then comes one with `unlinked`; the last line has the totals.

Examples:
  entrepot du
  entrepot du local/team/app
  entrepot du --json | jq -r 'select(.name) | [.own_bytes, .name] | @tsv' | sort -rn | head")]
pub(super) struct Arguments {
    /// This repository alone, without the totals
    #[arg(value_name = "REPO", value_parser = repository)]
    repository: Option<String>,
    /// Lines of JSON, as GET /api/v1/usage has them
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArguments,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Ended> {
    let mut server = Server::open(arguments.server).await?;
    let mut report = Report::new(arguments.json);
    if let Some(name) = arguments.repository {
        let (usage, _) = server.get(&format!("/api/v1/repositories/{}/usage", server.own(&name))).await?;
        report.repository(&usage)?;
        return report.end();
    }
    let mut answer = server.send(Method::GET, "/api/v1/usage/repositories", None).await?;
    let mut unread = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(|error| server.broken(&cause(&error)))? {
        unread.extend_from_slice(&piece);
        while let Some(end) = unread.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = unread.drain(..=end).collect();
            report.line(server.parse(&line)?)?;
        }
        if unread.len() > LONGEST_LINE {
            return Err(server.broken("it sends a line without end").into());
        }
    }
    let (totals, _) = server.get("/api/v1/usage").await?;
    report.totals(&totals)?;
    report.end()
}

struct Report {
    output: Output,
    json: bool,
    table: Table,
    held: usize,
    /// The content without a repository; `None` in a report about one repository.
    unlinked: Option<UnlinkedUsage>,
}

impl Report {
    fn new(json: bool) -> Self {
        let table = Table::new(&[">BYTES", ">OWN", "KIND", "REPOSITORY"]);
        Self { output: Output::new(), json, table, held: 0, unlinked: None }
    }

    /// A line of the answer about all repositories.
    fn line(&mut self, line: UsageLine) -> Result<(), Ended> {
        match line {
            UsageLine::Repository(usage) => self.repository(&usage),
            UsageLine::Unlinked { .. } if self.json => self.output.line(line_of_json(&line)?),
            UsageLine::Unlinked { unlinked } => {
                self.unlinked = Some(unlinked);
                Ok(())
            }
        }
    }

    fn repository(&mut self, usage: &UsageEntry) -> Result<(), Ended> {
        if self.json {
            return self.output.line(line_of_json(usage)?);
        }
        let (bytes, own) = (HumanBytes(usage.bytes).to_string(), HumanBytes(usage.own_bytes).to_string());
        self.table.row([bytes, own, usage.kind.as_str().to_owned(), usage.name.clone()]);
        self.held += 1;
        if self.held.is_multiple_of(TOGETHER) { self.table.print(&mut self.output) } else { Ok(()) }
    }

    fn totals(&mut self, totals: &UsageTotals) -> Result<(), Ended> {
        if self.json {
            return self.output.line(line_of_json(totals)?);
        }
        self.table.print(&mut self.output)?;
        if self.held > 0 {
            self.output.line("")?;
        }
        let bytes = |bytes: u64| HumanBytes(bytes).to_string();
        let UsageTotals { hosted, uploads, cache, unfinished, disk } = totals;
        let mut lines = vec![
            ("private store", bytes(hosted.bytes), format!("{} blobs", hosted.blobs)),
            ("uploads", bytes(uploads.bytes), format!("{} begun", uploads.count)),
            ("cache", bytes(cache.bytes), format!("of {}, {} blobs", bytes(cache.limit), cache.blobs)),
            (
                "unfinished",
                bytes(unfinished.bytes),
                format!("{} blobs, {} arriving", unfinished.blobs, bytes(unfinished.arriving)),
            ),
            ("free", bytes(disk.free), format!("of {}", bytes(disk.total))),
        ];
        if let Some(unlinked) = &self.unlinked {
            let left = |usage: &BlobUsage, until: &str| {
                let blobs = format!("{} blobs that no repository has, until {until}", usage.blobs);
                ("  unlinked", bytes(usage.bytes), blobs)
            };
            lines.insert(3, left(&unlinked.cache, "room is wanted"));
            lines.insert(1, left(&unlinked.hosted, "garbage is collected"));
        }
        for (what, bytes, more) in lines {
            self.output.line(format!("{what:<13}  {bytes:>12}  {more}"))?;
        }
        Ok(())
    }

    fn end(mut self) -> Result<(), Ended> {
        self.table.print(&mut self.output)
    }
}
