//! `/v2/NAME/blobs/DIGEST`: whole blobs and ranges of them, stored or still arriving.

use http::header::{ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use crate::auth::Action;
use crate::oci::{Digest, MediaType, RangeSet, Selection};
use crate::registry::{Blob, Repository};
use crate::web::call::{Answer, Call};
use crate::web::error::Failure;
use crate::web::exchange::PulledKind;
use crate::web::request::{is_not_modified, range_applies};
use crate::web::response::{Body, Multipart, bare, content_range, headers};
use crate::web::route::{At, BlobVerb};

/// Answers a request about a blob.
pub(in crate::web) async fn answer(call: &mut Call, at: &At, digest: &Digest, verb: BlobVerb) -> Answer {
    match verb {
        BlobVerb::Delete => return delete(call, at, digest).await,
        BlobVerb::Head | BlobVerb::Get => {}
    }
    let repository = call.repository(at, Action::Pull).await?;
    call.count_pull(PulledKind::Blob, &repository);
    match verb {
        // If the client has the blob, a HEAD is enough for 304, so that nothing is fetched from the upstream.
        BlobVerb::Get if !is_not_modified(call.headers(), digest) => get(call, at, &repository, digest).await,
        _ => head(call, at, &repository, digest).await,
    }
}

async fn head(call: &mut Call, at: &At, repository: &Repository, digest: &Digest) -> Answer {
    let mut headers = HeaderMap::new();
    let found = repository.head_blob(digest).await?;
    let size = call.take_found(found, &mut headers);
    describe(&mut headers, digest, size);
    if is_not_modified(call.headers(), digest) {
        return Ok(bare(StatusCode::NOT_MODIFIED, headers));
    }
    headers.insert(LOCATION, call.app().base.blob(at, digest));
    if let Some(size) = size {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(size));
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(MediaType::OCTET_STREAM));
    Ok(bare(StatusCode::OK, headers))
}

async fn get(call: &mut Call, at: &At, repository: &Repository, digest: &Digest) -> Answer {
    let mut headers = HeaderMap::new();
    let asked = requested_ranges(call, digest);
    let found = repository.blob(digest, asked.as_ref().map(RangeSet::first)).await?;
    let blob = call.take_found(found, &mut headers);
    describe(&mut headers, digest, blob.size());
    // Ollama asks for the address of the content, which it expects a redirect to name.
    headers.insert(LOCATION, call.app().base.blob(at, digest));
    respond(blob, asked.as_ref(), headers)
}

/// Adds the headers of every successful answer. The digest fixes the content, so that caches may keep it for ever.
fn describe(headers: &mut HeaderMap, digest: &Digest, size: Option<u64>) {
    headers::identify(headers, digest);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=31536000"));
    if size.is_some() {
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    }
}

/// Returns the requested ranges (RFC 9110, section 14.2), or `None` for the whole blob. A malformed `Range` is ignored.
fn requested_ranges(call: &Call, digest: &Digest) -> Option<RangeSet> {
    let ranges = call.header(&RANGE).and_then(|text| text.parse::<RangeSet>().ok());
    ranges.filter(|_| range_applies(call.headers(), digest))
}

/// Answers with a blob or the requested ranges of it (RFC 9110, section 15.3.7). A blob of unknown size is always sent whole.
fn respond(blob: Blob, asked: Option<&RangeSet>, mut headers: HeaderMap) -> Answer {
    let selected = asked.zip(blob.size()).map(|(ranges, size)| (ranges.select(size), size));
    let mut content_type = HeaderValue::from_static(MediaType::OCTET_STREAM);
    let (status, body) = match selected {
        None | Some((Selection::Whole, _)) => {
            let len = blob.size();
            (StatusCode::OK, Body::blob(blob.reader(), len))
        }
        Some((Selection::Single(span), size)) => {
            headers.insert(CONTENT_RANGE, headers::value(content_range(span, size)));
            (StatusCode::PARTIAL_CONTENT, Body::blob(blob.parts(vec![span]), Some(span.len())))
        }
        Some((Selection::Multiple(spans), size)) => {
            let parts = Multipart::new(&spans, size);
            content_type = parts.content_type();
            (StatusCode::PARTIAL_CONTENT, Body::multipart(parts, blob.parts(spans)))
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
