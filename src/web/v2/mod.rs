//! The registry's API (distribution-spec), one module for each noun.

pub(super) mod blobs;
pub(super) mod catalog;
pub(super) mod manifests;
pub(super) mod referrers;
pub(super) mod tags;
pub(super) mod uploads;

use http::header::{CONTENT_TYPE, LINK};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde::Serialize;
use serde_json::json;

use super::body::Body;
use super::call::{Answer, Call};
use crate::auth::Action;

/// `/v2/`: is this a registry, and do these credentials open it? Asked before every pull: it never asks an upstream.
pub(super) async fn base(call: &mut Call) -> Answer {
    call.allow(Action::Enter).await?;
    Ok(object(&json!({}), None))
}

/// An answer that is a JSON object, and where the next page of it is.
pub(super) fn object(value: &impl Serialize, next: Option<HeaderValue>) -> Response<Body> {
    let mut response = Response::new(Body::json(value));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(next) = next {
        response.headers_mut().insert(LINK, next);
    }
    response
}

/// An answer with a status and headers and nothing else.
pub(super) fn bare(status: StatusCode, headers: HeaderMap) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
