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

    /// Returns true for types that are fetched as manifests.
    pub fn is_manifest(&self) -> bool {
        self.is_index()
            || matches!(self.0.as_str(), Self::OCI_MANIFEST | Self::DOCKER_MANIFEST | Self::DOCKER_SCHEMA1_SIGNED)
    }

    /// Returns true for types that do not describe the content.
    pub fn is_generic(&self) -> bool {
        matches!(
            self.0.as_str(),
            "application/json" | Self::OCTET_STREAM | "text/plain" | "application/x-www-form-urlencoded"
        )
    }

    /// Returns true for a type that a manifest may be served with: an `application` type that no browser renders as a
    /// document, and that no browser runs as a script or applies as a style sheet. A manifest may claim any type, and a
    /// page that a browser shows acts with the rights of the registry's origin.
    pub fn is_inert(&self) -> bool {
        let Some(subtype) = self.0.strip_prefix("application/") else { return false };
        // XML runs scripts through XHTML, SVG or XSLT. PDF viewers run scripts too.
        let xml = subtype == "xml" || subtype.starts_with("xml-") || subtype.ends_with("+xml");
        let active = ["html", "javascript", "ecmascript", "jscript", "livescript", "pdf", "shockwave", "wasm"];
        // An artifact's own type may contain such a word, as application/vnd.wasm.config.v0+json does.
        let own = subtype.starts_with("vnd.") && subtype.ends_with("+json");
        !xml && (own || !active.iter().any(|word| subtype.contains(word)))
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

    #[test]
    fn types_that_a_browser_runs_or_renders_are_not_inert() {
        for active in [
            "text/html",
            "Text/HTML; charset=utf-8",
            "text/javascript",
            "text/css",
            "text/plain",
            "text/xsl",
            "image/svg+xml",
            "image/png",
            "multipart/related",
            "model/gltf+json",
            "application/xhtml+xml",
            "application/vnd.wap.xhtml+xml",
            "application/vnd.wap.html",
            "application/xml",
            "application/xml-dtd",
            "application/rss+xml",
            "application/javascript",
            "application/x-javascript",
            "application/ecmascript",
            "application/pdf",
            "application/x-shockwave-flash",
            "application/wasm",
            "message/rfc822",
            "a/b",
        ] {
            assert!(!MediaType::parse(active).unwrap().is_inert(), "{active}");
        }
        for inert in [
            MediaType::OCI_MANIFEST,
            MediaType::OCI_INDEX,
            MediaType::DOCKER_MANIFEST,
            MediaType::DOCKER_LIST,
            MediaType::DOCKER_SCHEMA1_SIGNED,
            MediaType::OCTET_STREAM,
            "application/json",
            "application/vnd.cncf.helm.config.v1+json",
            "application/vnd.oci.artifact.manifest.v1+json",
            "application/vnd.wasm.config.v0+json",
            "application/vnd.buildkit.cacheconfig.v0",
            "application/vnd.in-toto+json",
            "application/foo",
        ] {
            assert!(MediaType::parse(inert).unwrap().is_inert(), "{inert}");
        }
    }
}
