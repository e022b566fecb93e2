//! One request and its answer, from the head that came in to the last byte that went out. What is counted and logged of it
//! is counted and logged once, when this is dropped: with the body that carries it, or with a request that nobody waits for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};

use super::App;
use super::error::Logged;
use crate::registry::CacheStatus;
use crate::sys::{Moment, random_id};

/// What nginx and `registry:2` log for a client that left before there was an answer.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// A request and what became of it.
pub(super) struct Exchange {
    pub(super) app: Arc<App>,
    pub(super) head: Parts,
    /// What is learnt of it on the way.
    pub(super) facts: Facts,
    id: String,
    peer: SocketAddr,
    handler: &'static str,
    started: Moment,
    end: End,
    status: u16,
    content_type: Option<String>,
    received: u64,
    written: u64,
}

/// What is learnt of a request while it is answered: for the log and the counters.
#[derive(Default)]
pub(super) struct Facts {
    /// As the client spelled it.
    pub(super) name: Option<String>,
    /// In its canonical spelling.
    pub(super) repository: Option<String>,
    pub(super) reference: Option<String>,
    pub(super) digest: Option<String>,
    pub(super) upload: Option<String>,
    pub(super) user: Option<String>,
    pub(super) cache: Option<CacheStatus>,
    /// It is a pull of mirrored content, of this kind.
    pub(super) mirrored: Option<Kind>,
    pub(super) error: Option<Logged>,
}

/// What is pulled, as `registry_proxy_*` names it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Blob,
    Manifest,
}

impl Kind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Blob => "blob",
            Self::Manifest => "manifest",
        }
    }
}

/// How far it came.
#[derive(Debug)]
pub(super) enum End {
    /// There is no answer yet.
    Unanswered,
    /// The answer's body is being sent.
    Sending,
    Complete,
    /// The connection was cut, since the body could not be sent to its end.
    Cut(String),
}

impl Exchange {
    pub(super) fn begin(app: &Arc<App>, head: Parts, peer: SocketAddr, handler: &'static str) -> Self {
        app.metrics.http_in_flight.with_label_values(&[handler]).inc();
        Self {
            app: Arc::clone(app),
            id: client_id(&head.headers).map_or_else(random_id, str::to_owned),
            head,
            facts: Facts::default(),
            peer,
            handler,
            started: app.clock.moment(),
            end: End::Unanswered,
            status: CLIENT_CLOSED_REQUEST,
            content_type: None,
            received: 0,
            written: 0,
        }
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// How long it has been going on.
    pub(super) fn elapsed(&self) -> Duration {
        self.app.clock.since(self.started)
    }

    /// The head of the answer is known; its body comes next.
    pub(super) fn answered(&mut self, status: StatusCode, headers: &HeaderMap, received: u64) {
        let content_type = headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        self.content_type = content_type.map(str::to_owned);
        self.status = status.as_u16();
        self.received = received;
        self.end = End::Sending;
    }

    /// So many bytes of the body went out.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.written += bytes as u64;
    }

    pub(super) fn complete(&mut self) {
        self.end = End::Complete;
    }

    pub(super) fn cut(&mut self, reason: String) {
        self.end = End::Cut(reason);
    }

    fn count(&self, took: Duration) {
        let metrics = &self.app.metrics;
        let method = method_label(&self.head.method);
        let route = &[self.handler, method];
        metrics.http_in_flight.with_label_values(&[self.handler]).dec();
        metrics.http_requests.with_label_values(&[self.handler, method, &self.status.to_string()]).inc();
        metrics.http_duration.with_label_values(route).observe(took.as_secs_f64());
        metrics.http_request_size.with_label_values(route).observe(self.received as f64);
        metrics.http_response_size.with_label_values(route).observe(self.written as f64);
        if let Some(kind) = self.facts.mirrored.filter(|_| (200..300).contains(&self.status)) {
            metrics.proxy_pushed_bytes.with_label_values(&[kind.as_str()]).inc_by(self.written);
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let took = self.elapsed();
        self.count(took);
        let line = super::access_log::Line {
            head: &self.head,
            facts: &self.facts,
            end: &self.end,
            id: &self.id,
            peer: self.peer,
            status: self.status,
            content_type: self.content_type.as_deref(),
            written: self.written,
            took,
        };
        line.write(self.app.access_log);
    }
}

/// The identifier that a proxy before us gave the request, so that one finds it in both logs.
fn client_id(headers: &HeaderMap) -> Option<&str> {
    let id = headers.get("x-request-id")?.to_str().ok()?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    ((1..=128).contains(&id.len()) && id.bytes().all(plain)).then_some(id)
}

/// The method as a label. A client can invent methods, but no labels.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "get",
        Method::HEAD => "head",
        Method::POST => "post",
        Method::PUT => "put",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        Method::OPTIONS => "options",
        _ => "unknown",
    }
}
