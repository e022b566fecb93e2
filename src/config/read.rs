//! The tree into values, section by section; the mirror's are in `mirror`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::at::{At, Reading};
use super::check::is_driver;
use super::mirror::{self, Given};
use super::schema;
use super::{
    Config, Debug, Delete, Health, Htpasswd, Http, Log, LogFormat, LogLevel, RootOrigin, Sparse, Storage, StorageCheck,
    Validation, address,
};

const ROOT: &str = "/var/lib/registry";
const DRAIN: Duration = Duration::from_secs(60);
const UPLOAD_AGE: Duration = Duration::from_secs(168 * 3600);
const CHECK_INTERVAL: Duration = Duration::from_secs(10);
const CHECK_THRESHOLD: u64 = 3;

/// Headers that would tear messages apart.
const OF_THE_MESSAGE: &[&str] = &[
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

/// What the tree means. Where it is wrong that is reported, and the value counts for nothing.
pub(super) fn config(root: &At<'_>, given: Given, reading: &mut Reading<'_>) -> Config {
    // Of what is no map it was said that it is none.
    if root.is_map() {
        version(&root.get("version"), reading);
    }
    Config {
        log: log(root, reading),
        storage: storage(&root.get("storage"), reading),
        http: http(&root.get("http"), reading),
        auth: auth(&root.get("auth"), reading),
        health: health(&root.get("health"), reading),
        mirror: mirror::mirror(root, given, reading),
        validation: validation(&root.get("validation"), reading),
    }
}

fn version(at: &At<'_>, reading: &mut Reading<'_>) {
    if at.is_written() {
        at.parsed(reading, |text| (text == "0.1").then_some(()), "write `version: 0.1`");
    } else {
        at.error(reading, "is missing; write `version: 0.1` at the top");
    }
}

fn log(root: &At<'_>, reading: &mut Reading<'_>) -> Log {
    const LEVELS: &[(&str, LogLevel)] = &[
        ("error", LogLevel::Error),
        ("warn", LogLevel::Warn),
        ("info", LogLevel::Info),
        ("debug", LogLevel::Debug),
        ("warning", LogLevel::Warn),
        ("trace", LogLevel::Debug),
        ("fatal", LogLevel::Error),
        ("panic", LogLevel::Error),
    ];
    const WRITE: &str = "write error, warn, info or debug";
    let at = root.get("log");
    let old = root.get("loglevel");
    if old.is_written() {
        old.warn(reading, "is an old name; write `log: {level: …}`");
    }
    let old = old.choice(reading, LEVELS, WRITE);
    let formats = [("text", LogFormat::Text), ("json", LogFormat::Json), ("logstash", LogFormat::Json)];
    let formatter = at.get("formatter");
    let format = formatter.choice(reading, &formats, "write text or json");
    if format.is_some() && formatter.text(reading).is_some_and(|text| text.eq_ignore_ascii_case("logstash")) {
        formatter.warn(reading, "is \"logstash\", which is not written here: lines are JSON; write json");
    }
    let fields = at.get("fields");
    let fields = fields.children().filter_map(|(name, at)| Some((name.to_owned(), at.text(reading)?.to_owned())));
    Log {
        fields: fields.collect::<BTreeMap<_, _>>(),
        level: at.get("level").choice(reading, LEVELS, WRITE).or(old).unwrap_or(LogLevel::Info),
        formatter: format.unwrap_or(LogFormat::Text),
        access: !at.get("accesslog").get("disabled").flag(reading).unwrap_or(false),
    }
}

fn storage(at: &At<'_>, reading: &mut Reading<'_>) -> Storage {
    one_driver(at, reading);
    let root_at = at.get("filesystem").get("rootdirectory");
    let root = root_at.text(reading);
    if root.is_some_and(|root| root == "~" || root.starts_with("~/")) {
        root_at.error(reading, "begins with `~`, which is not filled in here; write the whole path");
    }
    let purging = at.get("maintenance").get("uploadpurging");
    let enabled = purging.get("enabled").flag(reading).unwrap_or(true);
    let dry = purging.get("dryrun").flag(reading).unwrap_or(false);
    let age = purging.get("age").timeout(reading).unwrap_or(UPLOAD_AGE);
    let deletes = at.get("delete").get("enabled").flag(reading).unwrap_or(false);
    Storage {
        root: PathBuf::from(root.unwrap_or(ROOT)),
        origin: if root.is_some() { RootOrigin::Written } else { RootOrigin::Default },
        delete: if deletes { Delete::Allowed } else { Delete::Refused },
        upload_age: (enabled && !dry).then_some(age),
    }
}

fn http(at: &At<'_>, reading: &mut Reading<'_>) -> Http {
    let addr = listen(&at.get("addr"), reading).unwrap_or_else(|| ":5000".to_owned());
    let debug = debug(&at.get("debug"), reading);
    if let Some(debug) = debug.as_ref().filter(|debug| address::collide(&debug.addr, &addr)) {
        let message = format!("is {:?}, where `http.addr` {addr:?} listens already; write another port", debug.addr);
        at.get("debug").get("addr").error(reading, &message);
    }
    let prefix =
        at.get("prefix").parsed(reading, prefix, "write a path that begins and ends with '/', such as /registry/");
    Http {
        addr,
        host: host(&at.get("host"), reading),
        prefix: prefix.unwrap_or_else(|| "/".to_owned()),
        headers: headers(&at.get("headers"), reading),
        debug,
        drain_timeout: at.get("draintimeout").duration(reading).unwrap_or(DRAIN),
    }
}

fn listen(at: &At<'_>, reading: &mut Reading<'_>) -> Option<String> {
    let valid = |text: &str| address::listen(text).map(|_| text.to_owned());
    at.parsed(reading, valid, "write HOST:PORT or :PORT, such as :5000")
}

fn prefix(text: &str) -> Option<String> {
    let whole = text.starts_with('/') && text.ends_with('/') && !text.contains("//");
    let path = whole && text.bytes().all(|b| b.is_ascii_graphic() && !b"?#%\"<>\\^`{|}".contains(&b));
    if text.is_empty() { Some("/".to_owned()) } else { path.then(|| text.to_owned()) }
}

fn host(at: &At<'_>, reading: &mut Reading<'_>) -> Option<String> {
    const WRITE: &str = "write the address clients use, without a path, such as https://registry.example:5000";
    let bare = |text: &str| address::base(text).ok().filter(|base| base.matches('/').count() == 2);
    at.text(reading)?;
    at.parsed(reading, bare, WRITE)
}

fn debug(at: &At<'_>, reading: &mut Reading<'_>) -> Option<Debug> {
    let prometheus = at.get("prometheus");
    let enabled = prometheus.get("enabled").flag(reading).unwrap_or(false);
    let absolute = |text: &str| (text.starts_with('/') && !text.contains(char::is_whitespace)).then(|| text.to_owned());
    let path = prometheus.get("path").parsed(reading, absolute, "write a path that begins with '/', such as /metrics");
    if path.as_deref() == Some("/debug/health") {
        prometheus.get("path").error(reading, "is /debug/health, which answers for itself there; write /metrics");
    }
    let written = at.get("addr").text(reading).is_some();
    if !written && prometheus.is_written() {
        prometheus.warn(reading, "has no effect without `http.debug.addr`: /metrics is on the main port");
    }
    let addr = if written {
        listen(&at.get("addr"), reading)?
    } else {
        return None;
    };
    Some(Debug { addr, prometheus: enabled.then(|| path.unwrap_or_else(|| "/metrics".to_owned())) })
}

fn headers(at: &At<'_>, reading: &mut Reading<'_>) -> Vec<(String, String)> {
    let mut headers = Vec::new();
    for (name, at) in at.children() {
        if HeaderName::from_bytes(name.as_bytes()).is_err() {
            at.error(reading, "is not a header's name; write letters, digits and '-'");
        }
        if OF_THE_MESSAGE.iter().any(|own| own.eq_ignore_ascii_case(name)) {
            at.error(reading, "says how an answer is sent, which is known here alone; remove it");
        }
        for (value, place) in at.texts(reading) {
            if HeaderValue::from_str(value).is_err() {
                reading.report.error(place, format!("{} is not a header's value; write it on one line", at.path));
            }
            headers.push((name.to_owned(), value.to_owned()));
        }
    }
    headers
}

/// A section that chooses a driver by its key chooses one. What nobody knows was said to be unknown, and is none.
fn one_driver(at: &At<'_>, reading: &mut Reading<'_>) {
    let drivers = at.children().filter(|(_, at)| is_driver(&at.path) && schema::knows(&at.path));
    if let [(first, _), (_, second), ..] = drivers.collect::<Vec<_>>().as_slice() {
        second.error(reading, &format!("is a second driver beside `{first}`; write one, and remove the other"));
    }
}

fn auth(at: &At<'_>, reading: &mut Reading<'_>) -> Option<Htpasswd> {
    one_driver(at, reading);
    let (_, at) = at.children().find(|(name, _)| *name == "htpasswd")?;
    let path = at.get("path");
    let Some(file) = path.text(reading) else {
        path.error(reading, "is missing; write the path of an htpasswd file, such as /etc/docker/registry/htpasswd");
        return None;
    };
    let realm = at.get("realm").parsed(reading, realm, "write it without control characters");
    Some(Htpasswd { realm: realm.unwrap_or_else(|| "basic-realm".to_owned()), path: PathBuf::from(file) })
}

fn realm(text: &str) -> Option<String> {
    HeaderValue::from_str(text).ok().map(|_| text.to_owned())
}

fn health(at: &At<'_>, reading: &mut Reading<'_>) -> Health {
    let at = at.get("storagedriver");
    let enabled = at.get("enabled").flag(reading).unwrap_or(false);
    let interval = at.get("interval").duration(reading).filter(|interval| !interval.is_zero());
    let threshold = at.get("threshold").number(reading).unwrap_or(CHECK_THRESHOLD);
    let check = StorageCheck {
        interval: interval.unwrap_or(CHECK_INTERVAL),
        threshold: u32::try_from(threshold).unwrap_or(u32::MAX).max(1),
    };
    Health { storage: enabled.then_some(check) }
}

fn validation(at: &At<'_>, reading: &mut Reading<'_>) -> Validation {
    let words = [("refuse", Sparse::Refuse), ("allow", Sparse::Allow)];
    let sparse = at.get("manifests").get("sparse").choice(reading, &words, "write refuse or allow");
    Validation { sparse: sparse.unwrap_or(Sparse::Refuse) }
}
