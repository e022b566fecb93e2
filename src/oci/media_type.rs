//! The media types of manifests and blobs.

use std::fmt;

/// A media type without parameters, in lower case (RFC 6838 section 4.2: types are case-insensitive).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MediaType(String);

impl MediaType {
    pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    pub const DOCKER_SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+json";
    pub const DOCKER_SCHEMA1_SIGNED: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    pub const OCTET_STREAM: &str = "application/octet-stream";

    /// Parses a `Content-Type` and drops its parameters. `None` means that it is not `type/subtype`.
    pub fn parse(text: &str) -> Option<Self> {
        let bare = text.split(';').next().unwrap_or_default().trim();
        let (kind, subtype) = bare.split_once('/')?;
        let restricted = |part: &str| {
            !part.is_empty()
                && part.len() <= 127
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
        };
        (restricted(kind) && restricted(subtype)).then(|| Self(bare.to_ascii_lowercase()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Makes a media type from one of the constants of this type.
    pub fn known(text: &'static str) -> Self {
        Self(text.to_owned())
    }

    /// Returns true for the types of an index: content that lists manifests.
    pub fn is_index(&self) -> bool {
        self.0 == Self::OCI_INDEX || self.0 == Self::DOCKER_LIST
    }

    /// Returns true for types that do not describe the content.
    pub fn is_generic(&self) -> bool {
        matches!(
            self.0.as_str(),
            "application/json" | Self::OCTET_STREAM | "text/plain" | "application/x-www-form-urlencoded"
        )
    }

    /// Returns true for content that clients fetch from another server, so that a registry need not hold it (OCI
    /// image-spec, Non-Distributable Layers).
    pub fn is_foreign(&self) -> bool {
        self.0.contains(".nondistributable.") || self.0.contains("docker.image.rootfs.foreign.")
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_are_parsed_and_bad_ones_refused() {
        for (text, want) in [
            (MediaType::OCI_MANIFEST, Some(MediaType::OCI_MANIFEST)),
            ("Text/Plain; charset=utf-8", Some("text/plain")),
            (" application/json ", Some("application/json")),
            ("application", None),
            ("application/", None),
            ("/json", None),
            ("application/a b", None),
            ("application/a/b", None),
            ("", None),
        ] {
            assert_eq!(MediaType::parse(text).as_ref().map(MediaType::as_str), want, "{text:?}");
        }
    }
}
