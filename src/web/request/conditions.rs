//! The conditions of a request: `If-Match`, `If-None-Match` and `If-Range` (RFC 9110, section 13.1).

use http::header::{IF_MATCH, IF_NONE_MATCH, IF_RANGE};
use http::{HeaderMap, HeaderName};

use crate::oci::Digest;
use crate::registry::{Condition, Content};

/// Returns true if the client has this content already (`If-None-Match`). Digests without quotes are accepted too, because
/// `registry:2` sent them so.
pub(in crate::web) fn is_not_modified(headers: &HeaderMap, digest: &Digest) -> bool {
    match content(headers, &IF_NONE_MATCH) {
        None => false,
        Some(Content::Any) => true,
        Some(Content::OneOf(digests)) => digests.contains(digest),
    }
}

/// Returns the condition of a change (`If-Match`, `If-None-Match`).
pub(in crate::web) fn change_condition(headers: &HeaderMap) -> Condition {
    Condition { names: content(headers, &IF_MATCH), names_not: content(headers, &IF_NONE_MATCH) }
}

/// Returns the content that a list of entity tags names. Tags that are not digests name no content of this registry and are
/// dropped. `If-Match` demands a strong comparison, so its weak tags are dropped too.
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

/// Returns true if the `Range` of the request applies to this content (`If-Range`). A weak tag or a date never applies, because
/// no answer has a `Last-Modified`.
pub(in crate::web) fn range_applies(headers: &HeaderMap, digest: &Digest) -> bool {
    let Some(condition) = headers.get(IF_RANGE) else { return true };
    condition.to_str().is_ok_and(|tag| unquoted(tag.trim()) == digest.to_string())
}

fn unquoted(tag: &str) -> &str {
    tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).unwrap_or(tag)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::oci::Algorithm;

    fn with(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn if_none_match_compares_digests() {
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
            assert_eq!(is_not_modified(&with(IF_NONE_MATCH, &tag), &digest), want, "{tag}");
        }
        assert!(!is_not_modified(&HeaderMap::new(), &digest));
    }

    #[test]
    fn if_match_compares_strongly() {
        let digest = Digest::of(Algorithm::Sha256, b"");
        assert!(change_condition(&HeaderMap::new()).is_none());
        for (tag, want) in [
            ("*".to_owned(), Content::Any),
            (format!("\"x\", {digest}"), Content::OneOf(vec![digest])),
            (format!("\"{digest}\""), Content::OneOf(vec![digest])),
            (format!("W/\"{digest}\""), Content::OneOf(Vec::new())),
            ("\"x\"".to_owned(), Content::OneOf(Vec::new())),
        ] {
            let found = change_condition(&with(IF_MATCH, &tag));
            assert_eq!(found, Condition { names: Some(want), names_not: None }, "{tag}");
        }
    }

    #[test]
    fn if_range_compares_strongly() {
        let digest = Digest::of(Algorithm::Sha256, b"");
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
}
