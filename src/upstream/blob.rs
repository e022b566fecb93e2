//! Blobs of an upstream: streamed as they arrive, from any offset, not yet verified.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::header::{ACCEPT_ENCODING, CONTENT_RANGE, ETAG, IF_RANGE, RANGE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::ask::{Ask, content_length, plain};
use super::endpoint::{Endpoint, EndpointId};
use super::header::ContentRange;
use super::health::Health;
use super::meter::{Kind, Meter};
use super::{Upstream, UpstreamError};
use crate::oci::{Digest, RepositoryName};
use crate::outbound::{Answer, Body, Hop, Request, Url};

/// A body that brought so many bytes before it was cut was worth asking for.
const WORTHWHILE: u64 = 64 << 10;

/// A stretch of a blob that is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Stretch<'a> {
    pub repository: &'a RepositoryName,
    pub digest: &'a Digest,
    pub from: u64,
    /// Where it ends; `None`: with the blob.
    pub to: Option<u64>,
}

/// What an answer taught that the next question about the same blob at the same endpoint may use.
#[derive(Clone, Default)]
pub struct Trail {
    /// Where a redirect to another host led. It may be signed, and expire.
    address: Option<Url>,
    /// The strong validator (RFC 9110 §8.8.3) of what lies there.
    validator: Option<HeaderValue>,
}

impl fmt::Debug for Trail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A signed address is as good as a password.
        f.debug_struct("Trail").finish_non_exhaustive()
    }
}

/// The bytes of a blob as they arrive. They are not verified: that is for whoever puts them together.
///
/// Dropping it ends the transfer.
#[derive(Debug)]
pub struct BlobStream {
    body: Body,
    meter: Arc<Meter>,
    health: Arc<Health>,
    trail: Trail,
    start: u64,
    /// Where the stream ends, if that was said.
    end: Option<u64>,
    total: Option<u64>,
    position: u64,
    ranged: bool,
    /// Came while pieces were gathered; it is told when they have been handed out.
    ended: Option<Result<(), UpstreamError>>,
}

impl BlobStream {
    /// The offset of the first byte that comes: 0 where an upstream ignores ranges.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Where it ends, if that was said.
    pub fn end(&self) -> Option<u64> {
        self.end
    }

    /// The whole size of the blob, as `Content-Range` or `Content-Length` say.
    pub fn total(&self) -> Option<u64> {
        self.total
    }

    /// It is the stretch that was asked for, and not the whole.
    pub fn is_ranged(&self) -> bool {
        self.ranged
    }

    /// What the next question may use.
    pub fn trail(&self) -> &Trail {
        &self.trail
    }

    /// The next bytes; `None` at the end. An end that comes earlier than was said is an error, and so is a wait longer than `fill.stall`.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, UpstreamError> {
        let chunk = match self.body.chunk().await {
            Ok(chunk) => chunk,
            Err(error) => {
                // A link that cuts every connection is no reason to leave an endpoint alone that brings something each time.
                if self.position - self.start < WORTHWHILE {
                    self.health.failed();
                }
                return Err(error.into());
            }
        };
        if let Some(chunk) = &chunk {
            self.meter.received(Kind::Blob, chunk.len());
            self.position += chunk.len() as u64;
        }
        let wrong = self.end.is_some_and(|end| self.position > end || (chunk.is_none() && self.position < end));
        if wrong {
            self.health.failed();
            let reason =
                format!("it sent up to byte {} where {} was said", self.position, self.end.unwrap_or_default());
            return Err(UpstreamError::Protocol { host: self.body.host().to_owned(), reason });
        }
        if chunk.is_none() {
            self.health.delivered();
        }
        Ok(chunk)
    }

    /// The next chunks: at least one, and with it those that are there already, about `most` bytes. None at the end.
    pub async fn chunks(&mut self, most: usize) -> Result<Vec<Bytes>, UpstreamError> {
        let mut gathered: Vec<Bytes> = Vec::new();
        let mut len = 0;
        if let Some(ended) = self.ended.take() {
            return ended.map(|()| gathered);
        }
        while len < most {
            let next = match gathered.is_empty() {
                true => Some(self.chunk().await),
                false => self.chunk().now_or_never(),
            };
            let ended = match next {
                None => break,
                Some(Ok(Some(chunk))) => {
                    len += chunk.len();
                    gathered.push(chunk);
                    continue;
                }
                Some(Ok(None)) => Ok(()),
                Some(Err(error)) => Err(error),
            };
            if gathered.is_empty() {
                return ended.map(|()| gathered);
            }
            self.ended = Some(ended);
            break;
        }
        Ok(gathered)
    }
}

