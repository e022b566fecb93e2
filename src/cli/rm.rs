//! `entrepot rm`: deletes content from a running server.

use std::io::{BufRead as _, IsTerminal, Write as _};

use http::{Method, StatusCode};
use indicatif::HumanBytes;

use super::outcome::{CommandError, ErrorMessage, root_cause};
use super::output::{Output, json_line, plain, remark};
use super::remote::{RemoteServer, RequestError, ServerArguments};
use crate::oci::{ImageError, ImageSelection};
use crate::sys::blocking;
use crate::web::{DeletedImage, NamedManifest, RepositoryKind, StoredTags};

/// The last line of output if pushed content was deleted.
const BYTES_STAY: &str = "the disk space of pushed images is not freed: Entrepot has no garbage collection yet";

#[derive(clap::Args)]
#[command(after_help = "\
REPO:TAG deletes the tag only. REPO@DIGEST deletes the manifest and every tag
that points to it. REPO alone deletes the whole repository: the command asks
first on a terminal, and needs --yes otherwise. REPO never means REPO:latest.

Mirrored content is evicted from the cache. Its upstream does not change, and
the next pull fetches it again.

The output names the manifest that each tag named. While the manifest is on the
server, its tag can be put back:
  skopeo copy --all docker://HOST/REPO@DIGEST docker://HOST/REPO:TAG

Signatures and SBOMs of a deleted manifest stay: tags such as sha256-….sig, and
manifests that name it as their subject.

The server must allow deletion: set storage.delete.enabled: true in its
configuration.

Examples:
  entrepot rm local/team/app:1
  entrepot rm local/team/app@sha256:…
  entrepot rm --yes local/team/app docker.io/library/alpine")]
pub(super) struct Arguments {
    /// The tags, manifests and repositories to delete
    #[arg(value_name = "REPO[:TAG|@DIGEST]", value_parser = selection, required = true)]
    images: Vec<String>,
    /// Deletes whole repositories without asking
    #[arg(long, short)]
    yes: bool,
    /// Prints each deletion as a line of JSON, with the fields of DELETE /api/v1/images/…
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArguments,
}

fn selection(text: &str) -> Result<String, ImageError> {
    text.parse::<ImageSelection>().map(|_| text.to_owned())
}

pub(super) async fn run(arguments: Arguments) -> Result<(), CommandError> {
    let Arguments { images, yes, json, server } = arguments;
    let reads_stdin = server.reads_stdin();
    let mut server = RemoteServer::open(server).await?;
    let absent = if yes { Vec::new() } else { absent_repositories(&mut server, &images).await? };
    let is_absent = |image: &str| absent.iter().any(|absent| absent == image);
    let present = || images.iter().map(String::as_str).filter(|image| !is_absent(image));
    let whole: Vec<&str> = present().filter(|image| is_repository(server.strip_host(image))).collect();
    if !yes && !whole.is_empty() {
        confirm(&whole, server.name(), reads_stdin).await?;
    }
    let (mut output, mut failed, mut bytes_stay) = (Output::new(), absent.len(), false);
    for image in present() {
        match delete(&mut server, image).await {
            Ok(deleted) => {
                bytes_stay |= deleted.kind == RepositoryKind::Hosted;
                report(&mut output, if json { json_line(&deleted)? } else { describe(&deleted) })?;
            }
            Err(RequestError::Server(message)) => return Err(message.into()),
            Err(RequestError::Refused { reason, .. }) => {
                remark(format!("entrepot: {}: {reason}", plain(image)));
                failed += 1;
            }
        }
    }
    if bytes_stay && !json {
        report(&mut output, BYTES_STAY.to_owned())?;
    }
    match failed {
        0 => Ok(()),
        _ if images.len() == 1 => Err(CommandError::Reported),
        _ => Err(ErrorMessage(format!("{failed} of {} could not be deleted", images.len())).into()),
    }
}

/// Returns true if the argument means a whole repository.
fn is_repository(image: &str) -> bool {
    image.parse::<ImageSelection>().is_ok_and(|selection| selection.reference().is_none())
}

