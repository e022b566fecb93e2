//! `entrepot du`: what a running server's disk is taken by.

use http::Method;
use indicatif::HumanBytes;
use serde_json::{Value, json};

use super::Ended;
use super::ask::{Server, ServerArguments};
use super::ls::repository;
use super::output::{Output, Table};
use super::server_url::cause;
use super::settings::Trouble;

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
        report.repository(usage)?;
        return report.end();
    }
    let mut answer = server.send(Method::GET, "/api/v1/usage/repositories", None).await?;
    let mut unread = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(|error| server.broken(&cause(&error)))? {
        unread.extend_from_slice(&piece);
        while let Some(end) = unread.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = unread.drain(..=end).collect();
            report.line(serde_json::from_slice(&line).map_err(|error| server.broken(&error.to_string()))?)?;
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
    /// As the server told it; not told of one repository.
    unlinked: Value,
}

impl Report {
    fn new(json: bool) -> Self {
        let table = Table::new(&[">BYTES", ">OWN", "KIND", "REPOSITORY"]);
        Self { output: Output::new(), json, table, held: 0, unlinked: Value::Null }
    }

    /// A line of the answer about all repositories.
    fn line(&mut self, mut line: Value) -> Result<(), Ended> {
        match line.get_mut("unlinked").map(Value::take) {
            None => self.repository(line),
            Some(unlinked) if self.json => self.output.line(json!({"unlinked": unlinked})),
            Some(unlinked) => {
                self.unlinked = unlinked;
                Ok(())
            }
        }
    }

    fn repository(&mut self, usage: Value) -> Result<(), Ended> {
        if self.json {
            return self.output.line(usage);
        }
        let bytes = |key: &str| HumanBytes(usage[key].as_u64().unwrap_or(0)).to_string();
        let text = |key: &str| usage[key].as_str().unwrap_or("-").to_owned();
        self.table.row([bytes("bytes"), bytes("own_bytes"), text("kind"), text("name")]);
        self.held += 1;
        if self.held.is_multiple_of(TOGETHER) { self.table.print(&mut self.output) } else { Ok(()) }
    }

    fn totals(&mut self, totals: &Value) -> Result<(), Ended> {
        if self.json {
            return self.output.line(totals);
        }
        self.table.print(&mut self.output)?;
        if self.held > 0 {
            self.output.line("")?;
        }
        let number_of = |of: &Value, part: &str, key: &str| {
            let found = of[part][key].as_u64();
            found.ok_or_else(|| Trouble(format!("the server's answer lacks {part}.{key}; is it of this version?")))
        };
        let number = |part: &str, key: &str| number_of(totals, part, key);
        let unlinked = |part: &str, key: &str| number_of(&self.unlinked, part, key);
        let left = |part: &str, until: &str| {
            let blobs = format!("{} blobs that no repository has, until {until}", unlinked(part, "blobs")?);
            Ok::<_, Trouble>(("  unlinked", HumanBytes(unlinked(part, "bytes")?).to_string(), blobs))
        };
        let bytes = |part: &str, key: &str| number(part, key).map(|bytes| HumanBytes(bytes).to_string());
        let of = |part: &str, unit: &str| Ok::<_, Trouble>(format!("{} {unit}", number(part, unit)?));
        let arriving = format!("{}, {} arriving", of("unfinished", "blobs")?, bytes("unfinished", "arriving")?);
        let lines = [
            ("private store", bytes("hosted", "bytes")?, of("hosted", "blobs")?),
            left("hosted", "garbage is collected")?,
            ("uploads", bytes("uploads", "bytes")?, format!("{} begun", number("uploads", "count")?)),
            ("cache", bytes("cache", "bytes")?, format!("of {}, {}", bytes("cache", "limit")?, of("cache", "blobs")?)),
            left("cache", "room is wanted")?,
            ("unfinished", bytes("unfinished", "bytes")?, arriving),
            ("free", bytes("disk", "free")?, format!("of {}", bytes("disk", "total")?)),
        ];
        for (what, bytes, more) in lines {
            self.output.line(format!("{what:<13}  {bytes:>12}  {more}"))?;
        }
        Ok(())
    }

    fn end(mut self) -> Result<(), Ended> {
        self.table.print(&mut self.output)
    }
}
