//! Header fields that are ours to read or to write, and what their values mean.

use http::header::{ETAG, IF_MATCH, IF_NONE_MATCH, IF_RANGE};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::oci::Digest;
use crate::registry::{Condition, Content};

pub(super) const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
pub(super) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
pub(super) const UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");
pub(super) const OCI_CHUNK_MIN_LENGTH: HeaderName = HeaderName::from_static("oci-chunk-min-length");
pub(super) const OCI_FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");
pub(super) const OCI_NAMESPACE: HeaderName = HeaderName::from_static("oci-namespace");
pub(super) const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
pub(super) const OCI_TAG: HeaderName = HeaderName::from_static("oci-tag");
pub(super) const REGISTRY_STANDALONE: HeaderName = HeaderName::from_static("x-docker-registry-standalone");
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(super) const X_CACHE: HeaderName = HeaderName::from_static("x-cache");

/// A value made of names, digests and numbers.
pub(super) fn value(text: impl std::fmt::Display) -> HeaderValue {
    HeaderValue::try_from(text.to_string()).expect("names, digests and numbers are visible ASCII")
}

/// Says which content this is: its digest, for Docker and for caches.
pub(super) fn identify(headers: &mut HeaderMap, digest: &Digest) {
    headers.insert(CONTENT_DIGEST, value(digest));
    headers.insert(ETAG, value(format_args!("\"{digest}\"")));
}

/// Does the client hold this content already (`If-None-Match`, RFC 9110 §13.1.2)? Digests are taken without quotes too, since
/// `registry:2` sent them so.
pub(super) fn is_held(headers: &HeaderMap, digest: &Digest) -> bool {
    match content(headers, &IF_NONE_MATCH) {
        None => false,
        Some(Content::Any) => true,
        Some(Content::OneOf(digests)) => digests.contains(digest),
    }
}

/// On what a change depends (`If-Match`, `If-None-Match`, RFC 9110 §13.1.1 and 2).
pub(super) fn condition(headers: &HeaderMap) -> Condition {
    Condition { names: content(headers, &IF_MATCH), names_not: content(headers, &IF_NONE_MATCH) }
}

/// The content that a list of entity tags names; tags that no content of ours has are left out, and so are weak ones where a
/// strong comparison is asked for.
fn content(headers: &HeaderMap, name: &HeaderName) -> Option<Content> {
    if !headers.contains_key(name) {
        return None;
    }
    let fields = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    let mut digests = Vec::new();
    for tag in fields.flat_map(|field| field.split(',')).map(str::trim) {
        if tag == "*" {
            return Some(Content::Any);
        }
        let weak = tag.strip_prefix("W/").filter(|_| *name == IF_NONE_MATCH);
        digests.extend(unquoted(weak.unwrap_or(tag)).parse::<Digest>().ok());
    }
    Some(Content::OneOf(digests))
}

/// Is a `Range` meant for this content (`If-Range`, RFC 9110 §13.1.5)? A weak tag or a date never is: we send no dates.
pub(super) fn range_applies(headers: &HeaderMap, digest: &Digest) -> bool {
    let Some(condition) = headers.get(IF_RANGE) else { return true };
    condition.to_str().is_ok_and(|tag| unquoted(tag.trim()) == digest.to_string())
}

fn unquoted(tag: &str) -> &str {
    tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).unwrap_or(tag)
}

/// A `Warning` field (RFC 7234 §5.5) with words for people.
pub(super) fn warning(words: &str) -> HeaderValue {
    let mut field = String::from("299 - \"");
    for c in words.chars() {
        match c {
            '"' | '\\' => field.extend(['\\', c]),
            ' '..='~' => field.push(c),
            _ => field.push('?'),
        }
    }
    field.push('"');
    HeaderValue::try_from(field).expect("what is not visible ASCII was replaced")
}

/// `Content-Range` of a chunk that is pushed (distribution-spec, "Pushing a blob in chunks"): `FIRST-LAST`, both inclusive. The
/// `bytes` and the total of RFC 9110 are allowed before and behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ChunkRange {
    pub(super) first: u64,
    pub(super) len: u64,
}

impl ChunkRange {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let range = text.strip_prefix("bytes").map_or(text, |rest| rest.trim_start_matches(['=', ' ']));
        let range = range.split_once('/').map_or(range, |(range, _)| range);
        let number =
            |digits: &str| digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse::<u64>().ok()).flatten();
        let (first, last) = range.split_once('-')?;
        let (first, last) = (number(first)?, number(last)?);
        let len = last.checked_sub(first)?.checked_add(1)?;
        Some(Self { first, len })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Algorithm;

    fn with(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn conditions() {
        let digest = Digest::of(Algorithm::Sha256, b"");
        for (tag, want) in [
            (format!("\"{digest}\""), true),
            (digest.to_string(), true),
            (format!("W/\"{digest}\""), true),
            (format!("\"x\", \"{digest}\""), true),
            ("*".to_owned(), true),
            ("\"x\"".to_owned(), false),
            (format!("\"{digest}"), false),
            (String::new(), false),
        ] {
            assert_eq!(is_held(&with(IF_NONE_MATCH, &tag), &digest), want, "{tag}");
        }
        assert!(!is_held(&HeaderMap::new(), &digest));
        assert!(condition(&HeaderMap::new()).is_none());
        for (tag, want) in [
            ("*".to_owned(), Content::Any),
            (format!("\"x\", {digest}"), Content::OneOf(vec![digest])),
            (format!("\"{digest}\""), Content::OneOf(vec![digest])),
            (format!("W/\"{digest}\""), Content::OneOf(Vec::new())),
            ("\"x\"".to_owned(), Content::OneOf(Vec::new())),
        ] {
            let found = condition(&with(IF_MATCH, &tag));
            assert_eq!(found, Condition { names: Some(want), names_not: None }, "{tag}");
        }
        for (tag, want) in [
            (format!("\"{digest}\""), true),
            (digest.to_string(), true),
            (format!("W/\"{digest}\""), false),
            ("Wed, 21 Oct 2015 07:28:00 GMT".to_owned(), false),
        ] {
            assert_eq!(range_applies(&with(IF_RANGE, &tag), &digest), want, "{tag}");
        }
        assert!(range_applies(&HeaderMap::new(), &digest));
    }

    #[test]
    fn chunk_ranges() {
        for (text, want) in [
            ("0-0", Some((0, 1))),
            ("5-9", Some((5, 5))),
            ("bytes 5-9/10", Some((5, 5))),
            ("bytes 5-9/*", Some((5, 5))),
            ("bytes=5-9", Some((5, 5))),
            ("9-5", None),
            ("5-", None),
            ("-5", None),
            ("", None),
            ("-", None),
            ("a-b", None),
            ("+1-2", None),
            ("0-18446744073709551615", None),
            ("0-99999999999999999999", None),
        ] {
            assert_eq!(ChunkRange::parse(text).map(|r| (r.first, r.len)), want, "{text:?}");
        }
    }

    #[test]
    fn warnings_are_one_quoted_line() {
        assert_eq!(warning("since \"10:00\"\r\nX: é"), "299 - \"since \\\"10:00\\\"??X: ?\"");
    }
}
