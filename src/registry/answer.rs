//! The values that repositories answer with.

use bytes::Bytes;

use crate::oci::{Digest, MediaType, Tag};
use crate::store::Page;

/// A value that was found, and where it came from: `X-Cache` and `Warning` tell clients of it.
#[derive(Clone, Debug)]
pub struct Found<T> {
    pub value: T,
    /// The source of a mirrored repository's answer. `None` for a hosted repository.
    pub cache: Option<CacheStatus>,
    /// The text of a `Warning: 299` field: since when the upstream has not answered.
    pub warning: Option<String>,
}

/// The source of a mirrored repository's answer (docs/reference/freshness.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheStatus {
    Hit,
    Revalidated,
    Stale,
    Miss,
    Fill,
}

impl CacheStatus {
    /// Returns the status of an answer that the upstream gave to this request, or to another one that this request joined.
    pub(super) fn asked(joined: bool) -> Self {
        if joined { Self::Fill } else { Self::Miss }
    }

    /// Returns the value of `X-Cache`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Revalidated => "revalidated",
            Self::Stale => "stale",
            Self::Miss => "miss",
            Self::Fill => "fill",
        }
    }
}

impl<T> Found<T> {
    /// Wraps an answer of a hosted repository.
    pub fn hosted(value: T) -> Self {
        Self { value, cache: None, warning: None }
    }

    /// Wraps an answer of a mirrored repository.
    pub fn mirrored(value: T, cache: CacheStatus) -> Self {
        Self { value, cache: Some(cache), warning: None }
    }

    /// Returns the same answer with another value.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Found<U> {
        Found { value: change(self.value), cache: self.cache, warning: self.warning }
    }
}

/// The facts about a manifest that the headers of an answer state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestInfo {
    pub digest: Digest,
    pub media_type: MediaType,
    /// The length in bytes.
    pub size: u64,
}

/// A manifest that is stored here, byte for byte as it arrived.
#[derive(Clone, Debug)]
pub struct HeldManifest {
    pub info: ManifestInfo,
    pub body: Bytes,
}

/// A tag that was removed, and the manifest that it named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemovedTag {
    pub tag: Tag,
    pub digest: Digest,
}

/// The part of a list that a client asks for (OCI distribution-spec 1.1, "Listing Tags").
#[derive(Clone, Debug, Default)]
pub struct PageRequest {
    /// The highest number of entries. `None` stands for the server's own limit.
    pub n: Option<usize>,
    /// Only entries after this one, in byte order.
    pub last: Option<String>,
}

impl PageRequest {
    /// The highest number of entries in one answer, and the number if the client names none.
    const MOST: usize = 10_000;
    /// The highest number of entries in an answer that reads files for each of them.
    const MOST_DETAILED: usize = 1000;
    /// The number of entries in such an answer when the client names none.
    const USUAL_DETAILED: usize = 100;

    /// Returns the highest number of entries that the answer may have.
    pub fn most(&self) -> usize {
        self.n.unwrap_or(Self::MOST).min(Self::MOST)
    }

    /// Returns the same for an answer that reads files for each entry.
    pub(super) fn most_detailed(&self) -> usize {
        self.n.unwrap_or(Self::USUAL_DETAILED).min(Self::MOST_DETAILED)
    }

    /// Cuts this page out of a list that is sorted in byte order.
    pub(super) fn cut<T: AsRef<str> + Into<String>>(&self, sorted: impl Iterator<Item = T>) -> Page<String> {
        let most = self.most();
        let mut rest = sorted.skip_while(|entry| self.last.as_deref().is_some_and(|last| entry.as_ref() <= last));
        let entries: Vec<String> = rest.by_ref().take(most).map(Into::into).collect();
        let more = !entries.is_empty() && rest.next().is_some();
        Page { entries, more }
    }
}
