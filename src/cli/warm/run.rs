//! Sends the request to warm images to the server, and follows the answer.

use std::path::{Path, PathBuf};

use clap::ValueHint;
use http::Method;

use super::display::Display;
use super::list;
use crate::cli::outcome::{CommandError, ErrorMessage};
use crate::cli::remote::{Lines, RemoteServer, ServerArguments};
use crate::oci::{ImageName, ImagePattern, Platform, PlatformError, Platforms};
use crate::web::{WarmLine, WarmOrder};

/// The longest line that is accepted from the server, in bytes.
const MAX_LINE: usize = 1 << 20;

#[derive(clap::Args)]
#[command(after_help = "\
The server fetches the images. The command prints a line for each finished
image, and shows progress bars on a terminal. Content that is stored on the
server already is not fetched again. After Ctrl-C, the server finishes the
images that have begun.

Examples:
  entrepot warm alpine:3.20 ghcr.io/org/app:1
  entrepot warm --file images.txt --platform linux/amd64,linux/arm64")]
pub(in crate::cli) struct Arguments {
    /// The images to fetch, such as alpine, alpine:3.20, ghcr.io/org/app or docker.io/library/alpine@sha256:…
    #[arg(value_name = "IMAGE", value_parser = image, required_unless_present = "file")]
    images: Vec<String>,
    /// The platforms to fetch, such as linux/arm64 or linux/arm/v7; `all` fetches every one [default: the platform of this machine]
    #[arg(long = "platform", value_name = "OS/ARCH[/VARIANT]", value_parser = platform, value_hint = ValueHint::Other, value_delimiter = ',')]
    platforms: Vec<String>,
    /// Reads images from this file, one per line, with comments after `#`; `-` reads standard input
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
                "`*` works in mirror.prefetch of the configuration only; name each tag here, as in {repository}:latest"
            )
        }
        Err(_) => error.to_string(),
    })
}

fn platform(text: &str) -> Result<String, PlatformError> {
    if text == "all" { Ok(text.to_owned()) } else { text.parse::<Platform>().map(|platform| platform.to_string()) }
}

pub(in crate::cli) async fn run(arguments: Arguments) -> Result<(), CommandError> {
    let mut images = arguments.images;
    if let Some(file) = arguments.file {
        if file == Path::new("-") && arguments.server.reads_stdin() {
            let message = "standard input cannot be both the list and the password; read one of them from a file";
            return Err(CommandError::Usage(message.to_owned()));
        }
        images.extend(list::read(file).await?);
    }
    if images.is_empty() {
        return Err(CommandError::Usage("there is no image to warm: the list is empty".to_owned()));
    }
    let platforms = Some(arguments.platforms).filter(|platforms| !platforms.is_empty());
    let platforms = platforms.unwrap_or_else(|| vec![Platform::native().to_string()]);
    Platforms::parse(platforms.iter().map(String::as_str)).map_err(|error| CommandError::Usage(error.to_string()))?;
    let mut server = RemoteServer::open(arguments.server).await?;
    let mut images: Vec<String> = images.iter().map(|image| server.strip_host(image).to_owned()).collect();
    let mut seen = std::collections::HashSet::new();
    images.retain(|image| seen.insert(image.clone()));
    let order = serde_json::to_vec(&WarmOrder { images, platforms }).map_err(ErrorMessage::new)?;
    let answer = server.send(Method::POST, "/api/v1/warm", Some(order)).await?;
    tokio::select! {
        result = follow(server.name(), Lines::new(answer, MAX_LINE)) => result,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.map_err(|error| ErrorMessage(format!("cannot handle signals: {error}")))?;
            Err(ErrorMessage(format!(
                "stopped watching: {} finishes the images that have begun, and begins no other",
                server.name()
            ))
            .into())
        }
    }
}

/// Shows the lines of the answer as they arrive.
async fn follow(server: &str, mut lines: Lines) -> Result<(), CommandError> {
    let mut display = Display::new();
    let broken = |reason: String| {
        ErrorMessage(format!(
            "{server}: the connection broke ({reason}); the server keeps the data that has arrived, so run the command again"
        ))
    };
    loop {
        let line = lines.next().await.map_err(broken)?;
        let line = line.ok_or_else(|| broken("the answer is incomplete".to_owned()))?;
        let line = serde_json::from_slice(&line)
            .map_err(|error| broken(format!("a line of the answer is no event: {error}")))?;
        if let WarmLine::End { images, failed } = line {
            drop(display);
            return result(images, failed);
        }
        display.show(line)?;
    }
}

fn result(images: usize, failed: usize) -> Result<(), CommandError> {
    match failed {
        0 => Ok(()),
        _ if images == 1 => Err(CommandError::Reported),
        _ => Err(ErrorMessage(format!("{failed} of {images} images could not be warmed")).into()),
    }
}
