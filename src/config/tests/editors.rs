//! The JSON Schema for editors, checked with an independent validator.

use jsonschema::Validator;
use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::{Map, Value, json};

use super::*;
use crate::config::json_schema;
use crate::config::keys::{Key, KeyShape, Support};

fn validator() -> (Value, Validator) {
    let schema = json_schema::document();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    (schema, validator)
}

fn instance(text: &str) -> Value {
    let documents = Yaml::load_from_str(text).unwrap_or_else(|error| panic!("{text}\n{error}"));
    documents.first().map_or(Value::Null, json_of)
}

/// Returns the value of a node to an editor, which reads YAML 1.2.
fn json_of(node: &Yaml<'_>) -> Value {
    match node {
        Yaml::Sequence(items) => items.iter().map(json_of).collect(),
        Yaml::Mapping(map) => map.iter().map(|(key, value)| (key_of(key), json_of(value))).collect(),
        Yaml::Value(Scalar::Boolean(flag)) => json!(flag),
        Yaml::Value(Scalar::Integer(number)) => json!(number),
        Yaml::Value(Scalar::FloatingPoint(number)) => json!(number.into_inner()),
        Yaml::Value(Scalar::String(text)) => json!(text),
        Yaml::Value(Scalar::Null) => Value::Null,
        other => panic!("{other:?} is not expected here"),
    }
}

fn key_of(key: &Yaml<'_>) -> String {
    key.as_str().unwrap_or_else(|| panic!("{key:?} is not a text")).to_owned()
}

/// Configurations like Debian's and the examples of distribution: caches, notifications, Redis, health checks, a proxy.
#[rustfmt::skip] // One row per line.
const VALID: &[&str] = &[
    "version: 0.1\nhttp: {tls: {certificate: \"\", key: , letsencrypt: {hosts: []}, minimumtls: tls1.2}, prefix: /a, draintimeout: 8000000000}",
    "version: 0.1\nhttp: {addr: \":https\", draintimeout: 8.5e9, debug: {addr: \"localhost:http\", prometheus: {path: metrics}}}",
    "version: 0.1\nauth: \"\"\nstorage: {filesystem: {maxsize: 1GiB}}\nhealth: {storagedriver: {enabled: true, interval: 10000000000}}",
    "version: 0.1\nauth: {none: {realm: a}}",
    "version: 0.1\nauth: None",
    "version: 0.1\nstorage: filesystem\nauth: htpasswd",
    "version: \"0.1\"\nstorage: {filesystem: {rootdirectory: /a}, cache: {blobdescriptor: inmemory}}\nx-common: {a: [1]}",
    "version: 0.1\nlog: {accesslog: {disabled: true}, level: debug, formatter: text, fields: {service: registry, environment: staging}, hooks: [{type: mail, options: {smtp: {addr: a}}}]}\nloglevel: debug",
    "version: 0.1\nstorage: {delete: {enabled: yes}, tag: {concurrencylimit: 8}, redirect: {disable: false}, maintenance: {uploadpurging: {enabled: true, age: 168h, interval: 24h, dryrun: false}, readonly: {enabled: false}}}",
    "version: 0.1\nhttp: {addr: \":5000\", debug: {addr: \":5001\", prometheus: {enabled: true, path: /metrics}}, headers: {X-Content-Type-Options: [nosniff], A: b}, http2: {disabled: false}, h2c: {enabled: false}, secret: a, relativeurls: false, net: tcp, tls: {}}",
    "version: 0.1\nnotifications: {events: {includereferences: true}, endpoints: [{name: a, url: b, timeout: 1s, threshold: 10}]}",
    "version: 0.1\nredis: {addrs: [a], db: 0, pool: {maxidle: 16}}\ncatalog: {maxentries: 10}\npolicy: {repository: {classes: [image]}}",
    "version: 0.1\nhealth: {storagedriver: {enabled: true, interval: 10s, threshold: 3}, file: [{file: a}], http: [{uri: b}], tcp: [{addr: c}]}",
    "version: 0.1\nproxy: {remoteurl: https://registry-1.docker.io, username: me, password: 1234, ttl: 168h}",
    "version: 0.1\nproxy: {remoteurl: https://registry-1.docker.io, exec: {command: a, lifetime: 1h}}",
    "version: 0.1\nvalidation: {disabled: true, enabled: no, manifests: {sparse: Allow}}",
    "version: 0.1\nmirror: {local: team/**, upstreams: {ghcr.io: , docker.io: {default: on, tagttl: 0, proxy: \"file:/run/secrets/proxy\", endpoints: https://a}}, cache: {maxsize: 1048576}, fill: {connections: 5, perhost: \"3\", segment: 1.5MiB, unattended: PAUSE}}",
    "version: 0.1\nmirror: {upstreams: {docker.io: {default: true}}, prefetch: [{image: alpine, platforms: all, every: 24h, at: \"02:30\"}]}",
];

