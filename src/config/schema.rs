//! Every key there is: `registry:2`'s whole configuration and our own, with what this version makes of each.
//!
//! Static data. What a value may be is `read`'s business; here stand shape, form and status.

/// One key of a section.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) status: Status,
}

/// The shape of what stands under a key.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// One value.
    Leaf(Form),
    /// A list of leaves; one alone may stand without brackets.
    List,
    /// Any names, each with a leaf or a list of them.
    Texts,
    Section(&'static [Key]),
    /// A section that a bare word may stand for: `storage: filesystem`.
    Driver(&'static [Key]),
    /// Any names, each with such a section (or nothing).
    Named(&'static [Key]),
    /// A list of sections.
    Sections(&'static [Key]),
    /// Not looked into.
    Free,
}

/// How a value is written: what `check --schema` tells editors. `read` has the last word.
#[derive(Clone, Copy, Debug)]
pub(super) enum Form {
    Text,
    Flag,
    Duration,
    Size,
    /// From the first to the second.
    Number(u64, u64),
    /// `auto`, or such a number.
    Auto(u64, u64),
    /// One of these, in letters of either case.
    Words(&'static [&'static str]),
    /// What this regular expression matches.
    Like(&'static str),
    /// The one version there is.
    Version,
}

/// What this version makes of a key.
#[derive(Clone, Copy, Debug)]
pub(super) enum Status {
    Supported,
    /// Nothing is lost without it, or it is the case anyway: no word about it.
    Silent,
    /// A warning that names it and says why, unless its value is this one.
    Ignored {
        unless: &'static str,
        why: &'static str,
    },
    /// An error, unless its value is this one: a protection that is silently absent is a hole.
    Refused {
        unless: &'static str,
        instead: &'static str,
    },
}

use Form::{Auto, Duration, Flag, Like, Number, Size, Text, Version, Words};
use Kind::{Driver, Free, Leaf, List, Named, Section, Sections, Texts};

const fn takes(name: &'static str, kind: Kind) -> Key {
    Key { name, kind, status: Status::Supported }
}

const fn silent(name: &'static str) -> Key {
    Key { name, kind: Free, status: Status::Silent }
}

const fn ignores(name: &'static str, why: &'static str) -> Key {
    ignores_unless(name, "", why)
}

const fn ignores_unless(name: &'static str, unless: &'static str, why: &'static str) -> Key {
    Key { name, kind: Free, status: Status::Ignored { unless, why } }
}

const fn refuses(name: &'static str, instead: &'static str) -> Key {
    refuses_unless(name, "", instead)
}

const fn refuses_unless(name: &'static str, unless: &'static str, instead: &'static str) -> Key {
    Key { name, kind: Free, status: Status::Refused { unless, instead } }
}

const LEVEL: Form = Words(&["error", "warn", "info", "debug", "warning", "trace", "fatal", "panic"]);
const URL: Form = Like("^$|^https?://");

/// The keys at the top.
pub(super) const TOP: &[Key] = &[
    takes("version", Leaf(Version)),
    takes("log", Section(LOG)),
    takes("loglevel", Leaf(LEVEL)),
    takes("storage", Driver(STORAGE)),
    takes("http", Section(HTTP)),
    takes("auth", Driver(AUTH)),
    Key {
        name: "access",
        kind: List,
        status: Status::Refused {
            unless: "",
            instead: "access rules come with a later version; remove it, or keep the registry behind a proxy that enforces them",
        },
    },
    takes("health", Section(HEALTH)),
    takes("proxy", Section(PROXY)),
    takes("mirror", Section(MIRROR)),
    takes("validation", Section(VALIDATION)),
    ignores("notifications", "no notifications are sent"),
    ignores("middleware", "there are no middlewares"),
    ignores("reporting", "nothing is reported to Bugsnag or New Relic"),
    ignores("redis", "no Redis is needed"),
    ignores("tags", "clients page through a repository's tags by `n` and `last`"),
    ignores("catalog", "clients page through the catalog by `n` and `last`"),
    ignores("compatibility", "schema 1 manifests are not accepted"),
    ignores("policy", "there are no repository classes"),
];

const LOG: &[Key] = &[
    takes("level", Leaf(LEVEL)),
    takes("formatter", Leaf(Words(&["text", "json", "logstash"]))),
    takes("fields", Texts),
    takes("accesslog", Section(&[takes("disabled", Leaf(Flag))])),
    ignores("hooks", "no mail is sent for log lines"),
    ignores_unless("reportcaller", "false", "log lines name no source line"),
];

const STORAGE: &[Key] = &[
    takes("filesystem", Section(FILESYSTEM)),
    takes("delete", Section(&[takes("enabled", Leaf(Flag))])),
    takes("maintenance", Section(MAINTENANCE)),
    silent("cache"),
    ignores("redirect", "files are sent from here, not redirected to"),
    silent("tag"),
    refuses("inmemory", NO_DRIVER),
    refuses("s3", NO_DRIVER),
    refuses("s3aws", NO_DRIVER),
    refuses("gcs", NO_DRIVER),
    refuses("azure", NO_DRIVER),
    refuses("swift", NO_DRIVER),
    refuses("oss", NO_DRIVER),
    refuses("rados", NO_DRIVER),
];

const NO_DRIVER: &str = "write `filesystem: {rootdirectory: /var/lib/registry}`";

/// Keys of `storage` that are not drivers.
pub(super) const NOT_DRIVERS: &[&str] = &["delete", "maintenance", "cache", "redirect", "tag"];

const FILESYSTEM: &[Key] =
    &[takes("rootdirectory", Leaf(Text)), ignores("maxthreads", "the number of threads is chosen by the machine")];

const MAINTENANCE: &[Key] = &[
    takes(
        "uploadpurging",
        Section(&[
            takes("enabled", Leaf(Flag)),
            takes("age", Leaf(Duration)),
            takes("dryrun", Leaf(Flag)),
            ignores("interval", "old uploads are looked for at a pace of our own"),
        ]),
    ),
    Key {
        name: "readonly",
        kind: Section(&[refuses_unless(
            "enabled",
            "false",
            "a read-only registry comes with a later version; remove it",
        )]),
        status: Status::Supported,
    },
];

const AUTH: &[Key] = &[
    takes("htpasswd", Section(&[takes("realm", Leaf(Text)), takes("path", Leaf(Text))])),
    refuses("token", "token authentication comes with a later version; use `htpasswd`"),
    refuses("silly", "it protects nothing; use `htpasswd`, or remove `auth` to let everybody in"),
];

const HTTP: &[Key] = &[
    takes("addr", Leaf(Like(":[0-9]{1,5}$"))),
    takes("host", Leaf(URL)),
    takes("prefix", Leaf(Like("^$|^/$|^/.*/$"))),
    takes("headers", Texts),
    takes("draintimeout", Leaf(Duration)),
    takes("debug", Section(DEBUG)),
    refuses("tls", "TLS comes with a later version; remove it and put a proxy that speaks TLS in front"),
    refuses_unless("net", "tcp", "only TCP is listened on; remove it and write HOST:PORT in `http.addr`"),
    ignores("secret", "uploads need no signed state"),
    ignores_unless("relativeurls", "true", "URLs are relative unless `http.host` is set"),
    ignores("http2", "clients may speak HTTP/2 or HTTP/1.1, as they like"),
    ignores("h2c", "HTTP/2 without TLS is always understood"),
];

const DEBUG: &[Key] = &[
    takes("addr", Leaf(Like("^$|:[0-9]{1,5}$"))),
    takes("prometheus", Section(&[takes("enabled", Leaf(Flag)), takes("path", Leaf(Like("^/")))])),
];

const HEALTH: &[Key] = &[
    takes(
        "storagedriver",
        Section(&[
            takes("enabled", Leaf(Flag)),
            takes("interval", Leaf(Duration)),
            takes("threshold", Leaf(Number(0, u64::MAX))),
        ]),
    ),
    ignores("file", "only the storage is watched"),
    ignores("http", "only the storage is watched"),
    ignores("tcp", "only the storage is watched"),
];

const PROXY: &[Key] = &[
    takes("remoteurl", Leaf(URL)),
    takes("username", Leaf(Text)),
    takes("password", Leaf(Text)),
    takes("exec", Section(&[takes("command", Leaf(Text)), takes("lifetime", Leaf(Duration))])),
    ignores("ttl", "the cache is bounded by its size instead of by age: see `mirror.cache.maxsize`"),
    ignores("remotenamespace", "the upstream is asked for names as clients write them"),
    ignores("cachewritetimeout", "a fill goes on for as long as bytes arrive: see `mirror.fill.stall`"),
];

const MIRROR: &[Key] = &[
    takes("local", List),
    takes("cache", Section(&[takes("maxsize", Leaf(Size)), takes("reserve", Leaf(Size))])),
    takes("upstreams", Named(UPSTREAM)),
    takes("names", List),
    takes("fill", Section(FILL)),
    takes("prefetch", Sections(PREFETCH)),
];

const UPSTREAM: &[Key] = &[
    takes("default", Leaf(Flag)),
    takes("endpoints", List),
    takes("username", Leaf(Text)),
    takes("password", Leaf(Text)),
    takes("credentials", Leaf(Text)),
    takes("tagttl", Leaf(Duration)),
    takes("negativettl", Leaf(Duration)),
    takes("staleif", Leaf(Words(&["error", "never"]))),
    takes("stalemax", Leaf(Duration)),
    takes("proxy", Leaf(Like("^$|^file:|^(?:https?|socks5h?)://"))),
    takes("ca", Leaf(Text)),
    takes("insecure", Leaf(Flag)),
    takes("clientcert", Leaf(Text)),
    takes("clientkey", Leaf(Text)),
    takes("aliases", List),
    takes("connecttimeout", Leaf(Duration)),
    takes("firstbytetimeout", Leaf(Duration)),
];

const FILL: &[Key] = &[
    takes("connections", Leaf(Auto(1, 64))),
    takes("perhost", Leaf(Number(1, 1024))),
    takes("segment", Leaf(Size)),
    takes("stall", Leaf(Duration)),
    takes("unattended", Leaf(Words(&["finish", "pause"]))),
    takes("grace", Leaf(Duration)),
    takes("keep", Leaf(Duration)),
];

const PREFETCH: &[Key] = &[
    takes("image", Leaf(Text)),
    takes("platforms", List),
    takes("every", Leaf(Duration)),
    takes("at", Leaf(Like("^[0-9]{1,2}:[0-9]{2}$"))),
];

const VALIDATION: &[Key] = &[
    refuses_unless("enabled", "false", "URLs in manifests are not checked by this version; remove it"),
    ignores("disabled", "`validation.manifests.sparse` alone decides what is checked"),
    takes(
        "manifests",
        Section(&[
            takes("sparse", Leaf(Words(&["refuse", "allow"]))),
            refuses("urls", "URLs in manifests are not checked by this version; remove it"),
            refuses("indexes", "write `sparse: allow` to take indexes whose images are not held here, else remove it"),
        ]),
    ),
];

/// The paths of all supported leaves, with `NAME` for any name and `0` for any element of a list:
/// `mirror.upstreams.NAME.tagttl`, `mirror.prefetch.0.image`.
#[cfg(test)]
pub(super) fn supported() -> Vec<String> {
    let mut paths = Vec::new();
    walk(TOP, "", &mut |path, key| {
        let leaf = matches!(key.kind, Leaf(_) | List | Texts);
        if leaf && matches!(key.status, Status::Supported) {
            paths.push(path.to_owned());
        }
    });
    paths
}

/// Calls `visit` for every key there is, with its path.
pub(super) fn walk(keys: &[Key], within: &str, visit: &mut dyn FnMut(&str, &Key)) {
    for key in keys {
        let path = join(within, key.name);
        visit(&path, key);
        match key.kind {
            Section(keys) | Driver(keys) => walk(keys, &path, visit),
            Named(keys) => walk(keys, &join(&path, "NAME"), visit),
            Sections(keys) => walk(keys, &join(&path, "0"), visit),
            Leaf(_) | List | Texts | Free => {}
        }
    }
}

/// Is there such a key?
pub(super) fn knows(path: &str) -> bool {
    let mut known = false;
    walk(TOP, "", &mut |at, _| known |= at == path);
    known
}

pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// The name among `known` that `name` was probably meant to be.
pub(super) fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let name = name.to_ascii_lowercase();
    let length = name.chars().count();
    let close = |other: &str| {
        let other = other.to_ascii_lowercase();
        let begins = length >= 4 && other.len() >= 4 && (other.starts_with(&name) || name.starts_with(&other));
        let distance = strsim::osa_distance(&name, &other);
        (begins || distance <= 1.max(length / 3)).then_some(distance)
    };
    known.filter_map(|other| close(other).map(|distance| (distance, other))).min().map(|(_, other)| other)
}
