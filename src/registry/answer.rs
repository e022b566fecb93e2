//! What a repository answers with.

use bytes::Bytes;

use crate::oci::{Digest, MediaType};
use crate::store;

/// Something that was found, and how: what `X-Cache` and `Warning` tell.
#[derive(Clone, Debug)]
pub struct Found<T> {
    pub value: T,
    /// `None` in a hosted repository.
    pub cache: Option<CacheStatus>,
    /// Words for a `Warning: 299` field: since when the upstream has not answered.
    pub warning: Option<String>,
}

/// How a mirrored repository came by its answer (the table in PRODUCT.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheStatus {
    Hit,
    Revalidated,
    Stale,
    Miss,
    Fill,
}

impl CacheStatus {
    /// Of what the upstream was asked for, by this request or by another that this one joined.
    pub(super) fn asked(joined: bool) -> Self {
        if joined { Self::Fill } else { Self::Miss }
    }

    /// The value of `X-Cache`.
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
    /// Found in a hosted repository.
    pub fn hosted(value: T) -> Self {
        Self { value, cache: None, warning: None }
    }

    /// Found in a mirrored repository.
    pub fn mirrored(value: T, cache: CacheStatus) -> Self {
        Self { value, cache: Some(cache), warning: None }
    }

    /// The same, with another value.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Found<U> {
        Found { value: change(self.value), cache: self.cache, warning: self.warning }
    }
}

/// What a HEAD of a manifest tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestInfo {
    pub digest: Digest,
    pub media_type: MediaType,
    pub size: u64,
}

/// A manifest that is held, byte for byte as it came.
#[derive(Clone, Debug)]
pub struct HeldManifest {
    pub info: ManifestInfo,
    pub body: Bytes,
}

/// Which part of a list is asked for (distribution-spec, "Listing Tags").
#[derive(Clone, Debug, Default)]
pub struct PageRequest {
    /// At most so many; `None`: the server's own limit.
    pub n: Option<usize>,
    /// Only what comes after this, in byte order.
    pub last: Option<String>,
}

/// A part of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    pub entries: Vec<String>,
    /// More come after the last entry.
    pub more: bool,
}

impl From<store::Page<String>> for Page {
    fn from(page: store::Page<String>) -> Self {
        Self { entries: page.entries, more: page.more }
    }
}

impl PageRequest {
    /// The most entries in one answer, whatever is asked for.
    const MOST: usize = 10_000;

    /// The most entries that this asks for.
    pub(super) fn most(&self) -> usize {
        self.n.unwrap_or(Self::MOST).min(Self::MOST)
    }

    /// Cuts this part out of a list that is sorted in byte order.
    pub(super) fn cut<T: AsRef<str> + Into<String>>(&self, sorted: impl Iterator<Item = T>) -> Page {
        let most = self.most();
        let mut rest = sorted.skip_while(|entry| self.last.as_deref().is_some_and(|last| entry.as_ref() <= last));
        let entries: Vec<String> = rest.by_ref().take(most).map(Into::into).collect();
        let more = !entries.is_empty() && rest.next().is_some();
        Page { entries, more }
    }
}
