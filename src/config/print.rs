//! The effective configuration as YAML that could be read again, secrets masked.

use saphyr::{Mapping, Scalar, ScalarStyle, Yaml, YamlEmitter};
use serde_json::{Map, Value};

use super::scalar::{show_duration, show_size};
use super::{
    Config, Connections, Delete, Fill, Http, Log, LogFormat, LogLevel, Login, Mirror, MirrorOrigin, Prefetch, Sparse,
    Stale, Storage, Trust, Unattended, Upstream, address,
};

pub(super) const MASK: &str = "****";

pub(super) fn print(config: &Config) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = YamlEmitter::new(&mut text).dump(&yaml(&tree(config)));
    format!("{}\n", text.trim_start_matches("---\n"))
}

/// The YAML of a JSON value.
fn yaml(value: &Value) -> Yaml<'_> {
    match value {
        Value::String(text) => Yaml::Value(Scalar::String(text.into())),
        Value::Array(items) => Yaml::Sequence(items.iter().map(yaml).collect()),
        Value::Object(map) => Yaml::Mapping(
            map.iter()
                .map(|(key, value)| (Yaml::Value(Scalar::String(key.into())), yaml(value)))
                .collect::<Mapping<'_>>(),
        ),
        Value::Null | Value::Bool(_) | Value::Number(_) => {
            Yaml::Representation(value.to_string().into(), ScalarStyle::Plain, None)
        }
    }
}

/// The whole as a map.
pub(super) fn tree(config: &Config) -> Value {
    let mut root = Section::default();
    root.put("version", Value::from(0.1));
    root.put("log", log(&config.log));
    root.put("storage", storage(&config.storage));
    root.put("http", http(&config.http));
    if let Some(auth) = &config.auth {
        let htpasswd = Section::default().text("realm", &auth.realm).text("path", &auth.path.to_string_lossy());
        root.put("auth", Section::default().with("htpasswd", htpasswd.value()).value());
    }
    let mut driver = Section::default().with("enabled", config.health.storage.is_some());
    if let Some(check) = &config.health.storage {
        driver.put("interval", show_duration(check.interval));
        driver.put("threshold", check.threshold);
    }
    root.put("health", Section::default().with("storagedriver", driver.value()).value());
    match config.mirror.origin {
        MirrorOrigin::Absent => {}
        MirrorOrigin::Proxy => root.put("proxy", proxy(&config.mirror)),
        MirrorOrigin::BuiltIn | MirrorOrigin::Written => root.put("mirror", mirror(&config.mirror)),
    }
    let sparse = if config.validation.sparse == Sparse::Allow { "allow" } else { "refuse" };
    let manifests = Section::default().text("sparse", sparse).value();
    root.put("validation", Section::default().with("manifests", manifests).value());
    root.value()
}

/// A map under construction, in the order of writing.
#[derive(Default)]
struct Section(Map<String, Value>);

impl Section {
    fn put(&mut self, key: &str, value: impl Into<Value>) {
        self.0.insert(key.to_owned(), value.into());
    }

    fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.put(key, value);
        self
    }

    fn text(self, key: &str, value: &str) -> Self {
        self.with(key, value)
    }

    fn value(self) -> Value {
        Value::Object(self.0)
    }
}

fn list<T: ToString>(items: &[T]) -> Value {
    items.iter().map(|item| Value::from(item.to_string())).collect()
}

fn log(log: &Log) -> Value {
    let level = match log.level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
    };
    let formatter = if log.formatter == LogFormat::Json { "json" } else { "text" };
    let mut section = Section::default().text("level", level).text("formatter", formatter);
    let fields = log.fields.iter().fold(Section::default(), |section, (name, value)| section.text(name, value));
    section.put("fields", fields.value());
    section.with("accesslog", Section::default().with("disabled", !log.access).value()).value()
}

fn storage(storage: &Storage) -> Value {
    let mut purging = Section::default().with("enabled", storage.upload_age.is_some());
    if let Some(age) = storage.upload_age {
        purging.put("age", show_duration(age));
    }
    let filesystem = Section::default().text("rootdirectory", &storage.root.to_string_lossy());
    Section::default()
        .with("filesystem", filesystem.value())
        .with("delete", Section::default().with("enabled", storage.delete == Delete::Allowed).value())
        .with("maintenance", Section::default().with("uploadpurging", purging.value()).value())
        .value()
}

