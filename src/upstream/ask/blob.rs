//! Fetches blobs from an upstream, from any offset. The bytes are streamed as they arrive, and not verified here.

use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_RANGE, RANGE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::evidence::{foreign, is_page};
use super::exchange::content_length;
use super::request::{CONTENT_DIGEST, Reply, UpstreamRequest};
use super::stream::{BlobStream, ResumeHint};
use super::tried::Tried;
use crate::oci::{Digest, RepositoryName};
use crate::outbound::{Response, Traffic, Url};
use crate::upstream::cause::FailureCause;
use crate::upstream::client::Upstream;
use crate::upstream::endpoint::{Endpoint, EndpointId, RequestKind};
use crate::upstream::error::UpstreamError;
use crate::upstream::header::{self, ContentRange};

/// A range of a blob that is requested.
#[derive(Clone, Copy)]
pub struct BlobRange<'a> {
    pub repository: &'a RepositoryName,
    pub digest: &'a Digest,
    pub from: u64,
    /// The end of the range, exclusive; `None` means the end of the blob.
    pub to: Option<u64>,
    /// The class of the transfer, which decides about its turn on a governed link.
    pub traffic: &'a Traffic,
    /// Called when the endpoint redirects, with the hint for further requests, and the time after which it did.
    pub on_redirect: Option<&'a (dyn Fn(ResumeHint, Duration) + Sync)>,
}

impl Upstream {
    /// Asks whether a blob exists and returns its size if the answer states it. At most one byte is downloaded.
    ///
    /// A HEAD only tells that the blob exists. Registries and proxies answer it wrongly in many ways, or not at all, so that
    /// any other outcome is confirmed by a GET of the first byte. Some proxies state the length 0 for each HEAD.
    pub async fn head_blob(&self, repository: &RepositoryName, digest: &Digest) -> Result<Option<u64>, UpstreamError> {
        let reply = self.ask_by_head(&blob_request(Method::HEAD, repository, digest)).await?;
        let response = reply.map(|reply| self.judge(reply)).transpose()?;
        match response.filter(|response| is_of(response, digest)) {
            Some(response) => Ok(plain_length(&response)),
            None => self.first_byte(repository, digest).await,
        }
    }

    /// Asks for the first byte of a blob: what a HEAD says is no proof that the upstream has it. Returns the size if the answer states it.
    pub async fn first_byte(&self, repository: &RepositoryName, digest: &Digest) -> Result<Option<u64>, UpstreamError> {
        let mut request = blob_request(Method::GET, repository, digest);
        request.headers.insert(RANGE, HeaderValue::from_static("bytes=0-0"));
        let mut tried = Tried::default();
        loop {
            let reply = self.ask_except(&request, tried.endpoints()).await.map_err(|error| tried.report(error))?;
            let endpoint = reply.endpoint;
            match self.size_of_blob(reply) {
                // The head of the whole blob tells the same.
                Err(error) if is_no_range(&error) && request.headers.remove(RANGE).is_some() => {}
                Err(error) => tried.note(endpoint, error)?,
                size => return size,
            }
        }
    }

    /// Returns the size that the answer to a request for the first byte states.
    fn size_of_blob(&self, reply: Reply<'_>) -> Result<Option<u64>, UpstreamError> {
        let server = reply.server();
        let response = match self.judge(reply) {
            // An empty blob has no first byte.
            Err(UpstreamError::Unsatisfiable { total, .. }) => return Ok(total),
            response => response?,
        };
        if is_page(&response) {
            return Err(foreign(&response, server));
        }
        let range = response.header(&CONTENT_RANGE).and_then(|text| ContentRange::parse(&text));
        match response.status {
            StatusCode::PARTIAL_CONTENT if header::content_coding(&response.headers).is_some() => Ok(None),
            StatusCode::PARTIAL_CONTENT => Ok(range.and_then(|range| range.total)),
            _ => Ok(plain_length(&response)),
        }
    }

    /// Fetches a range of a blob from one endpoint. With the hint of an earlier response the request goes straight to
    /// the address that the endpoint redirected to. A request that fails with a hint may succeed without one.
    pub async fn get_range(
        &self,
        endpoint: EndpointId,
        range: &BlobRange<'_>,
        hint: Option<&ResumeHint>,
    ) -> Result<BlobStream, UpstreamError> {
        let endpoint = self.endpoint(endpoint);
        let ranged = range.from > 0 || range.to.is_some();
        let stream = match self.range_of(endpoint, range, hint, ranged).await {
            // Some servers send every blob, but no range. Most clients ask for whole blobs, so those servers work for them.
            Err(NoStream::NoRange(_)) if hint.is_none() => self.range_of(endpoint, range, None, false).await,
            stream => stream,
        };
        stream.map_err(|error| error.into_inner().reached_from(&endpoint.host()))
    }

    /// Asks an endpoint for a range, or for the whole blob.
    async fn range_of(
        &self,
        endpoint: &Endpoint,
        range: &BlobRange<'_>,
        hint: Option<&ResumeHint>,
        ranged: bool,
    ) -> Result<BlobStream, NoStream> {
        let mut request = blob_request(Method::GET, range.repository, range.digest);
        if ranged {
            let last = range.to.map(|to| (to - 1).to_string()).unwrap_or_default();
            let bytes = format!("bytes={}-{last}", range.from);
            request.headers.insert(RANGE, HeaderValue::try_from(bytes).expect("digits are header characters"));
        }
        let told = |target: &Url, after| {
            if let Some(tell) = range.on_redirect.filter(|_| !endpoint.is_at(target)) {
                tell(ResumeHint { address: Some(target.clone()) }, after);
            }
        };
        request.on_redirect = Some(&told);
        let reply = match hint.and_then(|hint| hint.address.as_ref()) {
            Some(address) => {
                let followed = self.follow(request.kind, address, &request.headers).await;
                if followed.as_ref().map_or(true, |response| !response.status.is_success()) {
                    endpoint.health().count_failure(FailureCause::Redirect);
                }
                let mut reply = Reply { response: followed?, endpoint, vouched: false, said: None };
                self.weigh(&request, &mut reply).await?;
                reply
            }
            None => self.ask_for_link(endpoint, &request).await?,
        };
        let mut response = self.judge(reply).map_err(|error| match ranged && refuses(&error, range) {
            true => NoStream::NoRange(error),
            false => NoStream::Failed(error),
        })?;
        response.body.set_traffic(range.traffic);
        self.stream(endpoint, response, range, ranged).map_err(NoStream::NoRange)
    }

