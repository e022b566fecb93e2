//! What a configuration means, once it is known to be right.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::oci::{HostName, Pattern};

/// A configuration that cannot be wrong: every value is parsed, every contradiction refused.
#[derive(Clone, Debug)]
pub struct Config {
    pub log: Log,
    pub storage: Storage,
    pub http: Http,
    /// `None`: everybody may do everything, as `registry:2` without `auth`.
    pub auth: Option<Htpasswd>,
    pub health: Health,
    pub mirror: Mirror,
    pub validation: Validation,
}

/// `log`.
#[derive(Clone, Debug)]
pub struct Log {
    pub level: LogLevel,
    pub formatter: LogFormat,
    /// Written into every line.
    pub fields: BTreeMap<String, String>,
    /// One line for each request; `accesslog.disabled` turns it off.
    pub access: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// `storage`.
#[derive(Clone, Debug)]
pub struct Storage {
    /// `storage.filesystem.rootdirectory`.
    pub root: PathBuf,
    pub origin: RootOrigin,
    /// `storage.delete.enabled`.
    pub delete: Delete,
    /// `storage.maintenance.uploadpurging`: uploads older than this are removed; `None`: never.
    pub upload_age: Option<Duration>,
}

/// Was `storage.root` written, or may somebody who knows the disk choose another?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootOrigin {
    Written,
    Default,
}

/// May content be deleted over the API?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delete {
    Allowed,
    Refused,
}

/// `http`.
#[derive(Clone, Debug)]
pub struct Http {
    /// `HOST:PORT` or `:PORT`, as written; an empty host is every address.
    pub addr: String,
    /// `http.host`: the address clients use; makes `Location` absolute.
    pub host: Option<String>,
    /// `http.prefix`: begins and ends with `/`; `/` by default.
    pub prefix: String,
    /// Added to every answer.
    pub headers: Vec<(String, String)>,
    /// `http.debug`: a listener of its own for `/metrics` and `/debug/health`.
    pub debug: Option<Debug>,
    /// `http.relativeurls`, `http.host` and the like decide nothing else; `draintimeout` bounds a graceful stop.
    pub drain_timeout: Duration,
}

#[derive(Clone, Debug)]
pub struct Debug {
    pub addr: String,
    /// `debug.prometheus.path`, where it is enabled.
    pub prometheus: Option<String>,
}

/// `auth.htpasswd`.
#[derive(Clone, Debug)]
pub struct Htpasswd {
    pub realm: String,
    pub path: PathBuf,
}

/// `health`.
#[derive(Clone, Debug)]
pub struct Health {
    /// `health.storagedriver`, where it is enabled.
    pub storage: Option<StorageCheck>,
}

#[derive(Clone, Debug)]
pub struct StorageCheck {
    pub interval: Duration,
    /// So many failures in a row make it unhealthy.
    pub threshold: u32,
}

/// `mirror`, or what `proxy` and the absence of both mean in its terms.
#[derive(Clone, Debug)]
pub struct Mirror {
    /// Where it came from: it decides what happens with a store that already holds other names.
    pub origin: MirrorOrigin,
    /// Names that live here.
    pub local: Vec<Pattern>,
    pub cache: Cache,
    pub upstreams: BTreeMap<HostName, Upstream>,
    /// The upstream that owns names which carry no registry of their own.
    pub default: Option<HostName>,
    /// `mirror.names`: our own names, which mean nothing in `?ns=`.
    pub names: Vec<HostName>,
    pub fill: Fill,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MirrorOrigin {
    /// `config/default.yml`: gives way to a store that holds other names.
    BuiltIn,
    /// Written out by the operator, as `mirror:`.
    Written,
    /// Written as `registry:2`'s `proxy:`: nothing is local.
    Proxy,
    /// Neither: no upstreams, everything lives here.
    Absent,
}

/// `mirror.cache`.
#[derive(Clone, Debug)]
pub struct Cache {
    /// The most bytes that the cache may hold; `None`: 80 % of the file system.
    pub max_size: Option<u64>,
    /// Bytes of the file system that are left free; `None`: 5 % of it, at most 10 GiB.
    pub reserve: Option<u64>,
}

/// `mirror.upstreams.NAME`.
#[derive(Clone, Debug)]
pub struct Upstream {
    pub name: HostName,
    /// Base addresses (`https://ghcr.io`), without `/v2/`, without a slash at the end; at least one.
    pub endpoints: Vec<String>,
    pub credentials: Option<Credentials>,
    /// How long a tag is trusted before a HEAD asks again.
    pub tag_ttl: Duration,
    /// How long an answer of 404 is believed before it asks again; zero: not at all.
    pub negative_ttl: Duration,
    pub stale: Stale,
    /// `http://`, `https://` or `socks5://` proxy to reach it by.
    pub proxy: Option<String>,
    pub trust: Trust,
    pub aliases: Vec<HostName>,
    /// No connection within this is an error (`connecttimeout`, 5 s).
    pub connect_timeout: Duration,
    /// No first byte of an answer within this is an error (`firstbytetimeout`, 15 s).
    pub first_byte_timeout: Duration,
}

/// How old may be what is served while the upstream does not answer (`staleif`, `stalemax`)?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stale {
    Always,
    /// Since the upstream last confirmed it.
    UpTo(Duration),
    Never,
}

impl Stale {
    /// May it be served when the upstream confirmed it so long ago?
    pub fn allows(self, age: Duration) -> bool {
        match self {
            Self::Always => true,
            Self::UpTo(longest) => age <= longest,
            Self::Never => false,
        }
    }
}

/// Whose certificates are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The system's authorities.
    System,
    /// These too (`ca`: a PEM file).
    Also(PathBuf),
    /// Any certificate (`insecure: true`).
    Anything,
}

#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub username: String,
    pub password: Secret,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// A secret: it cannot be printed by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The secret itself, for the one place that sends it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("****")
    }
}

/// `mirror.fill`.
#[derive(Clone, Debug)]
pub struct Fill {
    /// A transfer that brings no byte for this long is given up (15 s).
    pub stall: Duration,
}

/// `validation`.
#[derive(Clone, Debug)]
pub struct Validation {
    /// `validation.manifests.sparse`.
    pub sparse: Sparse,
}

/// What happens with a manifest that names content not held here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sparse {
    Refuse,
    Allow,
}
