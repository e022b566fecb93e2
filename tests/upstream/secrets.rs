//! Secrets reach only their destination, and appear in no log, error, metric or printed configuration.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::support::client::Answer;
use crate::support::fault::Fault;
use crate::support::mirror::{blob, manifest, mirror_at};
use crate::support::proxy::Proxy;
use crate::support::registry::{Place, Registry, free_address};
use crate::support::tls::Authority;
use crate::support::upstream::{Auth, Bearer, Image, Logged, Upstream};

const USER: &str = "bob";
const PASSWORD: &str = "Upstr3am-word";
const IDENTITY: &str = "1dentity-token";
const PROXY: (&str, &str) = ("bob", "Pr0xy-word");
/// `alice:secret`, as `htpasswd -B` writes it.
const ALICE: &str = "alice:$2y$05$Z2UyzlpcairrQQKgFnpHnelQ.J6CK7OXQtyT9HbBvC8MAthihNobu\n";

fn both() -> [Upstream; 2] {
    [Upstream::start(), Upstream::start_tls()]
}

fn named(login: &str) -> String {
    format!(", insecure: true{login}")
}

fn password() -> String {
    named(&format!(", username: {USER}, password: {PASSWORD}"))
}

fn bearer(realm: Option<String>) -> Auth {
    Auth::Bearer(Bearer { login: Some((USER, PASSWORD)), identity: Some(IDENTITY), realm, ..Bearer::default() })
}

/// Checks that requests to another site contain no secret.
fn assert_received_no_secret(other_site: &Upstream) {
    for request in other_site.log() {
        for name in ["authorization", "cookie", "proxy-authorization", "referer"] {
            assert_eq!(request.header(name), None, "{request:?}");
        }
        let Logged { path, query, form, .. } = &request;
        for part in [path, query, form] {
            assert!(![USER, PASSWORD, IDENTITY, "token-"].iter().any(|secret| part.contains(secret)), "{request:?}");
        }
    }
}

#[test]
fn cdn_receives_no_credentials() {
    for upstream in both() {
        let other_site = if upstream.url().starts_with("https") { Upstream::start_tls() } else { Upstream::start() };
        for auth in [bearer(None), Auth::Basic(USER, PASSWORD)] {
            upstream.set_auth(auth);
            other_site.blob("any", b"a layer");
            upstream.set_cdn_at(&other_site.cdn_url());
            let image = upstream.image("library/app", "1", &[b"a layer"]);
            other_site.forget_log();
            let registry = mirror_at(&upstream, |_| password(), "");
            let client = registry.client();
            assert_eq!(client.get(&manifest("app", 1)).status, 200);
            assert_eq!(client.get(&blob("app", image.layers[0])).body, b"a layer");
            assert_eq!(other_site.requests("GET", "/cdn/"), 1);
            assert_received_no_secret(&other_site);
            let cookies = upstream.log().iter().any(|request| request.header("cookie").is_some());
            assert!(!cookies, "cookies are not sent back");
        }
    }
}

#[test]
fn redirect_from_https_to_http_is_refused() {
    let (upstream, plain) = (Upstream::start_tls(), Upstream::start());
    upstream.set_auth(bearer(None));
    let image = upstream.image("library/app", "1", &[b"a layer"]);
    plain.blob("any", b"a layer");
    let registry = mirror_at(&upstream, |_| password(), "");
    for elsewhere in [plain.cdn_url(), upstream.url().replace("https", "http"), "file://".to_owned()] {
        upstream.set_cdn_at(&elsewhere);
        let answer = registry.client().get(&blob("app", image.layers[0]));
        assert_eq!(answer.status, 502, "{}", answer.text());
        assert!(answer.text().contains("refused") && !answer.text().contains("signature"), "{}", answer.text());
    }
    assert_eq!(plain.requests("*", ""), 0);
}