    /// Asks an endpoint, and asks once more if the target of its redirect refuses: the link may have expired on the way, or
    /// another connection may have used up a link that is valid once.
    async fn ask_for_link<'a>(
        &'a self,
        endpoint: &'a Endpoint,
        request: &UpstreamRequest<'_>,
    ) -> Result<Reply<'a>, UpstreamError> {
        let reply = self.ask_endpoint(endpoint, request).await?;
        if reply.response.redirected && is_refusal(reply.response.status) {
            return self.ask_endpoint(endpoint, request).await;
        }
        Ok(reply)
    }

    /// Returns the stream of an answer. The error is that of an unusable `Content-Range`.
    fn stream(
        &self,
        endpoint: &Endpoint,
        response: Response,
        range: &BlobRange<'_>,
        asked_for_part: bool,
    ) -> Result<BlobStream, UpstreamError> {
        let (meter, health) = (Arc::clone(&self.meter), Arc::clone(endpoint.health()));
        let resume_hint = ResumeHint {
            address: response.redirected.then(|| response.url.clone()).filter(|url| !endpoint.is_at(url)),
        };
        let ranged = asked_for_part && response.status == StatusCode::PARTIAL_CONTENT;
        let (start, end, total) = if ranged {
            bounds(&response, range.from)?
        } else {
            let total = content_length(&response);
            (0, total, total)
        };
        let coding = header::content_coding(&response.headers);
        let redirected = response.redirected;
        let (body, position, repository) = (response.body, start, range.repository.clone());
        Ok(BlobStream {
            body,
            endpoint: endpoint.host(),
            meter,
            health,
            repository,
            resume_hint,
            start,
            end,
            total,
            position,
            ranged,
            redirected,
            coding,
            ended: None,
        })
    }
}

/// The reason why an endpoint sends no stream.
enum NoStream {
    Failed(UpstreamError),
    /// The endpoint may have refused the range, and not the blob.
    NoRange(UpstreamError),
}

impl NoStream {
    fn into_inner(self) -> UpstreamError {
        match self {
            Self::Failed(error) | Self::NoRange(error) => error,
        }
    }
}

impl From<UpstreamError> for NoStream {
    fn from(error: UpstreamError) -> Self {
        Self::Failed(error)
    }
}

/// Returns true if an endpoint may refuse this range of a blob, and send the whole blob.
fn refuses(error: &UpstreamError, range: &BlobRange<'_>) -> bool {
    match error {
        // An empty blob has no first byte. Whether a blob ends before a later byte, its sender knows best.
        UpstreamError::Unsatisfiable { total: None, .. } => {
            range.from == 0 && *range.digest != Digest::of(range.digest.algorithm(), b"")
        }
        UpstreamError::Unsatisfiable { total: Some(total), .. } => range.from < *total,
        error => is_no_range(error),
    }
}

/// Returns true for a status with which servers refuse the header `Range`.
fn is_no_range(error: &UpstreamError) -> bool {
    matches!(error, UpstreamError::Status { status: 400 | 405 | 406 | 501, .. })
}

/// Returns true if the storage behind a registry may refuse an expired link like this.
fn is_refusal(status: StatusCode) -> bool {
    matches!(status, StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::GONE)
}

/// Reads the start, the end and the whole size from a 206. Returns an error if the range does not begin at `from`.
fn bounds(response: &Response, from: u64) -> Result<(u64, Option<u64>, Option<u64>), UpstreamError> {
    let text = response.header(&CONTENT_RANGE).unwrap_or_default();
    match ContentRange::parse(&text) {
        Some(range) if range.first == from => Ok((from, Some(range.last + 1), range.total)),
        _ => {
            let reason = format!("it sent Content-Range {text:?} to a request for the bytes from {from} on");
            Err(UpstreamError::Protocol { host: response.body.host().into(), reason })
        }
    }
}

/// Returns true if the answer to a HEAD is about this blob, and not a web page or other content.
fn is_of(response: &Response, digest: &Digest) -> bool {
    let stated = response.header(&CONTENT_DIGEST).and_then(|text| text.trim().parse::<Digest>().ok());
    let is_possible = plain_length(response) != Some(0) || *digest == Digest::of(digest.algorithm(), b"");
    is_possible
        && !is_page(response)
        && stated.is_none_or(|stated| stated.algorithm() != digest.algorithm() || stated == *digest)
}

/// Returns the length of the content, unless the answer is encoded.
fn plain_length(response: &Response) -> Option<u64> {
    content_length(response).filter(|_| header::content_coding(&response.headers).is_none())
}

fn blob_request<'a>(method: Method, repository: &'a RepositoryName, digest: &Digest) -> UpstreamRequest<'a> {
    let rest = format!("blobs/{digest}");
    let kind = RequestKind::Blob;
    UpstreamRequest { kind, method, repository, rest, query: Vec::new(), headers: HeaderMap::new(), on_redirect: None }
}
