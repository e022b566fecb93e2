//! The meaning of valid configurations. The submodules hold the tables of mistakes and warnings.

mod damaged;
mod editors;
mod refused;
mod shipped;
mod variables;
mod warned;

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::oci::{HostName, Platform, Platforms};

const REFERENCE: &str = include_str!("../../../config/reference.yml");

fn read(path: &Path) -> Result<String, String> {
    match path.to_str() {
        Some("/run/secrets/hub") => Ok("s3cret\n".to_owned()),
        Some("/run/secrets/proxy") => Ok("http://me:s3cret@p:1\n".to_owned()),
        Some("/empty") => Ok("\n".to_owned()),
        _ => Err("it does not exist; make it".to_owned()),
    }
}

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn load_text(text: &str, environment: &[(&str, &str)]) -> Result<Loaded, Problems> {
    let source = SourceText { name: "config.yml".to_owned(), text, built_in: false };
    load(source, &variables(environment), &read)
}

fn load_default(environment: &[(&str, &str)]) -> Result<Loaded, Problems> {
    let source = SourceText { name: "config/default.yml (built in)".to_owned(), text: DEFAULT, built_in: true };
    load(source, &variables(environment), &read)
}

/// Returns a valid configuration, or panics with its mistakes.
fn good(text: &str) -> Loaded {
    load_text(text, &[]).unwrap_or_else(|problems| panic!("{text}\n{problems}"))
}

fn with(text: &str, environment: &[(&str, &str)]) -> Config {
    load_text(text, environment).unwrap_or_else(|problems| panic!("{text}\n{problems}")).config
}

fn password(upstream: &Upstream) -> &str {
    match &upstream.credentials {
        Some(LoginMethod::Written(credentials)) => credentials.password.reveal(),
        other => panic!("{other:?} is no password"),
    }
}

fn host(text: &str) -> HostName {
    text.parse().unwrap()
}

/// The file of Debian's docker-registry, with every section that the stock files use.
const STOCK: &str = "\
version: 0.1
log:
  fields:
    service: registry
storage:
  cache:
    blobdescriptor: inmemory
  filesystem:
    rootdirectory: /var/lib/docker-registry
  delete:
    enabled: true
http:
  addr: :5000
  headers:
    X-Content-Type-Options: [nosniff]
auth:
  htpasswd:
    realm: basic-realm
    path: /etc/docker/registry
health:
  storagedriver:
    enabled: true
    interval: 10s
    threshold: 3
";

#[test]
fn stock_file_has_no_warnings() {
    let loaded = good(STOCK);
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let config = loaded.config;
    assert_eq!(config.storage.root, Path::new("/var/lib/docker-registry"));
    assert_eq!(config.storage.origin, RootOrigin::Written);
    assert_eq!(config.storage.delete, Delete::Allowed);
    assert_eq!(config.auth.unwrap().realm, "basic-realm");
    assert_eq!(config.http.headers, [("X-Content-Type-Options".to_owned(), "nosniff".to_owned())]);
    assert_eq!(config.health.storage.unwrap().interval, Duration::from_secs(10));
    assert_eq!(config.mirror.origin, MirrorOrigin::Absent);
    assert!(config.mirror.local[0].matches("any/thing"));
}