#[rustfmt::skip] // One row per line.
const INVALID: &[&str] = &[
    "log: {level: info}", "- version", "version: 0.2", "version: 0.1\nstorrage: {}", "version: 0.1\nhttp: {adr: \":5000\"}",
    "version: 0.1\nhttp: {addr: 5000}", "version: 0.1\nhttp: \":5000\"", "version: 0.1\nhttp: {x-mine: 1}", "version: 0.1\nhttp: {addr: [a]}",
    "version: 0.1\nhttp: {host: registry.lan}", "version: 0.1\nhttp: {stall: 60}", "version: 0.1\nhttp: {draintimeout: -60}",
    "version: 0.1\nhttp: {tls: {letsencrypt: {email: a}}}", "version: 0.1\nhttp: {tls: {certificate: \"\", key: b}}", "version: 0.1\nhttp: {tls: a}",
    "version: 0.1\nhttp: {tls: {certificate: /a}}", "version: 0.1\nhttp: {net: unix}", "version: 0.1\nhttp: {headers: {a: {b: c}}}",
    "version: 0.1\nlog: {level: loud}", "version: 0.1\nlog: {formatter: xml}", "version: 0.1\nlog: {accesslog: {disabled: maybe}}",
    "version: 0.1\nstorage: s3", "version: 0.1\nstorage: {s3: {bucket: b}}", "version: 0.1\nstorage: {inmemory: }",
    "version: 0.1\nstorage: {delete: true}", "version: 0.1\nstorage: {maintenance: {readonly: {enabled: true}}}",
    "version: 0.1\nauth: token", "version: 0.1\nauth: {token: {realm: a}}", "version: 0.1\naccess: [{pull: [a]}]",
    "version: 0.1\nhealth: {storagedriver: {interval: soon}}", "version: 0.1\nhealth: {storagedriver: {threshold: -1}}",
    "version: 0.1\nproxy: {remoteurl: ghcr.io}", "version: 0.1\nproxy: {url: https://a}", "version: 0.1\nvalidation: {manifests: {urls: {allow: {a: b}}}}",
    "version: 0.1\nmirror: {upstreams: [ghcr.io]}", "version: 0.1\nmirror: {upstreams: {a.io: https://a.io}}",
    "version: 0.1\nmirror: {upstreams: {a.io: {endpoint: a}}}", "version: 0.1\nmirror: {upstreams: {a.io: {tagttl: 10M}}}",
    "version: 0.1\nmirror: {upstreams: {a.io: {staleif: always}}}", "version: 0.1\nmirror: {upstreams: {a.io: {proxy: \"p:1\"}}}",
    "version: 0.1\nmirror: {cache: {maxsize: 80%}}", "version: 0.1\nmirror: {fill: {connections: 0}}",
    "version: 0.1\nmirror: {fill: {connections: many}}", "version: 0.1\nmirror: {fill: {perhost: 5000}}",
    "version: 0.1\nmirror: {fill: {unattended: stop}}", "version: 0.1\nmirror: {local: {a: b}}", "version: 0.1\nmirror: {prefetch: [alpine]}",
    "version: 0.1\nmirror: {prefetch: [{image: a, at: noon}]}", "version: 0.1\nmirror: {prefetch: [{platform: all}]}",
];

#[test]
fn schema_accepts_valid_and_refuses_invalid_files() {
    let (schema, validator) = validator();
    jsonschema::draft202012::meta::validate(&schema).unwrap_or_else(|error| panic!("{error}"));
    let uncommented = shipped::uncommented();
    for text in [STOCK, DEFAULT, REFERENCE, &uncommented].iter().chain(VALID) {
        let instance = instance(text);
        let wrong: Vec<String> =
            validator.iter_errors(&instance).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(wrong.is_empty(), "{text}\n{wrong:?}");
    }
    for text in VALID {
        let found = load_text(text, &[]).map(|_| String::new()).unwrap_or_else(|problems| problems.to_string());
        // A bare `auth: htpasswd` gets its path from a variable.
        assert!(found.is_empty() || found.contains("auth.htpasswd.path is missing"), "{text}\n{found}");
    }
    for text in INVALID {
        assert!(!validator.is_valid(&instance(text)), "{text}");
        assert!(load_text(text, &[]).is_err(), "{text}");
    }
}

