//! Runs the command: finds the mirror, makes the client's configuration, and prints or writes it.

use std::path::{Path, PathBuf};

use clap::{ValueEnum, ValueHint};

use super::config_file::{ClientConfig, CommentStyle, ConfigFile};
use super::mirror::MirrorProfile;
use super::{buildkit, containerd, docker, k3s, podman};
use crate::cli::outcome::{CommandError, ErrorMessage};
use crate::cli::output::{Output, remark, say};
use crate::cli::remote::{ServerArguments, TrustArguments};
use crate::sys::{blocking, disk};

/// The start of the first line of each written file. It marks the files that this command may overwrite.
const MARK: &str = "# Made by `entrepot client`";

#[derive(clap::Args)]
#[command(after_help = "\
Without --dir, the output can be pasted as it is: comments name the file and the
service to restart. (JSON has no comments, so for docker they go to standard
error.)

The names of the mirrored registries come from the server that --server or
$ENTREPOT_SERVER names. Without one, the server at --host is asked, then the one
that runs on this machine. If none answers, the names come from the
configuration that `serve` would use on this machine.

While the mirror is down, a client pulls from the registries themselves if it
supports that.

Examples:
  entrepot client docker --host mirror.lan:5000
  entrepot client containerd --host mirror.lan:5000 --dir /etc/containerd/certs.d
  entrepot client podman --server http://mirror.lan:5000
  entrepot client k3s --host https://mirror.lan --ca /etc/ssl/mirror-ca.pem")]
pub(in crate::cli) struct Arguments {
    /// The client to configure
    client: ClientKind,
    /// The mirror's address as clients reach it, with https:// if it uses TLS [default: http.host, else the address that `serve`
    /// would listen on]
    #[arg(long, value_name = "[https://]HOST[:PORT]", value_hint = ValueHint::Other)]
    host: Option<String>,
    /// Writes the files into this directory instead of printing them. Existing files are replaced only if this command made them
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The configuration file of the mirror [default: the file that `serve` would use]
    #[arg(long, value_name = "FILE", conflicts_with = "server")]
    config: Option<PathBuf>,
    #[command(flatten)]
    server: ServerArguments,
}

/// The clients that this command knows.
#[derive(Clone, Copy, ValueEnum)]
enum ClientKind {
    /// Docker Engine (daemon.json)
    Docker,
    /// containerd and nerdctl (a hosts.toml for each registry)
    Containerd,
    /// podman, CRI-O, buildah and skopeo (a drop-in for registries.conf)
    Podman,
    /// BuildKit and docker buildx (buildkitd.toml)
    Buildkit,
    /// k3s and RKE2 (registries.yaml)
    K3s,
}

pub(in crate::cli) async fn run(arguments: Arguments) -> Result<(), CommandError> {
    let Arguments { client, host, dir, config, server } = arguments;
    let trust = server.trust().clone();
    trust.authorities().await?;
    let mirror = match &config {
        None if server.names_server() => MirrorProfile::from_server(server).await?,
        None => found(host.as_deref(), &trust).await?,
        Some(_) => MirrorProfile::from_configuration(config.as_deref()).await?,
    };
    mirror.check()?;
    let TrustArguments { ca, insecure } = trust;
    let mirror = mirror.reached(host, insecure, ca)?;
    let mut made = match client {
        ClientKind::Docker => docker::make(&mirror),
        ClientKind::Containerd => containerd::make(&mirror),
        ClientKind::Podman => podman::make(&mirror),
        ClientKind::Buildkit => buildkit::make(&mirror),
        ClientKind::K3s => k3s::make(&mirror),
    }
    .map_err(ErrorMessage)?;
    made.notes.extend(mirror.notes());
    match dir {
        Some(dir) => write(made, dir).await,
        None => print(&made),
    }
}

/// Finds the mirror that no argument names: the server at `--host`, else the one that runs on this machine, else the configuration.
/// A running server knows best what it mirrors: its configuration may lie elsewhere, or in variables of a container.
async fn found(host: Option<&str>, trust: &TrustArguments) -> Result<MirrorProfile, CommandError> {
    let running = |server: Option<&str>| {
        MirrorProfile::from_running(ServerArguments::of(server.map(str::to_owned), trust.clone()))
    };
    if host.is_some()
        && let Some(mirror) = running(host).await
    {
        return Ok(mirror);
    }
    let configured = MirrorProfile::from_configuration(None).await?;
    if let Some(local) = running(None).await {
        return Ok(configured.with_registries_of(local));
    }
    match host.filter(|_| configured.upstreams.is_empty()) {
        Some(host) => Err(ErrorMessage(unknown_registries(host, configured.source())).into()),
        None => Ok(configured),
    }
}

/// Returns the message for an address of a mirror whose registries are unknown: nothing is mirrored on this machine.
fn unknown_registries(host: &str, source: &str) -> String {
    let url = if host.contains("://") { host.to_owned() } else { format!("http://{host}") };
    format!(
        "which registries {host} mirrors is unknown: --host gives only its address, and {source} on this machine mirrors \
         nothing; ask the mirror itself with --server {url}, or name its configuration with --config FILE"
    )
}

fn print(made: &ClientConfig) -> Result<(), CommandError> {
    let mut output = Output::new();
    let has_comments = made.files.iter().all(|file| file.comments == CommentStyle::Hash);
    for note in &made.notes {
        match has_comments {
            true => output.line(format!("# {note}"))?,
            false => remark(note),
        }
    }
    for file in &made.files {
        if file.comments == CommentStyle::Hash {
            output.line(format!("\n# FILE: {}/{}", made.directory, file.path))?;
        }
        output.text(&file.content)?;
    }
    output.flush()
}

/// Writes all files. If one of the paths is taken by a file that this command did not make, nothing is written.
async fn write(made: ClientConfig, dir: PathBuf) -> Result<(), CommandError> {
    let written = blocking(move || {
        let paths: Vec<PathBuf> = made.files.iter().map(|file| dir.join(&file.path)).collect();
        for (file, path) in made.files.iter().zip(&paths) {
            check_free(file, path)?;
        }
        for (file, path) in made.files.iter().zip(&paths) {
            let content = match file.comments {
                CommentStyle::Hash => format!("{MARK}, which may write it again.\n{}", file.content),
                CommentStyle::None => file.content.clone(),
            };
            disk::write_atomic(path, content.as_bytes()).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        Ok::<_, String>((made.notes, paths))
    });
    let (notes, paths) = written.await.map_err(ErrorMessage)?;
    for note in notes {
        remark(format!("note: {note}"));
    }
    paths.iter().try_for_each(|path| say(path.display()))
}

/// Returns an error if another program or a person made the file at `path`.
fn check_free(file: &ConfigFile, path: &Path) -> Result<(), String> {
    let existing = disk::optional(disk::read_named(path, disk::NAMED_BYTES))
        .map_err(|error| format!("{}: {error}", path.display()))?;
    match existing {
        Some(existing) if existing.starts_with(MARK.as_bytes()) || existing == file.content.as_bytes() => Ok(()),
        Some(_) => Err(format!(
            "{} exists and was not made by this command, so nothing was written; run the command without --dir and add its output \
             to the file, or move the file away",
            path.display()
        )),
        None => Ok(()),
    }
}
