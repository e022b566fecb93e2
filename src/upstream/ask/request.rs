//! A request that any endpoint of an upstream can answer, and the reply to it.

use std::time::Duration;

use http::{HeaderMap, HeaderName, Method, StatusCode};

use crate::oci::RepositoryName;
use crate::outbound::{Response, Url};
use crate::upstream::endpoint::{Endpoint, RequestKind};
use crate::upstream::failed_server::FailedServer;
use crate::upstream::header;
use crate::upstream::words::UpstreamWords;

/// The digest of the content (OCI distribution-spec 1.1, "Pulling manifests").
pub(super) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// A request that any endpoint of an upstream can answer.
#[derive(Clone)]
pub(super) struct UpstreamRequest<'a> {
    pub(super) kind: RequestKind,
    pub(super) method: Method,
    pub(super) repository: &'a RepositoryName,
    /// The part of the path after `/v2/NAME/`.
    pub(super) rest: String,
    pub(super) query: header::PageQuery,
    pub(super) headers: HeaderMap,
    pub(super) on_redirect: OnRedirect<'a>,
}

/// Called with the target of a redirect, and the time after which the answer came that redirects to it.
pub(super) type OnRedirect<'a> = Option<&'a (dyn Fn(&Url, Duration) + Sync)>;

/// A response and the endpoint that gave it.
#[derive(Debug)]
pub(super) struct Reply<'a> {
    pub(super) response: Response,
    pub(super) endpoint: &'a Endpoint,
    /// A registry gave it. Otherwise its status says nothing about the content.
    pub(super) vouched: bool,
    /// The words of an error.
    pub(super) said: Option<UpstreamWords>,
}

impl Reply<'_> {
    /// Returns the server that gave it: the endpoint, or the target of its redirect.
    pub(super) fn server(&self) -> FailedServer {
        FailedServer::answering_for(self.response.body.host(), &self.endpoint.host())
    }

    /// Returns true if the server says that there were too many requests: by 429, or by 403 with the code of that.
    pub(super) fn is_throttled(&self) -> bool {
        let says_so = || self.said.as_ref().is_some_and(UpstreamWords::is_rate_limit);
        match self.response.status {
            StatusCode::TOO_MANY_REQUESTS => true,
            StatusCode::FORBIDDEN => self.vouched && says_so(),
            _ => false,
        }
    }
}

impl UpstreamRequest<'_> {
    /// Returns true if a digest names the requested content.
    pub(super) fn is_by_digest(&self) -> bool {
        match self.kind {
            RequestKind::Blob => true,
            // A tag holds no colon.
            RequestKind::Manifest => self.rest.contains(':'),
            // The content of lists and tokens depends on the server that is asked.
            RequestKind::Tags | RequestKind::Referrers | RequestKind::Token => false,
        }
    }

    /// Returns the same request by HEAD.
    pub(super) fn by_head(&self) -> Self {
        Self { method: Method::HEAD, ..self.clone() }
    }

    /// Returns true for a HEAD: what it says, and how it fails, decides nothing about the GET of the same content.
    pub(super) fn is_hint(&self) -> bool {
        self.method == Method::HEAD
    }

    /// Returns true for a blob. Registries that count requests do not count those, and a running transfer must be able
    /// to continue. A HEAD asks for a repository's right to a blob that has arrived for another repository: if it
    /// waited, a client would get an error that it would not get if the blob had to be fetched.
    pub(super) fn ignores_throttle(&self) -> bool {
        self.kind == RequestKind::Blob
    }

    /// Returns true for a status that denies content, or a right to it. It counts only if a registry said it.
    pub(super) fn is_claim(&self, status: StatusCode) -> bool {
        let is_refusal = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND);
        is_refusal || (self.kind == RequestKind::Referrers && means_unsupported(status))
    }
}

/// Returns true if the answer to a request says that this kind of list is not supported.
pub(super) fn means_unsupported(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::NOT_FOUND
            | StatusCode::BAD_REQUEST
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::NOT_ACCEPTABLE
            | StatusCode::NOT_IMPLEMENTED
    )
}
