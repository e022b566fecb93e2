//! `/v2/NAME/referrers/DIGEST`: the referrers of a manifest, as an image index (OCI distribution-spec 1.1, "Listing Referrers").

use bytes::Bytes;
use http::header::{CONTENT_TYPE, LINK};
use http::{HeaderMap, HeaderValue, Response};

use crate::auth::Action;
use crate::oci::{MediaType, ReferrersQuery};
use crate::web::call::{Answer, Call};
use crate::web::response::{Body, headers};
use crate::web::route::At;

/// Lists a page of referrers.
pub(in crate::web) async fn list(call: &mut Call, at: &At, asked: &ReferrersQuery) -> Answer {
    let repository = call.repository(at, Action::Pull).await?;
    let mut headers = HeaderMap::new();
    let found = repository.referrers(asked).await?;
    let page = call.take_found(found, &mut headers);
    if asked.artifact_type.is_some() {
        headers.insert(headers::OCI_FILTERS_APPLIED, HeaderValue::from_static("artifactType"));
    }
    if let Some(last) = &page.next {
        headers.insert(LINK, call.app().base.more_referrers(at, asked, last));
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(MediaType::OCI_INDEX));
    let mut response = Response::new(Body::whole(Bytes::from(page.referrers.to_index())));
    *response.headers_mut() = headers;
    Ok(response)
}