/// For every key, an editor must not mark a value that `check` accepts.
#[test]
fn schema_accepts_every_value_that_check_accepts() {
    let values = [
        "",
        "5000",
        ":5000",
        "0",
        "0s",
        "10s",
        "1h30m",
        "1.5h",
        "500ms",
        "7d",
        "5minutes",
        "10",
        "-1",
        "1_000",
        "0x10",
        "auto",
        "yes",
        "Off",
        "true",
        "200GiB",
        "10gb",
        "1.5 KiB",
        "3k",
        "info",
        "WARN",
        "panic",
        "json",
        "error",
        "Never",
        "finish",
        "pause",
        "refuse",
        "allow",
        "/",
        "/a/",
        "/a",
        "https://a",
        "http://a:1/",
        "socks5h://me@p:1",
        "file:/empty",
        "02:30",
        "2:30",
        "all",
        "a/**",
        "x",
        "0.1",
        "é",
        "~/x",
    ];
    let (_, validator) = validator();
    for path in keys::supported(root::schema()) {
        for value in values {
            // An editor reads a number as a number.
            let typed =
                Yaml::load_from_str(value).map_or(json!(value), |found| found.first().map_or(Value::Null, json_of));
            for leaf in [typed, json!(value)] {
                let instance = nested(&path, leaf);
                // JSON is YAML.
                let text = instance.to_string();
                let said = load_text(&text, &[]).err().map(|problems| problems.to_string()).unwrap_or_default();
                let shown = path.replace("NAME", "a.io");
                let accepted = !said.contains(&format!(": {shown} ")) && !said.contains(&format!(": {shown}:"));
                assert!(!accepted || validator.is_valid(&instance), "{text}\n{said}");
            }
        }
    }
}

/// Returns a configuration with only this key.
fn nested(path: &str, leaf: Value) -> Value {
    let inner = path.rsplit('.').fold(leaf, |inner, part| match part {
        "0" => json!([inner]),
        "NAME" => json!({"a.io": inner}),
        part => json!({part: inner}),
    });
    let mut whole = Map::new();
    whole.insert("version".to_owned(), json!(0.1));
    if let Value::Object(inner) = inner {
        whole.extend(inner);
    }
    Value::Object(whole)
}

/// Collects the paths of the properties in `schema` without a description.
fn undescribed(schema: &Value, path: &str, found: &mut Vec<String>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        if property["description"].as_str().is_none_or(str::is_empty) {
            found.push(path.clone());
        }
        for inner in [property, &property["additionalProperties"], &property["items"]] {
            undescribed(inner, &path, found);
        }
    }
}

#[test]
fn every_key_has_a_description() {
    let (schema, _) = validator();
    let mut found = Vec::new();
    undescribed(&schema, "", &mut found);
    assert!(found.is_empty(), "config/reference.yml does not describe {found:?}");
    assert!(schema["description"].is_string() && schema["title"].is_string());
}

#[test]
fn schema_has_descriptions_defaults_and_words() {
    let descriptions = keys::descriptions();
    keys::walk(root::schema(), "", &mut |path, key: &Key| {
        let value = matches!(key.shape, KeyShape::Scalar(_) | KeyShape::List | KeyShape::Texts);
        let supported = value && matches!(key.support, Support::Supported);
        assert!(!supported || descriptions.contains_key(path), "config/reference.yml does not describe {path}");
    });
    let (schema, _) = validator();
    let at = |pointer: &str| schema.pointer(&format!("/properties/{}", pointer.replace('.', "/properties/"))).unwrap();
    assert_eq!(
        at("http.addr")["description"],
        json!("The address to listen on: HOST:PORT, or :PORT for every address of the machine.")
    );
    assert_eq!(at("http.addr")["default"], json!(":5000"));
    assert_eq!(at("mirror.fill.segment")["default"], json!("8MiB"));
    assert_eq!(at("mirror.fill.unattended")["anyOf"][0]["enum"], json!(["finish", "pause"]));
    assert_eq!(at("storage.delete.enabled")["default"], json!(false));
    assert_eq!(at("http.tls")["enum"][0], json!(null));
    assert_eq!(at("redis")["deprecated"], json!(true));
    let upstream = &at("mirror.upstreams")["additionalProperties"]["properties"];
    assert_eq!((&upstream["tagttl"]["default"], upstream["endpoints"].get("default")), (&json!("10m"), None));
    let image = &at("mirror.prefetch")["items"]["properties"]["image"]["description"];
    assert!(image.as_str().is_some_and(|said| said.starts_with("The image. Its tag may contain `*`")), "{image}");
}
