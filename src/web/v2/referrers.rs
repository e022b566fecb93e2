//! `/v2/NAME/referrers/DIGEST`: what refers to a manifest, as an image index (distribution-spec, "Listing Referrers").

use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Response};

use crate::auth::Action;
use crate::oci::{Digest, MediaType};
use crate::web::body::Body;
use crate::web::call::{Answer, Call};
use crate::web::headers;
use crate::web::route::At;

pub(in crate::web) async fn list(call: &mut Call, at: &At, subject: &Digest, artifact_type: Option<&str>) -> Answer {
    let repository = call.repository(at, Action::Pull).await?;
    let mut headers = HeaderMap::new();
    let found = repository.referrers(subject).await?;
    let mut referrers = call.found(found, &mut headers);
    if let Some(artifact_type) = artifact_type {
        referrers = Arc::new(Arc::unwrap_or_clone(referrers).of_type(artifact_type));
        headers.insert(headers::OCI_FILTERS_APPLIED, HeaderValue::from_static("artifactType"));
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(MediaType::OCI_INDEX));
    let mut response = Response::new(Body::whole(Bytes::from(referrers.to_index())));
    *response.headers_mut() = headers;
    Ok(response)
}
