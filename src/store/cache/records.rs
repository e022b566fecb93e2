//! The small records of the cache: the manifest that a tag named last, the referrers of a manifest, and the reason why
//! a repository may serve a digest.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::oci::{Digest, MediaType, Referrers};

/// The manifest that a tag of a mirrored repository named last. Records never expire; they age.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagRecord {
    pub digest: Digest,
    pub media_type: MediaType,
    pub size: u64,
    /// The time of the last confirmation by the upstream, in seconds since 1970.
    pub seen: u64,
    /// True if the last confirmation was that of `mirror.follow`.
    pub followed: bool,
}

/// The reason why a mirrored repository may serve a digest. A right is recorded, never inferred from what a client
/// wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Right {
    /// The repository's own upstream delivered it, or answered 200 for it, to a request without credentials.
    Public,
    /// The same, to a request with credentials.
    Private,
    /// A cached manifest of the repository names it. This alone gives no right to bytes that came with credentials.
    Named,
}

impl Right {
    /// Returns true if the upstream itself confirmed the right.
    pub fn is_proven(self) -> bool {
        matches!(self, Self::Public | Self::Private)
    }
}

/// The right of a mirrored repository to a digest, and the properties of the content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkRecord {
    pub right: Right,
    pub media_type: MediaType,
    /// The recorded size; a file of another size is never served.
    pub size: Option<u64>,
}

/// The referrers of a manifest in a mirrored repository. The record ages as that of a tag does.
#[derive(Clone, Debug, PartialEq)]
pub struct ReferrersRecord {
    pub referrers: Referrers,
    /// The time of the last confirmation by the upstream, in seconds since 1970.
    pub seen: u64,
}

/// The first line of a list of tags.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct ListHead {
    /// The time of the last confirmation by the upstream, in seconds since 1970.
    pub(super) seen: u64,
}

#[derive(Serialize, Deserialize)]
struct RawReferrers {
    seen: u64,
    manifests: Vec<Box<RawValue>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawTag {
    digest: String,
    media_type: String,
    size: u64,
    seen: u64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    followed: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawLink {
    right: Right,
    media_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
}

impl TagRecord {
    pub fn to_json(&self) -> Vec<u8> {
        let raw = RawTag {
            digest: self.digest.to_string(),
            media_type: self.media_type.to_string(),
            size: self.size,
            seen: self.seen,
            followed: self.followed,
        };
        serde_json::to_vec(&raw).expect("plain strings and numbers are always JSON")
    }

    /// Parses a record. Returns `None` for a damaged one: the upstream is then asked again.
    pub fn from_json(json: &[u8]) -> Option<Self> {
        let raw: RawTag = serde_json::from_slice(json).ok()?;
        Some(Self {
            digest: raw.digest.parse().ok()?,
            // An older version recorded any type that a HEAD stated, also one that a browser would run.
            media_type: MediaType::parse(&raw.media_type).filter(MediaType::is_inert)?,
            size: raw.size,
            seen: raw.seen,
            followed: raw.followed,
        })
    }
}

impl LinkRecord {
    pub fn to_json(&self) -> Vec<u8> {
        let raw = RawLink { right: self.right, media_type: self.media_type.to_string(), size: self.size };
        serde_json::to_vec(&raw).expect("plain strings and numbers are always JSON")
    }

    /// Parses a record. Returns `None` for a damaged one.
    pub fn from_json(json: &[u8]) -> Option<Self> {
        let raw: RawLink = serde_json::from_slice(json).ok()?;
        Some(Self { right: raw.right, media_type: MediaType::parse(&raw.media_type)?, size: raw.size })
    }
}

impl ReferrersRecord {
    pub fn to_json(&self) -> Vec<u8> {
        let raw = RawReferrers { seen: self.seen, manifests: self.referrers.descriptors().to_vec() };
        serde_json::to_vec(&raw).expect("parsed JSON is always JSON again")
    }

    /// Parses a record. Returns `None` for a damaged one.
    pub fn from_json(json: &[u8]) -> Option<Self> {
        let raw: RawReferrers = serde_json::from_slice(json).ok()?;
        Some(Self { referrers: Referrers::of(raw.manifests), seen: raw.seen })
    }
}

impl ListHead {
    pub(super) fn to_json(self) -> Vec<u8> {
        serde_json::to_vec(&self).expect("a number is always JSON")
    }

    pub(super) fn from_json(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_json() {
        let digest = Digest::of(crate::oci::Algorithm::Sha256, b"x");
        let media_type = MediaType::known(MediaType::OCI_INDEX);
        let tag = TagRecord { digest, media_type: media_type.clone(), size: 7, seen: 9, followed: false };
        let followed = TagRecord { followed: true, ..tag.clone() };
        for tag in [tag, followed] {
            assert_eq!(TagRecord::from_json(&tag.to_json()), Some(tag));
        }
        for size in [None, Some(3)] {
            let link = LinkRecord { right: Right::Named, media_type: media_type.clone(), size };
            assert_eq!(LinkRecord::from_json(&link.to_json()), Some(link));
        }
        let descriptor = format!(r#"{{"digest":"{digest}","artifactType":"x/y"}}"#);
        let referrers = Referrers::of(vec![RawValue::from_string(descriptor).unwrap()]);
        let list = ReferrersRecord { referrers, seen: 4 };
        assert_eq!(ReferrersRecord::from_json(&list.to_json()), Some(list));
        assert_eq!(ReferrersRecord::from_json(b"[]"), None);
        assert_eq!(TagRecord::from_json(b"{\"digest\":\"sha256:0\"}"), None);
        assert_eq!(LinkRecord::from_json(b""), None);
    }
}
