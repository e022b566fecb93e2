//! Blobs of an upstream: streamed as they arrive, from any offset, not yet verified.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_RANGE, RANGE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::ask::{Ask, content_length, plain};
use super::header::ContentRange;
use super::meter::{Kind, Meter};
use super::{Upstream, UpstreamError};
use crate::oci::{Digest, RepositoryName};
use crate::outbound::{Answer, Body};

/// The bytes of a blob as they arrive. They are not verified: that is for whoever puts them together.
///
/// Dropping it ends the transfer.
#[derive(Debug)]
pub struct BlobStream {
    body: Body,
    meter: Arc<Meter>,
    start: u64,
    /// Where the stream ends, if that was said.
    end: Option<u64>,
    total: Option<u64>,
    position: u64,
}

impl BlobStream {
    /// The offset of the first byte that comes: 0 where an upstream ignores ranges.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// The whole size of the blob, as `Content-Range` or `Content-Length` say.
    pub fn total(&self) -> Option<u64> {
        self.total
    }

    /// The `HOST:PORT` that the bytes come from.
    pub fn host(&self) -> &str {
        self.body.host()
    }

    /// The next bytes; `None` at the end. An end that comes earlier than was said is an error, and so is a wait longer than `fill.stall`.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, UpstreamError> {
        let chunk = self.body.chunk().await?;
        if let Some(chunk) = &chunk {
            self.meter.received(Kind::Blob, chunk.len());
            self.position += chunk.len() as u64;
        }
        let wrong = self.end.is_some_and(|end| self.position > end || (chunk.is_none() && self.position < end));
        if wrong {
            let end = self.end.unwrap_or_default();
            return Err(self.protocol(format!("it sent up to byte {} where {end} was said", self.position)));
        }
        Ok(chunk)
    }

    /// Begins with what a 200 sends: everything.
    fn whole(answer: Answer, meter: Arc<Meter>) -> Self {
        let total = content_length(&answer);
        Self { body: answer.body, meter, start: 0, end: total, total, position: 0 }
    }

    /// Begins with what a 206 sends, if that is what was asked for.
    fn part(answer: Answer, meter: Arc<Meter>, from: u64) -> Result<Self, UpstreamError> {
        let text = answer.header(&CONTENT_RANGE).unwrap_or_default();
        let range = ContentRange::parse(&text);
        let body = answer.body;
        match range {
            Some(range) if range.first == from => {
                let end = Some(range.last + 1);
                Ok(Self { body, meter, start: from, end, total: range.total, position: from })
            }
            _ => {
                let reason = format!("asked for the bytes from {from} on, it sent Content-Range {text:?}");
                Err(UpstreamError::Protocol { host: body.host().to_owned(), reason })
            }
        }
    }

    fn protocol(&self, reason: String) -> UpstreamError {
        UpstreamError::Protocol { host: self.host().to_owned(), reason }
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

    /// Fetches a blob from the offset `from` on. An upstream that ignores ranges sends all of it: see [`BlobStream::start`].
    pub async fn get_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        from: u64,
    ) -> Result<BlobStream, UpstreamError> {
        let mut question = question(Method::GET, repository, digest);
        if from > 0 {
            let range = HeaderValue::try_from(format!("bytes={from}-")).expect("digits are header characters");
            question.headers.insert(RANGE, range);
        }
        let reply = self.ask(&question).await?;
        let answer = plain(self.judge(reply)?)?;
        let meter = Arc::clone(&self.meter);
        match answer.status {
            StatusCode::PARTIAL_CONTENT => BlobStream::part(answer, meter, from),
            _ => Ok(BlobStream::whole(answer, meter)),
        }
    }
}

fn question<'a>(method: Method, repository: &'a RepositoryName, digest: &Digest) -> Ask<'a> {
    let rest = format!("blobs/{digest}");
    Ask { kind: Kind::Blob, method, repository, rest, query: Vec::new(), headers: HeaderMap::new() }
}
