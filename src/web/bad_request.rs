//! Answers for input that hyper cannot read as a request. It has no route and no exchange, but it gets an answer with an
//! explanation, is counted, and is logged.

use std::net::SocketAddr;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH};
use http::{HeaderValue, Response, StatusCode};

use super::app::{AccessLog, App};
use super::error::Failure;
use super::guard;
use super::response::headers;
use crate::sys::random_id;

/// The protocol that a connection began with, as its first bytes suggest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientProtocol {
    Nothing,
    /// A record of a TLS handshake.
    Tls,
    /// The connection preface of HTTP/2 (RFC 9113, section 3.4).
    Http2,
    Other,
}

impl ClientProtocol {
    /// Guesses the protocol from the first bytes of a connection.
    pub fn of(first: &[u8]) -> Self {
        match first.first() {
            None => Self::Nothing,
            Some(0x16) => Self::Tls,
            // The first letters of the preface could begin another word, but HTTP/2 is the safer guess.
            _ if first.starts_with(b"PRI ") || b"PRI ".starts_with(first) => Self::Http2,
            Some(_) => Self::Other,
        }
    }
}

/// Answers input that is not a readable request, with the status that HTTP has for it. The caller closes the connection after it.
pub fn bad_request(app: &App, status: StatusCode, protocol: ClientProtocol, peer: SocketAddr) -> Response<Bytes> {
    let id = random_id();
    let failure = Failure::bad_request(status);
    let logged = failure.logged();
    app.metrics.http_requests.with_label_values(&["unknown", "unknown", status.as_str()]).inc();
    if protocol == ClientProtocol::Tls {
        // The client was told to use TLS, or is a scanner. No request is at fault, so this is no line of the access log.
        tracing::debug!(http.request.remoteaddr = %peer, "a client used TLS on a port that serves plain HTTP; write http:// at the client");
    } else if app.access_log == AccessLog::All {
        tracing::info!(
            http.request.id = id,
            http.request.remoteaddr = %peer,
            http.response.status = status.as_u16(),
            err.code = logged.code.as_str(),
            err.message = logged.message,
            "an unreadable request was refused"
        );
    }
    closing(failure, &id)
}

/// Answers a connection that finds no place. The caller closes it without reading a request.
pub fn overloaded(app: &App) -> Response<Bytes> {
    let failure = Failure::overloaded();
    app.metrics.http_requests.with_label_values(&["unknown", "unknown", "503"]).inc();
    closing(failure, &random_id())
}

/// Returns an answer after which the connection is closed.
fn closing(failure: Failure, id: &str) -> Response<Bytes> {
    let mut response = failure.into_json();
    let len = response.body().len();
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, HeaderValue::from(len));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    headers.insert(headers::API_VERSION, HeaderValue::from_static("registry/2.0"));
    headers.insert(headers::REQUEST_ID, headers::value(id));
    guard::sandbox(headers);
    response
}
