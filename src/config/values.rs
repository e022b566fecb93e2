//! What a configuration means, once it is known to be right.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::TimeOfDay;
use crate::oci::{HostName, ImagePattern, Pattern, Platforms};

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
    pub prefetch: Vec<Prefetch>,
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
    pub credentials: Option<Login>,
    /// How long a tag is trusted before a HEAD asks again.
    pub tag_ttl: Duration,
    /// `http://`, `https://`, `socks5://` or `socks5h://` proxy to reach it by; it may hold a password.
    pub proxy: Option<Secret>,
    /// How long an answer of 404 is believed before it asks again; zero: not at all.
    pub negative_ttl: Duration,
    pub stale: Stale,
    pub trust: Trust,
    /// The certificate that we show where one is asked for.
    pub identity: Option<Identity>,
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

/// `clientcert` and `clientkey`: PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// Whom an upstream is asked as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// `username` and `password`.
    Written(Credentials),
    /// `credentials`: a file in the form of docker's `config.json`; it may begin with `~/`.
    File(PathBuf),
    /// `proxy.exec`: docker's credential helpers, and what speaks like them.
    Helper(Helper),
}

/// `proxy.exec`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Helper {
    pub command: String,
    /// How long its answer is good; `None`: for ever, as in `registry:3`.
    pub lifetime: Option<Duration>,
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
    /// How many connections feed one fill.
    pub connections: Connections,
    /// The most connections to one host for all fills together (`perhost`, 16).
    pub per_host: usize,
    /// The most that one of several connections asks for at a time, in bytes (8 MiB).
    pub segment: u64,
    /// A transfer that brings no byte for this long goes on with another connection (15 s).
    pub stall: Duration,
    pub unattended: Unattended,
    /// What has arrived of a blob that nobody asked for again is kept for so long (`keep`, 168 h).
    pub keep: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connections {
    /// As many as raise the throughput; four at first.
    Auto,
    /// So many, at least one.
    Fixed(usize),
}

/// What becomes of a fill that nobody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unattended {
    Finish,
    /// After this grace it stops; the next request goes on from what has arrived.
    Pause(Duration),
}

/// One of `mirror.prefetch`: images that are fetched before anybody asks for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefetch {
    pub image: ImagePattern,
    pub platforms: Platforms,
    /// The time between two runs.
    pub every: Duration,
    /// One of the runs is at this time of day; `None`: the first comes soon after the start.
    pub at: Option<TimeOfDay>,
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
