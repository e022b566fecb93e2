//! `entrepot client`: what a client's configuration needs to pull through this mirror. One module for each client's format; here
//! it is found out what the mirror is, and what was made is printed or written.

mod buildkit;
mod containerd;
mod docker;
mod k3s;
mod mirror;
mod podman;

use std::path::{Path, PathBuf};

use clap::{ValueEnum, ValueHint};

use super::Ended;
use super::ask::ServerArguments;
use super::connect::TrustArguments;
use super::output::{Output, remark, say};
use super::settings::Trouble;
use crate::sys::{blocking, disk};
use mirror::Mirror;

/// The first line of what we write, so that we know it again.
const OURS: &str = "# Made by `entrepot client`";

#[derive(clap::Args)]
#[command(after_help = "\
What is mirrored comes from the server that --server or $ENTREPOT_SERVER names, else from the configuration that `serve` would use
here. Standard output can be pasted as it is: comments say which file it belongs into and what to restart (for docker, whose JSON
has no comments, standard error does). Pulls go on without the mirror while it is down, where the client can do that.

Examples:
  entrepot client docker --host mirror.lan:5000
  entrepot client containerd --host mirror.lan:5000 --dir /etc/containerd/certs.d
  entrepot client podman --server http://mirror.lan:5000 --dir /etc/containers/registries.conf.d
  entrepot client k3s --host https://mirror.lan --ca /etc/ssl/mirror-ca.pem")]
pub(super) struct Arguments {
    client: Client,
    /// The mirror's address as clients reach it; https:// before it for TLS. Without it: http.host, else where `serve` would listen
    #[arg(long, value_name = "[https://]HOST[:PORT]", value_hint = ValueHint::Other)]
    host: Option<String>,
    /// Write the files into this directory, which stands for the one that the client reads, instead of printing them
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Configuration file; without it the one that `serve` would use
    #[arg(long, value_name = "FILE", conflicts_with = "server")]
    config: Option<PathBuf>,
    #[command(flatten)]
    server: ServerArguments,
}

#[derive(Clone, Copy, ValueEnum)]
enum Client {
    Docker,
    Containerd,
    /// Also CRI-O, buildah, and skopeo for images (lists of tags it takes from upstream)
    Podman,
    Buildkit,
    K3s,
}

/// What a client is to read, and what people are to know.
struct Made {
    /// The directory that the client reads them from.
    place: &'static str,
    /// Sentences for people.
    notes: Vec<String>,
    files: Vec<File>,
}

/// A file, with its path below the client's directory.
struct File {
    path: String,
    content: String,
    comments: Comments,
}

/// Has the format any?
#[derive(Clone, Copy, PartialEq, Eq)]
enum Comments {
    Hash,
    None,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Ended> {
    let Arguments { client, host, dir, config, server } = arguments;
    let TrustArguments { ca, insecure } = server.trust().clone();
    let mirror = if config.is_none() && server.names_one() {
        Mirror::of_server(server).await?
    } else {
        Mirror::of_configuration(config.as_deref()).await?
    };
    mirror.check()?;
    let mirror = mirror.reached(host, insecure, ca)?;
    let mut made = match client {
        Client::Docker => docker::make(&mirror),
        Client::Containerd => containerd::make(&mirror),
        Client::Podman => podman::make(&mirror),
        Client::Buildkit => buildkit::make(&mirror),
        Client::K3s => k3s::make(&mirror),
    }
    .map_err(Trouble)?;
    made.notes.extend(mirror.notes());
    match dir {
        Some(dir) => write(made, dir).await,
        None => print(&made),
    }
}

fn print(made: &Made) -> Result<(), Ended> {
    let mut output = Output::new();
    let in_words = made.files.iter().any(|file| file.comments == Comments::None);
    for note in &made.notes {
        match in_words {
            true => remark(note),
            false => output.line(format!("# {note}"))?,
        }
    }
    for file in &made.files {
        if file.comments == Comments::Hash {
            output.line(format!("\n# FILE: {}/{}", made.place, file.path))?;
        }
        output.text(&file.content)?;
    }
    output.flush()
}

/// Writes all files, or none where one is in the way that is not ours.
async fn write(made: Made, dir: PathBuf) -> Result<(), Ended> {
    let written = blocking(move || {
        let paths: Vec<PathBuf> = made.files.iter().map(|file| dir.join(&file.path)).collect();
        for (file, path) in made.files.iter().zip(&paths) {
            check_free(file, path)?;
        }
        for (file, path) in made.files.iter().zip(&paths) {
            let content = match file.comments {
                Comments::Hash => format!("{OURS}, which may write it again.\n{}", file.content),
                Comments::None => file.content.clone(),
            };
            disk::write_atomic(path, content.as_bytes()).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        Ok::<_, String>((made.notes, paths))
    });
    let (notes, paths) = written.await.map_err(Trouble)?;
    for note in notes {
        remark(format!("note: {note}"));
    }
    paths.iter().try_for_each(|path| say(path.display()))
}

fn check_free(file: &File, path: &Path) -> Result<(), String> {
    let there = disk::optional(disk::read_named(path, disk::NAMED_BYTES))
        .map_err(|error| format!("{}: {error}", path.display()))?;
    match there {
        Some(there) if there.starts_with(OURS.as_bytes()) || there == file.content.as_bytes() => Ok(()),
        Some(_) => Err(format!(
            "{} exists and was not made by this command; nothing was written. Put into it what is printed without --dir, or move it \
             away",
            path.display()
        )),
        None => Ok(()),
    }
}

/// A text in quotes, as TOML, YAML and JSON all read it.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