fn http(http: &Http) -> Value {
    let mut section = Section::default().text("addr", &http.addr).text("prefix", &http.prefix);
    if let Some(host) = &http.host {
        section.put("host", host.as_str());
    }
    section.put("draintimeout", show_duration(http.drain_timeout));
    let mut headers = Map::new();
    for (name, value) in &http.headers {
        let values = headers.entry(name.as_str()).or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(values) = values {
            values.push(Value::from(value.as_str()));
        }
    }
    section.put("headers", Value::Object(headers));
    if let Some(debug) = &http.debug {
        let mut prometheus = Section::default().with("enabled", debug.prometheus.is_some());
        if let Some(path) = &debug.prometheus {
            prometheus.put("path", path.as_str());
        }
        section
            .put("debug", Section::default().text("addr", &debug.addr).with("prometheus", prometheus.value()).value());
    }
    section.value()
}

fn credentials(section: &mut Section, login: Option<&Login>) {
    match login {
        None => {}
        Some(Login::Written(credentials)) => {
            section.put("username", credentials.username.as_str());
            section.put("password", MASK);
        }
        Some(Login::File(path)) => section.put("credentials", path.to_string_lossy().as_ref()),
        Some(Login::Helper(helper)) => {
            let mut exec = Section::default().text("command", &helper.command);
            if let Some(lifetime) = helper.lifetime {
                exec.put("lifetime", show_duration(lifetime));
            }
            section.put("exec", exec.value());
        }
    }
}

fn proxy(mirror: &Mirror) -> Value {
    let mut section = Section::default();
    for upstream in mirror.upstreams.values() {
        if let Some(endpoint) = upstream.endpoints.first() {
            section.put("remoteurl", endpoint.as_str());
        }
        credentials(&mut section, upstream.credentials.as_ref());
    }
    section.value()
}

fn mirror(mirror: &Mirror) -> Value {
    let mut cache = Section::default();
    for (key, size) in [("maxsize", mirror.cache.max_size), ("reserve", mirror.cache.reserve)] {
        if let Some(size) = size {
            cache.put(key, show_size(size));
        }
    }
    let mut upstreams = Section::default();
    for upstream in mirror.upstreams.values() {
        let default = mirror.default.as_ref() == Some(&upstream.name);
        upstreams.put(upstream.name.as_str(), one(upstream, default));
    }
    let mut section = Section::default()
        .with("local", list(&mirror.local))
        .with("cache", cache.value())
        .with("upstreams", upstreams.value())
        .with("names", list(&mirror.names))
        .with("fill", fill(&mirror.fill));
    if !mirror.prefetch.is_empty() {
        section.put("prefetch", mirror.prefetch.iter().map(prefetch).collect::<Value>());
    }
    section.value()
}

fn fill(fill: &Fill) -> Value {
    let mut section = Section::default();
    match fill.connections {
        Connections::Auto => section.put("connections", "auto"),
        Connections::Fixed(count) => section.put("connections", count as u64),
    }
    section.put("perhost", fill.per_host as u64);
    section.put("segment", show_size(fill.segment));
    section.put("stall", show_duration(fill.stall));
    match fill.unattended {
        Unattended::Finish => section.put("unattended", "finish"),
        Unattended::Pause(grace) => {
            section.put("unattended", "pause");
            section.put("grace", show_duration(grace));
        }
    }
    section.put("keep", show_duration(fill.keep));
    section.value()
}

fn prefetch(prefetch: &Prefetch) -> Value {
    let mut section = Section::default()
        .text("image", prefetch.image.as_str())
        .with("platforms", list(&prefetch.platforms.texts()))
        .with("every", show_duration(prefetch.every));
    if let Some(at) = prefetch.at {
        section.put("at", at.to_string());
    }
    section.value()
}

fn one(upstream: &Upstream, default: bool) -> Value {
    let mut section = Section::default().with("default", default).with("endpoints", list(&upstream.endpoints));
    credentials(&mut section, upstream.credentials.as_ref());
    section.put("tagttl", show_duration(upstream.tag_ttl));
    section.put("negativettl", show_duration(upstream.negative_ttl));
    section.put("staleif", if upstream.stale == Stale::Never { "never" } else { "error" });
    if let Stale::UpTo(longest) = upstream.stale {
        section.put("stalemax", show_duration(longest));
    }
    if let Some(proxy) = &upstream.proxy {
        section.put("proxy", address::masked(proxy.reveal()));
    }
    match &upstream.trust {
        Trust::System => {}
        Trust::Also(path) => section.put("ca", path.to_string_lossy().as_ref()),
        Trust::Anything => section.put("insecure", true),
    }
    if let Some(identity) = &upstream.identity {
        section.put("clientcert", identity.certificate.to_string_lossy().as_ref());
        section.put("clientkey", identity.key.to_string_lossy().as_ref());
    }
    section
        .with("aliases", list(&upstream.aliases))
        .with("connecttimeout", show_duration(upstream.connect_timeout))
        .with("firstbytetimeout", show_duration(upstream.first_byte_timeout))
        .value()
}
