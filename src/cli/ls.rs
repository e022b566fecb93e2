//! `entrepot ls`: what a running server holds.

use indicatif::HumanBytes;
use serde::Serialize;

use super::Ended;
use super::ask::{Refused, Server, ServerArguments};
use super::output::{Output, Table, line_of_json, remark};
use crate::oci::ImageRepository;
use crate::web::{RepositoryEntry, RepositoryList, StoredTags, TagEntry};

#[derive(clap::Args)]
#[command(after_help = "\
Without REPO it lists repositories: their names, `hosted` or `mirrored`, and how many tags are held. With REPO it lists its tags:
the size of what they name, how much of that is here, since when (pushed, or last confirmed by the upstream), the digest, and
what they run on. Of a mirrored repository that is what is held here, not what its upstream has; no upstream is asked.

Examples:
  entrepot ls
  entrepot ls local/team/app
  entrepot ls alpine --server http://mirror.lan:5000
  entrepot ls alpine --json | jq -r .digest")]
pub(super) struct Arguments {
    /// A repository as clients write it: local/team/app, alpine, ghcr.io/org/app
    #[arg(value_name = "REPO", value_parser = repository)]
    repository: Option<String>,
    /// A line of JSON for each, as GET /api/v1/repositories has them
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArguments,
}

/// Checks the spelling; a tag is not asked for.
pub(super) fn repository(text: &str) -> Result<String, String> {
    text.parse::<ImageRepository>().map(|_| text.to_owned()).map_err(|error| match text.rsplit_once([':', '@']) {
        Some((repository, _)) if repository.parse::<ImageRepository>().is_ok() => {
            format!("a repository is wanted, without tag or digest: write {repository}")
        }
        _ => error.to_string(),
    })
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Ended> {
    let mut server = Server::open(arguments.server).await?;
    let listing = match &arguments.repository {
        None => Listing::Repositories,
        Some(name) => Listing::Tags(server.own(name).to_owned()),
    };
    let mut page = Some(listing.path());
    let (mut output, mut table) = (Output::new(), Table::new(listing.heads()));
    let mut found = false;
    while let Some(path) = page {
        let (entries, next) = listing.page(&mut server, &path).await?;
        found |= !entries.is_empty();
        for entry in &entries {
            match arguments.json {
                true => output.line(line_of_json(entry)?)?,
                false => entry.row(&mut table),
            }
        }
        table.print(&mut output)?;
        // A page that leads to itself would be one without end.
        page = next.filter(|next| *next != path);
    }
    if !found {
        remark(format!("{} holds {}", server.name(), listing.nothing()));
    }
    output.flush()
}

enum Listing {
    Repositories,
    /// Of this repository.
    Tags(String),
}

impl Listing {
    fn path(&self) -> String {
        match self {
            Self::Repositories => "/api/v1/repositories?n=1000".to_owned(),
            Self::Tags(name) => format!("/api/v1/repositories/{name}/tags"),
        }
    }

    /// Asks for a page of entries. Returns the path of the next page too.
    async fn page(&self, server: &mut Server, path: &str) -> Result<(Vec<Entry>, Option<String>), Refused> {
        match self {
            Self::Repositories => {
                let (page, next) = server.get::<RepositoryList>(path).await?;
                Ok((page.repositories.into_iter().map(Entry::Repository).collect(), next))
            }
            Self::Tags(_) => {
                let (page, next) = server.get::<StoredTags>(path).await?;
                Ok((page.tags.into_iter().map(Entry::Tag).collect(), next))
            }
        }
    }

    fn heads(&self) -> &'static [&'static str] {
        match self {
            Self::Repositories => &["REPOSITORY", "KIND", ">TAGS"],
            Self::Tags(_) => &["TAG", ">SIZE", ">HELD", "SINCE", "DIGEST", "PLATFORMS"],
        }
    }

    fn nothing(&self) -> String {
        match self {
            Self::Repositories => "no repository yet".to_owned(),
            Self::Tags(name) => format!("no tag of {name}"),
        }
    }
}

/// An entry of a listing.
#[derive(Serialize)]
#[serde(untagged)]
enum Entry {
    Repository(RepositoryEntry),
    Tag(TagEntry),
}

impl Entry {
    /// Adds the entry to a table with the columns of its listing.
    fn row(&self, table: &mut Table) {
        match self {
            Self::Repository(entry) => {
                table.row([entry.name.clone(), entry.kind.as_str().to_owned(), entry.tags.to_string()])
            }
            Self::Tag(entry) => {
                let (size, held) = (entry.size, entry.held);
                let part = if held == size && size > 0 { "all".to_owned() } else { HumanBytes(held).to_string() };
                let since = entry.since.clone().unwrap_or_else(|| "-".to_owned());
                let (tag, digest, platforms) = (entry.tag.clone(), entry.digest.clone(), entry.platforms.join(","));
                table.row([tag, HumanBytes(size).to_string(), part, since, digest, platforms]);
            }
        }
    }
}