#[test]
fn defaults_are_as_documented() {
    let config = good("version: 0.1").config;
    assert_eq!(config.log.level, LogLevel::Info);
    assert_eq!(config.log.formatter, LogFormat::Text);
    assert!(config.log.access);
    assert_eq!(config.http.addr, ":5000");
    assert_eq!(config.http.prefix, "/");
    assert_eq!(config.storage.root, Path::new("/var/lib/registry"));
    assert_eq!(config.storage.origin, RootOrigin::Default);
    assert_eq!(config.storage.delete, Delete::Refused);
    assert_eq!(config.storage.upload_age, Some(Duration::from_secs(168 * 3600)));
    assert!(config.health.storage.is_none() && config.auth.is_none() && config.http.debug.is_none());
    assert_eq!(config.validation.sparse, Sparse::Refuse);

    let mirror =
        good("version: 0.1\nmirror:\n  upstreams:\n    ghcr.io:\n    docker.io: {default: yes}\n").config.mirror;
    let ghcr = &mirror.upstreams[&host("ghcr.io")];
    assert_eq!(ghcr.endpoints, ["https://ghcr.io"]);
    assert_eq!(ghcr.tag_ttl, Duration::from_secs(600));
    assert_eq!((ghcr.negative_ttl, ghcr.stale), (Duration::from_secs(60), Stale::Always));
    assert_eq!((ghcr.connect_timeout, ghcr.first_byte_timeout), (Duration::from_secs(5), Duration::from_secs(120)));
    assert_eq!(mirror.upstreams[&host("docker.io")].endpoints, ["https://registry-1.docker.io"]);
    assert_eq!(mirror.default, Some(host("docker.io")));
    assert_eq!(mirror.origin, MirrorOrigin::Written);
    assert_eq!(mirror.local[0].as_str(), "local/**");
    assert_eq!(mirror.fill.stall, Duration::from_secs(15));
}

