//! Configurations that cause warnings, with the words of each warning.

use super::*;

/// Checks that each text causes one warning, with these words.
fn assert_warned(table: &[(&str, &str)]) {
    for (text, words) in table {
        let loaded = good(&format!("version: 0.1\n{text}"));
        let shown: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
        assert!(
            shown.len() == 1 && shown[0].contains(words) && shown[0].starts_with("config.yml:2:"),
            "{text}\n{shown:?}"
        );
    }
}

#[test]
fn keys_without_effect_are_warned_of() {
    assert_warned(&[
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
        ("auth:", "every client may do everything"),
        ("auth: {}", "remove it"),
        ("tags: {maxtags: 100}", "tags has no effect"),
        ("proxy: {remoteurl: https://a, remotenamespace: b}", "remotenamespace"),
        ("storage: {maintenance: {uploadpurging: {age: 5m}}}", "shorter than 1h"),
        ("health: {storagedriver: {enabled: true, interval: 10ms}}", "write 10s"),
        ("proxy: {remoteurl: https://a, username: me, password: \"${PASSWORD}\"}", "is not expanded"),
    ]);
}

/// registry:2 starts on these: it was run on each of them.
#[test]
fn configurations_on_which_registry_2_starts_are_warned_of() {
    assert_warned(&[
        (
            "http: {tls: {certificate: \"\", key: \"\"}}",
            "http.tls names no certificate, so the server speaks plain HTTP",
        ),
        ("http: {tls: {certificate: }}", "http.tls names no certificate"),
        (
            "http: {tls: {certificate: \"\", minimumtls: tls1.2, letsencrypt: {cachefile: \"\", hosts: []}}}",
            "plain HTTP",
        ),
        ("auth: none", "auth.none has no effect: it means no login"),
        ("auth: None", "every client may do everything"),
        ("auth: {none: {realm: x}}", "every client may do everything"),
        ("auth: {NONE: }", "every client may do everything"),
        ("auth: \"\"", "every client may do everything"),
        ("http: {prefix: /registry}", "is \"/registry\", which is read as \"/registry/\""),
        ("http: {prefix: /a/b}", "\"/a/b/\""),
        ("http: {prefix: registry}", "\"/registry/\""),
        ("http: {draintimeout: 8000000000}", "is 8000000000, a number of nanoseconds, as in registry:2: 8s"),
        ("http: {draintimeout: 9e10}", "nanoseconds, as in registry:2: 1m30s"),
        ("http: {draintimeout: 60}", "nanoseconds, as in registry:2: 60ns; write it with its unit"),
        ("health: {storagedriver: {enabled: true, interval: 10000000000}}", "interval is 10000000000"),
        ("http: {addr: \":http\"}", "is \":http\", whose port is a name; write \":80\""),
        ("http: {addr: \"localhost:https\"}", "write \"localhost:443\""),
        ("http: {debug: {addr: \"127.0.0.1:telnet\"}}", "http.debug.addr is \"127.0.0.1:telnet\""),
        ("http: {debug: {addr: :5001, prometheus: {enabled: true, path: metrics}}}", "read as \"/metrics\""),
        (
            "storage: {filesystem: {maxsize: 10GiB}}",
            "storage.filesystem.maxsize has no effect: pushed content has no limit",
        ),
        ("storage: {filesystem: {quota: 10}}", "storage.filesystem.quota has no effect"),
        ("storage: {filesystem: {chunksize: 5, }}", "the driver has no such parameter"),
    ]);
}

