//! `/v2/NAME/blobs/uploads/`: pushing blobs in all ways of the OCI distribution-spec 1.1, "Pushing blobs". An upload is identified by
//! its path alone, because some clients drop the query.

use std::sync::Arc;

use http::header::{CONTENT_RANGE, LOCATION, RANGE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use crate::auth::Action;
use crate::oci::{Digest, Target};
use crate::registry::{BlobUpload, HostedRepository, UploadId};
use crate::web::call::{Answer, Call};
use crate::web::error::Failure;
use crate::web::request::{ChunkRange, RequestBody};
use crate::web::response::{Body, bare, headers};
use crate::web::route::{At, Start, UploadVerb};

/// The value of `OCI-Chunk-Min-Length`: chunks may have any length.
const MIN_CHUNK_LENGTH: &str = "1";

/// Answers a POST: starts an upload, takes a whole blob, or mounts one.
pub(in crate::web) async fn start(call: &mut Call, at: &At, start: Start) -> Answer {
    let (hosted, caller) = call.hosted(at).await?;
    let algorithm = match start {
        Start::Empty(algorithm) => algorithm,
        Start::Whole(digest) if is_announced(call, &digest).await? => {
            if hosted.has_blob(&digest).await? {
                return Ok(created(call, at, &digest));
            }
            digest.algorithm()
        }
        Start::Whole(digest) => return whole(call, at, &hosted, &digest).await,
        Start::Mount { digest, from } => {
            call.exchange.facts.digest = Some(digest.to_string());
            let app = Arc::clone(&call.exchange.app);
            let may_pull = |target: &Target| app.gate.admit(&caller, Action::Pull, target).is_ok();
            // A source that is unknown or that the caller may not pull is not an error: the client pushes the blob instead.
            let from = from.and_then(|from| app.registry.resolve(at.ns.as_deref(), &from).ok());
            let from = from.filter(|from| may_pull(from));
            if app.registry.mount(&hosted, &digest, from.as_ref(), &may_pull).await? {
                return Ok(created(call, at, &digest));
            }
            digest.algorithm()
        }
    };
    let id = hosted.start_upload(algorithm).await?;
    call.exchange.facts.upload = Some(id.as_str().to_owned());
    let mut headers = progress(call, at, &id, 0);
    headers.insert(headers::OCI_CHUNK_MIN_LENGTH, HeaderValue::from_static(MIN_CHUNK_LENGTH));
    Ok(bare(StatusCode::ACCEPTED, headers))
}

/// Returns true if the POST names the digest of content and has no body. Ollama asks in this way whether the blob is here, and sends
/// the content to the upload if it is not.
async fn is_announced(call: &mut Call, digest: &Digest) -> Result<bool, Failure> {
    Ok(call.body.is_empty().await? && *digest != Digest::of(digest.algorithm(), b""))
}

/// Stores a blob whose content is the body of the POST.
async fn whole(call: &mut Call, at: &At, hosted: &HostedRepository, digest: &Digest) -> Answer {
    call.exchange.facts.digest = Some(digest.to_string());
    let (single, upload) = hosted.start_single_request_upload(digest.algorithm()).await?;
    if let Err(failure) = receive_whole(&mut call.body, upload, digest).await {
        single.remove().await;
        return Err(failure);
    }
    single.committed();
    Ok(created(call, at, digest))
}

async fn receive_whole(body: &mut RequestBody, mut upload: BlobUpload, digest: &Digest) -> Result<(), Failure> {
    receive(body, &mut upload, None).await?;
    Ok(upload.commit(digest).await?)
}

/// Answers a request about a running upload.
pub(in crate::web) async fn answer(call: &mut Call, at: &At, id: &UploadId, verb: UploadVerb) -> Answer {
    match verb {
        UploadVerb::Status => status(call, at, id).await,
        UploadVerb::Append => append(call, at, id).await,
        UploadVerb::Finish(digest) => finish(call, at, id, &digest).await,
        UploadVerb::Cancel => cancel(call, at, id).await,
    }
}

async fn status(call: &mut Call, at: &At, id: &UploadId) -> Answer {
    let (hosted, _) = call.hosted(at).await?;
    let size = hosted.upload_size(id).await?;
    Ok(bare(StatusCode::NO_CONTENT, progress(call, at, id, size)))
}

/// Answers a PATCH: appends a chunk, or a stream without an announced length. The bytes that arrive stay, even if the client
/// disconnects.
async fn append(call: &mut Call, at: &At, id: &UploadId) -> Answer {
    let (hosted, _) = call.hosted(at).await?;
    let mut upload = hosted.upload(id, call.app().stall).await?;
    let chunk = chunk(call, at, id, &upload)?;
    receive(&mut call.body, &mut upload, chunk).await?;
    Ok(bare(StatusCode::ACCEPTED, progress(call, at, id, upload.size())))
}

/// Answers a PUT: appends the last chunk, if there is one, and finishes the upload.
async fn finish(call: &mut Call, at: &At, id: &UploadId, digest: &Digest) -> Answer {
    call.exchange.facts.digest = Some(digest.to_string());
    let (hosted, _) = call.hosted(at).await?;
    let mut upload = hosted.upload(id, call.app().stall).await?;
    // A range describes a body. Some clients repeat the range of their last chunk here without one.
    let ranged = call.headers().contains_key(CONTENT_RANGE) && !call.body.is_empty().await?;
    let chunk = if ranged { chunk(call, at, id, &upload)? } else { None };
    upload.expect(digest.algorithm());
    receive(&mut call.body, &mut upload, chunk).await?;
    upload.commit(digest).await?;
    Ok(created(call, at, digest))
}

async fn cancel(call: &mut Call, at: &At, id: &UploadId) -> Answer {
    let (hosted, _) = call.hosted(at).await?;
    hosted.cancel_upload(id).await?;
    Ok(bare(StatusCode::NO_CONTENT, HeaderMap::new()))
}

/// Returns the `Content-Range` of the chunk, if the request has one. A range that does not fit the upload or the body is an error.
fn chunk(call: &Call, at: &At, id: &UploadId, upload: &BlobUpload) -> Result<Option<ChunkRange>, Failure> {
    if !call.headers().contains_key(CONTENT_RANGE) {
        return Ok(None);
    }
    let chunk = call.header(&CONTENT_RANGE).and_then(ChunkRange::parse);
    let chunk = chunk.ok_or_else(|| Failure::size_invalid("Content-Range must be FIRST-LAST, as in 0-1023"))?;
    let size = upload.size();
    if chunk.first != size {
        let mut failure = Failure::out_of_order(size, chunk.first);
        for (name, value) in progress(call, at, id, size) {
            failure = failure.with(name.expect("each name occurs once"), value);
        }
        return Err(failure);
    }
    match call.body.announced() {
        Some(len) if len != chunk.len => Err(wrong_length(chunk, len)),
        _ => Ok(Some(chunk)),
    }
}

/// Appends the body of the request, whose length must be that of `chunk`.
async fn receive(body: &mut RequestBody, upload: &mut BlobUpload, chunk: Option<ChunkRange>) -> Result<(), Failure> {
    while let Some(piece) = body.piece().await? {
        if let Some(chunk) = chunk.filter(|chunk| body.received() > chunk.len) {
            return Err(wrong_length(chunk, body.received()));
        }
        upload.append(piece).await?;
    }
    match chunk {
        Some(chunk) if body.received() != chunk.len => Err(wrong_length(chunk, body.received())),
        _ => Ok(()),
    }
}

fn wrong_length(chunk: ChunkRange, len: u64) -> Failure {
    Failure::size_invalid(format!("Content-Range announces {} bytes, but the body has {len}", chunk.len))
}

/// Returns the headers that tell the address and the progress of an upload. The `Range` of an empty upload is `0-0`, as Docker
/// expects and `registry:2` sends.
fn progress(call: &Call, at: &At, id: &UploadId, size: u64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let location = call.app().base.upload(at, id);
    if let Some(absolute) = absolute(call, &location) {
        headers.insert(headers::UPLOAD_LOCATION, absolute);
    }
    headers.insert(LOCATION, location);
    headers.insert(RANGE, headers::value(format_args!("0-{}", size.saturating_sub(1))));
    headers.insert(headers::UPLOAD_UUID, headers::value(id.as_str()));
    headers
}

/// Returns a location with scheme and host. Returns `None` if the request names no host.
fn absolute(call: &Call, location: &HeaderValue) -> Option<HeaderValue> {
    let location = location.to_str().ok()?;
    if !location.starts_with('/') {
        // `http.host` made it absolute.
        return HeaderValue::try_from(location).ok();
    }
    HeaderValue::try_from(format!("{}{location}", call.exchange.own_address()?)).ok()
}

fn created(call: &Call, at: &At, digest: &Digest) -> Response<Body> {
    let mut headers = HeaderMap::new();
    headers.insert(LOCATION, call.app().base.blob(at, digest));
    headers.insert(headers::CONTENT_DIGEST, headers::value(digest));
    bare(StatusCode::CREATED, headers)
}
