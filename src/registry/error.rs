//! Errors of repositories. The messages are written for people. `web` decides the status codes.

use std::time::Duration;

use super::answer::CacheStatus;
use super::missing::Missing;
use crate::fills::FillError;
use crate::oci::{Digest, HostName, ManifestError, MirroredName, Reference, RepositoryName};
use crate::store::StoreError;
use crate::upstream::{FailedServer, UpstreamError};

/// A client that gave up waiting may ask again after this time. It joins the request that is still running.
const JOIN_AFTER: Duration = Duration::from_secs(1);

/// The reason why a repository refused or failed to do something.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RegistryError {
    /// The name is neither hosted here nor of a configured upstream. The text says which key would mirror it.
    #[error("{0}")]
    NameUnknown(String),
    /// The upstream was asked and has no such repository.
    #[error("the upstream has no repository {repository}, or does not show it to this server")]
    RepositoryUnknown { repository: String, cache: CacheStatus },
    #[error("{} {reference} is not in {repository}{hint}", if reference.contains(':') { "manifest" } else { "tag" })]
    ManifestUnknown { repository: String, reference: String, hint: String, cache: Option<CacheStatus> },
    #[error("blob {digest} is not in {repository}")]
    BlobUnknown { repository: String, digest: Digest, cache: Option<CacheStatus> },
    #[error("upload {id} is unknown here: it was finished or cancelled, or it never existed; start again with POST")]
    UploadUnknown { id: String },
    #[error("another request is writing upload {id}; ask for its offset with GET and continue from there")]
    UploadBusy { id: String },
    #[error("no fill of {0} is running; GET api/v1/fills lists the running fills")]
    NoFill(Digest),
    /// The client pushed to a name that is not local.
    #[error("{repository} is a mirrored name and cannot be pushed to; names that can be pushed here: {patterns}")]
    NotLocal { repository: String, patterns: String },
    #[error("deletion is turned off; set storage.delete.enabled: true to allow it")]
    DeleteDisabled,
    #[error(transparent)]
    ManifestInvalid(#[from] ManifestError),
    #[error("the manifest names content that {repository} does not have: {missing}; push that content first")]
    ManifestBlobUnknown { repository: String, missing: Missing },
    #[error("the content has the digest {found}, not {expected}")]
    DigestMismatch { expected: Digest, found: Digest },
    /// Only mirrored images can be warmed.
    #[error("{0} is hosted here, so all of it is here already; only images of an upstream can be warmed")]
    NotMirrored(String),
    #[error("{image} has no image for {wanted}; it has images for {offered}")]
    NoPlatform { image: String, wanted: String, offered: String },
    #[error("{0} cannot be kept: mirror.cache.maxsize or mirror.cache.reserve leaves no space for it")]
    NoRoom(Digest),
    /// The client's condition does not hold: the reference names other content than the client expects.
    #[error(
        "{reference} {}, which is not what the request expects (If-Match, If-None-Match); nothing was changed",
        names_now(.current.as_ref())
    )]
    Changed { reference: String, current: Option<Digest> },
    /// An upstream failed. `upstream` is its name, where one upstream caused the failure.
    #[error("{message}")]
    Upstream { upstream: Option<HostName>, failure: UpstreamFailure, message: String },
    /// The disk failed. The text goes to the log, not to the client.
    #[error("storage: {0}")]
    Storage(String),
    /// One entry of the storage cannot be used. The text goes to the log, not to the client.
    #[error("storage: {0}")]
    BadEntry(String),
    /// The disk has no space left for a push.
    #[error("the registry's disk is full; free some space or enlarge the file system")]
    DiskFull,
}

/// The way in which an upstream failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamFailure {
    /// The upstream answered 401 or 403 after this server's own token exchange.
    Denied,
    /// The upstream wants a login that this server does not have: a server in front of it asks for one, or the credential helper
    /// has failed. That says nothing about the content.
    NoLogin,
    /// The upstream answered 429.
    TooManyRequests { retry_after: Option<Duration> },
    /// The upstream answered 5xx, sent a wrong digest or length, or sent an answer that makes no sense.
    /// `retry_after` is the wait that a 503 asked for.
    Bad { retry_after: Option<Duration> },
    /// No connection was made. The upstream is not asked again before `retry_after`, where that is known.
    Unreachable { retry_after: Option<Duration> },
    /// The first byte did not arrive in time, or the transfer stalled. `retry_after` has the same meaning.
    TimedOut { retry_after: Option<Duration> },
}

