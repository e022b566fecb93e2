//! `http`: the addresses that clients connect to, and settings for answers.

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value, json};

use super::address;
use super::address_range::AddressRange;
use super::cursor::{Cursor, ReadContext};
use super::go_forms;
use super::keys::{KeyShape, Notation, Support};
use super::scalar_type::{FLAG, ScalarType, TIMEOUT};
use super::section::{Keys, Section};
use crate::oci::HostName;

/// The values of `http`.
#[derive(Clone, Debug)]
pub struct Http {
    /// `HOST:PORT` or `:PORT`, as written. An empty host stands for every address.
    pub addr: String,
    /// `http.host`: the address that clients use. It makes `Location` absolute.
    pub host: Option<String>,
    /// `http.names`: further names of this server, for pages that change content and for `?ns=`.
    pub names: Vec<HostName>,
    /// `http.prefix`: begins and ends with `/`; `/` by default.
    pub prefix: String,
    /// `http.trustedproxies`: the proxies that are trusted to name the address of a client.
    pub trusted_proxies: Vec<AddressRange>,
    /// Headers that every response carries.
    pub headers: Vec<(String, String)>,
    /// `http.debug`: a second listener, for `/metrics` and `/debug/health`.
    pub debug: Option<Debug>,
    /// `http.stall`: the server gives up a client that does not read its answer, or does not send the rest of its request,
    /// after this time.
    pub stall: Duration,
    /// The time that running requests may take to finish after a signal to stop.
    pub drain_timeout: Duration,
}

/// The default of `http.draintimeout`. Docker kills a container 10 s after the signal to stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(8);

/// The values of `http.debug`.
#[derive(Clone, Debug, Default)]
pub struct Debug {
    pub addr: String,
    /// `debug.prometheus.path`, if `debug.prometheus.enabled`.
    pub prometheus: Option<String>,
}

/// Headers that describe how a message is sent, which only the server knows.
const MESSAGE_HEADERS: &[&str] = &[
    "Connection",
    "Content-Encoding",
    "Content-Length",
    "Content-Range",
    "Keep-Alive",
    "TE",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
];

/// The loopback and private addresses (RFC 1918, RFC 4193).
const PRIVATE: &[&str] = &["127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1", "fc00::/7"];

/// The keys of `tls` that ask for a certificate, or restrict the clients.
const TLS: &[&str] = &[
    "certificate",
    "key",
    "clientcas",
    "clientauth",
    "letsencrypt.cachefile",
    "letsencrypt.email",
    "letsencrypt.hosts",
];

const ADDR: ScalarType<String> = ScalarType {
    notation: Notation::Pattern(":[0-9A-Za-z]{1,11}$"),
    write: "write HOST:PORT or :PORT, such as :5000",
    parse: listen,
    show: |addr| json!(addr),
};

/// The address of the second listener. An empty one counts as not written.
const DEBUG_ADDR: ScalarType<String> = ScalarType {
    notation: Notation::Pattern("^$|:[0-9A-Za-z]{1,11}$"),
    parse: |text| if text.is_empty() { Some(String::new()) } else { listen(text) },
    ..ADDR
};

const HOST: ScalarType<Option<String>> = ScalarType {
    notation: address::URL,
    write: "write the address clients use, without a path, such as https://registry.example:5000",
    parse: |text| {
        let base = || address::base(text).ok().filter(|base| base.matches('/').count() == 2);
        if text.is_empty() { Some(None) } else { base().map(Some) }
    },
    show: |host| json!(host),
};

const PREFIX: ScalarType<String> = ScalarType {
    notation: Notation::Text,
    write: "write a path that begins and ends with '/', such as /registry/",
    parse: prefix,
    show: |prefix| json!(prefix),
};

const METRICS_PATH: ScalarType<String> = ScalarType {
    notation: Notation::Text,
    write: "write a path that begins with '/', such as /metrics",
    parse: |text| {
        let is_path = !text.is_empty() && !text.contains(char::is_whitespace);
        is_path.then(|| format!("/{}", text.strip_prefix('/').unwrap_or(text)))
    },
    show: |path| json!(path),
};

impl Default for Http {
    fn default() -> Self {
        Self {
            addr: ":5000".to_owned(),
            host: None,
            names: Vec::new(),
            prefix: "/".to_owned(),
            trusted_proxies: PRIVATE.iter().filter_map(|range| range.parse().ok()).collect(),
            headers: Vec::new(),
            debug: None,
            stall: Duration::from_secs(30),
            drain_timeout: DRAIN_TIMEOUT,
        }
    }
}

impl Http {
    /// Returns the names that this section gives to the server.
    pub fn own_names(&self) -> impl Iterator<Item = HostName> {
        self.host.as_deref().and_then(address::host_of).into_iter().chain(self.names.iter().cloned())
    }
}

