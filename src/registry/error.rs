//! What can go wrong with a repository.

use std::time::Duration;

use super::{CacheStatus, Missing};
use crate::fills::FillError;
use crate::oci::{Digest, HostName, ManifestError, Reference, RepositoryName};
use crate::store::StoreError;
use crate::upstream::UpstreamError;

/// Why a repository did not do what it was asked. Texts are for people; `web` decides about codes.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RegistryError {
    /// Neither hosted here nor of an upstream that is configured. The text says which key would mirror it.
    #[error("{0}")]
    NameUnknown(String),
    /// Its upstream was asked, and has no such repository.
    #[error("{repository} is not at its upstream, or is not shown to us")]
    RepositoryUnknown { repository: String, cache: CacheStatus },
    #[error("{} {reference} is not in {repository}{hint}", if reference.contains(':') { "manifest" } else { "tag" })]
    ManifestUnknown { repository: String, reference: String, hint: String, cache: Option<CacheStatus> },
    #[error("blob {digest} is not in {repository}")]
    BlobUnknown { repository: String, digest: Digest, cache: Option<CacheStatus> },
    #[error("upload {id} is unknown here: it was finished, cancelled or never begun; start again with POST")]
    UploadUnknown { id: String },
    #[error("upload {id} is being written by another request; ask for its offset with GET and go on from there")]
    UploadBusy { id: String },
    #[error("{0} is not arriving; GET api/v1/fills lists what is")]
    NoFill(Digest),
    /// A push to a name that is not local.
    #[error("{repository} is a mirrored name and cannot be pushed to; names that can be pushed here: {patterns}")]
    NotLocal { repository: String, patterns: String },
    #[error("deletion is turned off; set storage.delete.enabled: true to allow it")]
    DeleteDisabled,
    #[error(transparent)]
    ManifestInvalid(#[from] ManifestError),
    #[error("the manifest names content that {repository} does not hold: {missing}; push it first")]
    ManifestBlobUnknown { repository: String, missing: Missing },
    #[error("the content has the digest {found}, not {expected}")]
    DigestMismatch { expected: Digest, found: Digest },
    /// Only what is mirrored can be warmed.
    #[error("{0} lives here and is complete as it was pushed; only images of an upstream can be warmed")]
    NotMirrored(String),
    #[error("{image} holds nothing for {wanted}; it is for {offered}")]
    NoPlatform { image: String, wanted: String, offered: String },
    #[error("{0} cannot be kept: mirror.cache.maxsize or mirror.cache.reserve leaves no room for it")]
    NoRoom(Digest),
    /// The caller's condition does not hold: the reference names something else than was expected.
    #[error(
        "{reference} {}, which is not what the request expects (If-Match, If-None-Match); nothing was changed",
        names(.current.as_ref())
    )]
    Changed { reference: String, current: Option<Digest> },
    /// `upstream`: whose failure it is, where it is one's.
    #[error("{message}")]
    Upstream { upstream: Option<HostName>, failure: UpstreamFailure, message: String },
    /// The disk failed; the text goes to the log, not to the client.
    #[error("storage: {0}")]
    Storage(String),
    /// No room is left for what is being pushed.
    #[error("the registry's disk is full; free space or raise the quota of the file system")]
    DiskFull,
}

/// How an upstream failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamFailure {
    /// 401 or 403 after our own token exchange.
    Denied,
    /// 429.
    TooManyRequests { retry_after: Option<Duration> },
    /// 5xx, a wrong digest or length, an answer that makes no sense.
    Bad,
    /// No connection. It is not asked again before `retry_after`, where that is known.
    Unreachable { retry_after: Option<Duration> },
    /// No first byte, or a stall. Likewise.
    TimedOut { retry_after: Option<Duration> },
}

impl RegistryError {
    /// What an upstream sent is of no use.
    pub(super) fn useless(upstream: &HostName, message: String) -> Self {
        Self::Upstream { upstream: Some(upstream.clone()), failure: UpstreamFailure::Bad, message }
    }

    /// A blob's source failed.
    pub(super) fn blob(
        error: &UpstreamError,
        digest: &Digest,
        (upstream, repository): &(HostName, RepositoryName),
    ) -> Self {
        match error {
            UpstreamError::NotFound => Self::BlobUnknown {
                repository: format!("{upstream}/{repository}"),
                digest: *digest,
                cache: Some(CacheStatus::Miss),
            },
            other => Self::upstream(other, upstream),
        }
    }