impl RegistryError {
    /// Returns the error for an upstream that failed. It names the configuration key of an upstream that was not reached.
    pub(super) fn upstream(error: &UpstreamError, upstream: &HostName) -> Self {
        let failure = match error {
            UpstreamError::Denied { .. } if error.is_answer() => UpstreamFailure::Denied,
            UpstreamError::Denied { .. } => UpstreamFailure::NoLogin,
            UpstreamError::TooManyRequests { retry_after, .. } => {
                UpstreamFailure::TooManyRequests { retry_after: *retry_after }
            }
            UpstreamError::Connect { retry_in, .. } => UpstreamFailure::Unreachable { retry_after: *retry_in },
            UpstreamError::Silent { connected: false, retry_in, .. } => {
                UpstreamFailure::Unreachable { retry_after: Some(*retry_in) }
            }
            UpstreamError::Timeout { .. } => UpstreamFailure::TimedOut { retry_after: None },
            UpstreamError::Slow { .. } => UpstreamFailure::TimedOut { retry_after: Some(JOIN_AFTER) },
            UpstreamError::Silent { connected: true, retry_in, .. } => {
                UpstreamFailure::TimedOut { retry_after: Some(*retry_in) }
            }
            UpstreamError::Status { retry_after, .. } => UpstreamFailure::Bad { retry_after: *retry_after },
            _ => UpstreamFailure::Bad { retry_after: None },
        };
        // Only the addresses of endpoints are configured.
        let is_configured = error.server().is_none_or(FailedServer::is_endpoint);
        let message = match failure {
            UpstreamFailure::Unreachable { .. } | UpstreamFailure::TimedOut { .. } if is_configured => {
                format!("{error} (configured as mirror.upstreams.{upstream})")
            }
            UpstreamFailure::Unreachable { .. } | UpstreamFailure::TimedOut { .. } => {
                format!(
                    "{error} (the upstream is configured as mirror.upstreams.{upstream}; this server's address is not)"
                )
            }
            _ => error.to_string(),
        };
        Self::Upstream { upstream: Some(upstream.clone()), failure, message }
    }

    /// Returns the error for an upstream whose answer cannot be used.
    pub(super) fn bad_answer(upstream: &HostName, message: String) -> Self {
        Self::Upstream {
            upstream: Some(upstream.clone()),
            failure: UpstreamFailure::Bad { retry_after: None },
            message,
        }
    }

    /// Returns the error for an upstream that was asked for a blob.
    pub(super) fn blob(error: &UpstreamError, name: &MirroredName, digest: &Digest) -> Self {
        match error {
            UpstreamError::NotFound => {
                Self::BlobUnknown { repository: name.to_string(), digest: *digest, cache: Some(CacheStatus::Miss) }
            }
            other => Self::upstream(other, name.upstream()),
        }
    }

    /// Returns the error for an upstream that was asked for a manifest.
    pub(super) fn manifest(error: &UpstreamError, name: &MirroredName, reference: &Reference) -> Self {
        match error {
            UpstreamError::NotFound => {
                let (hint, cache) = (unmirrored_hint(name.repository()), Some(CacheStatus::Miss));
                let (repository, reference) = (name.to_string(), reference.to_string());
                Self::ManifestUnknown { repository, reference, hint, cache }
            }
            other => Self::upstream(other, name.upstream()),
        }
    }

    /// Returns the error for an upstream that was asked for the tags of a repository.
    pub(super) fn tags(error: &UpstreamError, name: &MirroredName) -> Self {
        match error {
            UpstreamError::NotFound => {
                Self::RepositoryUnknown { repository: name.to_string(), cache: CacheStatus::Miss }
            }
            other => Self::upstream(other, name.upstream()),
        }
    }

    /// Returns true if the upstream itself said so: the content is absent, or not for this account. Any other error says
    /// nothing about the content.
    pub(super) fn is_answer(&self) -> bool {
        match self {
            Self::ManifestUnknown { .. } | Self::BlobUnknown { .. } | Self::RepositoryUnknown { .. } => true,
            Self::Upstream { failure, .. } => *failure == UpstreamFailure::Denied,
            _ => false,
        }
    }

    /// Returns the same error for an answer that comes from the negative cache.
    pub(super) fn remembered(mut self) -> Self {
        match &mut self {
            Self::ManifestUnknown { cache, .. } | Self::BlobUnknown { cache, .. } => *cache = Some(CacheStatus::Hit),
            Self::RepositoryUnknown { cache, .. } => *cache = CacheStatus::Hit,
            _ => {}
        }
        self
    }

    /// Returns the source of a mirrored repository's error, where it has one.
    pub fn cache(&self) -> Option<CacheStatus> {
        match self {
            Self::ManifestUnknown { cache, .. } | Self::BlobUnknown { cache, .. } => *cache,
            Self::RepositoryUnknown { cache, .. } => Some(*cache),
            Self::Upstream { .. } => Some(CacheStatus::Miss),
            _ => None,
        }
    }
}

fn names_now(digest: Option<&Digest>) -> String {
    digest.map_or_else(|| "names nothing now".to_owned(), |digest| format!("names {digest} now"))
}

/// Returns a hint for a name whose first part looks like a registry that is not configured: the user probably did not mean the
/// default upstream, which was asked.
fn unmirrored_hint(repository: &RepositoryName) -> String {
    match repository.as_str().split_once('/') {
        Some((first, _)) if first.contains('.') => {
            format!("; {first} is not mirrored here, the configuration key mirror.upstreams.{first} would mirror it")
        }
        _ => String::new(),
    }
}

impl From<FillError> for RegistryError {
    fn from(error: FillError) -> Self {
        match error {
            FillError::Upstream { digest, repository, source } => Self::blob(&source, &repository, &digest),
            FillError::Cancelled(_) | FillError::Interrupted(_) => {
                let failure = UpstreamFailure::Unreachable { retry_after: None };
                Self::Upstream { upstream: None, failure, message: error.to_string() }
            }
        }
    }
}

impl From<StoreError> for RegistryError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Mismatch { expected, found } => Self::DigestMismatch { expected, found },
            full if full.is_full() => Self::DiskFull,
            one if one.path().is_some() => Self::BadEntry(one.to_string()),
            other => Self::Storage(other.to_string()),
        }
    }
}
