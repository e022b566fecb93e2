//! Configurations with mistakes, with the line and the words of each message.

use super::*;

/// Each row has the text after `version: 0.1` on line 1, the line of the mistake, and words of its message.
#[rustfmt::skip] // One row per line.
const BAD: &[(&str, u32, &str)] = &[
    ("htpp: {addr: :5000}", 2, "did you mean `http`?"),
    ("http:\n  adr: :5000", 3, "did you mean `addr`?"),
    ("storage:\n  filesystem:\n    rootdir: /x", 4, "did you mean `rootdirectory`?"),
    ("storage:\n  rootdirectory: /x", 3, "belongs at storage.filesystem.rootdirectory"),
    ("mirror:\n  upstreams:\n    ghcr.io:\n      endpoint: [https://a]", 5, "did you mean `endpoints`?"),
    ("http:\n  banana: 1", 3, "the keys here are addr"),
    ("http:\naddr: :5000", 3, "indent it below `http`"),
    ("storage:\n  filesystem:\n  rootdirectory: /a", 4, "indent it below `filesystem`"),
    ("addr: :5000", 2, "it belongs at http.addr or http.debug.addr"),
    ("auth: anonymous", 2, "remove `auth` to let every client in without a login"),
    ("auth: {none: {}, htpasswd: {path: /b}}", 2, "second driver"),
    ("auth: banana", 2, "the keys here are htpasswd"),
    ("HTTP: {}", 2, "did you mean `http`?"),
    ("http:\n  addr: :5000\n  x-mine: 1", 4, "x-mine"),
    ("http:\n  addr: 5000", 3, "such as :5000"),
    ("http:\n  addr: [a, b]", 3, "is a list"),
    ("http:\n  addr: :99999", 3, "HOST:PORT"),
    ("http: :5000", 2, "a map with the keys addr"),
    ("http:\n  - addr", 3, "http is a list"),
    ("http:\n  host: registry.lan", 3, "https://registry.example"),
    ("http:\n  host: https://registry.lan/path", 3, "without a path"),
    ("http:\n  prefix: /registry//a", 3, "ends with '/'"),
    ("http:\n  prefix: /a b", 3, "begins"),
    ("http:\n  draintimeout: -1", 3, "with its unit"),
    ("http:\n  stall: 60000000000", 3, "with its unit"),
    ("http:\n  addr: :nosuchservice", 3, "such as :5000"),
    ("http:\n  addr: \":\"", 3, "such as :5000"),
    ("storage:\n  maintenance: {uploadpurging: {age: 604800000000000}}", 3, "with its unit"),
    ("storage:\n  filesystem: {rootdirectroy: /a}", 3, "did you mean `rootdirectory`?"),
    ("http:\n  addr: :5000\n  debug: {addr: \"localhost:5000\"}", 4, "another port"),
    ("http:\n  debug:\n    addr: :5001\n    prometheus: {enabled: maybe}", 5, "true or false"),
    ("http:\n  debug: {addr: :5001, prometheus: {enabled: true, path: \"a b\"}}", 3, "begins with '/'"),
    ("http:\n  tls: {certificate: \"\", key: /b}", 3, "http.tls is not supported"),
    ("http:\n  tls: {certificate: \"\", clientcas: [/a]}", 3, "http.tls is not supported"),
    ("http:\n  tls: {letsencrypt: {email: me@r.corp}}", 3, "http.tls is not supported"),
    ("http:\n  tls: yes", 3, "http.tls is not supported"),
    ("http:\n  tls:\n    certificate: /a\n    key: /b", 3, "http.tls is not supported"),
    ("http:\n  net: unix", 3, "TCP only"),
    ("http:\n  headers:\n    \"X Y\": [a]", 4, "header's name"),
    ("http:\n  headers:\n    A:\n      - \"b\\nc\"", 5, "header's value"),
    ("http:\n  headers:\n    A: {b: c}", 4, "list of texts"),
    ("http:\n  addr: :5000\n  addr: :5001", 4, "first on line 3; remove one"),
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
    ("mirror:\n  names: [ghcr.io]\n  upstreams: {ghcr.io: {}}", 3, "only our own names"),
    ("storage:\n  filesystem: {rootdirectory: ~/data}", 3, "begins with `~`"),
    ("http:\n  headers:\n    Content-length: [\"5\"]", 4, "says how a response is sent"),
    ("http:\n  headers: {Transfer-Encoding: chunked}", 3, "remove it"),
    ("http:\n  debug: {addr: :5001, prometheus: {enabled: true, path: /debug/health}}", 3, "write /metrics"),
    ("mirror:\n  upstreams:\n    a.io: {endpoints: [https://a.io, https://A.io/]}", 4, "a second time"),
    ("mirror:\n  upstreams:\n    a.io:\n      endpoints:\n        - https://b.io\n        - https://b.io/v2", 7, "remove one"),
    ("mirror:\n  upstreams:\n    docker.io: {endpoints: [https://hub.docker.com]}", 4, "write https://registry-1.docker.io"),
    ("mirror:\n  upstreams:\n    hub.docker.com: {}", 4, "which is no registry"),
    ("mirror:\n  upstreams:\n    a.io: {endpoints: [\"http://localhost:5000\"]}", 4, "this server itself"),
    ("http: {addr: \":80\"}\nmirror:\n  upstreams:\n    a.io: {endpoints: [\"http://localhost\"]}", 5, "this server itself"),
    ("http: {addr: \"10.0.0.1:5001\"}\nmirror:\n  upstreams:\n    a.io: {endpoints: [\"http://10.0.0.1:5001\"]}", 5, "this server itself"),
    ("mirror:\n  names: [me.lan]\n  upstreams:\n    a.io: {endpoints: [https://me.lan]}", 5, "this server itself"),
    ("http: {host: \"https://me.lan\"}\nmirror:\n  upstreams:\n    a.io:\n      aliases: [b, me.lan]", 6, "`http.host`, our own name"),
    ("http: {host: \"https://me.lan\"}\nmirror:\n  upstreams:\n    me.lan: {endpoints: [https://a]}", 5, "`http.host`, our own name"),
    ("proxy: {remoteurl: \"http://127.0.0.1:5000\"}", 2, "this server itself"),
    ("mirror:\n  upstreams:\n    a.io: {username: \"me:you\", password: pw}", 4, "holds a ':'"),
    ("mirror:\n  upstreams:\n    a.io: {tagttl: -1m}", 4, "such as 10s"),
    ("mirror:\n  upstreams: {a.io: {}}\n  prefetch:\n    - image: a.io/app\n      every: 10ms", 6, "shorter than 1s"),
    ("mirror:\n  fill: {connections: 0}", 3, "from 1 to 64"),
    ("mirror:\n  fill: {segment: big}", 3, "a size"),
    ("mirror:\n  fill: {stall: 0}", 3, "above zero"),
    ("mirror:\n  follow: {window: night}", 3, "two different times of day"),
    ("mirror:\n  follow: {pulled_within: 0}", 3, "above zero"),
    ("mirror:\n  link: {limit: 20}", 3, "such as 20Mbit/s"),
    ("mirror:\n  link: {limit: 20Mb/s}", 3, "is \"20Mb/s\"; write a rate above zero with its unit"),
    ("mirror:\n  link: {limit: 0kbit/s}", 3, "above zero"),
    ("mirror:\n  link: 20Mbit/s", 3, "a map with the keys limit, schedule"),
    ("mirror:\n  link: {schedule: [{hours: 8-18}]}", 3, "mirror.link.schedule.0.limit is missing"),
    ("mirror:\n  link:\n    schedule:\n      - {days: weekdays, limit: 1MB/s}", 5, "holds \"weekdays\"; write days such as mon-fri"),
    ("mirror:\n  link:\n    schedule:\n      - {hours: 8-8, limit: 1MB/s}", 5, "two different times of day"),
    ("mirror:\n  link:\n    schedule:\n      - {hours: 8-25, limit: 1MB/s}", 5, "up to 24:00"),
    ("mirror:\n  link: {schedule: {hours: 8-18, limit: 1MB/s}}", 3, "a list, each of its items a map with the keys days, hours, limit"),
    ("mirror:\n  upstreams:\n    a.io: {link: {limit: fast}}", 4, "or unlimited"),
    ("mirror:\n  fill: {unattended: stop}", 3, "finish or pause"),
    ("mirror:\n  prefetch: {image: alpine}", 3, "a list, each of its items a map with the keys image, platforms, every, at"),
    ("mirror:\n  prefetch: [alpine]", 3, "mirror.prefetch.0 is \"alpine\"; write a map"),
    ("mirror:\n  prefetch:\n    - platform: all", 4, "did you mean `platforms`?"),
    ("mirror:\n  upstreams: {a.io: {default: true}}\n  prefetch:\n    - {image: app}\n    - every: 1h", 6, "mirror.prefetch.1.image is missing"),
    ("mirror:\n  upstreams: {a.io: {default: true}}\n  prefetch:\n    - image: App", 5, "is not an image's name"),
    ("mirror:\n  upstreams: {a.io: {default: true}}\n  prefetch:\n    - image: b.io/app", 5, "add b.io to mirror.upstreams"),
    ("mirror:\n  upstreams: {a.io: {default: true}}\n  prefetch:\n    - image: local/app", 5, "which is local"),
    ("mirror:\n  upstreams: {a.io: {}}\n  prefetch:\n    - image: app", 5, "no upstream is the default"),
    ("mirror:\n  upstreams: {a.io: {}}\n  prefetch:\n    - image: a.io/app\n      platforms: [linux/amd64,\n        arm]", 7, "\"arm\" is not a platform"),
    ("mirror:\n  upstreams: {a.io: {}}\n  prefetch:\n    - image: a.io/app\n      platforms: [all, linux/amd64]", 6, "write it alone"),
    ("mirror:\n  upstreams: {a.io: {}}\n  prefetch:\n    - image: a.io/app\n      platforms: []", 6, "at least one"),
    ("mirror:\n  upstreams: {a.io: {}}\n  prefetch:\n    - image: a.io/app\n      every: 0s", 6, "above zero"),
    ("mirror:\n  upstreams: {a.io: {}}\n  prefetch:\n    - image: a.io/app\n      at: \"24:00\"", 6, "such as \"02:30\""),
    ("mirror:\n  upstreams: {a.io: {}}\n  prefetch:\n    - image: a.io/app\n      at: 02:30\n      every: 7h", 7, "does not fit `at`"),
    ("validation:\n  manifests:\n    urls: {allow: [\"(\"]}", 4, "is no regular expression"),
    ("validation:\n  manifests:\n    indexes: {platforms: none}", 4, "sparse: allow"),
    ("validation:\n  manifests: {sparse: maybe}", 3, "refuse or allow"),
    ("log: {fields: *nowhere}", 2, "in quotes"),
    ("log: {fields: &a {b: *a}}", 2, "inside the value that it names"),
    ("log:\n\tlevel: info", 3, "not YAML"),
    ("log: {level: info", 3, "not YAML"),
    ("---\nversion: 0.1", 2, "second document"),
    ("log:\n  fields:\n    <<: 7", 4, "takes a map"),
    ("log:\n  fields: {? [a, b] : c}", 3, "a key is a list or a map"),
    ("log:\n  fields: {a: !secret b}", 3, "a tag"),
];

