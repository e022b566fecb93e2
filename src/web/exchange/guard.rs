//! One request and its answer, from the head of the request to the last byte of the answer. The exchange is counted and logged
//! once, when it is dropped: either with the body of the answer, or with a request whose client has left.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};

use super::access_log::Line;
use super::facts::{AnswerProgress, Facts};
use crate::sys::{ClientAddress, Moment, random_id};
use crate::web::app::App;
use crate::web::guard::own_address;

/// The status that nginx and `registry:2` log for a client that left before the answer.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// The handlers of probes and metrics, whose requests are logged at the level `debug`, unless they fail.
const PROBES: &[&str] = &["livez", "readyz", "health", "metrics"];

/// A request and its answer.
pub(in crate::web) struct Exchange {
    pub(in crate::web) app: Arc<App>,
    pub(in crate::web) head: Parts,
    pub(in crate::web) facts: Facts,
    id: String,
    peer: SocketAddr,
    /// The client, if a trusted proxy tells its address.
    forwarded: Option<IpAddr>,
    handler: &'static str,
    started: Moment,
    progress: AnswerProgress,
    status: u16,
    content_type: Option<String>,
    received: u64,
    written: u64,
}

impl Exchange {
    /// Begins an exchange and counts it as running.
    pub(in crate::web) fn begin(app: &Arc<App>, head: Parts, peer: SocketAddr, handler: &'static str) -> Self {
        app.metrics.http_in_flight.with_label_values(&[handler]).inc();
        Self {
            app: Arc::clone(app),
            id: client_id(&head.headers).map_or_else(random_id, str::to_owned),
            forwarded: app.proxies.forwarded(peer, &head.headers),
            head,
            facts: Facts::default(),
            peer,
            handler,
            started: app.machine.clock.moment(),
            progress: AnswerProgress::Unanswered,
            status: CLIENT_CLOSED_REQUEST,
            content_type: None,
            received: 0,
            written: 0,
        }
    }

    pub(in crate::web) fn id(&self) -> &str {
        &self.id
    }

    /// Returns the addresses of the client. They serve a fair share of the server, and never a right.
    pub(in crate::web) fn client(&self) -> ClientAddress {
        ClientAddress::new(self.peer.ip(), self.forwarded)
    }

    /// Returns the address of this server as the client wrote it, such as `https://registry.corp`.
    pub(in crate::web) fn own_address(&self) -> Option<String> {
        own_address(&self.app.proxies, self.peer, &self.head)
    }

    /// Returns the time since the exchange began.
    pub(in crate::web) fn elapsed(&self) -> Duration {
        self.app.machine.clock.since(self.started)
    }

    /// Records the head of the answer. Its body follows.
    pub(in crate::web) fn answered(&mut self, status: StatusCode, headers: &HeaderMap, received: u64) {
        let content_type = headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        self.content_type = content_type.map(str::to_owned);
        self.status = status.as_u16();
        self.received = received;
        self.progress = AnswerProgress::Sending;
    }

    /// Records that bytes of the body were sent.
    pub(in crate::web) fn sent(&mut self, bytes: usize) {
        self.written += bytes as u64;
    }

    /// Records that the body was sent to its end.
    pub(in crate::web) fn complete(&mut self) {
        self.progress = AnswerProgress::Complete;
    }

    /// Records that the connection is cut.
    pub(in crate::web) fn cut(&mut self, reason: String) {
        self.progress = AnswerProgress::Cut(reason);
    }

    /// Updates the metrics.
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
        let line = Line {
            head: &self.head,
            facts: &self.facts,
            is_probe: PROBES.contains(&self.handler),
            progress: &self.progress,
            id: &self.id,
            client: self.forwarded.map_or_else(|| self.peer.to_string(), |client| client.to_string()),
            status: self.status,
            content_type: self.content_type.as_deref(),
            written: self.written,
            took,
        };
        line.write(self.app.access_log);
    }
}

/// Returns the identifier that a proxy in front gave the request, so that the request can be found in both logs.
fn client_id(headers: &HeaderMap) -> Option<&str> {
    let id = headers.get("x-request-id")?.to_str().ok()?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    ((1..=128).contains(&id.len()) && id.bytes().all(plain)).then_some(id)
}

/// Returns the method as a label. A client can invent methods, but must not invent labels.
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
