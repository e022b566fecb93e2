//! Tables of what is taken and what is refused, with lines and words; the shipped files.

use std::io;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::problem::Report;
use super::tree::{Node, Origin};
use super::*;
use crate::oci::{HostName, Platform, Platforms};

const REFERENCE: &str = include_str!("../../config/reference.yml");

fn read(path: &Path) -> io::Result<String> {
    match path.to_str() {
        Some("/run/secrets/hub") => Ok("s3cret\n".to_owned()),
        Some("/empty") => Ok("\n".to_owned()),
        _ => Err(io::Error::from(io::ErrorKind::NotFound)),
    }
}

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn load_text(text: &str, environment: &[(&str, &str)]) -> Result<Loaded, Problems> {
    let source = Source { name: "config.yml".to_owned(), text, built_in: false };
    load(source, &variables(environment), &read)
}

fn load_default(environment: &[(&str, &str)]) -> Result<Loaded, Problems> {
    let source = Source { name: "config/default.yml (built in)".to_owned(), text: DEFAULT, built_in: true };
    load(source, &variables(environment), &read)
}

/// Good, or a panic that shows what was found.
fn good(text: &str) -> Loaded {
    load_text(text, &[]).unwrap_or_else(|problems| panic!("{text}\n{problems}"))
}

fn with(text: &str, environment: &[(&str, &str)]) -> Config {
    load_text(text, environment).unwrap_or_else(|problems| panic!("{text}\n{problems}")).config
}

fn password(upstream: &Upstream) -> &str {
    match &upstream.credentials {
        Some(Login::Written(credentials)) => credentials.password.reveal(),
        other => panic!("{other:?} is no password"),
    }
}

fn host(text: &str) -> HostName {
    text.parse().unwrap()
}