    /// The upstream was asked for a manifest and failed.
    pub(super) fn manifest(
        error: &UpstreamError,
        (upstream, repository): &(HostName, RepositoryName),
        reference: &Reference,
    ) -> Self {
        match error {
            UpstreamError::NotFound => {
                let (hint, cache) = (unmirrored(repository), Some(CacheStatus::Miss));
                let (repository, reference) = (format!("{upstream}/{repository}"), reference.to_string());
                Self::ManifestUnknown { repository, reference, hint, cache }
            }
            other => Self::upstream(other, upstream),
        }
    }

    /// The upstream was asked for the tags of a repository and failed.
    pub(super) fn tags(error: &UpstreamError, (upstream, repository): &(HostName, RepositoryName)) -> Self {
        match error {
            UpstreamError::NotFound => {
                Self::RepositoryUnknown { repository: format!("{upstream}/{repository}"), cache: CacheStatus::Miss }
            }
            other => Self::upstream(other, upstream),
        }
    }

    /// The same, where the upstream said so lately and is not asked again so soon.
    pub(super) fn remembered(mut self) -> Self {
        match &mut self {
            Self::ManifestUnknown { cache, .. } | Self::BlobUnknown { cache, .. } => *cache = Some(CacheStatus::Hit),
            Self::RepositoryUnknown { cache, .. } => *cache = CacheStatus::Hit,
            _ => {}
        }
        self
    }

    /// How a mirrored repository came to say so, where that is known.
    pub fn cache(&self) -> Option<CacheStatus> {
        match self {
            Self::ManifestUnknown { cache, .. } | Self::BlobUnknown { cache, .. } => *cache,
            Self::RepositoryUnknown { cache, .. } => Some(*cache),
            Self::Upstream { .. } => Some(CacheStatus::Miss),
            _ => None,
        }
    }
}

fn names(digest: Option<&Digest>) -> String {
    digest.map_or_else(|| "names nothing now".to_owned(), |digest| format!("names {digest} now"))
}

/// A name whose first part looks like a registry that is not configured was asked of the default upstream: not what was meant.
fn unmirrored(repository: &RepositoryName) -> String {
    match repository.as_str().split_once('/') {
        Some((first, _)) if first.contains('.') => {
            format!("; {first} is not mirrored here, the configuration key mirror.upstreams.{first} would mirror it")
        }
        _ => String::new(),
    }
}

impl RegistryError {
    /// An upstream failed. What only its configuration or the link can mend names the key of it.
    pub(super) fn upstream(error: &UpstreamError, upstream: &HostName) -> Self {
        let failure = match error {
            UpstreamError::Denied { .. } => UpstreamFailure::Denied,
            UpstreamError::TooManyRequests { retry_after, .. } => {
                UpstreamFailure::TooManyRequests { retry_after: *retry_after }
            }
            UpstreamError::Connect { retry_in, .. } => UpstreamFailure::Unreachable { retry_after: *retry_in },
            UpstreamError::Silent { connected: false, retry_in, .. } => {
                UpstreamFailure::Unreachable { retry_after: Some(*retry_in) }
            }
            UpstreamError::Timeout { .. } => UpstreamFailure::TimedOut { retry_after: None },
            UpstreamError::Silent { connected: true, retry_in, .. } => {
                UpstreamFailure::TimedOut { retry_after: Some(*retry_in) }
            }
            _ => UpstreamFailure::Bad,
        };
        let message = match failure {
            UpstreamFailure::Unreachable { .. } | UpstreamFailure::TimedOut { .. } => {
                format!("{error} (configured as mirror.upstreams.{upstream})")
            }
            _ => error.to_string(),
        };
        Self::Upstream { upstream: Some(upstream.clone()), failure, message }
    }
}

impl From<FillError> for RegistryError {
    fn from(error: FillError) -> Self {
        match error {
            FillError::Upstream { digest, upstream, repository, source } => {
                Self::blob(&source, &digest, &(upstream, repository))
            }
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
            other => Self::Storage(other.to_string()),
        }
    }
}
