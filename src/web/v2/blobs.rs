//! `/v2/NAME/blobs/DIGEST`: blobs, whole or a stretch of them, stored or arriving.

use http::header::{ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::bare;
use crate::auth::Action;
use crate::oci::{ByteRange, Digest, MediaType, Span};
use crate::registry::{Blob, Repository};
use crate::web::body::Body;
use crate::web::call::{Answer, Call};
use crate::web::error::Failure;
use crate::web::exchange::Kind;
use crate::web::headers;
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
    let found = repository.blob(digest, asked_range(call, digest)).await?;
    let blob = call.found(found, &mut headers);
    describe(&mut headers, digest, blob.size());
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(MediaType::OCTET_STREAM));
    let span = asked_span(call, digest, &blob)?;
    Ok(respond(blob, span, headers))
}

/// Headers of every good answer about a blob. Its content is fixed by its name, so that it may be kept for ever.
fn describe(headers: &mut HeaderMap, digest: &Digest, size: Option<u64>) {
    headers::identify(headers, digest);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=31536000"));
    if size.is_some() {
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    }
}

/// A stretch that is asked for, of a content of known size.
struct Asked {
    span: Span,
    size: u64,
}

/// What `Range` asks for (RFC 9110 §14.2); `None`: everything, as also when it says nothing that is understood.
fn asked_range(call: &Call, digest: &Digest) -> Option<ByteRange> {
    let range = call.header(&RANGE).and_then(|text| text.parse::<ByteRange>().ok());
    range.filter(|_| headers::range_applies(call.headers(), digest))
}

/// The stretch that is asked for of this blob.
fn asked_span(call: &Call, digest: &Digest, blob: &Blob) -> Result<Option<Asked>, Failure> {
    let (Some(range), Some(size)) = (asked_range(call, digest), blob.size()) else { return Ok(None) };
    match range.resolve(size) {
        Some(span) => Ok(Some(Asked { span, size })),
        None => {
            Err(Failure::range_not_satisfiable(format!("the blob has {size} bytes; none of them lies in that range"))
                .with(CONTENT_RANGE, headers::value(format_args!("bytes */{size}"))))
        }
    }
}

fn respond(blob: Blob, asked: Option<Asked>, mut headers: HeaderMap) -> Response<Body> {
    let (status, len, span) = match asked {
        None => (StatusCode::OK, blob.size(), None),
        Some(Asked { span, size }) => {
            let range = format_args!("bytes {}-{}/{size}", span.start, span.end - 1).to_string();
            headers.insert(CONTENT_RANGE, headers::value(range));
            (StatusCode::PARTIAL_CONTENT, Some(span.len()), Some(span))
        }
    };
    let mut response = Response::new(Body::blob(blob.reader(span), len));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

async fn delete(call: &mut Call, at: &At, digest: &Digest) -> Answer {
    let repository = call.repository(at, Action::Delete).await?;
    repository.delete_blob(digest).await.map_err(|error| Failure::of_delete(error, "GET, HEAD"))?;
    Ok(bare(StatusCode::ACCEPTED, HeaderMap::new()))
}