/// What Debian's docker-registry ships, with every section that the stock files use.
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
fn stock_files_draw_no_word() {
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
fn defaults() {
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
    assert_eq!((ghcr.connect_timeout, ghcr.first_byte_timeout), (Duration::from_secs(5), Duration::from_secs(15)));
    assert_eq!(mirror.upstreams[&host("docker.io")].endpoints, ["https://registry-1.docker.io"]);
    assert_eq!(mirror.default, Some(host("docker.io")));
    assert_eq!(mirror.origin, MirrorOrigin::Written);
    assert_eq!(mirror.local[0].as_str(), "local/**");
    assert_eq!(mirror.fill.stall, Duration::from_secs(15));
}

#[test]
fn what_the_product_page_writes() {
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
fn yaml_as_go_takes_it() {
    for text in [
        "version: '0.1'\nstorage: filesystem",
        "version: 0.1\nx-common: &c {enabled: yes}\nstorage: {delete: *c, filesystem: }",
        "\u{feff}version: 0.1\r\nstorage:\r\n  delete:\r\n    enabled: on\r\n",
        "---\nversion: 0.1\n...\n",
        "version: !!str 0.1",
        "version: 0.1\nhttp:\nstorage: null\nauth: ~\nhealth: {}\nmirror:\n",
        "version: 0.1\nhttp: {tls: {}, net: tcp, relativeurls: true, host: \"\"}\nvalidation: {enabled: no}",
        "version: 0.1\nhealth: {storagedriver: {enabled: true, threshold: \"3\", interval: 0}}",
        "version: 0.1\nstorage: {maintenance: {readonly: {enabled: false}, uploadpurging: {enabled: true, age: 168h}}}",
        "version: 0.1\nmirror: {local: team/**, upstreams: {GHCR.io: }}",
        "version: 0.1\nmirror: {local: [], upstreams: {\"localhost:5001\": {endpoints: \"http://localhost:5001\"}}}",
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

/// Each is the text after `version: 0.1` on line 1, the line of the mistake, and words of the message.
#[rustfmt::skip] // One row a line.
const BAD: &[(&str, u32, &str)] = &[
    ("htpp: {addr: :5000}", 2, "did you mean `http`?"),
    ("http:\n  adr: :5000", 3, "did you mean `addr`?"),
    ("storage:\n  filesystem:\n    rootdir: /x", 4, "did you mean `rootdirectory`?"),
    ("storage:\n  rootdirectory: /x", 3, "belongs at storage.filesystem.rootdirectory"),
    ("mirror:\n  upstreams:\n    ghcr.io:\n      endpoint: [https://a]", 5, "did you mean `endpoints`?"),
    ("http:\n  banana: 1", 3, "the keys here are addr"),
    ("HTTP: {}", 2, "did you mean `http`?"),
    ("http:\n  addr: :5000\n  x-mine: 1", 4, "x-mine"),
    ("http:\n  addr: 5000", 3, "such as :5000"),
    ("http:\n  addr: [a, b]", 3, "is a list"),
    ("http:\n  addr: :99999", 3, "HOST:PORT"),
    ("http: :5000", 2, "a map with the keys addr"),
    ("http:\n  - addr", 3, "http is a list"),
    ("http:\n  host: registry.lan", 3, "https://registry.example"),
    ("http:\n  host: https://registry.lan/path", 3, "without a path"),
    ("http:\n  prefix: /registry", 3, "ends with '/'"),
    ("http:\n  prefix: registry/", 3, "begins"),
    ("http:\n  draintimeout: 60", 3, "with its unit"),
    ("http:\n  addr: :5000\n  debug: {addr: \"localhost:5000\"}", 4, "another port"),
    ("http:\n  debug:\n    addr: :5001\n    prometheus: {enabled: maybe}", 5, "true or false"),
    ("http:\n  debug: {addr: :5001, prometheus: {enabled: true, path: metrics}}", 3, "begins with '/'"),
    ("http:\n  tls:\n    certificate: /a\n    key: /b", 3, "http.tls is not supported"),
    ("http:\n  net: unix", 3, "only TCP"),
    ("http:\n  headers:\n    \"X Y\": [a]", 4, "header's name"),
    ("http:\n  headers:\n    A:\n      - \"b\\nc\"", 5, "header's value"),
    ("http:\n  headers:\n    A: {b: c}", 4, "list of texts"),
    ("http:\n  addr: :5000\n  addr: :5001", 4, "first on line 3"),
    ("log:\n  level: loud", 3, "error, warn, info or debug"),
    ("log:\n  formatter: xml", 3, "text or json"),
    ("log:\n  fields: [a]", 3, "a map of names"),
    ("log:\n  fields: {a: [b]}", 3, "write one text"),
    ("log:\n  accesslog: {disabled: 1}", 3, "true or false"),
    ("loglevel: 7", 2, "error, warn, info or debug"),
    ("storage: s3", 2, "write `filesystem"),
    ("storage:\n  s3: {bucket: b}", 3, "not supported"),
    ("storage:\n  inmemory:", 3, "not supported"),
    ("storage:\n  filesystem: {rootdirectory: /a}\n  gcs: {bucket: b}", 4, "second driver"),
    ("storage: filesytem", 2, "did you mean `filesystem`?"),
    ("storage:\n  delete: true", 3, "a map with the keys enabled"),
    ("storage:\n  delete:\n    enabled: maybe", 4, "true or false"),
    ("storage:\n  maintenance:\n    readonly: {enabled: true}", 4, "readonly.enabled is not supported"),
    ("storage:\n  maintenance:\n    uploadpurging: {age: 7}", 4, "duration"),
    ("storage:\n  maintenance:\n    uploadpurging: {age: 0s}", 4, "above zero"),
    ("auth: token", 2, "auth.token is not supported"),
    ("auth:\n  token: {realm: a}", 3, "auth.token is not supported"),
    ("auth:\n  silly:", 3, "protects nothing"),
    ("auth: htpasswd", 2, "auth.htpasswd.path is missing"),
    ("auth:\n  htpasswd: {realm: a}", 3, "path is missing"),
    ("auth:\n  htpasswd: {realm: a, path: /b}\n  token: {}", 4, "second driver"),
    ("auth:\n  htpaswd: {path: /b}", 3, "did you mean `htpasswd`?"),
    ("access:\n  - {repositories: [\"**\"], pull: [anonymous]}", 2, "access is not supported"),
    ("access: []\nhttp: {tls: {key: a}}", 3, "http.tls"),
    ("health:\n  storagedriver: {enabled: true, interval: soon}", 3, "duration"),
    ("health:\n  storagedriver: {threshold: many}", 3, "whole number"),
    ("health:\n  storagedriver: {threshold: -1}", 3, "whole number"),
    ("proxy:\n  remoteurl: registry-1.docker.io", 3, "http:// or https://"),
    ("proxy:\n  remoteurl: ftp://a", 3, "http:// or https://"),
    ("proxy:\n  username: me\n  password: pw", 2, "remoteurl is missing"),
    ("proxy:\n  remoteurl: https://a\n  username: me", 4, "no `password`"),
    ("proxy:\n  remoteurl: https://a\n  exec: {lifetime: 1h}", 4, "command is missing"),
    ("proxy:\n  remoteurl: https://a\n  exec: {command: h, lifetime: long}", 4, "such as 10s"),
    ("proxy: {remoteurl: https://a, username: me, password: pw, exec: {command: h}}", 2, "excludes `username`"),
    ("proxy: {remoteurl: https://a}\nmirror: {upstreams: {ghcr.io: {}}}", 2, "both written"),
    ("mirror:\n  local: [\"Team/**\"]", 3, "is not a pattern"),
    ("mirror:\n  local: [**]", 3, "not YAML"),
    ("mirror:\n  local: [a, {b: c}]", 3, "list of texts"),
    ("mirror:\n  cache: {maxsize: 80%}", 3, "a size"),
    ("mirror:\n  cache: {maxsize: 0}", 3, "holds nothing"),
    ("mirror:\n  cache: {reserve: much}", 3, "a size"),
    ("mirror:\n  upstreams: [ghcr.io]", 3, "{ghcr.io: {}}"),
    ("mirror:\n  upstreams:\n    ghcr.io: https://ghcr.io", 4, "a map of its keys"),
    ("mirror:\n  upstreams:\n    https://ghcr.io: {}", 4, "cannot be an upstream"),
    ("mirror:\n  upstreams:\n    ghcr.io: {}\n    GHCR.io: {}", 5, "in other letters"),
    ("mirror:\n  upstreams:\n    a.io: {default: true}\n    b.io:\n      default: yes", 6, "a.io is the default already"),
    ("mirror:\n  upstreams:\n    a.io:\n      endpoints: [https://a, a.io]", 5, "http:// or https://"),
    ("mirror:\n  upstreams:\n    a.io:\n      endpoints: []", 5, "at least one"),
    ("mirror:\n  upstreams:\n    a.io: {endpoints: [\"https://me:pw@a.io\"]}", 4, "`username` and `password`"),
    ("mirror:\n  upstreams:\n    a.io: {username: me}", 4, "no `password`"),
    ("mirror:\n  upstreams:\n    a.io: {password: pw}", 4, "no `username`"),
    ("mirror:\n  upstreams:\n    a.io:\n      username: me\n      password: file:/nowhere", 6, "/nowhere"),
    ("mirror:\n  upstreams:\n    a.io: {username: me, password: \"file:/empty\"}", 4, "is empty"),
    ("mirror:\n  upstreams:\n    a.io: {username: me, password: pw, credentials: ~/c.json}", 4, "excludes `username`"),
    ("mirror:\n  upstreams:\n    a.io:\n      username: me\n      credentials: ~/c.json", 6, "excludes `username`"),
    ("mirror:\n  upstreams:\n    a.io: {credentials: [a]}", 4, "write one text"),
    ("mirror:\n  upstreams:\n    a.io: {clientcert: c.pem}", 4, "no `clientkey`"),
    ("mirror:\n  upstreams:\n    a.io:\n      clientkey: k.pem", 5, "no `clientcert`"),
    ("mirror:\n  upstreams:\n    a.io: {tagttl: 10M}", 4, "such as 10s"),
    ("mirror:\n  upstreams:\n    a.io: {negativettl: 1}", 4, "such as 10s"),
    ("mirror:\n  upstreams:\n    a.io: {staleif: always}", 4, "write error or never"),
    ("mirror:\n  upstreams:\n    a.io: {stalemax: 0}", 4, "above zero"),
    ("mirror:\n  upstreams:\n    a.io:\n      staleif: never\n      stalemax: 1h", 6, "keep one"),
    ("mirror:\n  upstreams:\n    a.io: {proxy: \"127.0.0.1:1080\"}", 4, "socks5://"),
    ("mirror:\n  upstreams:\n    a.io: {proxy: \"http://me:s3cret\"}", 4, "socks5h://"),
    ("mirror:\n  upstreams:\n    a.io: {proxy: \"file:/nowhere\"}", 4, "/nowhere"),
    ("mirror:\n  upstreams:\n    a.io: {ca: /a, insecure: true}", 4, "keep one"),
    ("mirror:\n  upstreams:\n    a.io: {connecttimeout: 0}", 4, "above zero"),
    ("mirror:\n  upstreams:\n    a.io: {aliases: [\"x/y\"]}", 4, "HOST:PORT"),
    ("mirror:\n  upstreams:\n    a.io: {aliases: [x, x]}", 4, "alias of a.io already"),
    ("mirror:\n  upstreams:\n    a.io: {aliases: [x]}\n    b.io: {aliases: [x]}", 5, "alias of a.io already"),
    ("mirror:\n  upstreams:\n    a.io:\n      aliases: [b.io]\n    b.io: {}", 5, "name of the upstream b.io"),
    ("mirror:\n  local: [ghcr.io/**]\n  upstreams: {ghcr.io: {}}", 3, "covers names of the upstream ghcr.io"),
    ("mirror:\n  local: [corp/x]\n  upstreams: {ghcr.io: {aliases: [corp]}}", 3, "covers names"),
    ("mirror:\n  local: [\"*/**\"]\n  upstreams: {ghcr.io: {}}", 3, "covers names"),
    ("mirror:\n  local: [a/**, \"**\"]\n  upstreams: {a.io: {default: true}}", 3, "upstream a.io"),
    ("mirror:\n  upstreams: {a.io: {aliases: [local]}}", 3, "\"local/**\" covers"),
    ("mirror:\n  names: [ghcr.io]\n  upstreams: {ghcr.io: {}}", 3, "our own names"),
    ("mirror:\n  fill: {connections: 0}", 3, "from 1 to 64"),
    ("mirror:\n  fill: {segment: big}", 3, "a size"),
    ("mirror:\n  fill: {stall: 0}", 3, "above zero"),
    ("mirror:\n  fill: {unattended: stop}", 3, "finish or pause"),
    ("mirror:\n  prefetch: {image: alpine}", 3, "a list, each of its items a map with the keys image, platforms, every, at"),
    ("mirror:\n  prefetch: [alpine]", 3, "mirror.prefetch.0 is \"alpine\"; write a map"),
    ("mirror:\n  prefetch:\n    - platform: all", 4, "did you mean `platforms`?"),
    ("mirror:\n  upstreams: {a.io: {default: true}}\n  prefetch:\n    - {image: app}\n    - every: 1h", 6, "mirror.prefetch.1.image is missing"),
    ("mirror:\n  upstreams: {a.io: {default: true}}\n  prefetch:\n    - image: App", 5, "is not an image's name"),
    ("mirror:\n  upstreams: {a.io: {default: true}}\n  prefetch:\n    - image: b.io/app", 5, "add b.io to mirror.upstreams"),
    ("mirror:\n  upstreams: {a.io: {default: true}}\n  prefetch:\n    - image: local/app", 5, "which lives here"),
    ("mirror:\n  upstreams: {a.io: {}}\n  prefetch:\n    - image: app", 5, "none is the default"),
    ("mirror:\n  upstreams: {a.io: {}}\n  prefetch:\n    - image: a.io/app\n      platforms: [linux/amd64,\n        arm]", 7, "\"arm\" is not a platform"),
    ("mirror:\n  upstreams: {a.io: {}}\n  prefetch:\n    - image: a.io/app\n      platforms: [all, linux/amd64]", 6, "write it alone"),
    ("mirror:\n  upstreams: {a.io: {}}\n  prefetch:\n    - image: a.io/app\n      platforms: []", 6, "at least one"),
    ("mirror:\n  upstreams: {a.io: {}}\n  prefetch:\n    - image: a.io/app\n      every: 0s", 6, "above zero"),
    ("mirror:\n  upstreams: {a.io: {}}\n  prefetch:\n    - image: a.io/app\n      at: \"24:00\"", 6, "such as \"02:30\""),
    ("mirror:\n  upstreams: {a.io: {}}\n  prefetch:\n    - image: a.io/app\n      at: 02:30\n      every: 7h", 7, "does not fit `at`"),
    ("validation:\n  enabled: true", 3, "validation.enabled is not supported"),
    ("validation:\n  manifests:\n    urls: {allow: [a]}", 4, "urls is not supported"),
    ("validation:\n  manifests:\n    indexes: {platforms: none}", 4, "sparse: allow"),
    ("validation:\n  manifests: {sparse: maybe}", 3, "refuse or allow"),
    ("log: {fields: *nowhere}", 2, "needs quotes"),
    ("log: {fields: &a {b: *a}}", 2, "inside what it names"),
    ("log:\n\tlevel: info", 3, "not YAML"),
    ("log: {level: info", 3, "not YAML"),
    ("---\nversion: 0.1", 2, "second document"),
    ("log:\n  fields:\n    <<: 7", 4, "takes a map"),
    ("log:\n  fields: {? [a, b] : c}", 3, "a key is a word"),
    ("log:\n  fields: {a: !secret b}", 3, "a tag"),
];

#[test]
fn refused_with_line_and_words() {
    for (text, line, words) in BAD {
        let text = format!("version: 0.1\n{text}");
        let problems = load_text(&text, &[]).expect_err(&text);
        let found = problems.problems().iter().any(|p| p.line() == Some(*line) && p.message().contains(words));
        assert!(found, "{text}\nwant line {line}: {words:?}, got\n{problems}");
        assert!(problems.problems().iter().all(|p| p.file() == "config.yml"), "{problems}");
        for secret in ["me:pw", "s3cret"] {
            assert!(!problems.to_string().contains(secret), "{problems}");
        }
    }
    for (text, words) in [
        ("", "is empty"),
        ("# nothing\n", "is empty"),
        ("log: {level: info}", "version is missing"),
        ("version: 0.2", "is \"0.2\"; write `version: 0.1`"),
        ("version: [0.1]", "is a list; write `version: 0.1`"),
        ("- version: 0.1", "the configuration is a list"),
        ("hello", "the configuration is \"hello\""),
    ] {
        let problems = load_text(text, &[]).expect_err(text);
        assert!(problems.to_string().contains(words), "{text}\n{problems}");
    }
}

#[test]
fn every_mistake_at_once_in_order() {
    let text = "version: 0.1\nhttp: {adr: :1, prefix: x}\nstorage: {delete: {enabled: maybe}}\nlog: {level: loud}\nnotifications: {endpoints: [a]}\n";
    let problems = load_text(text, &[("REGISTRY_HTTP_ADDR", "nowhere")]).unwrap_err();
    let shown: Vec<String> =
        problems.to_string().lines().map(|line| line.split(": ").next().unwrap().to_owned()).collect();
    assert_eq!(
        shown,
        ["config.yml:2:8", "config.yml:2:25", "config.yml:3:29", "config.yml:4:14", "REGISTRY_HTTP_ADDR"]
    );
    assert_eq!(problems.warnings().len(), 1);
    assert_eq!(problems.warnings()[0].line(), Some(5));
    assert_eq!(problems.warnings()[0].column(), Some(1));
}

#[test]
fn warned_of() {
    for (text, words) in [
        ("http: {secret: abc}", "http.secret has no effect"),
        ("http: {relativeurls: false}", "http.relativeurls has no effect"),
        ("http: {http2: {disabled: true}}", "http.http2 has no effect"),
        ("http: {debug: {prometheus: {enabled: true}}}", "main port"),
        ("log: {hooks: [{type: mail}]}", "log.hooks"),
        ("log: {formatter: logstash}", "write json"),
        ("loglevel: debug", "log: {level"),
        ("notifications: {endpoints: [{name: a, url: b}]}", "notifications has no effect"),
        ("redis: {addr: a}", "redis has no effect"),
        ("storage: {filesystem: {maxthreads: 100}}", "maxthreads"),
        ("storage: {redirect: {disable: true}}", "storage.redirect"),
        ("health: {tcp: [{addr: a}]}", "health.tcp"),
        ("proxy: {remoteurl: https://a, ttl: 24h}", "mirror.cache.maxsize"),
        ("validation: {disabled: true}", "validation.disabled"),
        ("mirror: {}", "no upstreams"),
    ] {
        let loaded = good(&format!("version: 0.1\n{text}"));
        let shown: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
        assert!(
            shown.len() == 1 && shown[0].contains(words) && shown[0].starts_with("config.yml:2:"),
            "{text}\n{shown:?}"
        );
    }
}

#[test]
fn the_proxy_shorthand() {
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
    assert_eq!(good(helper).config.mirror.upstreams[&host("a")].credentials, Some(Login::Helper(want)));
    for text in ["proxy:", "proxy: {}", "proxy: {remoteurl: \"\"}"] {
        assert_eq!(good(&format!("version: 0.1\n{text}")).config.mirror.origin, MirrorOrigin::Absent, "{text}");
    }
}

#[test]
fn environment() {
    let config = with(
        "version: 0.1",
        &[
            ("REGISTRY_AUTH_HTPASSWD_PATH", "/auth/htpasswd"),
            ("REGISTRY_AUTH_HTPASSWD_REALM", "Registry Realm"),
            ("REGISTRY_AUTH", "htpasswd"),
            ("REGISTRY_STORAGE", "filesystem"),
            ("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", "/data"),
            ("REGISTRY_STORAGE_DELETE_ENABLED", "yes"),
            ("REGISTRY_HTTP_ADDR", "0.0.0.0:5000"),
            ("REGISTRY_HTTP_HEADERS", "{A: [b]}"),
            ("REGISTRY_HTTP_HEADERS_Access-Control-Allow-Origin", "['*']"),
            ("REGISTRY_LOG_LEVEL", "warning"),
            ("REGISTRY_LOG_FIELDS_ROOM", "12"),
            ("REGISTRY_NOTIFICATIONS_ENDPOINTS_0_NAME", "x"),
            ("REGISTRY_MIRROR_UPSTREAMS", "{docker.io: {default: true}, ghcr.io: }"),
            ("REGISTRY_MIRROR_UPSTREAMS_DOCKER.IO_TAGTTL", "1h"),
            ("REGISTRY_MIRROR_LOCAL_0", "a/**"),
            ("REGISTRY_MIRROR_LOCAL_1", "b/**"),
            ("registry_mirror_cache_maxsize", "1GiB"),
            ("REGISTRYX", "1"),
            ("PATH", "/bin"),
        ],
    );
    let auth = config.auth.unwrap();
    assert_eq!((auth.realm.as_str(), auth.path.as_path()), ("Registry Realm", Path::new("/auth/htpasswd")));
    assert_eq!(config.storage.root, Path::new("/data"));
    assert_eq!(config.storage.delete, Delete::Allowed);
    assert_eq!(config.http.headers.len(), 2);
    assert_eq!(config.log.level, LogLevel::Warn);
    assert_eq!(config.log.fields["room"], "12");
    assert_eq!(config.mirror.origin, MirrorOrigin::Written);
    assert_eq!(config.mirror.upstreams[&host("docker.io")].tag_ttl, Duration::from_secs(3600));
    assert_eq!(config.mirror.cache.max_size, Some(1 << 30));
    let local: Vec<&str> = config.mirror.local.iter().map(|pattern| pattern.as_str()).collect();
    assert_eq!(local, ["a/**", "b/**"]);

    // A file's own values are overridden, a bare word included.
    let config = with(
        "version: 0.1\nauth: htpasswd\nlog: {level: debug}\nmirror: {local: x/**, upstreams: {a.io: }}\n",
        &[
            ("REGISTRY_AUTH_HTPASSWD_PATH", "/p"),
            ("REGISTRY_LOG", "{level: error}"),
            ("REGISTRY_MIRROR_LOCAL_1", "y/**"),
        ],
    );
    assert_eq!(config.auth.unwrap().path, Path::new("/p"));
    assert_eq!(config.log.level, LogLevel::Error);
    assert_eq!(config.mirror.local.len(), 2);
    // An empty variable unsets.
    assert!(with(STOCK, &[("REGISTRY_AUTH", "")]).auth.is_none());
}

#[test]
fn environment_warned_of_and_refused() {
    for (name, value, words) in [
        ("REGISTRY_PORT", "tcp://10.0.0.1:5000", "Kubernetes"),
        ("REGISTRY_SERVICE_HOST", "10.0.0.1", "Kubernetes"),
        ("REGISTRY_PORT_5000_TCP", "tcp://10.0.0.1:5000", "Kubernetes"),
        ("REGISTRY_ACCESS_PORT", "tcp://10.0.0.1:5000", "Kubernetes"),
        ("REGISTRY_PROXY_PORT_5000_TCP_ADDR", "10.0.0.1", "Kubernetes"),
        ("REGISTRY_CONFIGURATION_PATH", "/x", "ENTREPOT_CONFIG"),
        ("REGISTRY_HTP_ADDR", ":1", "did you mean REGISTRY_HTTP_ADDR?"),
        ("REGISTRY_STORAGE_FILESYSTEM_ROOTDIR", "/x", "did you mean REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY?"),
        ("REGISTRY_HTTP__ADDR", ":1", "REGISTRY_HTTP_ADDR"),
        ("REGISTRY_HTTP_ADDR_X", "{", "no key has this name"),
        ("REGISTRY_MIRROR_LOCAL_X", "x", "no key has this name"),
    ] {
        let loaded = load_text("version: 0.1", &[(name, value)]).unwrap();
        assert_eq!(loaded.warnings.len(), 1, "{name}");
        assert_eq!(loaded.warnings[0].file(), name);
        let message = loaded.warnings[0].message();
        assert!(message.contains(words), "{name}: {message}");
        assert_eq!(loaded.config.mirror.origin, MirrorOrigin::Absent);
    }
    for (name, value, words) in [
        ("REGISTRY_HTTP_ADDR", "5000", "http.addr is \"5000\""),
        ("REGISTRY_HTTP_HEADERS", "{a: ", "this is not YAML"),
        ("REGISTRY_HTTP_HEADERS", "{a: [b], c: &x *x}", "YAML"),
        ("REGISTRY_HTTP", "foo", "http is \"foo\""),
        ("REGISTRY_HTTP_TLS_CERTIFICATE", "/c.pem", "http.tls is not supported"),
        ("REGISTRY_AUTH", "token", "auth.token is not supported"),
        ("REGISTRY_AUTH_TOKEN_REALM", "x", "auth.token is not supported"),
        ("REGISTRY_STORAGE_S3_BUCKET", "b", "storage.s3 is not supported"),
        ("REGISTRY_MIRROR_LOCAL_7", "a/**", "the next one is number 0"),
        ("REGISTRY_VERSION", "0.2", "write `version: 0.1`"),
    ] {
        let problems = load_text("version: 0.1", &[(name, value)]).expect_err(name);
        assert!(
            problems.problems().iter().any(|p| p.file() == name && p.message().contains(words)),
            "{name}\n{problems}"
        );
        assert_eq!(problems.problems()[0].line(), None);
    }
}

#[test]
fn built_in() {
    let loaded = load_default(&[]).unwrap();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let config = loaded.config;
    assert_eq!(config.mirror.origin, MirrorOrigin::BuiltIn);
    assert_eq!(config.mirror.default, Some(host("docker.io")));
    assert_eq!(config.mirror.local[0].as_str(), "local/**");
    assert_eq!(config.storage.origin, RootOrigin::Default);
    assert_eq!(config.storage.delete, Delete::Allowed);
    assert_eq!(config.http.addr, ":5000");

    for (variables, origin) in [
        (&[("REGISTRY_PROXY_REMOTEURL", "https://ghcr.io")][..], MirrorOrigin::Proxy),
        (&[("REGISTRY_PROXY_REMOTEURL", "")], MirrorOrigin::Absent),
        (&[("REGISTRY_MIRROR", "")], MirrorOrigin::Absent),
        (&[("REGISTRY_MIRROR_LOCAL", "[mine/**]")], MirrorOrigin::Written),
        (&[("REGISTRY_MIRROR_CACHE_MAXSIZE", "10GB")], MirrorOrigin::BuiltIn),
        (&[("REGISTRY_PROXY_NONSENSE", "x")], MirrorOrigin::BuiltIn),
    ] {
        assert_eq!(load_default(variables).unwrap().config.mirror.origin, origin, "{variables:?}");
    }
}

/// `reference.yml` with every key that it shows behind a bare `#`.
fn uncommented() -> String {
    let open = |line: &str| match line.strip_prefix('#') {
        Some(key) if first_word(key).is_some_and(|word| word.ends_with(':')) => key.to_owned(),
        _ => line.to_owned(),
    };
    REFERENCE.lines().map(|line| open(line) + "\n").collect()
}

/// The first word of a line, behind the dash of a list's item.
fn first_word(line: &str) -> Option<&str> {
    line.split_whitespace().find(|word| *word != "-")
}

fn holds(node: &Node, path: &str) -> bool {
    let (first, rest) = path.split_once('.').unwrap_or((path, ""));
    let found = |node: &Node| rest.is_empty() || holds(node, rest);
    match first {
        "NAME" => node.entries().iter().any(|entry| found(&entry.value)),
        "0" => matches!(&node.value, tree::Value::List(items) if items.iter().any(found)),
        _ => node.get(first).is_some_and(|entry| found(&entry.value)),
    }
}

#[test]
fn the_reference_is_whole() {
    let loaded = good(REFERENCE);
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);

    let mut report = Report::default();
    let text = uncommented();
    let root = parse::parse(&text, &Origin::File("reference.yml".into()), &mut report);
    if let Some(root) = &root {
        check::check(root, &mut report);
        for path in schema::supported() {
            assert!(holds(root, &path), "config/reference.yml does not show {path}");
        }
    }
    report.conclude(root).unwrap_or_else(|problems| panic!("{problems}"));
    // With all of it, the contradictions that the file says, and no others.
    let problems = load_text(&text, &[]).unwrap_err();
    let said = |problem: &Problem| ["both written", "excludes"].iter().any(|words| problem.message().contains(words));
    assert!(problems.problems().len() == 3 && problems.problems().iter().all(said), "{problems}");
}

#[test]
fn the_reference_shows_the_defaults() {
    let bare = good(
        "version: 0.1\nlog: {fields: {service: registry}}\nhttp: {headers: {X-Content-Type-Options: nosniff}}\nmirror: {upstreams: {docker.io: {default: true}, ghcr.io: }}",
    );
    assert_eq!(good(REFERENCE).print(), bare.print());
}

#[test]
fn what_is_fetched_ahead() {
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

#[test]
fn printed_and_read_again() {
    let secret = "mirror: {upstreams: {a.io: {username: me, password: s3cret, proxy: \"http://me:s3cret@p:1\", insecure: true}}, cache: {maxsize: 3GiB, reserve: 5}}";
    for text in [
        STOCK.to_owned(),
        DEFAULT.to_owned(),
        REFERENCE.to_owned(),
        format!("version: 0.1\n{secret}"),
        "version: 0.1\nmirror: {upstreams: {a.io: {}}, prefetch: [{image: \"a.io/app:1.*\", platforms: all, every: 6h, at: \"2:00\"}, {image: a.io/b}]}".to_owned(),
        "version: 0.1\nmirror: {upstreams: {a.io: {staleif: never}, b.io: {stalemax: 7d, negativettl: 0}}}".to_owned(),
        "version: 0.1\nproxy: {remoteurl: https://a, username: me, password: s3cret}".to_owned(),
        "version: 0.1\nmirror: {upstreams: {a.io: }, fill: {connections: 5, perhost: 3, segment: 1MiB, stall: 2s, unattended: pause, grace: 33s, keep: 48h}}".to_owned(),
        "version: 0.1\nproxy: {remoteurl: https://a, exec: {command: /usr/bin/h, lifetime: 90s}}".to_owned(),
        "version: 0.1\nmirror: {upstreams: {a.io: {credentials: ~/c.json, clientcert: c.pem, clientkey: k.pem}}}".to_owned(),
        "version: 0.1\nmirror: {upstreams: {a.io: {proxy: \"socks5h://me:s3cret@p\"}}}".to_owned(),
        "version: 0.1\nlog: {fields: {a: 'yes', b: '', c: '1.0'}, accesslog: {disabled: true}}\nhttp: {host: https://a:1, debug: {addr: :1}}".to_owned(),
    ] {
        let first = good(&text);
        let printed = first.print();
        assert!(!printed.contains("s3cret"), "{printed}");
        let again = good(&printed);
        // What is not printed is not read again either: here nothing may be missing.
        let fill = |loaded: &Loaded| format!("{:?}", loaded.config.mirror.fill);
        assert_eq!(fill(&again), fill(&first), "{printed}");
        assert!(again.warnings.is_empty(), "{printed}\n{:?}", again.warnings);
        assert_eq!(again.print(), printed);
    }
}

#[test]
fn bombs_are_defused() {
    let mut bomb = "version: 0.1\nx-0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let alias = format!("*a{}", level - 1);
        bomb += &format!("x-{level}: &a{level} [{}]\n", [alias.as_str(); 9].join(", "));
    }
    assert!(load_text(&bomb, &[]).unwrap_err().to_string().contains("unfold"));
    let deep = format!("version: 0.1\nx: {}", "[".repeat(100_000));
    assert!(load_text(&deep, &[]).is_err());
    let deep = format!("version: 0.1\nx: {}{}", "[".repeat(100), "]".repeat(100));
    assert!(load_text(&deep, &[]).unwrap_err().to_string().contains("deep"));
    let chain: String = (1..200).map(|n| format!("x-{n}: &a{n} [*a{}]\n", n - 1)).collect();
    assert!(load_text(&format!("version: 0.1\nx-0: &a0 b\n{chain}"), &[]).unwrap_err().to_string().contains("unfold"));
    let name = format!("REGISTRY_STORAGE_S3{}", "_A".repeat(50_000));
    assert_eq!(load_text("version: 0.1", &[(&name, "x")]).unwrap().warnings.len(), 1);
}

fn yaml_ish() -> impl Strategy<Value = String> {
    let words = [
        "version: 0.1\n",
        "http",
        "mirror",
        "upstreams",
        "storage",
        "auth",
        "docker.io",
        ":",
        ": ",
        "\n",
        "\n  ",
        "\n    ",
        "- ",
        "[",
        "]",
        "{",
        "}",
        ",",
        "&a ",
        "*a",
        "<<",
        "!!str ",
        "!x ",
        "|",
        ">",
        "|-\n",
        "'",
        "\"",
        "\\",
        "#",
        "%",
        "---\n",
        "...\n",
        "?",
        "? ",
        "\t",
        "é",
        "\u{feff}",
        "\r\n",
        "\0",
        "~",
        "5",
        "1h",
        "@",
        "`",
        "\\x",
        "\u{2028}",
    ];
    prop::collection::vec(prop::sample::select(words.to_vec()), 0..40).prop_map(|words| words.concat())
}

fn mutated() -> impl Strategy<Value = String> {
    let texts = prop::sample::select(vec![STOCK, DEFAULT, REFERENCE]);
    let edits = prop::collection::vec((any::<prop::sample::Index>(), 0..4usize, yaml_ish()), 1..4);
    (texts, edits).prop_map(|(text, edits)| {
        let mut text: Vec<char> = text.chars().collect();
        for (at, gone, new) in edits {
            let at = at.index(text.len() + 1);
            let end = text.len().min(at + gone);
            text.splice(at..end, new.chars().take(6));
        }
        text.into_iter().collect()
    })
}

proptest! {
    #[test]
    fn nothing_panics_on_a_damaged_file(text in mutated()) {
        let _ = load_text(&text, &[]);
    }

    #[test]
    fn nothing_panics(text in yaml_ish(), value in yaml_ish(), name in "REGISTRY_[A-Z0-9_]{0,20}") {
        let _ = load_text(&text, &[(&name, &value), ("REGISTRY_MIRROR", &value), ("REGISTRY_MIRROR_UPSTREAMS_A_PROXY", &text)]);
    }

    #[test]
    fn nothing_panics_on_a_scalar(key in prop::sample::select(schema::supported()), value in "\\PC{0,12}") {
        let name = format!("REGISTRY_{}", key.replace('.', "_"));
        let _ = load_text("version: 0.1", &[(&name, &format!("'{}'", value.replace('\'', "''")))]);
    }
}
