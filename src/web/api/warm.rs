//! `POST /api/v1/warm` pulls images into the cache and streams the progress.
//!
//! The request is JSON: `{"images": ["alpine:3.20", …], "platforms": ["linux/amd64", …]}`. The platform `all` means every platform. The
//! answer has a line of JSON for each [`WarmLine`], and empty lines while nothing happens. If the client closes the connection, the
//! images that have begun are finished and no other begins. An image that cannot be warmed does not stop the others.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, stream};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::auth::{Action, Caller};
use crate::oci::{ImageName, Platforms};
use crate::registry::{Presence, RegistryError, WarmEvent, WarmImage, WarmStep, warm};
use crate::web::call::{Answer, Call};
use crate::web::error::Failure;
use crate::web::response::{Body, Cut};

/// The longest request, in bytes: about ten thousand images.
const MAX_ORDER_BYTES: usize = 1 << 20;
/// After this time without an event, an empty line shows the client that the server is still working.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// The request: the images to pull and their platforms.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WarmOrder {
    pub images: Vec<String>,
    pub platforms: Vec<String>,
}

/// A line of the answer. `image` is the text of the request. Sizes are in bytes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum WarmLine {
    /// The server begins with an image.
    Begin { image: String, repository: String, reference: String },
    /// A manifest of the image was read. `cache` has the value of `X-Cache`. A `warning` tells that the upstream did not answer.
    Manifest {
        image: String,
        digest: String,
        size: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        platform: Option<String>,
        cache: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        warning: Option<String>,
    },
    /// All manifests of the image were read. `blobs` is the number of its blobs and `size` their total size.
    Plan { image: String, blobs: usize, size: u64 },
    /// The server begins with a blob, which is `shared` (already stored), `joined` (a running fill is fetching it), or `fetching`.
    Blob { image: String, digest: String, size: u64, state: BlobState },
    /// `arrived` bytes of the blob have arrived.
    Progress { image: String, digest: String, size: u64, arrived: u64 },
    /// The blob is complete.
    Arrived { image: String, digest: String, size: u64 },
    /// The image is in the cache. `fetched` bytes were fetched for it; `shared` bytes were already stored or came from a fill that was
    /// already running.
    Done { image: String, fetched: u64, shared: u64, seconds: f64 },
    /// The image could not be warmed.
    Failed { image: String, reason: String },
    /// The last line: the number of images, and how many of them failed.
    End { images: usize, failed: usize },
    /// An event of a later version.
    #[serde(other)]
    Unknown,
}

/// The state of a blob when the server begins with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BlobState {
    Shared,
    Joined,
    Fetching,
    #[serde(other)]
    Unknown,
}