impl Section for Http {
    fn keys(&mut self, keys: &mut Keys<'_, '_>) {
        keys.scalar("addr", &ADDR, &mut self.addr);
        named_port("addr", &self.addr, keys);
        let mut host = self.host.take().map(Some);
        keys.scalar("host", &HOST, &mut host);
        self.host = host.flatten();
        keys.list("names", &mut self.names);
        keys.scalar("prefix", &PREFIX, &mut self.prefix);
        let is_other = |written: &&str| !written.is_empty() && *written != self.prefix && prefix(written).is_some();
        if let Some(written) = keys.raw("prefix").filter(is_other) {
            let message = format!("is {written:?}, which is read as {:?}; write that", self.prefix);
            keys.warn("prefix", &message);
        }
        keys.list("trustedproxies", &mut self.trusted_proxies);
        headers(&mut self.headers, keys);
        keys.scalar("stall", &TIMEOUT, &mut self.stall);
        go_forms::duration("draintimeout", &mut self.drain_timeout, keys);
        // registry:2 cuts all requests at once then, which helps no operator.
        if self.drain_timeout.is_zero() {
            self.drain_timeout = DRAIN_TIMEOUT;
        }
        keys.optional("debug", &mut self.debug);
        self.debug = self.debug.take().filter(|debug| !debug.addr.is_empty());
        if let Some(debug) = self.debug.as_ref().filter(|debug| address::collide(&debug.addr, &self.addr)) {
            let message =
                format!("is {:?}, where `http.addr` {:?} listens already; write another port", debug.addr, self.addr);
            keys.error("debug.addr", &message);
        }
        let instead = "TLS comes with a later version; remove it and put a proxy that speaks TLS in front";
        let otherwise = "names no certificate, so the server speaks plain HTTP, as registry:2 does; remove it";
        keys.unsupported("tls", Support::RefusedIf { filled: TLS, instead, otherwise });
        let instead = "the server listens on TCP only; remove it and write HOST:PORT in `http.addr`";
        keys.refused_unless("net", "tcp", instead);
        keys.ignored_unless("relativeurls", "true", "URLs are relative unless `http.host` is set");
        keys.ignored(&[
            ("secret", "uploads need no signed state"),
            ("http2", "clients may always speak HTTP/2 or HTTP/1.1"),
            ("h2c", "HTTP/2 without TLS is always accepted"),
        ]);
    }
}

impl Section for Debug {
    fn keys(&mut self, keys: &mut Keys<'_, '_>) {
        let mut addr = Some(std::mem::take(&mut self.addr)).filter(|addr| !addr.is_empty());
        keys.scalar("addr", &DEBUG_ADDR, &mut addr);
        self.addr = addr.unwrap_or_default();
        named_port("addr", &self.addr, keys);
        if keys.raw("addr").is_none_or(str::is_empty) && keys.is_written("prometheus") {
            keys.warn("prometheus", "has no effect without `http.debug.addr`: /metrics is on the main port");
        }
        let (mut enabled, mut path) = (self.prometheus.is_some(), self.prometheus.take());
        keys.group("prometheus", |keys| {
            keys.scalar("enabled", &FLAG, &mut enabled);
            keys.scalar("path", &METRICS_PATH, &mut path);
            let is_bare = |written: &&str| !written.starts_with('/') && (METRICS_PATH.parse)(written).is_some();
            if let Some(written) = keys.raw("path").filter(is_bare) {
                let message = format!("is {written:?}, which is read as \"/{written}\"; write that");
                keys.warn("path", &message);
            }
            if path.as_deref() == Some("/debug/health") {
                keys.error("path", "is /debug/health, which has its own response there; write /metrics");
            }
        });
        self.prometheus = enabled.then(|| path.unwrap_or_else(|| "/metrics".to_owned()));
    }
}

/// Reads an address to listen on. A port that is named becomes a number.
fn listen(text: &str) -> Option<String> {
    address::listen(text).map(|(host, port)| format!("{host}:{port}"))
}

/// Warns of a port that is a name.
fn named_port(key: &str, read: &str, keys: &mut Keys<'_, '_>) {
    if let Some(written) = keys.raw(key).filter(|written| listen(written).is_some_and(|read| read != *written)) {
        let message = format!("is {written:?}, whose port is a name; write {read:?}");
        keys.warn(key, &message);
    }
}

/// Reads a prefix. `registry:2` accepts one without the slash at its end.
fn prefix(text: &str) -> Option<String> {
    let path = !text.contains("//") && text.bytes().all(|b| b.is_ascii_graphic() && !b"?#%\"<>\\^`{|}".contains(&b));
    let inner = text.trim_matches('/');
    path.then(|| if inner.is_empty() { "/".to_owned() } else { format!("/{inner}/") })
}

fn headers(headers: &mut Vec<(String, String)>, keys: &mut Keys<'_, '_>) {
    let mut shown = Map::new();
    for (name, value) in headers.iter() {
        if let Value::Array(values) = shown.entry(name.as_str()).or_insert_with(|| json!([])) {
            values.push(json!(value));
        }
    }
    if let Some((cursor, reading)) = keys.key("headers", KeyShape::Texts, Some(Value::Object(shown))) {
        *headers = read_headers(&cursor, reading);
    }
}

fn read_headers(cursor: &Cursor<'_>, reading: &mut ReadContext<'_>) -> Vec<(String, String)> {
    let mut headers = Vec::new();
    for (name, cursor) in cursor.children() {
        if HeaderName::from_bytes(name.as_bytes()).is_err() {
            cursor.error(reading, "is not a header's name; write letters, digits and '-'");
        }
        if MESSAGE_HEADERS.iter().any(|header| header.eq_ignore_ascii_case(name)) {
            cursor.error(reading, "says how a response is sent, which only the server knows; remove it");
        }
        for (value, location) in cursor.texts(reading) {
            if HeaderValue::from_str(value).is_err() {
                let message = format!("{} is not a header's value; write it on one line", cursor.path);
                reading.report.error(location, message);
            }
            headers.push((name.to_owned(), value.to_owned()));
        }
    }
    headers
}