#[test]
fn mistakes_are_reported_with_line_and_words() {
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
    for text in
        ["storage: {filesystem: {rootdirectory: /a}, cahce: {}}", "auth: {htpasswd: {realm: a, path: /b}, htpaswd: {}}"]
    {
        let problems = load_text(&format!("version: 0.1\n{text}"), &[]).expect_err(text);
        assert_eq!(problems.problems().len(), 1, "one misspelling is one mistake: {problems}");
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
        assert!(problems.to_string().contains(words) && problems.problems().len() == 1, "{text}\n{problems}");
    }
}

#[test]
fn all_mistakes_are_reported_sorted_by_line() {
    let text = "version: 0.1\nhttp: {adr: :1, prefix: //}\nstorage: {delete: {enabled: maybe}}\nlog: {level: loud}\nnotifications: {endpoints: [a]}\n";
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
fn valid_values_close_to_mistakes_are_accepted() {
    for text in [
        "http: {addr: \"10.0.0.1:5000\"}\nmirror: {upstreams: {a.io: {endpoints: [\"http://127.0.0.1:5000\"]}}}",
        "mirror: {upstreams: {a.io: {endpoints: [\"http://localhost:5001\"]}}}",
        "mirror: {upstreams: {a.io: {endpoints: [\"https://localhost:5001\"]}}}",
        "mirror: {upstreams: {a.io: {endpoints: [https://b.io]}, c.io: {endpoints: [https://b.io]}}}",
        "mirror: {upstreams: {A.io: {endpoints: [https://a.io, \"https://a.io:8443\"]}}}",
        "proxy: {remoteurl: https://hub.docker.com}",
        "http: {headers: {Content-Security-Policy: [a]}}",
    ] {
        let loaded = good(&format!("version: 0.1\n{text}"));
        assert!(loaded.warnings.is_empty(), "{text}\n{:?}", loaded.warnings);
    }
}

/// Mistakes that callers find, in files and on the disk, are listed among the others, each at its key.
#[test]
fn draft_lists_mistakes_that_callers_add() {
    let text = "version: 0.1\nhttp: {adr: :1}\nauth:\n  htpasswd:\n    path: users\nmirror:\n  upstreams:\n    GHCR.io: {ca: x.pem}\n";
    let source = SourceText { name: "config.yml".to_owned(), text, built_in: false };
    let of_variable = variables(&[("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", "/data")]);
    let mut draft = Draft::read(source, &of_variable, &read);
    assert!(!draft.is_valid() && draft.print().is_none());
    assert_eq!(
        draft.config().map(|config| config.mirror.upstreams.len()),
        Some(1),
        "the valid values can be examined further"
    );
    draft.error(&["mirror", "upstreams", "ghcr.io", "ca"], "names x.pem: it is gone");
    draft.error(&["auth", "htpasswd", "path"], "names users: it is gone");
    draft.error(&["storage", "filesystem", "rootdirectory"], "cannot be used");
    draft.warn(&["mirror", "cache", "maxsize"], "is large");
    let problems = draft.conclude().unwrap_err();
    let shown: Vec<String> = problems.problems().iter().map(ToString::to_string).collect();
    assert_eq!(
        shown[1..],
        [
            "config.yml:5:11: auth.htpasswd.path names users: it is gone",
            "config.yml:8:19: mirror.upstreams.ghcr.io.ca names x.pem: it is gone",
            "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY: storage.filesystem.rootdirectory cannot be used",
        ]
    );
    assert!(shown[0].starts_with("config.yml:2:8: "), "{shown:?}");
    assert_eq!(problems.warnings()[0].to_string(), "config.yml:6:1: mirror.cache.maxsize is large");
}

/// Checks the keys of every release of `registry:2` and `registry:3`: none is unknown, and a missing function is never silent.
#[test]
fn keys_of_other_registries_are_known() {
    const WARNED: &str = "log.hooks log.reportcaller storage.redirect storage.filesystem.maxthreads \
        storage.maintenance.uploadpurging.interval http.secret http.http2 http.h2c notifications redis middleware reporting catalog tags \
        compatibility policy health.file health.http health.tcp proxy.ttl proxy.remotenamespace proxy.cachewritetimeout validation.disabled";
    const REFUSED: &str = "storage.inmemory storage.s3 storage.s3aws storage.gcs storage.azure storage.swift storage.oss storage.rados \
        storage.maintenance.readonly.enabled auth.token auth.silly access http.net http.tls \
        validation.manifests.indexes";
    const SILENT: &str = "storage.cache storage.tag validation.enabled";
    let of = |keys: &str, words: &str| {
        for key in keys.split_whitespace() {
            let parts: Vec<&str> = key.split('.').collect();
            let nested = parts.iter().rev().fold("true".to_owned(), |inner, part| format!("{{{part}: {inner}}}"));
            let text = format!("version: 0.1\n{}", &nested[1..nested.len() - 1]);
            let found = match load_text(&text, &[]) {
                Ok(loaded) => loaded.warnings,
                Err(problems) => problems.problems().to_vec(),
            };
            let said = format!("{key} {words}");
            let named = found.iter().any(|problem| problem.message().starts_with(&said) && problem.line() == Some(2));
            assert!(if words.is_empty() { found.is_empty() } else { named }, "{text}\n{found:?}");
        }
    };
    of(WARNED, "has no effect");
    of(REFUSED, "is not supported");
    of(SILENT, "");
}
