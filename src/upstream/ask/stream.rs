//! The bytes of a blob as they arrive from an upstream.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::oci::{ContentCoding, RepositoryName};
use crate::outbound::{ResponseBody, Url};
use crate::upstream::cause::FailureCause;
use crate::upstream::endpoint::{EndpointHealth, Meter, RequestKind};
use crate::upstream::error::UpstreamError;
use crate::upstream::failed_server::FailedServer;

/// A connection that brought at least this many bytes before it was cut does not count as a failure of its endpoint.
const WORTHWHILE: u64 = 64 << 10;

/// Holds parts of a response that the next request for the same blob at the same endpoint can use.
#[derive(Clone, Default)]
pub struct ResumeHint {
    /// The target of a redirect to another host. It may be signed, and expire.
    ///
    /// A validator is not kept: the digest verifies the whole, and the servers behind one address may name different
    /// validators for the same bytes.
    pub(super) address: Option<Url>,
}

impl fmt::Debug for ResumeHint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A signed address grants access like a password, so it is not printed.
        f.debug_struct("ResumeHint").finish_non_exhaustive()
    }
}

/// The bytes of a blob as they arrive. They are not verified: the caller hashes them.
///
/// Dropping the stream ends the transfer.
#[derive(Debug)]
pub struct BlobStream {
    pub(super) body: ResponseBody,
    /// `HOST:PORT` of the endpoint that was asked.
    pub(super) endpoint: String,
    pub(super) meter: Arc<Meter>,
    pub(super) health: Arc<EndpointHealth>,
    pub(super) repository: RepositoryName,
    pub(super) resume_hint: ResumeHint,
    pub(super) start: u64,
    /// The offset of the stream's end, if the response states it.
    pub(super) end: Option<u64>,
    pub(super) total: Option<u64>,
    pub(super) position: u64,
    pub(super) ranged: bool,
    /// The target of a redirect sends the bytes.
    pub(super) redirected: bool,
    pub(super) coding: Option<ContentCoding>,
    /// The stream's outcome, if it arrived while chunks were gathered. It is returned after those chunks.
    pub(super) ended: Option<Result<(), UpstreamError>>,
}

impl BlobStream {
    /// Returns the offset of the first byte that arrives. It is 0 if the upstream ignores ranges.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Returns the offset of the stream's end, if the response states it.
    pub fn end(&self) -> Option<u64> {
        self.end
    }

    /// Returns the size of the whole blob, as `Content-Range` or `Content-Length` states it.
    pub fn total(&self) -> Option<u64> {
        self.total
    }

    /// Returns true if the stream brings the requested range, and not the whole blob.
    pub fn is_ranged(&self) -> bool {
        self.ranged
    }

    /// Returns the coding that the response names. The bytes, offsets and sizes are those of the content as it is sent: encoded,
    /// unless the name is wrong.
    pub fn coding(&self) -> Option<ContentCoding> {
        self.coding
    }

    /// Returns what the next request for this blob can use.
    pub fn resume_hint(&self) -> &ResumeHint {
        &self.resume_hint
    }

    /// Returns the next bytes, or `None` at the end. An end before the stated one is an error, and so is a wait longer
    /// than `fill.stall`.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, UpstreamError> {
        let chunk = match self.body.chunk().await {
            Ok(chunk) => chunk,
            Err(error) => {
                let error = UpstreamError::from(error).reached_from(&self.endpoint);
                if let Some(cause) = FailureCause::of(&error) {
                    self.health.count_failure(if self.redirected { FailureCause::Redirect } else { cause });
                }
                // Some links cut every connection. An endpoint that makes progress each time stays in use. A connection
                // that died while it was kept open says nothing about the endpoint.
                if self.position - self.start < WORTHWHILE && !self.body.is_on_reused_connection() {
                    self.health.body_failed(&self.repository, &error);
                }
                return Err(error);
            }
        };
        if let Some(chunk) = &chunk {
            self.meter.received(RequestKind::Blob, chunk.len());
            self.position += chunk.len() as u64;
        }
        let wrong = self.end.is_some_and(|end| self.position > end || (chunk.is_none() && self.position < end));
        if wrong {
            let end = self.end.unwrap_or_default();
            let reason = format!("it announced bytes up to {end} and sent bytes up to {}", self.position);
            let host = FailedServer::answering_for(self.body.host(), &self.endpoint);
            let error = UpstreamError::Protocol { host, reason };
            self.health.count_failure(FailureCause::Content);
            self.health.body_failed(&self.repository, &error);
            return Err(error);
        }
        if chunk.is_none() {
            self.health.body_completed(&self.repository);
        }
        Ok(chunk)
    }

    /// Returns the next chunks: it waits for one and adds those that arrive in the time `within`, up to about `most`
    /// bytes. The list is empty at the end of the stream.
    pub async fn chunks(&mut self, most: usize, within: Duration) -> Result<Vec<Bytes>, UpstreamError> {
        let mut gathered: Vec<Bytes> = Vec::new();
        let mut len = 0;
        if let Some(ended) = self.ended.take() {
            return ended.map(|()| gathered);
        }
        let mut timer = None;
        while len < most {
            let next = match &mut timer {
                None => Some(self.chunk().await),
                Some(timer) => tokio::select! {
                    biased;
                    next = self.chunk() => Some(next),
                    () = timer => None,
                },
            };
            timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(within)));
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
