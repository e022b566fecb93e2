//! `entrepot warm`: images are brought into the cache of a running server, which does the work; here it is asked and watched.

mod display;
mod list;

use std::path::PathBuf;
use std::time::Duration;

use http::StatusCode;
use reqwest::redirect::Policy;

use super::Ended;
use super::server_url::{self, cause};
use super::settings::Trouble;
use crate::oci::{ImageError, ImageName, Platform, PlatformError, Platforms};
use crate::outbound::Url;
use crate::web::{WarmLine, WarmOrder};
use display::Display;

/// No connection within this is none.
const CONNECT: Duration = Duration::from_secs(10);
/// The server says something every ten seconds, if only that it is there.
const SILENCE: Duration = Duration::from_secs(60);
/// A line of the server's is shorter than this.
const LONGEST_LINE: usize = 1 << 20;
const PASSWORD: &str = "ENTREPOT_PASSWORD";

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Images as clients write them: alpine, alpine:3.20, ghcr.io/org/app, docker.io/library/alpine@sha256:…
    #[arg(value_name = "IMAGE", value_parser = image, required_unless_present = "file")]
    images: Vec<String>,
    /// For which platforms, such as linux/arm64 or linux/arm/v7; `all` takes every one. Without it: this machine's
    #[arg(long = "platform", value_name = "OS/ARCH[/VARIANT]", value_parser = platform, value_delimiter = ',')]
    platforms: Vec<String>,
    /// A file with an image on each line, and comments behind `#`; `-` reads them from standard input
    #[arg(long)]
    file: Option<PathBuf>,
    /// The server's address. Without it: $ENTREPOT_SERVER, else the one that `serve` would use
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// Log in with this name and the password in $ENTREPOT_PASSWORD
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
}

fn image(text: &str) -> Result<String, ImageError> {
    text.parse::<ImageName>().map(|_| text.to_owned())
}

fn platform(text: &str) -> Result<String, PlatformError> {
    if text == "all" { Ok(text.to_owned()) } else { text.parse::<Platform>().map(|platform| platform.to_string()) }
}

/// Has the images warmed, and shows how far that is.
pub(super) async fn run(arguments: Arguments) -> Result<(), Ended> {
    let mut images = arguments.images;
    if let Some(file) = arguments.file {
        images.extend(list::read(file).await?);
    }
    let mut seen = std::collections::HashSet::new();
    images.retain(|image| seen.insert(image.clone()));
    if images.is_empty() {
        return Err(Ended::Usage("there is no image to warm: the list is empty".to_owned()));
    }
    let platforms = Some(arguments.platforms).filter(|platforms| !platforms.is_empty());
    let platforms = platforms.unwrap_or_else(|| vec![Platform::native().to_string()]);
    Platforms::parse(platforms.iter().map(String::as_str)).map_err(|error| Ended::Usage(error.to_string()))?;
    let login = login(arguments.user)?;
    let server = server(server_url::base(server_url::named(arguments.server)).await?)?;
    let answer = ask(&server, &WarmOrder { images, platforms }, login).await?;
    watch(&server, answer).await
}

/// Name and password, where they are wanted. A password is no argument: whoever lists processes would read it.
fn login(user: Option<String>) -> Result<Option<(String, String)>, Ended> {
    let Some(user) = user else { return Ok(None) };
    match std::env::var(PASSWORD) {
        Ok(password) => Ok(Some((user, password))),
        Err(_) => Err(Ended::Usage(format!("--user needs a password: set ${PASSWORD}"))),
    }
}

fn server(base: String) -> Result<Url, Ended> {
    let url = Url::parse(&base).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let Some(url) = url else {
        // It may hold a password: it is not repeated.
        return Err(Ended::Usage("the server's address is none; write it like http://mirror.lan:5000".to_owned()));
    };
    if !url.username().is_empty() || url.password().is_some() {
        let message = format!("the server's address holds a login; use --user NAME and ${PASSWORD} instead");
        return Err(Ended::Usage(message));
    }
    Ok(url)
}

async fn ask(server: &Url, order: &WarmOrder, login: Option<(String, String)>) -> Result<reqwest::Response, Trouble> {
    let builder = reqwest::Client::builder().connect_timeout(CONNECT).read_timeout(SILENCE).redirect(Policy::none());
    let builder = if server_url::is_loopback(server) { builder.no_proxy() } else { builder };
    let client = builder.build().map_err(Trouble::new)?;
    let order = serde_json::to_vec(order).map_err(Trouble::new)?;
    let address = format!("{}/api/v1/warm", server.as_str().trim_end_matches('/'));
    let mut request = client.post(address).header(http::header::CONTENT_TYPE, "application/json").body(order);
    if let Some((user, password)) = login {
        request = request.basic_auth(user, Some(password));
    }
    let answer = request.send().await.map_err(|error| {
        let hint = "start it with `entrepot serve`, or name another with --server or $ENTREPOT_SERVER";
        Trouble(format!("{server} does not answer: {}; {hint}", cause(&error)))
    })?;
    if answer.status() == StatusCode::OK {
        return Ok(answer);
    }
    Err(refused(server, answer).await)
}

async fn refused(server: &Url, answer: reqwest::Response) -> Trouble {
    let status = answer.status();
    let body = answer.bytes().await.unwrap_or_default();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let reason = body["errors"][0]["message"].as_str().map(display::plain);
    let reason = reason.unwrap_or_else(|| "it says no more than that; is it an Entrepot of this version?".to_owned());
    match status {
        StatusCode::UNAUTHORIZED => {
            Trouble(format!("{server} wants a login: give --user NAME, and its password in ${PASSWORD} ({reason})"))
        }
        _ => Trouble(format!("{server} answered {status}: {reason}")),
    }
}

/// Shows the lines of the answer as they come.
async fn watch(server: &Url, mut answer: reqwest::Response) -> Result<(), Ended> {
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
            display.show(line);
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