/// Valid values that are surely not meant. Each row has the text under `mirror:` from line 3 on, the line, and words of the warning.
#[rustfmt::skip] // One row per line.
const DOUBTFUL: &[(&str, u32, &str)] = &[
    ("cache: {maxsize: 200}", 3, "is 200, which holds no image; write it with a unit"),
    ("cache: {maxsize: 1MB}", 3, "such as 200GiB"),
    ("cache: {reserve: 10}", 3, "such as 10GiB"),
    ("fill: {segment: 100TiB}", 3, "is 100TiB, longer than a layer"),
    ("fill: {segment: 1.1GiB}", 3, "write 8MiB"),
    ("fill: {connections: 17}", 3, "but `perhost` allows 16"),
    ("fill: {connections: 3, perhost: 2}", 3, "but `perhost` allows 2"),
    ("fill: {stall: 10ms}", 3, "write 15s"),
    ("fill: {keep: 0s}", 3, "write 168h"),
    ("local: [a/**, \"library/*\"]", 3, "official images"),
    ("local: [\"*\"]", 3, "official images"),
    ("local: [\"local\"]", 3, "write \"local/**\""),
    ("local: team", 3, "write \"team/**\""),
    ("upstreams:\n    a.io: {endpoints: [\"https://127.0.0.1:5000\"], default: true}", 4, "this server itself"),
    ("upstreams:\n    a.io: {endpoints: [\"https://[::1]:5000/v2/\"], default: true}", 4, "this server itself"),
    ("upstreams:\n    a.io: {endpoints: [\"https://localhost:5000\"], default: true}", 4, "this server itself"),
    ("upstreams:\n    docker: {default: true}", 4, "write docker.io, or its `endpoints`"),
    ("upstreams:\n    harbor: {default: true}", 4, "write the registry's host"),
    ("prefetch: [{image: alpine, every: 1s}]", 3, "shorter than 1m"),
    ("prefetch:\n    - {image: alpine}\n    - {image: alpine, platforms: all}", 5, "a second time"),
    ("follow: {pulled_within: 1h}", 3, "shorter than 24h"),
    ("link: {limit: 64kbit/s}", 3, "is 64kbit/s, so slow that upstreams may cut connections"),
    ("link: {schedule: [{limit: 10B/s}]}", 3, "schedule.0.limit is 10B/s, so slow"),
    ("link:\n    schedule:\n      - {hours: 8-18, limit: 1MB/s}\n      - {days: tue, hours: 9-12, limit: 2MB/s}", 6, "schedule.1 never decides"),
    ("link:\n    schedule:\n      - {days: mon-fri, limit: 1MB/s}\n      - {days: [sat, sun], limit: 2MB/s}\n      - {hours: 22-6, limit: unlimited}", 7, "never decides"),
    ("link: {limit: 5Mbit/s}\n  upstreams:\n    docker.io: {default: true, link: {limit: 1MB/s}}", 5, "is 8Mbit/s, but `mirror.link` allows 5Mbit/s at most"),
    ("names: []\n  upstreams:\n    docker.io: {default: true}\n    index.docker.io: {}", 6, "write `docker.io:`"),
    ("upstreams:\n    docker.io:\n      default: true\n      tagttl: 1h\n      stalemax: 10m", 7, "is 10m, shorter than `tagttl` (1h)"),
    ("upstreams:\n    docker.io: {default: true}\n    r.corp:443: {}", 5, "write `aliases: [r.corp]`"),
    ("upstreams:\n    r.corp: {default: true}\n    r.corp:443: {}", 5, "write `aliases: [r.corp-443]`"),
    ("upstreams:\n    docker.io: {default: true, negativettl: 48h}", 4, "longer than 24h"),
    ("upstreams:\n    docker.io: {default: true, connecttimeout: 3m}", 4, "longer than `firstbytetimeout` (2m)"),
    ("upstreams:\n    docker.io: {default: true, username: me, password: \"****\"}", 4, "`check --print`"),
    ("upstreams:\n    docker.io: {default: true, proxy: \"http://****@p:1\"}", 4, "`check --print`"),
    ("upstreams:\n    docker.io: {default: true, username: \"${USER}\", password: pw}", 4, "is not expanded"),
];

#[test]
fn valid_values_that_are_not_meant_are_warned_of() {
    for (text, line, words) in DOUBTFUL {
        let upstream = if text.contains("upstreams") { "" } else { "\n  upstreams: {docker.io: {default: true}}" };
        let loaded = good(&format!("version: 0.1\nmirror:\n  {text}{upstream}"));
        let [warning] = loaded.warnings.as_slice() else { panic!("{text}\n{:?}", loaded.warnings) };
        assert!(warning.line() == Some(*line) && warning.message().contains(words), "{text}\n{warning}");
    }
    let masked = good("version: 0.1\nproxy: {remoteurl: https://a, username: me, password: \"****\"}");
    assert!(masked.warnings[0].message().starts_with("proxy.password holds the ****"), "{:?}", masked.warnings);
    for meant in [
        "cache: {maxsize: 64MiB, reserve: 0}",
        "fill: {segment: 1GiB, connections: 16, stall: 1s, keep: 1m}",
        "local: [\"app\", \"local/**\"]",
        "local: [\"library/mine\"]",
        "upstreams: {harbor: {endpoints: [\"http://harbor\"]}, localhost: {}, \"r.corp:5001\": {aliases: [r]}}\n  names: []",
        "local: [\"library/mine\", \"library/mine-*\", \"team/**\"]",
        "link: {limit: 256kbit/s, schedule: [{hours: 12-13, limit: unlimited}, {hours: 8-18, limit: 1MB/s}]}",
        "link: {schedule: [{hours: 8-18, limit: 5Mbit/s}]}\n  upstreams: {docker.io: {default: true, link: {limit: 9Mbit/s}}}",
        "prefetch: [{image: alpine, every: 1m}, {image: \"alpine:3\"}]",
    ] {
        let upstream = if meant.contains("upstreams") { "" } else { "\n  upstreams: {docker.io: {default: true}}" };
        let loaded = good(&format!("version: 0.1\nmirror:\n  {meant}{upstream}"));
        assert!(loaded.warnings.is_empty(), "{meant}\n{:?}", loaded.warnings);
    }
}