#[test]
fn token_server_on_another_site_receives_no_credentials() {
    for upstream in both() {
        let tls = upstream.url().starts_with("https");
        let other_site = if tls { Upstream::start_tls() } else { Upstream::start() };
        let plain = Upstream::start();
        other_site.set_auth(Auth::Bearer(Bearer::default()));
        plain.set_auth(Auth::Bearer(Bearer::default()));
        upstream.image("library/app", "1", &[b"a layer"]);
        let scheme = if tls { "https" } else { "http" };
        // Another host name is another site, and plain HTTP is another site than HTTPS.
        let mut realms = vec![format!("{scheme}://localhost:{}/token", other_site.port())];
        if tls {
            realms.push(format!("{}/token", plain.url()));
        }
        let file = |place: &Place, entry: serde_json::Value| {
            let config = json!({"auths": {(format!("127.0.0.1:{}", upstream.port())): entry}}).to_string();
            named(&format!(", credentials: {}", place.write("config.json", &config).display()))
        };
        let auth = STANDARD.encode(format!("{USER}:{PASSWORD}"));
        for realm in realms {
            upstream.set_auth(bearer(Some(realm)));
            for registry in [
                mirror_at(&upstream, |_| password(), ""),
                mirror_at(&upstream, |place| file(place, json!({"auth": auth})), ""),
                mirror_at(&upstream, |place| file(place, json!({"identitytoken": IDENTITY})), ""),
            ] {
                let answer = registry.client().get(&manifest("app", 1));
                // The other site's token is not valid here.
                assert_eq!(answer.status, 403, "{}", answer.text());
                registry.wait_for_log("another site");
            }
        }
        assert!(other_site.tokens() > 0 && (!tls || plain.tokens() > 0));
        assert_received_no_secret(&other_site);
        assert_received_no_secret(&plain);
    }
}

/// The observable output: every answer, then the log, the metrics and the printed configuration.
struct Seen {
    text: String,
}

impl Seen {
    fn answer(&mut self, answer: &Answer) {
        self.text.push_str(&format!("{} {:?}\n{}\n", answer.status, answer.headers, answer.text()));
    }

    /// Pulls with every failure of an upstream, and successfully.
    fn pulls(&mut self, registry: &Registry, upstream: &Upstream, image: &Image) {
        let client = registry.client().login("alice", "secret");
        let mut get = |target: &str| self.answer(&client.get(target));
        get(&manifest("app", 1));
        get(&blob("app", image.config));
        for (at, fault) in [
            ("/cdn/", Fault::Status(403)),
            ("/cdn/", Fault::Status(500)),
            ("/cdn/", Fault::Cut(3)),
            ("/cdn/", Fault::Corrupt),
            ("/cdn/", Fault::Length(1)),
            ("/cdn/", Fault::Encoded),
            ("/cdn/", Fault::Hang),
            ("/blobs/", Fault::Status(307)),
            ("/blobs/", Fault::Status(401)),
            ("/blobs/", Fault::Status(429)),
        ] {
            upstream.fault("GET", at, fault);
            get(&blob("app", image.layers[0]));
            upstream.heal();
        }
        for (at, fault) in [("/token", Fault::Status(401)), ("/token", Fault::Status(500)), ("/token", Fault::Corrupt)]
        {
            upstream.revoke_tokens();
            upstream.fault("*", at, fault);
            get(&manifest("app", "absent"));
            upstream.heal();
        }
        get(&blob("app", image.layers[0]));
        upstream.gone();
        get(&manifest("app", "gone"));
        upstream.back();
        get("/metrics");
        get("/v2/_catalog");
    }
}

/// Returns the configuration of a server with every kind of secret and the most detailed log.
fn secretive(place: &Place, upstream: &Upstream, keys: &str) -> String {
    let users = place.write("htpasswd", ALICE);
    format!(
        "version: 0.1\nlog: {{formatter: json, level: debug}}\n{}storage:{}\nauth: {{htpasswd: {{realm: r, path: {}}}}}\n\
         mirror:\n  cache: {{reserve: 0}}\n  upstreams:\n    docker.io: {{default: true, endpoints: [\"{}\"], insecure: true, \
         firstbytetimeout: 1s, {keys}}}\n",
        place.http(),
        place.root(),
        users.display(),
        upstream.url()
    )
}