#[test]
fn documented_example_is_valid() {
    let config = good(
        "
version: 0.1
log: {level: info, formatter: text, fields: {service: registry}}   # formatter: text | json
storage:
  filesystem: {rootdirectory: /var/lib/registry}
  delete: {enabled: true}
http:
  addr: :5000
  headers: {X-Content-Type-Options: [nosniff]}
  debug: {addr: :5001, prometheus: {enabled: true, path: /metrics}}
auth:
  htpasswd: {realm: basic-realm, path: /etc/docker/registry/htpasswd}
health:
  storagedriver: {enabled: true, interval: 10s, threshold: 3}
mirror:
  local: [\"local/**\"]
  cache: {maxsize: 200GiB}
  upstreams:
    docker.io:
      default: true
      endpoints: [https://registry-1.docker.io]
      username: me
      password: secret
      tagttl: 10m
      proxy: socks5://127.0.0.1:1080
      ca: /etc/ssl/corp.pem
      aliases: [registry.corp, registry.corp:443]
    ghcr.io: {}
    quay.io: {}
  names: [mirror.lan:5000]
  fill: {connections: auto, segment: 8MiB, stall: 15s, unattended: finish}
validation:
  manifests: {sparse: refuse}
",
    );
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    let debug = config.config.http.debug.unwrap();
    assert_eq!((debug.addr.as_str(), debug.prometheus.as_deref()), (":5001", Some("/metrics")));
    let hub = &config.config.mirror.upstreams[&host("docker.io")];
    assert_eq!(hub.trust, Trust::Also("/etc/ssl/corp.pem".into()));
    assert_eq!(hub.aliases, [host("registry.corp"), host("registry.corp:443")]);
    assert_eq!(password(hub), "secret");
    assert_eq!(config.config.mirror.cache.max_size, Some(200 << 30));
}

#[test]
fn yaml_is_read_as_go_reads_it() {
    for text in [
        "version: '0.1'\nstorage: filesystem",
        "version: 0.1\nx-common: &c {enabled: yes}\nstorage: {delete: *c, filesystem: }",
        "\u{feff}version: 0.1\r\nstorage:\r\n  delete:\r\n    enabled: on\r\n",
        "---\nversion: 0.1\n...\n",
        "version: !!str 0.1",
        "version: 0.1\nhttp:\nstorage: null\nhealth: {}\nmirror:\n",
        "version: 0.1\nhttp: {tls: {}, net: tcp, relativeurls: true, host: \"\"}\nvalidation: {enabled: no}",
        "version: 0.1\nhealth: {storagedriver: {enabled: true, threshold: \"3\", interval: 0}}",
        "version: 0.1\nstorage: {maintenance: {readonly: {enabled: false}, uploadpurging: {enabled: true, age: 168h}}}",
        "version: 0.1\nmirror: {local: team/**, upstreams: {GHCR.io: }}",
        "version: 0.1\nmirror: {local: [], upstreams: {\"localhost:5001\": {aliases: localhost, endpoints: \"http://localhost:5001\"}}}",
        "version: 0.1\nhttp: {headers: {A: [b, c], D: e}, addr: \"[::1]:0\"}",
    ] {
        let loaded = good(text);
        assert!(loaded.warnings.is_empty(), "{text}\n{:?}", loaded.warnings);
    }
    let merged = good(
        "version: 0.1
x-a: &a {tagttl: 1h30m, insecure: on}
x-b: &b {tagttl: 5m, connecttimeout: 500ms}
mirror:
  upstreams:
    one.io: {<<: *a, tagttl: 0, negativettl: 0s, staleif: Never}
    two.io:
      stalemax: 7d
      <<: [*a, *b]
",
    );
    let upstreams = merged.config.mirror.upstreams;
    assert_eq!(upstreams[&host("one.io")].tag_ttl, Duration::ZERO);
    assert_eq!(upstreams[&host("one.io")].trust, Trust::Anything);
    assert_eq!(
        (upstreams[&host("one.io")].negative_ttl, upstreams[&host("one.io")].stale),
        (Duration::ZERO, Stale::Never)
    );
    assert_eq!(upstreams[&host("two.io")].stale, Stale::UpTo(Duration::from_secs(7 * 86_400)));
    assert_eq!(upstreams[&host("two.io")].tag_ttl, Duration::from_secs(5400));
    assert_eq!(upstreams[&host("two.io")].connect_timeout, Duration::from_millis(500));
}

#[test]
fn proxy_becomes_one_default_upstream() {
    for (url, name, endpoint) in [
        ("https://registry-1.docker.io", "docker.io", "https://registry-1.docker.io"),
        ("https://index.docker.io/", "docker.io", "https://index.docker.io"),
        ("https://docker.io", "docker.io", "https://registry-1.docker.io"),
        ("https://hub.docker.com", "docker.io", "https://registry-1.docker.io"),
        ("http://127.0.0.1:5001/", "127.0.0.1:5001", "http://127.0.0.1:5001"),
        ("https://ghcr.io", "ghcr.io", "https://ghcr.io"),
    ] {
        let mirror = good(&format!("version: 0.1\nproxy: {{remoteurl: \"{url}\"}}")).config.mirror;
        assert_eq!(mirror.origin, MirrorOrigin::Proxy);
        assert_eq!(mirror.default, Some(host(name)), "{url}");
        assert_eq!(mirror.upstreams[&host(name)].endpoints, [endpoint], "{url}");
        assert!(mirror.local.is_empty());
    }
    let mirror = good("version: 0.1\nproxy: {remoteurl: https://a, username: me, password: \"file:/run/secrets/hub\"}")
        .config
        .mirror;
    assert_eq!(password(&mirror.upstreams[&host("a")]), "s3cret");
    let helper =
        "version: 0.1\nproxy: {remoteurl: https://a, exec: {command: docker-credential-ecr-login, lifetime: 1h}}";
    let want = Helper { command: "docker-credential-ecr-login".to_owned(), lifetime: Some(Duration::from_secs(3600)) };
    assert_eq!(good(helper).config.mirror.upstreams[&host("a")].credentials, Some(LoginMethod::Helper(want)));
    for text in ["proxy:", "proxy: {}", "proxy: {remoteurl: \"\"}"] {
        assert_eq!(good(&format!("version: 0.1\n{text}")).config.mirror.origin, MirrorOrigin::Absent, "{text}");
    }
}

#[test]
fn prefetch_is_read_from_files_and_variables() {
    let mirror = "mirror:\n  names: [mirror.lan:5000]\n  upstreams: {docker.io: {default: true}, ghcr.io: {aliases: [hub]}}\n  prefetch:";
    let images =
        "[{image: alpine}, {image: hub/org/app}, {image: mirror.lan:5000/ghcr.io/org/app, at: \"02:30\", every: 12h}]";
    let prefetch = good(&format!("version: 0.1\n{mirror} {images}")).config.mirror.prefetch;
    let defaults = (Platforms::These(vec![Platform::native()]), Duration::from_secs(86_400), None);
    assert_eq!((prefetch[0].platforms.clone(), prefetch[0].every, prefetch[0].at), defaults);
    assert_eq!(prefetch[2].at.map(|at| at.to_string()).as_deref(), Some("02:30"));
    let variables = [
        ("REGISTRY_MIRROR_PREFETCH_0_IMAGE", "docker.io/library/debian:stable-*"),
        ("REGISTRY_MIRROR_PREFETCH_1_IMAGE", "alpine"),
        ("REGISTRY_MIRROR_PREFETCH_1_PLATFORMS_0", "linux/arm64"),
    ];
    let prefetch = with("version: 0.1\nmirror: {upstreams: {docker.io: {default: true}}}", &variables).mirror.prefetch;
    assert_eq!(prefetch[0].image.as_str(), "docker.io/library/debian:stable-*");
    assert_eq!(prefetch[1].platforms.texts(), ["linux/arm64"]);
}

/// Users copy the address of Docker Hub from many places.
#[test]
fn remote_url_of_the_hub_is_the_hub() {
    for address in [
        "https://index.docker.io/v1/",
        "https://index.docker.io/v1",
        "https://registry-1.docker.io/v2/",
        "https://registry-1.docker.io:443/",
        "https://registry-1.docker.io.",
        "https://hub.docker.com",
        "https://docker.io/v1/",
    ] {
        let mirror = good(&format!("version: 0.1\nproxy: {{remoteurl: {address:?}}}")).config.mirror;
        assert_eq!(mirror.default, Some(host("docker.io")), "{address}");
        let endpoint = &mirror.upstreams[&host("docker.io")].endpoints[0];
        assert!(!endpoint.contains("/v1") && !endpoint.contains("/v2"), "{address}: {endpoint}");
    }
    let mirror = good("version: 0.1\nproxy: {remoteurl: https://r.corp/v1/}").config.mirror;
    assert_eq!(mirror.upstreams[&host("r.corp")].endpoints, ["https://r.corp"]);
}

/// registry:2 starts on these values, and they mean the same here.
#[test]
fn values_in_the_forms_of_go_mean_the_same() {
    let http = |text: &str| good(&format!("version: 0.1\nhttp: {{{text}}}")).config.http;
    assert_eq!(http("prefix: /a/b").prefix, "/a/b/");
    assert_eq!(http("prefix: registry").prefix, "/registry/");
    assert_eq!(http("prefix: /").prefix, "/");
    assert_eq!(http("prefix: \"\"").prefix, "/");
    assert_eq!(http("draintimeout: 90000000000").drain_timeout, Duration::from_secs(90));
    assert_eq!(http("draintimeout: 0").drain_timeout, Duration::from_secs(8));
    assert_eq!(http("addr: \"0.0.0.0:https\"").addr, "0.0.0.0:443");
    assert_eq!(http("tls: {certificate: \"\", key: \"\"}").addr, ":5000");
    assert!(good("version: 0.1\nauth: none").config.auth.is_none());
    assert!(with("version: 0.1", &[("REGISTRY_AUTH", "none")]).auth.is_none());
    assert_eq!(
        with("version: 0.1", &[("REGISTRY_HTTP_DRAINTIMEOUT", "5000000000")]).http.drain_timeout,
        Duration::from_secs(5)
    );
    assert_eq!(with("version: 0.1", &[("REGISTRY_HTTP_ADDR", ":http")]).http.addr, ":80");
    let health = good("version: 0.1\nhealth: {storagedriver: {enabled: true, interval: 10000000000}}").config.health;
    assert_eq!(health.storage.unwrap().interval, Duration::from_secs(10));
}
