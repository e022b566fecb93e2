//! What makes no sense of a request, before anything is looked for.

use super::super::query::Repeated;
use super::MOST_TAGS;
use crate::oci::{DigestError, ImageError, NameError};

/// A request that makes no sense, and the handler it was meant for (as metrics name it).
#[derive(Debug)]
pub struct Refused {
    pub handler: &'static str,
    pub why: RouteError,
}

/// Why a request makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    #[error("nothing is served at this path; repositories are under /v2/NAME/manifests, blobs, tags and referrers")]
    NoSuchPath,
    #[error("this path takes {}, and no other method", listed(allow))]
    Method { allow: &'static str },
    #[error("the path holds a percent sign that begins no escape, or bytes that are not UTF-8")]
    Escape,
    #[error(transparent)]
    Name(NameError),
    /// A manifest is looked for by what can be no tag, so that there is none.
    #[error("there is no such manifest: {0}")]
    NoSuchTag(NameError),
    #[error(transparent)]
    Tag(NameError),
    #[error("more than {MOST_TAGS} tags ({0}) are to name the manifest; push it again for the others")]
    TooManyTags(usize),
    #[error("?tag= goes with a manifest that is pushed by its digest, as in PUT /v2/NAME/manifests/sha256:HEX?tag={0}")]
    TagsByTag(String),
    #[error(transparent)]
    Digest(#[from] DigestError),
    #[error(transparent)]
    Repeated(#[from] Repeated),
    #[error("the digest of the content is missing; add ?digest=ALGORITHM:HEX")]
    DigestMissing,
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error("n={0:?} is not a number of entries")]
    PageNumber(String),
    #[error("last={0:?} is not the digest of a referrer; the next page is at the Link of the one before")]
    LastReferrer(String),
    #[error("{0:?} names no upload; start one with POST")]
    NoUpload(String),
}

fn listed(methods: &str) -> String {
    match methods.rsplit_once(", ") {
        Some((first, last)) => format!("{first} and {last}"),
        None => methods.to_owned(),
    }
}