/// Starts to warm the images and answers with the stream of events.
pub(super) async fn answer(call: &mut Call, caller: &Caller) -> Answer {
    let order = read(call).await?;
    let platforms = Platforms::parse(order.platforms.iter().map(String::as_str));
    let platforms = platforms.map_err(|error| Failure::order_invalid(error.to_string()))?;
    if order.images.is_empty() {
        return Err(Failure::order_invalid("`images` is empty; name at least one image"));
    }
    let mut tally = Tally { images: order.images.len(), ended: 0, failed: 0 };
    let (mut images, mut refused) = (Vec::new(), Vec::new());
    for name in order.images {
        match admitted(call, caller, &name) {
            Ok(image) => images.push(image),
            Err(failure) => refused.push(tally.count(WarmLine::Failed { image: name, reason: failure.into_message() })),
        }
    }
    let events = warm(&call.app().registry, images, platforms);
    let mut response = Response::new(Body::stream(lines(refused, events, tally)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

async fn read(call: &mut Call) -> Result<WarmOrder, Failure> {
    // A foreign web page can make a browser send a form or a text to this server, but not JSON.
    let is_json = |text: &str| text.split(';').next().is_some_and(|kind| kind.trim() == "application/json");
    if !call.header(&CONTENT_TYPE).is_some_and(is_json) {
        return Err(Failure::order_invalid("send JSON with the header Content-Type: application/json"));
    }
    let Some(body) = call.body.whole(MAX_ORDER_BYTES, &call.exchange.app.body_budget).await? else {
        return Err(Failure::order_invalid(format!(
            "the list is longer than {MAX_ORDER_BYTES} bytes; send it in parts"
        )));
    };
    serde_json::from_slice(&body).map_err(|error| {
        let form = r#"{"images": ["alpine:3.20"], "platforms": ["linux/amd64"]}"#;
        Failure::order_invalid(format!("the body is not a list of images to warm: {error}; send {form}"))
    })
}

/// Admits a caller to warm an image, which requires the right to pull it.
fn admitted(call: &Call, caller: &Caller, name: &str) -> Result<WarmImage, Failure> {
    let image: ImageName =
        name.parse().map_err(|error: crate::oci::ImageError| Failure::order_invalid(error.to_string()))?;
    let (registry, gate) = (&call.app().registry, &call.app().gate);
    let target = registry.naming().resolve_image(image.repository())?;
    let admitted = gate.admit(caller, Action::Pull, &target)?;
    Ok(WarmImage { name: name.to_owned(), target: admitted.into_inner(), reference: image.reference().clone() })
}

/// Counts the images that have ended.
struct Tally {
    images: usize,
    ended: usize,
    failed: usize,
}

impl Tally {
    fn count(&mut self, line: WarmLine) -> WarmLine {
        self.ended += usize::from(matches!(line, WarmLine::Done { .. } | WarmLine::Failed { .. }));
        self.failed += usize::from(matches!(line, WarmLine::Failed { .. }));
        line
    }
}

fn lines(
    refused: Vec<WarmLine>,
    events: mpsc::Receiver<WarmEvent>,
    tally: Tally,
) -> impl Stream<Item = Result<Bytes, Cut>> + Send + 'static {
    let state = (refused.into_iter(), Some(events), tally);
    stream::unfold(state, |(mut refused, mut events, mut tally)| async move {
        if let Some(line) = refused.next() {
            return Some((Ok(text(&line)), (refused, events, tally)));
        }
        let receiver = events.as_mut()?;
        let piece = match tokio::time::timeout(KEEP_ALIVE, receiver.recv()).await {
            Err(_) => Ok(Bytes::from_static(b"\n")),
            Ok(Some(event)) => Ok(text(&tally.count(line(event)))),
            Ok(None) => {
                events = None;
                let Tally { images, ended, failed } = tally;
                let all = images == ended;
                if all {
                    Ok(text(&WarmLine::End { images, failed }))
                } else {
                    Err(Cut::new("warming ended before every image was done"))
                }
            }
        };
        Some((piece, (refused, events, tally)))
    })
}

fn text(line: &WarmLine) -> Bytes {
    // A line has only texts and numbers, so writing it as JSON cannot fail.
    let mut text = serde_json::to_vec(line).unwrap_or_default();
    text.push(b'\n');
    text.into()
}

fn line(event: WarmEvent) -> WarmLine {
    let image = event.image.to_string();
    match event.step {
        WarmStep::Begun { target, reference } => {
            WarmLine::Begin { image, repository: target.to_string(), reference: reference.to_string() }
        }
        WarmStep::Manifest { info, platform, cache, warning } => WarmLine::Manifest {
            image,
            digest: info.digest.to_string(),
            size: info.size,
            platform: platform.map(|platform| platform.to_string()),
            cache: cache.as_str().to_owned(),
            warning,
        },
        WarmStep::Planned { blobs, bytes } => WarmLine::Plan { image, blobs, size: bytes },
        WarmStep::Blob { digest, size, presence } => {
            WarmLine::Blob { image, digest: digest.to_string(), size, state: presence.into() }
        }
        WarmStep::Progress { digest, size, arrived } => {
            WarmLine::Progress { image, digest: digest.to_string(), size, arrived }
        }
        WarmStep::Arrived { digest, size } => WarmLine::Arrived { image, digest: digest.to_string(), size },
        WarmStep::Done(warmed) => {
            let seconds = warmed.took.as_secs_f64();
            WarmLine::Done { image, fetched: warmed.fetched, shared: warmed.shared, seconds }
        }
        WarmStep::Failed(error) => WarmLine::Failed { image, reason: reason(error) },
    }
}

/// Returns the message for the client.
fn reason(error: RegistryError) -> String {
    Failure::from(error).into_message()
}

impl From<Presence> for BlobState {
    fn from(presence: Presence) -> Self {
        match presence {
            Presence::Shared => Self::Shared,
            Presence::Joined => Self::Joined,
            Presence::Fetching => Self::Fetching,
        }
    }
}
