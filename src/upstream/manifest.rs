//! Manifests of an upstream: whole, small, and verified before they are handed on.

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::ask::Reply;
use super::ask::{Ask, CONTENT_DIGEST, content_length, plain};
use super::meter::Kind;
use super::{EndpointId, Upstream, UpstreamError};
use crate::oci::{Algorithm, Digest, MAX_MANIFEST_BYTES, MediaType, Reference, RepositoryName};
use crate::outbound::Answer;

/// Asked whatever our client accepts, so that what is held serves every client.
const ACCEPTED: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json, */*";

/// What a HEAD says of a manifest. Without a digest it says nothing of use, and a GET must follow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ManifestHead {
    pub digest: Option<Digest>,
    pub media_type: Option<MediaType>,
    /// In bytes.
    pub size: Option<u64>,
}

/// A manifest as it came, at most 4 MiB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedManifest {
    pub body: Bytes,
    /// Its `Content-Type`.
    pub media_type: Option<MediaType>,
    /// Computed from the body: by the algorithm it was asked by, else by the one of its `Docker-Content-Digest` if that is
    /// right, else by sha256.
    pub digest: Digest,
}

impl Upstream {
    /// Asks what a manifest is; nothing is downloaded, and Docker Hub does not count it.
    pub async fn head_manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<ManifestHead, UpstreamError> {
        let reply = self.ask(&question(Method::HEAD, repository, reference)).await?;
        if reply.answer.status == StatusCode::METHOD_NOT_ALLOWED {
            // It does not do HEAD: nothing is said, and the caller's GET will tell.
            return Ok(ManifestHead::default());
        }
        let answer = self.judge(reply)?;
        let head =
            ManifestHead { digest: said(&answer), media_type: media_type(&answer), size: content_length(&answer) };
        match (reference, head.digest) {
            (Reference::Digest(expected), Some(found))
                if expected.algorithm() == found.algorithm() && *expected != found =>
            {
                Err(UpstreamError::Mismatch { expected: *expected, found })
            }
            _ => Ok(head),
        }
    }

    /// Fetches a manifest and verifies it. Where what came was cut, or is not what its digest says, another endpoint is asked.
    pub async fn get_manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<FetchedManifest, UpstreamError> {
        let question = question(Method::GET, repository, reference);
        let mut failed: Option<UpstreamError> = None;
        let (mut broken, mut mismatched): (Vec<EndpointId>, Vec<EndpointId>) = Default::default();
        loop {
            let reply = match (self.ask_others(&question, &broken).await, failed.clone()) {
                (Ok(reply), _) => reply,
                (Err(_), Some(first)) => return Err(first),
                (Err(error), None) => return Err(error),
            };
            let endpoint = reply.endpoint.id();
            match (self.receive(reply, reference).await, failed.clone()) {
                (Ok(fetched), _) => {
                    mismatched.into_iter().for_each(|endpoint| self.report_digest_mismatch(endpoint));
                    return Ok(fetched);
                }
                (Err(error), first) if error.is_of_content() => {
                    if matches!(error, UpstreamError::Mismatch { .. }) {
                        mismatched.push(endpoint);
                    }
                    broken.push(endpoint);
                    failed = first.or(Some(error));
                }
                (Err(error), first) => return Err(first.unwrap_or(error)),
            }
        }
    }

    async fn receive(&self, reply: Reply<'_>, reference: &Reference) -> Result<FetchedManifest, UpstreamError> {
        let health = reply.endpoint.health();
        let answer = plain(self.judge(reply)?)?;
        let (media_type, said) = (media_type(&answer), said(&answer));
        let body = answer.body.collect(MAX_MANIFEST_BYTES).await.map_err(UpstreamError::from);
        match &body {
            Ok(_) => health.delivered(),
            Err(UpstreamError::TooLarge) => {}
            Err(_) => health.failed(),
        }
        let body = body?;
        self.meter.received(Kind::Manifest, body.len());
        let digest = match reference {
            Reference::Digest(expected) => {
                let found = Digest::of(expected.algorithm(), &body);
                if found != *expected {
                    return Err(UpstreamError::Mismatch { expected: *expected, found });
                }
                found
            }
            Reference::Tag(_) => said
                .filter(|said| *said == Digest::of(said.algorithm(), &body))
                .unwrap_or_else(|| Digest::of(Algorithm::Sha256, &body)),
        };
        Ok(FetchedManifest { body, media_type, digest })
    }
}

fn question<'a>(method: Method, repository: &'a RepositoryName, reference: &Reference) -> Ask<'a> {
    let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(ACCEPTED))]);
    let rest = format!("manifests/{reference}");
    Ask { kind: Kind::Manifest, method, repository, rest, query: Vec::new(), headers }
}

fn said(answer: &Answer) -> Option<Digest> {
    answer.header(&CONTENT_DIGEST)?.trim().parse().ok()
}

fn media_type(answer: &Answer) -> Option<MediaType> {
    MediaType::parse(&answer.header(&CONTENT_TYPE)?)
}
