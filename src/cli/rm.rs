//! `entrepot rm`: deletes from a running server.

use std::io::{BufRead as _, IsTerminal, Write as _};

use http::{Method, StatusCode};
use indicatif::HumanBytes;

use super::ask::{Refused, Server, ServerArguments};
use super::output::{Output, line_of_json, plain, remark};
use super::settings::Trouble;
use super::{Ended, server_url};
use crate::oci::{ImageError, ImageSelection};
use crate::sys::blocking;
use crate::web::{DeletedImage, RepositoryKind};

#[derive(clap::Args)]
#[command(after_help = "\
REPO:TAG takes the tag away, and nothing else. REPO@DIGEST takes the manifest away, and the tags that name it. REPO alone takes
everything: a terminal is asked first, otherwise --yes is needed. What is mirrored is evicted: its upstream is not touched, and it
comes back when it is pulled. A REPO without a tag is never taken for `latest`. Signatures and
SBOMs of a manifest stay: tags like sha256-….sig, and manifests that name it as their subject.

The server must allow it: storage.delete.enabled.

Examples:
  entrepot rm local/team/app:1
  entrepot rm local/team/app@sha256:…
  entrepot rm --yes local/team/app docker.io/library/alpine")]
pub(super) struct Arguments {
    /// What to delete
    #[arg(value_name = "REPO[:TAG|@DIGEST]", value_parser = selection, required = true)]
    images: Vec<String>,
    /// Do not ask before a whole repository is deleted
    #[arg(long, short)]
    yes: bool,
    /// A line of JSON for each that is gone, as DELETE /api/v1/images/… answers
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArguments,
}

fn selection(text: &str) -> Result<String, ImageError> {
    text.parse::<ImageSelection>().map(|_| text.to_owned())
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Ended> {
    let Arguments { images, yes, json, server } = arguments;
    let reads_stdin = server.reads_stdin();
    let mut server = Server::open(server).await?;
    let whole: Vec<&str> = images.iter().map(String::as_str).filter(|image| is_whole(server.own(image))).collect();
    if !yes && !whole.is_empty() {
        confirm(&whole, server.name(), reads_stdin).await?;
    }
    let (mut output, mut failed, mut remains) = (Output::new(), 0, false);
    for image in &images {
        match delete(&mut server, image).await {
            Ok(answer) => {
                remains |= leaves_bytes(&answer);
                tell(&mut output, if json { line_of_json(&answer)? } else { describe(&answer) })?;
            }
            Err(Refused::Altogether(trouble)) => return Err(trouble.into()),
            Err(Refused::This { reason, .. }) => {
                remark(format!("entrepot: {}: {reason}", plain(image)));
                failed += 1;
            }
        }
    }
    if remains && !json {
        tell(&mut output, "the bytes stay until garbage is collected".to_owned())?;
    }
    match failed {
        0 => Ok(()),
        _ if images.len() == 1 => Err(Ended::Told),
        _ => Err(Trouble(format!("{failed} of {} could not be deleted", images.len())).into()),
    }
}

fn is_whole(image: &str) -> bool {
    image.parse::<ImageSelection>().is_ok_and(|selection| selection.reference().is_none())
}

/// What somebody at a terminal says; without one it has to be said beforehand.
async fn confirm(whole: &[&str], server: &str, reads_stdin: bool) -> Result<(), Ended> {
    let names = whole.join(", ");
    if reads_stdin || !std::io::stdin().is_terminal() {
        let message = format!("all of {names} would be deleted: say --yes if that is meant, or add :TAG or @DIGEST");
        return Err(Ended::Usage(message));
    }
    let question = format!("Delete every tag and manifest of {names} from {server}? [y/N] ");
    let answer = blocking(move || {
        let mut answer = String::new();
        write!(std::io::stderr(), "{question}")?;
        std::io::stdin().lock().read_line(&mut answer)?;
        Ok::<_, std::io::Error>(answer)
    });
    let answer = answer.await.map_err(|error| Trouble(format!("the terminal cannot be asked: {error}; say --yes")))?;
    if ["y", "yes"].contains(&answer.trim().to_lowercase().as_str()) {
        return Ok(());
    }
    Err(Trouble("nothing was deleted".to_owned()).into())
}

async fn delete(server: &mut Server, image: &str) -> Result<DeletedImage, Refused> {
    let path = format!("/api/v1/images/{}", server.own(image));
    let answer = server.send(Method::DELETE, &path, None).await.map_err(|refused| match refused {
        Refused::This { status: StatusCode::METHOD_NOT_ALLOWED, server, .. } => Refused::Altogether(Trouble(format!(
            "deletion is off at {server}: write storage.delete.enabled: true in its configuration"
        ))),
        refused => refused,
    })?;
    let body = answer.bytes().await.map_err(|error| server.broken(&server_url::cause(&error)))?;
    server.parse(&body)
}

/// That nobody reads what was done is no reason to do half of it.
fn tell(output: &mut Output, line: String) -> Result<(), Ended> {
    match output.line(line).and_then(|()| output.flush()) {
        Err(Ended::Unread) => Ok(()),
        told => told,
    }
}

/// A tag takes next to nothing, and the cache frees its room itself.
fn leaves_bytes(answer: &DeletedImage) -> bool {
    answer.kind == RepositoryKind::Hosted && answer.reference.as_ref().is_none_or(|reference| reference.contains(':'))
}

fn describe(answer: &DeletedImage) -> String {
    let name = plain(&answer.name);
    let verb = if answer.kind == RepositoryKind::Mirrored { "evicted" } else { "deleted" };
    match answer.reference.as_deref().map(plain) {
        Some(digest) if digest.contains(':') => format!("{verb} {name}@{digest}"),
        Some(tag) => format!("{verb} {name}:{tag}"),
        None => {
            let tags = answer.tags.unwrap_or(0);
            let freed = match answer.freed {
                Some(freed) if answer.kind == RepositoryKind::Mirrored => format!(", {} freed", HumanBytes(freed)),
                _ => String::new(),
            };
            format!("{verb} all of {name}: {tags} tag{}{freed}", if tags == 1 { "" } else { "s" })
        }
    }
}
