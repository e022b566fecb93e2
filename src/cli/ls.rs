//! `entrepot ls`: lists the content of a running server.

use indicatif::HumanBytes;
use serde::Serialize;

use super::outcome::CommandError;
use super::output::{Output, Table, json_line, plain, remark};
use super::remote::{RemoteServer, RequestError, ServerArguments, repository};
use crate::web::{RepositoryEntry, RepositoryList, StoredTags, TagEntry};

#[derive(clap::Args)]
#[command(after_help = "\
Without REPO, each line is a repository: its name, its kind (`hosted` or
`mirrored`), and its number of tags.

With REPO, each line is a tag: its name, the size of the image, how much of it
is stored on the server (`all`, or a size), the time of the push or of the last
check with the upstream, the digest, and the platforms. The size is `damaged` if
the manifest has wrong bytes on the server's disk, and `-` if it is not stored.

For a mirrored repository, only the tags that are stored on the server are
listed; the upstream is not asked. 1 KiB is 1024 bytes.

Examples:
  entrepot ls
  entrepot ls local/team/app
  entrepot ls alpine --server http://mirror.lan:5000
  entrepot ls alpine --json | jq -r .digest")]
pub(super) struct Arguments {
    /// The repository whose tags are listed, such as local/team/app, alpine or ghcr.io/org/app
    #[arg(value_name = "REPO", value_parser = repository)]
    repository: Option<String>,
    /// Prints each entry as a line of JSON, with the fields of GET /api/v1/repositories
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArguments,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), CommandError> {
    let mut server = RemoteServer::open(arguments.server).await?;
    let listing = match &arguments.repository {
        None => Listing::Repositories,
        Some(name) => Listing::Tags(server.strip_host(name).to_owned()),
    };
    let mut page = Some(listing.path());
    let (mut output, mut table) = (Output::new(), Table::new(listing.heads()));
    let (mut is_empty, mut damaged) = (true, Vec::new());
    while let Some(path) = page {
        let (entries, next) = listing.page(&mut server, &path).await?;
        is_empty &= entries.is_empty();
        for entry in &entries {
            damaged.extend(entry.damaged_tag().map(str::to_owned));
            match arguments.json {
                true => output.line(json_line(entry)?)?,
                false => entry.row(&mut table),
            }
        }
        table.print(&mut output)?;
        // A page that names itself as the next one would never end.
        page = next.filter(|next| *next != path);
    }
    if is_empty {
        remark(format!("{} has {}", server.name(), listing.nothing()));
    }
    output.flush()?;
    if !damaged.is_empty() && !arguments.json {
        let tags = plain(&damaged.join(", "));
        remark(format!(
            "damaged on the server's disk: {tags}; push a hosted tag again, or run entrepot rm for a mirrored one"
        ));
    }
    Ok(())
}

/// The list that the command prints.
enum Listing {
    Repositories,
    /// The tags of this repository.
    Tags(String),
}

impl Listing {
    fn path(&self) -> String {
        match self {
            Self::Repositories => "/api/v1/repositories?n=1000".to_owned(),
            Self::Tags(name) => format!("/api/v1/repositories/{name}/tags"),
        }
    }

    /// Requests a page of entries. Returns the path of the next page too.
    async fn page(&self, server: &mut RemoteServer, path: &str) -> Result<(Vec<Entry>, Option<String>), RequestError> {
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

    /// Returns the words for an empty list.
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
    /// Returns the tag if its manifest is damaged.
    fn damaged_tag(&self) -> Option<&str> {
        match self {
            Self::Tag(entry) if entry.damaged => Some(&entry.tag),
            _ => None,
        }
    }

    /// Adds the entry to a table with the columns of its listing.
    fn row(&self, table: &mut Table) {
        match self {
            Self::Repository(entry) => {
                table.row([entry.name.clone(), entry.kind.as_str().to_owned(), entry.tags.to_string()])
            }
            Self::Tag(entry) => {
                let (size, stored) = (entry.size, entry.held);
                let part = if stored == size && size > 0 { "all".to_owned() } else { HumanBytes(stored).to_string() };
                let since = entry.since.clone().unwrap_or_else(|| "-".to_owned());
                let (tag, digest, platforms) = (entry.tag.clone(), entry.digest.clone(), entry.platforms.join(","));
                let size = match entry.media_type {
                    _ if entry.damaged => "damaged".to_owned(),
                    None => "-".to_owned(),
                    Some(_) => HumanBytes(size).to_string(),
                };
                table.row([tag, size, part, since, digest, platforms]);
            }
        }
    }
}
