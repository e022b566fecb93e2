//! The facts about a request that its handler finds out, for the access log and the metrics.

use crate::oci::ErrorCode;
use crate::registry::CacheStatus;

/// The facts about a request.
#[derive(Default)]
pub(in crate::web) struct Facts {
    /// The name of the repository as the client spelled it.
    pub(in crate::web) name: Option<String>,
    /// The canonical name of the repository.
    pub(in crate::web) repository: Option<String>,
    pub(in crate::web) reference: Option<String>,
    pub(in crate::web) digest: Option<String>,
    pub(in crate::web) upload: Option<String>,
    pub(in crate::web) user: Option<String>,
    pub(in crate::web) cache: Option<CacheStatus>,
    /// The kind of content, if the request pulls mirrored content.
    pub(in crate::web) mirrored: Option<PulledKind>,
    pub(in crate::web) error: Option<LoggedError>,
}

/// The kind of pulled content, with the name that `registry_proxy_*` metrics use.
#[derive(Clone, Copy, Debug)]
pub(in crate::web) enum PulledKind {
    Blob,
    Manifest,
}

impl PulledKind {
    pub(in crate::web) fn as_str(self) -> &'static str {
        match self {
            Self::Blob => "blob",
            Self::Manifest => "manifest",
        }
    }
}

/// An error as the access log reports it.
#[derive(Debug)]
pub(in crate::web) struct LoggedError {
    pub(in crate::web) code: ErrorCode,
    pub(in crate::web) message: String,
    pub(in crate::web) detail: Option<String>,
}

/// The progress of an answer.
#[derive(Debug)]
pub(super) enum AnswerProgress {
    /// There is no answer yet.
    Unanswered,
    /// The body of the answer is being sent.
    Sending,
    Complete,
    /// The connection was cut, because the body could not be sent to its end.
    Cut(String),
}
