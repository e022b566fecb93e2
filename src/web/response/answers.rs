//! Answers without a repository's content: JSON objects and bare statuses.

use http::header::{CONTENT_TYPE, LINK};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde::Serialize;

use super::body::Body;

/// Makes an answer that is a JSON object. `next` is the `Link` to the next page.
pub(in crate::web) fn object(value: &impl Serialize, next: Option<HeaderValue>) -> Response<Body> {
    let mut response = Response::new(Body::json(value));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(next) = next {
        response.headers_mut().insert(LINK, next);
    }
    response
}

/// Makes an answer without a body.
pub(in crate::web) fn bare(status: StatusCode, headers: HeaderMap) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
