//! The `detail` of an error: a JSON object with the data that a client program needs to handle the error.

use serde_json::{Map, Value, json};

use crate::auth::Refusal;
use crate::oci::{DigestError, MAX_MANIFEST_BYTES, ManifestError, NameError};
use crate::registry::RegistryError;
use crate::web::exchange::Facts;
use crate::web::guard::ForeignPage;
use crate::web::route::{MAX_TAGS, RouteError};

pub(super) fn of_route(error: &RouteError) -> Option<Value> {
    match error {
        RouteError::NoSuchPath | RouteError::Escape => None,
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
        RegistryError::ManifestBlobUnknown { missing, .. } => {
            let mut detail = Map::new();
            let named = missing.named().iter().map(ToString::to_string).collect::<Vec<_>>();
            detail.insert("missing".to_owned(), named.into());
            if !missing.is_all_named() {
                detail.insert("more".to_owned(), true.into());
            }
            detail.into()
        }
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
