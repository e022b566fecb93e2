//! Fetches manifests from an upstream. They are small, so each is read whole and verified before it is returned.

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};

use super::exchange::{content_length, is_object, plain, stale_warning};
use super::request::{CONTENT_DIGEST, Reply, UpstreamRequest};
use super::tried::Tried;
use crate::oci::{Algorithm, Digest, MAX_MANIFEST_BYTES, Manifest, MediaType, Reference, RepositoryName};
use crate::outbound::Response;
use crate::upstream::client::Upstream;
use crate::upstream::endpoint::RequestKind;
use crate::upstream::error::UpstreamError;
use crate::upstream::header;

/// The `Accept` of every request. It does not depend on the client's own `Accept`, since the stored manifest must serve
/// every client.
const ACCEPTED: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json, */*";

/// The answer to a HEAD of a manifest. Without a digest it is of no use, and a GET must follow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ManifestHead {
    pub digest: Option<Digest>,
    pub media_type: Option<MediaType>,
    /// In bytes.
    pub size: Option<u64>,
    /// The upstream is a mirror and served an old copy. The text is its warning.
    pub stale: Option<String>,
}

/// A manifest as the upstream sent it, at most 4 MiB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedManifest {
    pub body: Bytes,
    /// Its `Content-Type`.
    pub media_type: Option<MediaType>,
    /// The digest of the body. Its algorithm is that of the requested digest; for a tag it is that of
    /// `Docker-Content-Digest` if the header matches the body, else sha256.
    pub digest: Digest,
    /// The upstream is a mirror and served an old copy. The text is its warning.
    pub stale: Option<String>,
}

impl Upstream {
    /// Asks for the digest, the type and the size of a manifest. Nothing is downloaded, and Docker Hub does not count
    /// the request.
    ///
    /// A HEAD denies nothing: registries and proxies refuse it, answer 404 or 5xx, cut it or hang, where a GET brings the
    /// content. So any failure that does not concern every request is an empty answer, and the caller's GET tells.
    pub async fn head_manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<ManifestHead, UpstreamError> {
        let Some(reply) = self.ask_by_head(&manifest_request(Method::HEAD, repository, reference)).await? else {
            return Ok(ManifestHead::default());
        };
        let response = self.judge(reply)?;
        let head = ManifestHead {
            digest: stated_digest(&response),
            media_type: media_type(&response),
            size: stated_size(&response),
            stale: stale_warning(&response),
        };
        match (reference, head.digest) {
            (Reference::Digest(expected), Some(found))
                if expected.algorithm() == found.algorithm() && *expected != found =>
            {
                Ok(ManifestHead::default())
            }
            _ => Ok(head),
        }
    }

    /// Fetches a manifest and verifies it. If the body was cut, is too large or is not a manifest, or does not match its
    /// digest, another endpoint is asked.
    pub async fn get_manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<FetchedManifest, UpstreamError> {
        let request = manifest_request(Method::GET, repository, reference);
        let (mut tried, mut mismatched) = (Tried::default(), Vec::new());
        let error = loop {
            let reply = match self.ask_except(&request, tried.endpoints()).await {
                Ok(reply) => reply,
                Err(error) => break tried.report(error),
            };
            let endpoint = reply.endpoint;
            match self.receive(&request, reply, reference).await {
                Ok(fetched) => {
                    mismatched.into_iter().for_each(|endpoint| self.report_digest_mismatch(endpoint, repository));
                    return Ok(fetched);
                }
                Err(error) => {
                    if let UpstreamError::Mismatch { .. } = &error {
                        mismatched.push(endpoint.id());
                    }
                    if let Err(error) = tried.note(endpoint, error) {
                        break error;
                    }
                }
            }
        };
        mismatched.into_iter().for_each(|endpoint| self.count_wrong_content(endpoint));
        Err(error)
    }

    async fn receive(
        &self,
        request: &UpstreamRequest<'_>,
        reply: Reply<'_>,
        reference: &Reference,
    ) -> Result<FetchedManifest, UpstreamError> {
        let (endpoint, host) = (reply.endpoint, reply.server());
        let response = self.judge(reply)?;
        let (media_type, stated) = (media_type(&response), stated_digest(&response));
        let (stale, coding) = (stale_warning(&response), header::content_coding(&response.headers));
        let body = self.read(endpoint, request, response.body, MAX_MANIFEST_BYTES).await?;
        let body = plain(body, coding, MAX_MANIFEST_BYTES, |body| match reference {
            Reference::Digest(expected) => Digest::of(expected.algorithm(), body) == *expected,
            Reference::Tag(_) => is_object(body),
        });
        // Content that matches its digest is the upstream's, in whatever form.
        if let Reference::Tag(_) = reference {
            let parsed = Manifest::parse(&body, media_type.as_ref()).and_then(|manifest| manifest.check_kind());
            parsed.map_err(|error| {
                let reason = format!("its answer is not a manifest: {error}");
                UpstreamError::Foreign { host, reason }
            })?;
        }
        let digest = match reference {
            Reference::Digest(expected) => {
                let found = Digest::of(expected.algorithm(), &body);
                if found != *expected {
                    return Err(UpstreamError::Mismatch { expected: *expected, found });
                }
                found
            }
            Reference::Tag(_) => stated
                .filter(|stated| *stated == Digest::of(stated.algorithm(), &body))
                .unwrap_or_else(|| Digest::of(Algorithm::Sha256, &body)),
        };
        Ok(FetchedManifest { body, media_type, digest, stale })
    }
}

fn manifest_request<'a>(method: Method, repository: &'a RepositoryName, reference: &Reference) -> UpstreamRequest<'a> {
    let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(ACCEPTED))]);
    let rest = format!("manifests/{reference}");
    UpstreamRequest {
        kind: RequestKind::Manifest,
        method,
        repository,
        rest,
        query: Vec::new(),
        headers,
        on_redirect: None,
    }
}

/// Returns the size that the answer to a HEAD states, if a manifest can have it. Some proxies state 0 for each HEAD.
fn stated_size(response: &Response) -> Option<u64> {
    let is_possible = |size: &u64| (1..=MAX_MANIFEST_BYTES as u64).contains(size);
    content_length(response).filter(is_possible).filter(|_| header::content_coding(&response.headers).is_none())
}

fn stated_digest(response: &Response) -> Option<Digest> {
    response.header(&CONTENT_DIGEST)?.trim().parse().ok()
}

/// Returns the `Content-Type` if it tells the type of a manifest. A generic type tells nothing, and one that a browser would
/// run or render is not relayed; the manifest itself then tells its type.
fn media_type(response: &Response) -> Option<MediaType> {
    MediaType::parse(&response.header(&CONTENT_TYPE)?).filter(|stated| stated.is_inert() && !stated.is_generic())
}
