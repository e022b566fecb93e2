//! The header fields of answers.

use http::header::ETAG;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::oci::Digest;

pub(in crate::web) const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
pub(in crate::web) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
pub(in crate::web) const UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");
/// The address of an upload with scheme and host. Ollama reads it instead of `Location`, and does not resolve a relative address.
pub(in crate::web) const UPLOAD_LOCATION: HeaderName = HeaderName::from_static("docker-upload-location");
pub(in crate::web) const OCI_CHUNK_MIN_LENGTH: HeaderName = HeaderName::from_static("oci-chunk-min-length");
pub(in crate::web) const OCI_FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");
pub(in crate::web) const OCI_NAMESPACE: HeaderName = HeaderName::from_static("oci-namespace");
pub(in crate::web) const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
pub(in crate::web) const OCI_TAG: HeaderName = HeaderName::from_static("oci-tag");
/// Tells a mirror that asks this server whether to name the upstream in `?ns=`.
pub(in crate::web) const REGISTRY_PROXY: HeaderName = HeaderName::from_static("x-registry-proxy");
pub(in crate::web) const REGISTRY_STANDALONE: HeaderName = HeaderName::from_static("x-docker-registry-standalone");
pub(in crate::web) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(in crate::web) const X_CACHE: HeaderName = HeaderName::from_static("x-cache");

/// Makes a header value of names, digests and numbers.
pub(in crate::web) fn value(text: impl std::fmt::Display) -> HeaderValue {
    HeaderValue::try_from(text.to_string()).expect("names, digests and numbers are visible ASCII")
}

/// Adds the digest of the content as `Docker-Content-Digest` and `ETag`.
pub(in crate::web) fn identify(headers: &mut HeaderMap, digest: &Digest) {
    headers.insert(CONTENT_DIGEST, value(digest));
    headers.insert(ETAG, value(format_args!("\"{digest}\"")));
}

/// Makes the value of a `Warning` field (RFC 7234, section 5.5) with a text for people.
pub(in crate::web) fn warning(words: &str) -> HeaderValue {
    let mut field = String::from("299 - \"");
    for c in words.chars() {
        match c {
            '"' | '\\' => field.extend(['\\', c]),
            ' '..='~' => field.push(c),
            _ => field.push('?'),
        }
    }
    field.push('"');
    HeaderValue::try_from(field).expect("all characters are visible ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warning_is_one_quoted_line() {
        assert_eq!(warning("since \"10:00\"\r\nX: é"), "299 - \"since \\\"10:00\\\"??X: ?\"");
    }
}
