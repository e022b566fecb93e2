//! `POST /api/v1/warm`: images are brought into the cache, and the caller is told of it as it happens.
//!
//! The request is JSON, `{"images": ["alpine:3.20", …], "platforms": ["linux/amd64", …]}`; `["all"]` takes every platform. The
//! answer is a line of JSON for each [`WarmLine`]. A line that is empty says only that the server is there. Whoever closes the
//! connection lets those images be finished that have begun, and no other begin. An image that cannot be warmed fails alone.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, stream};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::auth::{Action, Caller};
use crate::oci::{ImageName, Platforms};
use crate::registry::{Presence, RegistryError, WarmEvent, WarmImage, WarmStep};
use crate::web::call::{Answer, Call};
use crate::web::error::Failure;
use crate::web::response::{Body, Cut};

/// The longest request: some ten thousand images.
const MAX_ORDER: usize = 1 << 20;
/// When nothing has happened for this long, an empty line says that it goes on.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

/// What is asked for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WarmOrder {
    pub images: Vec<String>,
    pub platforms: Vec<String>,
}

/// A line of the answer; `image` is the text of the request. Sizes are in bytes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum WarmLine {
    /// An image begins.
    Begin { image: String, repository: String, reference: String },
    /// A manifest of it was read. `cache` is as in `X-Cache`; a `warning` says that the upstream did not answer.
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
    /// All manifests are read: it has so many blobs, of `size` in all.
    Plan { image: String, blobs: usize, size: u64 },
    /// A blob's turn: it is `shared` (here already), `joined` (arriving for somebody else), or `fetching`.
    Blob { image: String, digest: String, size: u64, state: BlobState },
    /// So much of it has arrived.
    Progress { image: String, digest: String, size: u64, arrived: u64 },
    /// It is whole.
    Arrived { image: String, digest: String, size: u64 },
    /// The image is warm. `fetched` came for it; `shared` was here or was arriving for somebody else.
    Done { image: String, fetched: u64, shared: u64, seconds: f64 },
    /// It is not.
    Failed { image: String, reason: String },
    /// The last line: of so many images, so many failed.
    End { images: usize, failed: usize },
    /// Of a later version.
    #[serde(other)]
    Unknown,
}

/// How a blob is there when its turn comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BlobState {
    Shared,
    Joined,
    Fetching,
    #[serde(other)]
    Unknown,
}

pub(super) async fn answer(call: &mut Call, caller: &Caller) -> Answer {
    let order = read(call).await?;
    let platforms = Platforms::parse(order.platforms.iter().map(String::as_str));
    let platforms = platforms.map_err(|error| Failure::order_invalid(error.to_string()))?;
    if order.images.is_empty() {
        return Err(Failure::order_invalid("`images` names none"));
    }
    let mut told = Told { images: order.images.len(), ended: 0, failed: 0 };
    let (mut images, mut refused) = (Vec::new(), Vec::new());
    for name in order.images {
        match admitted(call, caller, &name) {
            Ok(image) => images.push(image),
            Err(failure) => refused.push(told.count(WarmLine::Failed { image: name, reason: failure.into_message() })),
        }
    }
    let events = call.app().registry.warm(images, platforms);
    let mut response = Response::new(Body::stream(lines(refused, events, told)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

async fn read(call: &mut Call) -> Result<WarmOrder, Failure> {
    // A web page can send a form or a text to any server its reader reaches, but no JSON.
    let is_json = |text: &str| text.split(';').next().is_some_and(|kind| kind.trim() == "application/json");
    if !call.header(&CONTENT_TYPE).is_some_and(is_json) {
        return Err(Failure::order_invalid("send JSON, and say so: Content-Type: application/json"));
    }
    let Some(body) = call.body.whole(MAX_ORDER, &call.exchange.app.body_budget).await? else {
        return Err(Failure::order_invalid(format!("the list is longer than {MAX_ORDER} bytes; send it in parts")));
    };
    serde_json::from_slice(&body).map_err(|error| {
        let form = r#"{"images": ["alpine:3.20"], "platforms": ["linux/amd64"]}"#;
        Failure::order_invalid(format!("this is not what is warmed: {error}; send {form}"))
    })
}

/// Whoever may pull an image may have it warmed.
fn admitted(call: &Call, caller: &Caller, name: &str) -> Result<WarmImage, Failure> {
    let image: ImageName =
        name.parse().map_err(|error: crate::oci::ImageError| Failure::order_invalid(error.to_string()))?;
    let (registry, gate) = (&call.app().registry, &call.app().gate);
    let target = registry.naming().resolve_image(image.repository())?;
    let admitted = gate.admit(caller, Action::Pull, &target)?;
    Ok(WarmImage { name: name.to_owned(), target: admitted.into_inner(), reference: image.reference().clone() })
}

/// How many images have ended, and how.
struct Told {
    images: usize,
    ended: usize,
    failed: usize,
}

impl Told {
    fn count(&mut self, line: WarmLine) -> WarmLine {
        self.ended += usize::from(matches!(line, WarmLine::Done { .. } | WarmLine::Failed { .. }));
        self.failed += usize::from(matches!(line, WarmLine::Failed { .. }));
        line
    }
}

fn lines(
    refused: Vec<WarmLine>,
    events: mpsc::Receiver<WarmEvent>,
    told: Told,
) -> impl Stream<Item = Result<Bytes, Cut>> + Send + 'static {
    let state = (refused.into_iter(), Some(events), told);
    stream::unfold(state, |(mut refused, mut events, mut told)| async move {
        if let Some(line) = refused.next() {
            return Some((Ok(text(&line)), (refused, events, told)));
        }
        let receiver = events.as_mut()?;
        let piece = match tokio::time::timeout(SIGN_OF_LIFE, receiver.recv()).await {
            Err(_) => Ok(Bytes::from_static(b"\n")),
            Ok(Some(event)) => Ok(text(&told.count(line(event)))),
            Ok(None) => {
                events = None;
                let Told { images, ended, failed } = told;
                let all = images == ended;
                if all {
                    Ok(text(&WarmLine::End { images, failed }))
                } else {
                    Err(Cut::new("not every image has ended"))
                }
            }
        };
        Some((piece, (refused, events, told)))
    })
}

fn text(line: &WarmLine) -> Bytes {
    // Texts, numbers and no maps: there is nothing in a line that JSON cannot say.
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

/// In the words that a client may read.
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
