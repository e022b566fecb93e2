//! `/v2/NAME/blobs/DIGEST`: blobs, whole or a stretch of them, stored or arriving.

use http::header::{ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::bare;
use crate::auth::Action;
use crate::oci::{Digest, MediaType, RangeSet, Selection};
use crate::registry::{Blob, Repository};
use crate::web::body::Body;
use crate::web::call::{Answer, Call};
use crate::web::error::Failure;
use crate::web::exchange::Kind;
use crate::web::headers;
use crate::web::multipart::{Multipart, content_range};
use crate::web::route::{At, BlobVerb};

pub(in crate::web) async fn answer(call: &mut Call, at: &At, digest: &Digest, verb: BlobVerb) -> Answer {
    match verb {
        BlobVerb::Delete => return delete(call, at, digest).await,
        BlobVerb::Head | BlobVerb::Get => {}
    }
    let repository = call.repository(at, Action::Pull).await?;
    call.pulls(Kind::Blob, &repository);
    match verb {
        // What the client holds need not be fetched to tell it so.
        BlobVerb::Get if !headers::is_held(call.headers(), digest) => get(call, &repository, digest).await,
        _ => head(call, &repository, digest).await,
    }
}

async fn head(call: &mut Call, repository: &Repository, digest: &Digest) -> Answer {
    let mut headers = HeaderMap::new();
    let found = repository.head_blob(digest).await?;
    let size = call.found(found, &mut headers);
    describe(&mut headers, digest, size);
    if headers::is_held(call.headers(), digest) {
        return Ok(bare(StatusCode::NOT_MODIFIED, headers));
    }
    if let Some(size) = size {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(size));
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(MediaType::OCTET_STREAM));
    Ok(bare(StatusCode::OK, headers))
}

async fn get(call: &mut Call, repository: &Repository, digest: &Digest) -> Answer {
    let mut headers = HeaderMap::new();
    let asked = asked(call, digest);
    let found = repository.blob(digest, asked.as_ref().map(RangeSet::first)).await?;
    let blob = call.found(found, &mut headers);
    describe(&mut headers, digest, blob.size());
    respond(blob, asked.as_ref(), headers)
}

/// Headers of every good answer about a blob. Its content is fixed by its name, so that it may be kept for ever.
fn describe(headers: &mut HeaderMap, digest: &Digest, size: Option<u64>) {
    headers::identify(headers, digest);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=31536000"));
    if size.is_some() {
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    }
}

/// What `Range` asks for (RFC 9110 §14.2); `None`: everything, as also when it says nothing that is understood.
fn asked(call: &Call, digest: &Digest) -> Option<RangeSet> {
    let ranges = call.header(&RANGE).and_then(|text| text.parse::<RangeSet>().ok());
    ranges.filter(|_| headers::range_applies(call.headers(), digest))
}

/// A blob, or what is asked for of it (RFC 9110 §15.3.7). One of unknown size is sent whole, whatever was asked for.
fn respond(blob: Blob, asked: Option<&RangeSet>, mut headers: HeaderMap) -> Answer {
    let selected = asked.zip(blob.size()).map(|(ranges, size)| (ranges.select(size), size));
    let mut content_type = HeaderValue::from_static(MediaType::OCTET_STREAM);
    let (status, body) = match selected {
        None | Some((Selection::Whole, _)) => {
            let len = blob.size();
            (StatusCode::OK, Body::blob(blob.reader(), len))
        }
        Some((Selection::Stretch(span), size)) => {
            headers.insert(CONTENT_RANGE, headers::value(content_range(span, size)));
            (StatusCode::PARTIAL_CONTENT, Body::blob(blob.stretches(vec![span]), Some(span.len())))
        }
        Some((Selection::Stretches(spans), size)) => {
            let parts = Multipart::new(&spans, size);
            content_type = parts.content_type();
            (StatusCode::PARTIAL_CONTENT, Body::multipart(parts, blob.stretches(spans)))
        }
        Some((Selection::Nothing, size)) => return Err(Failure::range_not_satisfiable(size)),
    };
    headers.insert(CONTENT_TYPE, content_type);
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}

async fn delete(call: &mut Call, at: &At, digest: &Digest) -> Answer {
    let repository = call.repository(at, Action::Delete).await?;
    let deleted = repository.delete_blob(digest).await;
    deleted.map_err(|error| Failure::from(error).allowing("GET, HEAD"))?;
    Ok(bare(StatusCode::ACCEPTED, HeaderMap::new()))
}