impl Upstream {
    /// Asks whether a blob is there; its size, if that is said. Nothing is downloaded.
    pub async fn head_blob(&self, repository: &RepositoryName, digest: &Digest) -> Result<Option<u64>, UpstreamError> {
        let reply = self.ask(&question(Method::HEAD, repository, digest)).await?;
        let refused = matches!(reply.answer.status, StatusCode::FORBIDDEN | StatusCode::METHOD_NOT_ALLOWED);
        if refused && reply.answer.redirected {
            // The address is signed for GET alone; that the registry sent us there says that the blob exists.
            return Ok(None);
        }
        self.judge(reply).map(|answer| content_length(&answer))
    }

    /// Fetches a blob from the offset `from` on, from whichever endpoint has it. An upstream that ignores ranges sends all of
    /// it: see [`BlobStream::start`].
    pub async fn get_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        from: u64,
    ) -> Result<BlobStream, UpstreamError> {
        let stretch = Stretch { repository, digest, from, to: None };
        let mut failed: Option<UpstreamError> = None;
        for endpoint in self.endpoints() {
            match self.get_stretch(endpoint, &stretch, None).await {
                // What one does not have, another may.
                Err(error) if error.is_of_endpoint() || error == UpstreamError::NotFound => {
                    failed = failed.filter(|known| !known.is_passing()).or(Some(error));
                }
                other => return other,
            }
        }
        Err(failed.expect("an upstream has at least one endpoint"))
    }

    /// Fetches a stretch of a blob from one endpoint, on the `trail` of an earlier answer if there is one: its redirect is then
    /// not asked for again. What fails on a trail may succeed without.
    pub async fn get_stretch(
        &self,
        endpoint: EndpointId,
        stretch: &Stretch<'_>,
        trail: Option<&Trail>,
    ) -> Result<BlobStream, UpstreamError> {
        let endpoint = &self.endpoints[endpoint.0];
        let mut ask = question(Method::GET, stretch.repository, stretch.digest);
        let ranged = stretch.from > 0 || stretch.to.is_some();
        if ranged {
            let last = stretch.to.map(|to| (to - 1).to_string()).unwrap_or_default();
            let range = format!("bytes={}-{last}", stretch.from);
            ask.headers.insert(RANGE, HeaderValue::try_from(range).expect("digits are header characters"));
            if let Some(validator) = trail.and_then(|trail| trail.validator.clone()) {
                ask.headers.insert(IF_RANGE, validator);
            }
        }
        let answer = match trail.and_then(|trail| trail.address.as_ref()) {
            Some(address) => self.follow(address, ask.headers).await?,
            None => self.ask_endpoint(endpoint, &ask).await?.answer,
        };
        let answer = self.judge(super::ask::Reply { answer, endpoint })?;
        self.stream(endpoint, plain(answer)?, ranged.then_some(stretch.from))
    }

    /// Asks where a redirect led before. Nobody knows us there: nothing that says who we are goes with it.
    async fn follow(&self, address: &Url, mut headers: HeaderMap) -> Result<Answer, UpstreamError> {
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let request = Request { method: Method::GET, url: address.clone(), headers };
        let observe = |hop: &Hop<'_>| self.meter.hop(Kind::Blob, &Hop { redirected: true, ..*hop });
        let mut answer = self.client.send(request, &observe).await?;
        answer.redirected = true;
        Ok(answer)
    }

    fn stream(&self, endpoint: &Endpoint, answer: Answer, from: Option<u64>) -> Result<BlobStream, UpstreamError> {
        let (meter, health) = (Arc::clone(&self.meter), Arc::clone(endpoint.health()));
        let trail = Trail {
            address: answer.redirected.then(|| answer.url.clone()).filter(|url| !endpoint.is_at(url)),
            validator: answer.headers.get(ETAG).filter(|tag| tag.as_bytes().starts_with(b"\"")).cloned(),
        };
        let ranged = from.is_some() && answer.status == StatusCode::PARTIAL_CONTENT;
        let (start, end, total) = if ranged {
            part(&answer, from.unwrap_or_default())?
        } else {
            let total = content_length(&answer);
            (0, total, total)
        };
        let (body, position) = (answer.body, start);
        Ok(BlobStream { body, meter, health, trail, start, end, total, position, ranged, ended: None })
    }
}

/// Where a 206 begins and ends, and the whole size, if it is what was asked for.
fn part(answer: &Answer, from: u64) -> Result<(u64, Option<u64>, Option<u64>), UpstreamError> {
    let text = answer.header(&CONTENT_RANGE).unwrap_or_default();
    match ContentRange::parse(&text) {
        Some(range) if range.first == from => Ok((from, Some(range.last + 1), range.total)),
        _ => {
            let reason = format!("asked for the bytes from {from} on, it sent Content-Range {text:?}");
            Err(UpstreamError::Protocol { host: answer.body.host().to_owned(), reason })
        }
    }
}

fn question<'a>(method: Method, repository: &'a RepositoryName, digest: &Digest) -> Ask<'a> {
    let rest = format!("blobs/{digest}");
    Ask { kind: Kind::Blob, method, repository, rest, query: Vec::new(), headers: HeaderMap::new() }
}
