//! What came in and is no request: it has no route and no exchange, but an answer in words, a number and a line in the log.

use std::net::SocketAddr;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH};
use http::{HeaderValue, Response, StatusCode};

use super::error::Failure;
use super::{AccessLog, App, headers};
use crate::sys::random_id;

/// What a connection began with, as far as it can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Greeting {
    Nothing,
    /// A record of a TLS handshake.
    Tls,
    /// HTTP/2 says so itself, before its first request (RFC 9113 §3.4).
    Http2,
    Other,
}

impl Greeting {
    /// Of the first bytes of a connection.
    pub fn of(first: &[u8]) -> Self {
        match first.first() {
            None => Self::Nothing,
            Some(0x16) => Self::Tls,
            // The first letters of it might be of another word; it is the safer guess.
            _ if first.starts_with(b"PRI ") || b"PRI ".starts_with(first) => Self::Http2,
            Some(_) => Self::Other,
        }
    }
}

/// Answers what could not be read as a request, with the status that HTTP has for it. The connection is closed after it.
pub fn unreadable(app: &App, status: StatusCode, greeting: Greeting, peer: SocketAddr) -> Response<Bytes> {
    let id = random_id();
    let failure = Failure::unreadable(status);
    let logged = failure.logged();
    app.metrics.http_requests.with_label_values(&["unknown", "unknown", status.as_str()]).inc();
    if greeting == Greeting::Tls {
        // A client that was told to use TLS, or a scanner: nothing is wrong with a request.
        tracing::debug!(http.request.remoteaddr = %peer, "TLS on a port that speaks plain HTTP: write http:// at the client");
    } else if app.access_log == AccessLog::All {
        tracing::info!(
            http.request.id = id,
            http.request.remoteaddr = %peer,
            http.response.status = status.as_u16(),
            err.code = logged.code.as_str(),
            err.message = logged.message,
            "a request that cannot be read was refused"
        );
    }
    let mut response = failure.into_json();
    let len = response.body().len();
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, HeaderValue::from(len));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    headers.insert(headers::API_VERSION, HeaderValue::from_static("registry/2.0"));
    headers.insert(headers::REQUEST_ID, headers::value(id));
    response
}
