//! `mirror.upstreams.NAME`: a registry that is mirrored.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::link::Link;
use super::login::{self, LoginMethod, PRINTED_MASK};
use crate::config::address;
use crate::config::cursor::{Cursor, ReadContext};
use crate::config::document::show_duration;
use crate::config::keys::{KeyShape, Notation};
use crate::config::scalar_type::{Choices, DURATION, FLAG, TIMEOUT};
use crate::config::secret::{MASK, Secret};
use crate::config::section::{Keys, Section};
use crate::oci::HostName;

/// The values of `mirror.upstreams.NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    pub name: HostName,
    /// Base addresses (`https://ghcr.io`) without a slash at the end; at least one. An address may hold `/v2/` and the
    /// prefix that repositories have there: `https://harbor.corp/v2/hub`.
    pub endpoints: Vec<String>,
    pub credentials: Option<LoginMethod>,
    /// The time that a tag is trusted before a HEAD confirms it.
    pub tag_ttl: Duration,
    /// An `http://`, `https://`, `socks5://` or `socks5h://` proxy to the upstream. It may hold a password.
    pub proxy: Option<Secret>,
    /// The time that a 404 is trusted before the upstream is asked again; zero asks each time.
    pub negative_ttl: Duration,
    pub stale: Stale,
    pub trust: Trust,
    /// The client certificate for endpoints that ask for one.
    pub identity: Option<Identity>,
    pub aliases: Vec<HostName>,
    /// When requests to endpoints name the upstream in `?ns=`.
    pub ns: NamespaceUse,
    /// The longest time that a connection may take (`connecttimeout`, 5 s).
    pub connect_timeout: Duration,
    /// The longest time until the first byte of a response (`firstbytetimeout`, 2 min).
    pub first_byte_timeout: Duration,
    /// The longest time that a client waits for the beginning of an answer (`clientwait`, 15 s).
    pub client_wait: Duration,
    /// The part of the link that this upstream may use.
    pub link: Link,
}

impl Upstream {
    /// Returns true if the values name files, whose content may have changed although the values are the same.
    pub fn names_files(&self) -> bool {
        matches!(self.trust, Trust::Also(_)) || self.identity.is_some()
    }
}

/// The age up to which old answers are served while the upstream does not answer (`staleif`, `stalemax`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stale {
    Always,
    /// This long after the upstream last confirmed the answer.
    UpTo(Duration),
    Never,
}

impl Stale {
    /// Returns true if an answer may be served that the upstream confirmed `age` ago.
    pub fn allows(self, age: Duration) -> bool {
        match self {
            Self::Always => true,
            Self::UpTo(longest) => age <= longest,
            Self::Never => false,
        }
    }
}

/// When requests to an endpoint name the upstream in `?ns=` (OCI distribution-spec 1.1, "Registry Proxying").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamespaceUse {
    /// At an endpoint that is not the upstream's own host, while the endpoint answers as a mirror.
    Auto,
    Always,
    Never,
}

/// The certificates that are trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Those of the system's authorities.
    System,
    /// Also those of the authorities in this PEM file (`ca`).
    Also(PathBuf),
    /// Any certificate (`insecure: true`).
    Anything,
}

/// The PEM files of a client certificate: `clientcert` and `clientkey`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

const DAY: Duration = Duration::from_secs(86_400);
pub(super) const HUB: &str = "docker.io";
pub(super) const HUB_ENDPOINT: &str = "https://registry-1.docker.io";

/// Hosts of Docker Hub that no image's name begins with.
const HUB_ADDRESSES: &[&str] = &["registry-1.docker.io", "index.docker.io", "hub.docker.com"];

/// The values of `staleif`: true allows old answers.
const STALE_IF: Choices<bool> =
    Choices { words: &["error", "never"], values: &[true, false], write: "write error or never" };

const NAMESPACE: Choices<NamespaceUse> = Choices {
    words: &["auto", "always", "never"],
    values: &[NamespaceUse::Auto, NamespaceUse::Always, NamespaceUse::Never],
    write: "write auto, always or never",
};