/// Returns the client certificate and its key.
fn identity(place: &Place, authority: &Authority) -> String {
    let files = [("client.pem", authority.client_certificate()), ("client.key", authority.client_key())];
    let [certificate, key] = files.map(|(name, pem)| place.write(name, pem));
    format!("clientcert: {}, clientkey: {}", certificate.display(), key.display())
}

/// Returns each kind of login, some of which the upstream refuses.
fn logins(place: &Place, proxy: &Proxy) -> Vec<String> {
    let through = |password: &str| format!("proxy: \"{}\"", proxy.url_as("http", &format!("bob:{password}")));
    let password = format!("username: {USER}, password: {PASSWORD}");
    let file = |name: &str, content: serde_json::Value| {
        format!("credentials: {}", place.write(name, &content.to_string()).display())
    };
    vec![
        format!("{password}, {}", through(PROXY.1)),
        format!("username: {USER}, password: wrong-{PASSWORD}, {}", through(PROXY.1)),
        format!("{password}, proxy: \"socks5://bob:{}@{}\"", PROXY.1, free_address()),
        format!("{password}, {}", through("Pr0xy-word-2")),
        file("helped.json", json!({"credsStore": "test"})),
        file("identified.json", json!({"auths": {"docker.io": {"identitytoken": IDENTITY}}})),
    ]
}

fn checked(config: &Path) -> String {
    let run = |arguments: &[&str]| {
        let mut check = Command::new(env!("CARGO_BIN_EXE_entrepot"));
        let output = check.args(arguments).arg(config).env_clear().output().unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    run(&["check"]) + &run(&["check", "--print"])
}

#[test]
fn output_contains_no_secret() {
    let directory = tempfile::tempdir().unwrap();
    let helper = directory.path().join("docker-credential-test");
    let said = json!({"Username": USER, "Secret": PASSWORD});
    fs::write(&helper, format!("#!/bin/sh\necho '{said}'\n")).unwrap();
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
    let environment = [("PATH", format!("{}:/usr/bin:/bin", directory.path().display()))];
    let (plain, tls) = (Upstream::start(), Upstream::start_tls_with_client_certificates());
    let proxy = Proxy::http(Some(PROXY));
    let mut seen = Seen { text: String::new() };
    for upstream in [&plain, &tls] {
        upstream.set_auth(bearer(None));
        upstream.set_cdn(true);
        let image = upstream.image("library/app", "1", &[b"a layer"]);
        for login in 0..6 {
            let mut file = PathBuf::new();
            let registry = Registry::configured_in(&environment, |place| {
                file = place.directory.join("config.yml");
                let keys = format!("{}, {}", logins(place, &proxy)[login], identity(place, tls.authority()));
                secretive(place, upstream, &keys)
            });
            seen.pulls(&registry, upstream, &image);
            seen.text.push_str(&checked(&file));
            seen.text.push_str(&registry.log());
        }
    }
    assert_silent(&seen.text, tls.authority());
}

fn assert_silent(text: &str, authority: &Authority) {
    // The cases really happened, and the output mentions them.
    for said in
        ["401", "429", "403", "502", "503", "the proxy ", "entrepot_upstream_requests_total", "password: \"****\""]
    {
        assert!(text.contains(said), "{said} is not in\n{text}");
    }
    let key = authority.client_key().lines().nth(1).unwrap();
    let encoded = |user: &str, password: &str| STANDARD.encode(format!("{user}:{password}"));
    for secret in [
        PASSWORD,
        &encoded(USER, PASSWORD),
        IDENTITY,
        "token-",
        PROXY.1,
        &encoded(PROXY.0, PROXY.1),
        "signature",
        "c00kie",
        key,
        &encoded("alice", "secret"),
        "Z2UyzlpcairrQQKgFnpHnel",
    ] {
        let line = text.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret}");
    }
}
