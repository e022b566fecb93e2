//! `/v2/NAME/manifests/REFERENCE`: manifests, byte for byte as they were pushed. `Accept` is ignored, because no manifest is ever
//! converted.

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION, WARNING};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use crate::auth::Action;
use crate::oci::{MAX_MANIFEST_BYTES, ManifestError, MediaType, Reference, Tag};
use crate::registry::{ManifestInfo, ManifestPush, RegistryError};
use crate::web::call::{Answer, Call};
use crate::web::error::Failure;
use crate::web::exchange::PulledKind;
use crate::web::request::{change_condition, is_not_modified};
use crate::web::response::{Body, bare, headers};
use crate::web::route::{At, ManifestVerb};

/// Answers a request about a manifest.
pub(in crate::web) async fn answer(call: &mut Call, at: &At, reference: &Reference, verb: ManifestVerb) -> Answer {
    match verb {
        ManifestVerb::Head => head(call, at, reference).await,
        ManifestVerb::Get => get(call, at, reference).await,
        ManifestVerb::Put { tags } => put(call, at, reference, tags).await,
        ManifestVerb::Delete => delete(call, at, reference).await,
    }
}

async fn head(call: &mut Call, at: &At, reference: &Reference) -> Answer {
    let repository = call.repository(at, Action::Pull).await?;
    call.count_pull(PulledKind::Manifest, &repository);
    let mut headers = HeaderMap::new();
    let found = repository.head_manifest(reference).await?;
    let info = call.take_found(found, &mut headers);
    Ok(answer_with(call, &info, headers, Body::empty()))
}

async fn get(call: &mut Call, at: &At, reference: &Reference) -> Answer {
    let repository = call.repository(at, Action::Pull).await?;
    call.count_pull(PulledKind::Manifest, &repository);
    let mut headers = HeaderMap::new();
    let found = repository.manifest(reference).await?;
    let manifest = call.take_found(found, &mut headers);
    Ok(answer_with(call, &manifest.info, headers, Body::whole(manifest.body)))
}

/// Answers 304, or 200 with all headers of a manifest. If the answer to a HEAD lacks one of them, containerd asks again with GET.
fn answer_with(call: &Call, info: &ManifestInfo, mut headers: HeaderMap, body: Body) -> Response<Body> {
    headers::identify(&mut headers, &info.digest);
    if is_not_modified(call.headers(), &info.digest) {
        return bare(StatusCode::NOT_MODIFIED, headers);
    }
    headers.insert(CONTENT_TYPE, headers::value(&info.media_type));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(info.size));
    let mut response = Response::new(body);
    *response.headers_mut() = headers;
    response
}

async fn put(call: &mut Call, at: &At, reference: &Reference, tags: Vec<Tag>) -> Answer {
    let (hosted, _) = call.hosted(at).await?;
    let content_type = content_type(call)?;
    let Some(body) = call.body.whole(MAX_MANIFEST_BYTES, &call.exchange.app.body_budget).await? else {
        let len = call.body.announced().and_then(|len| usize::try_from(len).ok()).unwrap_or(MAX_MANIFEST_BYTES + 1);
        return Err(RegistryError::from(ManifestError::TooLarge(len)).into());
    };
    let condition = change_condition(call.headers());
    let by = call.exchange.facts.user.clone();
    let push = ManifestPush { reference: reference.clone(), tags: tags.clone(), content_type, by, condition, body };
    let put = hosted.put_manifest(push).await?;
    call.exchange.facts.digest = Some(put.digest.to_string());
    let mut headers = HeaderMap::new();
    headers.insert(LOCATION, call.app().base.manifest(at, &put.digest));
    headers.insert(headers::CONTENT_DIGEST, headers::value(put.digest));
    for tag in &tags {
        headers.append(headers::OCI_TAG, headers::value(tag));
    }
    if let Some(subject) = put.subject {
        headers.insert(headers::OCI_SUBJECT, headers::value(subject));
    }
    if !put.missing.is_empty() {
        headers.insert(
            WARNING,
            headers::warning(&format!(
                "the manifest names content that this repository does not have: {}",
                put.missing
            )),
        );
    }
    Ok(bare(StatusCode::CREATED, headers))
}

fn content_type(call: &Call) -> Result<Option<MediaType>, Failure> {
    let Some(value) = call.headers().get(CONTENT_TYPE) else { return Ok(None) };
    let text = String::from_utf8_lossy(value.as_bytes());
    match MediaType::parse(&text) {
        Some(media_type) => Ok(Some(media_type)),
        None => Err(RegistryError::from(ManifestError::MediaType(text.into_owned())).into()),
    }
}

async fn delete(call: &mut Call, at: &At, reference: &Reference) -> Answer {
    let repository = call.repository(at, Action::Delete).await?;
    let condition = change_condition(call.headers());
    let deleted = repository.delete_manifest(reference, &condition).await;
    deleted.map_err(|error| Failure::from(error).allowing("GET, HEAD, PUT"))?;
    Ok(bare(StatusCode::ACCEPTED, HeaderMap::new()))
}