impl Upstream {
    /// Returns an upstream with the defaults.
    pub(super) fn new(name: HostName) -> Self {
        let endpoint = if name.as_str() == HUB { HUB_ENDPOINT.to_owned() } else { format!("https://{name}") };
        Self {
            name,
            endpoints: vec![endpoint],
            credentials: None,
            tag_ttl: Duration::from_secs(600),
            negative_ttl: Duration::from_secs(60),
            stale: Stale::Always,
            proxy: None,
            trust: Trust::System,
            identity: None,
            aliases: Vec::new(),
            ns: NamespaceUse::Auto,
            connect_timeout: Duration::from_secs(5),
            first_byte_timeout: Duration::from_secs(120),
            client_wait: Duration::from_secs(15),
            link: Link::default(),
        }
    }
}

/// An upstream with its key `default`, which concerns all upstreams together.
pub(super) struct NamedUpstream {
    pub(super) upstream: Upstream,
    pub(super) is_default: bool,
}

impl Section for NamedUpstream {
    fn keys(&mut self, keys: &mut Keys<'_, '_>) {
        keys.scalar("default", &FLAG, &mut self.is_default);
        self.upstream.keys(keys);
    }
}

impl Section for Upstream {
    fn keys(&mut self, keys: &mut Keys<'_, '_>) {
        endpoints(&mut self.endpoints, keys);
        login::upstream_keys(&mut self.credentials, keys);
        keys.scalar("tagttl", &DURATION, &mut self.tag_ttl);
        keys.scalar("negativettl", &DURATION, &mut self.negative_ttl);
        stale(&mut self.stale, keys);
        proxy(&mut self.proxy, keys);
        trust(&mut self.trust, keys);
        identity(&mut self.identity, keys);
        keys.list("aliases", &mut self.aliases);
        keys.choice("ns", &NAMESPACE, &mut self.ns);
        keys.scalar("connecttimeout", &TIMEOUT, &mut self.connect_timeout);
        keys.scalar("firstbytetimeout", &TIMEOUT, &mut self.first_byte_timeout);
        keys.scalar("clientwait", &TIMEOUT, &mut self.client_wait);
        keys.section("link", &mut self.link);
        warn(self, keys);
    }
}

fn endpoints(endpoints: &mut Vec<String>, keys: &mut Keys<'_, '_>) {
    if let Some((cursor, reading)) = keys.key("endpoints", KeyShape::List, Some(json!(endpoints)))
        && let Some(read) = read_endpoints(&cursor, reading)
    {
        *endpoints = read;
    }
}

fn read_endpoints(cursor: &Cursor<'_>, reading: &mut ReadContext<'_>) -> Option<Vec<String>> {
    let texts = cursor.texts(reading);
    if cursor.is_written() && texts.is_empty() {
        cursor.error(reading, "is empty; write at least one, such as https://ghcr.io, or remove the key");
    }
    let mut endpoints = Vec::new();
    for (text, location) in texts {
        match address::base(text) {
            Ok(endpoint) => endpoints.push(endpoint),
            Err(wrong) => {
                reading.report.error(location, format!("{}: one {wrong}", cursor.path));
            }
        }
    }
    (!endpoints.is_empty()).then_some(endpoints)
}

fn stale(stale: &mut Stale, keys: &mut Keys<'_, '_>) {
    let (mut allowed, mut longest) = match *stale {
        Stale::Always => (true, None),
        Stale::UpTo(longest) => (true, Some(longest)),
        Stale::Never => (false, None),
    };
    keys.choice("staleif", &STALE_IF, &mut allowed);
    keys.scalar("stalemax", &TIMEOUT, &mut longest);
    if !allowed && longest.is_some() {
        keys.error("stalemax", "has no meaning with `staleif: never`; keep one of them");
    }
    *stale = match (allowed, longest) {
        (true, None) => Stale::Always,
        (true, Some(longest)) => Stale::UpTo(longest),
        (false, _) => Stale::Never,
    };
}

