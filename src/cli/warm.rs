//! `entrepot warm`: images are brought into the cache of a running server, which does the work; here it is asked and watched.

mod display;
mod list;

use std::path::{Path, PathBuf};

use clap::ValueHint;
use http::Method;

use super::Ended;
use super::ask::{Server, ServerArguments};
use super::server_url::cause;
use super::settings::Trouble;
use crate::oci::{ImageName, ImagePattern, Platform, PlatformError, Platforms};
use crate::web::{WarmLine, WarmOrder};
use display::Display;

/// A line of the server's is shorter than this.
const LONGEST_LINE: usize = 1 << 20;

#[derive(clap::Args)]
#[command(after_help = "\
The server does the work. After Ctrl-C it finishes the images that have begun. What is here already costs nothing.

Examples:
  entrepot warm alpine:3.20 ghcr.io/org/app:1
  entrepot warm --file images.txt --platform linux/amd64,linux/arm64 --server http://mirror.lan:5000")]
pub(super) struct Arguments {
    /// Images as clients write them: alpine, alpine:3.20, ghcr.io/org/app, docker.io/library/alpine@sha256:…
    #[arg(value_name = "IMAGE", value_parser = image, required_unless_present = "file")]
    images: Vec<String>,
    /// For which platforms, such as linux/arm64 or linux/arm/v7; `all` takes every one. Without it: this machine's
    #[arg(long = "platform", value_name = "OS/ARCH[/VARIANT]", value_parser = platform, value_hint = ValueHint::Other, value_delimiter = ',')]
    platforms: Vec<String>,
    /// A file with an image on each line, and comments behind `#`; `-` reads them from standard input
    #[arg(long)]
    file: Option<PathBuf>,
    #[command(flatten)]
    server: ServerArguments,
}

fn image(text: &str) -> Result<String, String> {
    text.parse::<ImageName>().map(|_| text.to_owned()).map_err(|error| match text.parse::<ImagePattern>() {
        Ok(pattern) => {
            let repository = pattern.repository();
            format!(
                "`*` stands for tags under mirror.prefetch in the configuration only; here name each one, as in {repository}:latest"
            )
        }
        Err(_) => error.to_string(),
    })
}

fn platform(text: &str) -> Result<String, PlatformError> {
    if text == "all" { Ok(text.to_owned()) } else { text.parse::<Platform>().map(|platform| platform.to_string()) }
}

/// Has the images warmed, and shows how far that is.
pub(super) async fn run(arguments: Arguments) -> Result<(), Ended> {
    let mut images = arguments.images;
    if let Some(file) = arguments.file {
        if file == Path::new("-") && arguments.server.reads_stdin() {
            let message =
                "standard input cannot be both the list and the password: name a file for the one or the other";
            return Err(Ended::Usage(message.to_owned()));
        }
        images.extend(list::read(file).await?);
    }
    if images.is_empty() {
        return Err(Ended::Usage("there is no image to warm: the list is empty".to_owned()));
    }
    let platforms = Some(arguments.platforms).filter(|platforms| !platforms.is_empty());
    let platforms = platforms.unwrap_or_else(|| vec![Platform::native().to_string()]);
    Platforms::parse(platforms.iter().map(String::as_str)).map_err(|error| Ended::Usage(error.to_string()))?;
    let mut server = Server::open(arguments.server).await?;
    let mut images: Vec<String> = images.iter().map(|image| server.own(image).to_owned()).collect();
    let mut seen = std::collections::HashSet::new();
    images.retain(|image| seen.insert(image.clone()));
    let order = serde_json::to_vec(&WarmOrder { images, platforms }).map_err(Trouble::new)?;
    let answer = server.send(Method::POST, "/api/v1/warm", Some(order)).await?;
    tokio::select! {
        watched = watch(server.name(), answer) => watched,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.map_err(|error| Trouble(format!("signals cannot be handled: {error}")))?;
            Err(Trouble(format!("stopped watching: {} finishes the images that have begun, and begins no other", server.name())).into())
        }
    }
}

/// Shows the lines of the answer as they come.
async fn watch(server: &str, mut answer: reqwest::Response) -> Result<(), Ended> {
    let mut display = Display::new();
    let mut unread = Vec::new();
    let broken = |reason: &str| {
        Trouble(format!("{server}: the connection broke ({reason}); what has arrived is kept: run the command again"))
    };
    loop {
        let piece = answer.chunk().await.map_err(|error| broken(&cause(&error)))?;
        unread.extend_from_slice(&piece.ok_or_else(|| broken("the answer has no end"))?);
        while let Some(end) = unread.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = unread.drain(..=end).collect();
            let line = line.trim_ascii();
            if line.is_empty() {
                continue;
            }
            let line = serde_json::from_slice(line).map_err(|error| broken(&format!("it sent no event: {error}")))?;
            if let WarmLine::End { images, failed } = line {
                drop(display);
                return ended(images, failed);
            }
            display.show(line)?;
        }
        if unread.len() > LONGEST_LINE {
            return Err(broken("it sends lines without end").into());
        }
    }
}

fn ended(images: usize, failed: usize) -> Result<(), Ended> {
    match failed {
        0 => Ok(()),
        _ if images == 1 => Err(Ended::Told),
        _ => Err(Trouble(format!("{failed} of {images} images could not be warmed")).into()),
    }
}