/// Returns the whole repositories in `images` that are not on the server, and reports each. Their deletion needs no confirmation.
async fn absent_repositories(server: &mut RemoteServer, images: &[String]) -> Result<Vec<String>, CommandError> {
    let mut absent = Vec::new();
    for image in images {
        let name = server.strip_host(image).to_owned();
        if !is_repository(&name) || absent.contains(image) {
            continue;
        }
        match server.get::<StoredTags>(&format!("/api/v1/repositories/{name}/tags?n=1")).await {
            Err(RequestError::Refused { status: StatusCode::NOT_FOUND, reason, .. }) => {
                remark(format!("entrepot: {}: {reason}", plain(image)));
                absent.push(image.clone());
            }
            Err(RequestError::Server(message)) => return Err(message.into()),
            // The deletion itself tells about any other problem.
            Ok(_) | Err(RequestError::Refused { .. }) => {}
        }
    }
    Ok(absent)
}

/// Asks on the terminal whether these repositories may be deleted. Without a terminal, `--yes` is needed.
async fn confirm(whole: &[&str], server: &str, reads_stdin: bool) -> Result<(), CommandError> {
    let names = whole.join(", ");
    if reads_stdin || !std::io::stdin().is_terminal() {
        let message = format!("this deletes all of {names}: confirm with --yes, or add :TAG or @DIGEST");
        return Err(CommandError::Usage(message));
    }
    let question = format!("Delete every tag and manifest of {names} from {server}? [y/N] ");
    let answer = blocking(move || {
        let mut answer = String::new();
        write!(std::io::stderr(), "{question}")?;
        std::io::stdin().lock().read_line(&mut answer)?;
        Ok::<_, std::io::Error>(answer)
    });
    let answer = answer
        .await
        .map_err(|error| ErrorMessage(format!("cannot ask on the terminal: {error}; confirm with --yes")))?;
    if ["y", "yes"].contains(&answer.trim().to_lowercase().as_str()) {
        return Ok(());
    }
    Err(ErrorMessage("nothing was deleted".to_owned()).into())
}

async fn delete(server: &mut RemoteServer, image: &str) -> Result<DeletedImage, RequestError> {
    let path = format!("/api/v1/images/{}", server.strip_host(image));
    let answer = server.send(Method::DELETE, &path, None).await.map_err(|error| match error {
        RequestError::Refused { status: StatusCode::METHOD_NOT_ALLOWED, server, .. } => RequestError::Server(
            ErrorMessage(format!("deletion is off at {server}: set storage.delete.enabled: true in its configuration")),
        ),
        error => error,
    })?;
    let body = answer.bytes().await.map_err(|error| server.broken(&root_cause(&error)))?;
    server.parse(&body)
}

/// Prints a line. A closed standard output does not end the command: the remaining images must still be deleted.
fn report(output: &mut Output, line: String) -> Result<(), CommandError> {
    match output.line(line).and_then(|()| output.flush()) {
        Err(CommandError::OutputClosed) => Ok(()),
        result => result,
    }
}

fn describe(deleted: &DeletedImage) -> String {
    let name = plain(&deleted.name);
    let verb = if deleted.kind == RepositoryKind::Mirrored { "evicted" } else { "deleted" };
    match deleted.reference.as_deref().map(plain) {
        Some(digest) if digest.contains(':') => {
            let tags: Vec<String> = deleted.removed_tags.iter().map(|removed| plain(&removed.tag)).collect();
            match tags.as_slice() {
                [] => format!("{verb} {name}@{digest}"),
                [tag] => format!("{verb} {name}@{digest} and the tag {tag}"),
                tags => format!("{verb} {name}@{digest} and the tags {}", tags.join(", ")),
            }
        }
        Some(tag) => match deleted.removed_tags.first() {
            Some(removed) => format!("{verb} {name}:{tag}, which named {}", plain(&removed.digest)),
            None => format!("{verb} {name}:{tag}"),
        },
        None => {
            let tags = deleted.tags.unwrap_or(0);
            let freed = match deleted.freed {
                Some(freed) if deleted.kind == RepositoryKind::Mirrored => format!(", {} freed", HumanBytes(freed)),
                _ => String::new(),
            };
            let mut text = format!("{verb} all of {name}: {tags} tag{}{freed}", if tags == 1 { "" } else { "s" });
            for NamedManifest { tag, digest } in &deleted.removed_tags {
                text.push_str(&format!("\n  {name}:{} named {}", plain(tag), plain(digest)));
            }
            text
        }
    }
}