fn proxy(proxy: &mut Option<Secret>, keys: &mut Keys<'_, '_>) {
    let shown = proxy.as_ref().map(|proxy| Value::from(address::masked(proxy.reveal())));
    let notation = Notation::Pattern("^$|^file:|^(?:https?|socks5h?)://");
    let Some((cursor, reading)) = keys.key("proxy", KeyShape::Scalar(notation), shown) else { return };
    *proxy = cursor.secret(reading);
    let Some(address) = proxy.as_ref().map(Secret::reveal) else { return };
    if !address::is_proxy(address) {
        // The message does not repeat the address, which may hold a password.
        let message = "is not a proxy's address; write http://, https://, socks5:// or socks5h:// with HOST:PORT, \
             such as socks5://127.0.0.1:1080, and characters of a password other than letters and digits as %XX";
        cursor.error(reading, message);
    }
    if address.contains(&format!("://{MASK}@")) {
        cursor.warn(reading, PRINTED_MASK);
    }
}

fn trust(trust: &mut Trust, keys: &mut Keys<'_, '_>) {
    let (mut ca, mut insecure) = match std::mem::replace(trust, Trust::System) {
        Trust::System => (None, false),
        Trust::Also(path) => (Some(path), false),
        Trust::Anything => (None, true),
    };
    keys.path("ca", &mut ca);
    keys.scalar("insecure", &FLAG, &mut insecure);
    *trust = match (ca, insecure) {
        (Some(_), true) => {
            keys.error("ca", "has no meaning with `insecure: true`; keep one of them");
            Trust::System
        }
        (Some(path), false) => Trust::Also(path),
        (None, true) => Trust::Anything,
        (None, false) => Trust::System,
    };
}

fn identity(identity: &mut Option<Identity>, keys: &mut Keys<'_, '_>) {
    let (mut certificate, mut key) = identity.take().map(|identity| (identity.certificate, identity.key)).unzip();
    keys.path("clientcert", &mut certificate);
    keys.path("clientkey", &mut key);
    match (&certificate, &key) {
        (Some(_), None) => keys.error("clientcert", "has no `clientkey` beside it; write both or neither"),
        (None, Some(_)) => keys.error("clientkey", "has no `clientcert` beside it; write both or neither"),
        _ => {}
    }
    *identity = certificate.zip(key).map(|(certificate, key)| Identity { certificate, key });
}

/// Warns of values that are valid and surely not meant.
fn warn(upstream: &Upstream, keys: &mut Keys<'_, '_>) {
    let show = show_duration;
    if let Some((cursor, reading)) = keys.cursor() {
        warn_of_short_name(cursor, upstream.name.as_str(), reading);
        if HUB_ADDRESSES.contains(&upstream.name.as_str()) {
            cursor.warn(reading, "is an address of Docker Hub, whose images are named docker.io/…; write `docker.io:`");
        }
    }
    if let Stale::UpTo(longest) = upstream.stale
        && longest < upstream.tag_ttl
    {
        let message = format!(
            "is {}, shorter than `tagttl` ({}), so that no old answer is ever served; write `staleif: never`, or a longer time",
            show(longest),
            show(upstream.tag_ttl)
        );
        keys.warn("stalemax", &message);
    }
    if upstream.negative_ttl > DAY {
        let message = "is longer than 24h, which hides content that the upstream gets in that time; write 1m";
        keys.warn("negativettl", message);
    }
    let (connect, first_byte) = (upstream.connect_timeout, upstream.first_byte_timeout);
    if connect > first_byte {
        let message = format!(
            "is {}, longer than `firstbytetimeout` ({}), which includes it; write a shorter time, or raise the other",
            show(connect),
            show(first_byte)
        );
        keys.warn("connecttimeout", &message);
    }
}

/// Warns of a name that cannot be a host's, unless `endpoints` say where the upstream is.
fn warn_of_short_name(cursor: &Cursor<'_>, name: &str, reading: &mut ReadContext<'_>) {
    if name.contains(['.', ':']) || name == "localhost" || cursor.get("endpoints").is_written() {
        return;
    }
    let host = match name {
        "docker" | "dockerhub" | "docker-hub" | "hub" => HUB,
        "ghcr" | "github" => "ghcr.io",
        "quay" => "quay.io",
        "gcr" | "google" => "gcr.io",
        "k8s" | "kubernetes" => "registry.k8s.io",
        _ => "the registry's host, as in the names of its images",
    };
    let message =
        format!("is no registry's name, and would be reached at https://{name}; write {host}, or its `endpoints`");
    cursor.warn(reading, &message);
}
