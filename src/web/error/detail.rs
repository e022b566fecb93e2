//! The `detail` of an error: the facts that the error is about, as names and values.
//!
//! Clients print a detail as it is. For an object, the clients written in Go print `map[name:local/app reference:9]`, so the facts are
//! sent as a text.

use serde_json::{Map, Value, json};

use crate::auth::Refusal;
use crate::oci::{DigestError, MAX_MANIFEST_BYTES, ManifestError, NameError};
use crate::registry::RegistryError;
use crate::web::exchange::Facts;
use crate::web::guard::ForeignPage;
use crate::web::route::{MAX_TAGS, RouteError};

/// Returns the facts as a text, such as `name: local/app; reference: 9`.
pub(super) fn readable(facts: &Value) -> String {
    match facts {
        Value::Object(fields) => {
            joined(fields.iter().map(|(name, value)| format!("{name}: {}", readable(value))), "; ")
        }
        Value::Array(values) => joined(values.iter().map(readable), ", "),
        Value::String(text) => text.clone(),
        Value::Null => "none".to_owned(),
        Value::Bool(_) | Value::Number(_) => facts.to_string(),
    }
}

fn joined(parts: impl Iterator<Item = String>, separator: &str) -> String {
    parts.collect::<Vec<_>>().join(separator)
}

pub(super) fn of_route(error: &RouteError) -> Option<Value> {
    match error {
        RouteError::NoSuchPath | RouteError::OutsidePrefix(_) | RouteError::Escape => None,
        RouteError::Method { allow } => Some(json!({"allow": allow.split(", ").collect::<Vec<_>>()})),
        RouteError::Name(error) | RouteError::Tag(error) | RouteError::NoSuchTag(error) => of_name(error),
        RouteError::TooManyTags(tags) => Some(json!({"tags": tags, "limit": MAX_TAGS})),
        RouteError::TagsByTag(tag) => Some(json!({"tag": tag})),
        RouteError::Digest(error) => of_digest(error),
        RouteError::DigestMissing => Some(json!({"parameter": "digest"})),
        RouteError::Repeated(repeated) => Some(json!({"parameter": repeated.0})),
        RouteError::Image(_) => None,
        RouteError::PageNumber(text) => Some(json!({"n": text})),
        RouteError::LastReferrer(text) => Some(json!({"last": text})),
        RouteError::NoUpload(id) => Some(json!({"upload": id})),
    }
}

fn of_name(error: &NameError) -> Option<Value> {
    match error {
        NameError::Repository(name) => Some(json!({"name": name})),
        NameError::RepositoryTooLong(length) => Some(json!({"length": length})),
        NameError::Tag(tag) => Some(json!({"tag": tag})),
        NameError::Digest(error) => of_digest(error),
    }
}

fn of_digest(error: &DigestError) -> Option<Value> {
    match error {
        DigestError::Algorithm(name) => Some(json!({"algorithm": name, "supported": ["sha256", "sha512"]})),
        DigestError::Length { algorithm, expected, found } => {
            Some(json!({"algorithm": algorithm.as_str(), "expected": expected, "found": found}))
        }
        DigestError::Colon | DigestError::Hex => None,
    }
}

pub(super) fn of_refusal(refusal: &Refusal) -> Option<Value> {
    match refusal {
        Refusal::Unauthorized { .. } | Refusal::Crowded => None,
        Refusal::Denied { action, target: Some(target), .. } => {
            Some(json!({"name": target, "action": action.to_string()}))
        }
        Refusal::Denied { action, target: None, .. } => Some(json!({"action": action.to_string()})),
    }
}

pub(super) fn of_registry(error: &RegistryError) -> Option<Value> {
    Some(match error {
        RegistryError::ManifestUnknown { repository, reference, .. } => {
            json!({"name": repository, "reference": reference})
        }
        RegistryError::BlobUnknown { repository, digest, .. } => {
            json!({"name": repository, "digest": digest.to_string()})
        }
        RegistryError::UploadUnknown { id } | RegistryError::UploadBusy { id } => json!({"upload": id}),
        RegistryError::NoFill(digest) | RegistryError::NoRoom(digest) => json!({"digest": digest.to_string()}),
        RegistryError::NotLocal { repository, patterns } => json!({"name": repository, "patterns": patterns}),
        RegistryError::DeleteDisabled => json!({"key": "storage.delete.enabled"}),
        RegistryError::ManifestInvalid(error) => return of_manifest(error),
        RegistryError::ManifestBlobUnknown { missing, .. } => json!({"missing": missing.to_string()}),
        RegistryError::DigestMismatch { expected, found } => {
            json!({"expected": expected.to_string(), "found": found.to_string()})
        }
        RegistryError::Changed { reference, current } => {
            json!({"reference": reference, "current": current.map(|digest| digest.to_string())})
        }
        RegistryError::RepositoryUnknown { repository, .. } => json!({"name": repository}),
        RegistryError::NotMirrored(name) => json!({"name": name}),
        RegistryError::NoPlatform { image, wanted, offered } => {
            json!({"image": image, "wanted": wanted, "offered": offered})
        }
        RegistryError::Upstream { upstream: Some(upstream), .. } => {
            json!({"upstream": upstream.as_str(), "key": format!("mirror.upstreams.{upstream}")})
        }
        _ => return None,
    })
}

/// Returns the facts about a page that is not ours: its origin, and the keys that would admit it.
pub(super) fn of_page(page: &ForeignPage) -> Option<Value> {
    match page {
        ForeignPage::Unnamed => None,
        ForeignPage::UnknownName { origin, .. } => Some(json!({"origin": origin, "keys": ["http.names"]})),
        ForeignPage::Other { origin } => Some(json!({"origin": origin, "keys": ["http.names", "http.headers"]})),
    }
}

fn of_manifest(error: &ManifestError) -> Option<Value> {
    match error {
        ManifestError::TooLarge(length) => Some(json!({"length": length, "limit": MAX_MANIFEST_BYTES})),
        ManifestError::MediaType(text) => Some(json!({"mediaType": text})),
        ManifestError::Active(media_type) => Some(json!({"mediaType": media_type.as_str()})),
        ManifestError::Contradiction { declared, stated } => {
            Some(json!({"mediaType": declared.as_str(), "contentType": stated.as_str()}))
        }
        ManifestError::Url { digest, url } => Some(json!({"digest": digest.to_string(), "url": url})),
        ManifestError::Digest { digest, .. } => Some(json!({"digest": digest})),
        ManifestError::Lacks { media_type, lacks } => Some(json!({"mediaType": media_type.as_str(), "lacks": lacks})),
        _ => None,
    }
}

/// Returns the facts about the request, for errors without a detail of their own.
pub(super) fn of_request(facts: &Facts) -> Option<Value> {
    let named = [("name", &facts.name), ("reference", &facts.reference), ("digest", &facts.digest)];
    let upload = [("upload", &facts.upload)];
    let known = named.into_iter().chain(upload).filter_map(|(key, value)| Some((key, value.as_deref()?)));
    let known: Map<String, Value> = known.map(|(key, value)| (key.to_owned(), value.into())).collect();
    (!known.is_empty()).then_some(Value::Object(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_readable() {
        for (facts, text) in [
            (json!({"name": "local/app", "reference": "9"}), "name: local/app; reference: 9"),
            (json!({"allow": ["GET", "HEAD"]}), "allow: GET, HEAD"),
            (json!({"reference": "1", "current": null}), "reference: 1; current: none"),
            (json!({"size": 7, "supported": []}), "size: 7; supported: "),
        ] {
            assert_eq!(readable(&facts), text, "{facts}");
        }
    }
}
