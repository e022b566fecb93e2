//! Credentials for upstreams from docker's configuration or from a credential helper.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::client::{Answer, noise};
use crate::support::mirror::{age, blob, cache, manifest};
use crate::support::registry::{Registry, eventually};
use crate::support::tls::Authority;
use crate::support::upstream::{Auth, Bearer, Upstream};

const OLD: Duration = Duration::from_secs(3600);
const USER: &str = "me";
const PASSWORD: &str = "pa55:word";

fn basic(password: &str) -> Value {
    json!({"auth": STANDARD.encode(format!("{USER}:{password}"))})
}

fn bearer(password: &'static str) -> Auth {
    Auth::Bearer(Bearer { login: Some((USER, password)), ..Bearer::default() })
}

fn host(upstream: &Upstream) -> String {
    format!("127.0.0.1:{}", upstream.port())
}

fn private() -> Upstream {
    let upstream = Upstream::start();
    upstream.set_auth(bearer(PASSWORD));
    upstream.image("library/app", "1", &[b"a layer"]);
    upstream
}

/// A mirror whose `credentials` key names this file, and the helpers that it may run.
struct Setting {
    registry: Registry,
    directory: tempfile::TempDir,
}

impl Setting {
    fn new(upstream: &Upstream, config: &Value, programs: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let setting = |name: &str| directory.path().join(name);
        for (name, script) in programs {
            program(&setting(&format!("docker-credential-{name}")), script, directory.path());
        }
        fs::write(setting("config.json"), config.to_string()).unwrap();
        let (path, url) = (format!("{}:/usr/bin:/bin", directory.path().display()), upstream.url());
        let registry = Registry::configured_in(&[("PATH", path)], |place| {
            let usual = place.usual();
            let file = setting("config.json").display().to_string();
            format!("{usual}\n{}", mirroring(&format!("endpoints: [\"{url}\"], credentials: {file}")))
        });
        Self { registry, directory }
    }

    /// Writes docker's configuration again.
    fn login(&self, config: &Value) {
        fs::write(self.path("config.json"), config.to_string()).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Returns the number of runs of the helpers.
    fn runs(&self) -> usize {
        fs::read_to_string(self.path("runs")).unwrap_or_default().lines().count()
    }

    fn pull(&self) -> Answer {
        self.registry.client().get(&manifest("app", 1))
    }

    fn assert_pulls(&self) {
        let answer = self.pull();
        assert_eq!(answer.status, 200, "{}\n{}", answer.text(), self.registry.log());
    }

    /// Returns the message of the refusal.
    fn refusal(&self) -> String {
        let answer = self.pull();
        assert_eq!((answer.status, answer.code().as_str()), (403, "DENIED"), "{}", answer.text());
        answer.text()
    }
}

fn mirroring(keys: &str) -> String {
    format!("mirror:\n  cache: {{reserve: 0}}\n  upstreams:\n    docker.io: {{default: true, {keys}}}\n")
}

/// Returns a script, in which `$DIR` is its directory. The script logs each run and its input.
fn program(path: &Path, script: &str, directory: &Path) {
    let script =
        format!("read key; echo \"$1 $key\" >> $DIR/runs\n{script}").replace("$DIR", &directory.display().to_string());
    fs::write(path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn says(user: &str, secret: &str) -> String {
    format!("echo '{}'", json!({"ServerURL": "x", "Username": user, "Secret": secret}))
}

#[test]
fn entry_of_dockers_file_is_used() {
    let upstream = private();
    let url = upstream.url();
    for auths in [
        json!({(url.clone()): basic(PASSWORD)}),
        json!({(host(&upstream)): basic(PASSWORD), "other.test": basic("other")}),
        json!({(format!("{url}/v2/")): {"username": USER, "password": PASSWORD}}),
        // The upstream's own name is the key.
        json!({"https://index.docker.io/v1/": basic(PASSWORD)}),
        json!({"docker.io": basic(PASSWORD), (host(&upstream)): {}}),
    ] {
        Setting::new(&upstream, &json!({"auths": auths.clone()}), &[]).assert_pulls();
    }
    upstream.set_auth(Auth::Basic(USER, PASSWORD));
    Setting::new(&upstream, &json!({"auths": {(host(&upstream)): basic(PASSWORD)}}), &[]).assert_pulls();
}

#[test]
fn identity_token_is_sent_only_to_the_token_server() {
    let upstream = private();
    let identity = "1dentity&token=";
    upstream.set_auth(Auth::Bearer(Bearer { identity: Some(identity), ..Bearer::default() }));
    let entry = json!({"auth": STANDARD.encode("<token>:"), "identitytoken": identity});
    for (config, programs) in [
        (json!({"auths": {(host(&upstream)): entry}}), vec![]),
        (json!({"credsStore": "test"}), vec![("test", says("<token>", identity))]),
    ] {
        upstream.forget_log();
        let programs: Vec<_> = programs.iter().map(|(name, script)| (*name, script.as_str())).collect();
        Setting::new(&upstream, &config, &programs).assert_pulls();
        let log = upstream.log();
        let (tokens, others): (Vec<_>, Vec<_>) = log.iter().partition(|request| request.path == "/token");
        assert!(tokens.iter().all(|request| request.method == "POST" && request.query.is_empty()), "{log:?}");
        assert!(tokens[0].form.contains("refresh_token=1dentity%26token%3D&"), "{}", tokens[0].form);
        assert!(tokens[0].form.contains("service=test"), "{}", tokens[0].form);
        assert!(tokens[0].header("authorization").is_none());
        assert!(others.iter().all(|request| !format!("{request:?}").contains("1dentity")), "{log:?}");
    }
    // If no token server is involved, an identity token cannot be used.
    upstream.set_auth(Auth::Basic("<token>", identity));
    let setting = Setting::new(&upstream, &json!({"auths": {(host(&upstream)): entry}}), &[]);
    assert!(!setting.refusal().contains("1dentity"));
}

#[test]
fn helper_runs_again_only_after_a_refusal() {
    let upstream = private();
    let script = "cat $DIR/answer";
    let config = json!({"credHelpers": {(host(&upstream)): "test"}, "auths": {(host(&upstream)): {}}});
    let setting = Setting::new(&upstream, &config, &[("test", script)]);
    assert_eq!(setting.runs(), 0, "no request has been made yet");
    let answer = |password: &str| {
        let answer = json!({"ServerURL": host(&upstream), "Username": USER, "Secret": password});
        fs::write(setting.path("answer"), answer.to_string()).unwrap();
    };
    answer(PASSWORD);
    setting.assert_pulls();
    upstream.image("library/other", "1", &[]);
    assert_eq!(setting.registry.client().get(&manifest("other", 1)).status, 200);
    assert_eq!(setting.runs(), 1, "for both");
    assert_eq!(fs::read_to_string(setting.path("runs")).unwrap(), format!("get {}\n", host(&upstream)));
    // A cache hit needs no credentials.
    let asked = upstream.log().len();
    setting.assert_pulls();
    assert_eq!((setting.runs(), upstream.log().len()), (1, asked));

    for password in ["new", "newer"] {
        upstream.set_auth(bearer(password));
        upstream.revoke_tokens();
        answer(password);
        let name = format!("for-{password}");
        upstream.image(&format!("library/{name}"), "1", &[]);
        let got = setting.registry.client().get(&manifest(&name, 1));
        let log = setting.registry.log();
        match password {
            "new" => assert_eq!((got.status, setting.runs()), (200, 2), "{}\n{log}", got.text()),
            // The helper was run again just now.
            _ => assert_eq!((got.status, setting.runs()), (403, 2), "{}\n{log}", got.text()),
        }
    }
}

#[test]
fn failing_helper_is_named_but_not_quoted() {
    let upstream = private();
    for (script, words) in [
        ("echo 's3cret pa55:word'; echo s3cret >&2; exit 1", "it failed"),
        ("echo '{\"Username\": \"s3cret\"'", "is not JSON"),
        ("echo '{\"Username\": \"s3cret\"}'", "no Username and Secret"),
        ("head -c 100000 /dev/zero", "wrote more than"),
        ("", "is not JSON"),
    ] {
        let setting = Setting::new(&upstream, &json!({"credsStore": "test"}), &[("test", script)]);
        let refusal = setting.refusal();
        assert!(refusal.contains("docker-credential-test") && refusal.contains(words), "{refusal}");
        setting.registry.wait_for_log(words);
        let log = setting.registry.log();
        assert!(!format!("{log}{refusal}").contains("s3cret"), "{log}");
    }
    let setting = Setting::new(&upstream, &json!({"credsStore": "absent"}), &[]);
    assert!(setting.refusal().contains("docker-credential-absent"));
    // A helper that has no entry leaves the requests without credentials.
    let nothing = "echo credentials not found in native keychain; exit 1";
    let setting = Setting::new(&upstream, &json!({"credsStore": "test"}), &[("test", nothing)]);
    assert!(setting.refusal().contains(&host(&upstream)), "{}", setting.refusal());
}

/// The login has expired, and the helper cannot give a newer one: it needs the network, or a program that is missing.
#[test]
fn failing_helper_never_refuses_what_is_cached() {
    for failure in ["exit 1", "exit 0", "echo not JSON", "kill -9 $$"] {
        for (auth, is_restarted) in [(false, false), (true, false), (false, true), (true, true)] {
            let case = format!("{failure} {auth} {is_restarted}");
            let wanted = |password| if auth { bearer(password) } else { Auth::Basic(USER, password) };
            let upstream = private();
            upstream.set_auth(wanted(PASSWORD));
            let script = format!("test -e $DIR/broken && {failure} || {}", says(USER, PASSWORD));
            let mut setting = Setting::new(&upstream, &json!({"credsStore": "test"}), &[("test", &script)]);
            setting.assert_pulls();
            let tags = "/v2/library/app/tags/list";
            assert_eq!(setting.registry.client().get(tags).status, 200, "{case}");
            fs::write(setting.path("broken"), "").unwrap();
            upstream.set_auth(wanted("new"));
            upstream.revoke_tokens();
            if is_restarted {
                setting.registry.restart();
            }
            age(&setting.registry, "library/app", "_tags/1", OLD);
            age(&setting.registry, "library/app", "_lists/tags", OLD);
            for target in [manifest("app", 1), tags.to_owned()] {
                let stale = setting.registry.client().get(&target);
                assert_eq!((stale.status, cache(&stale)), (200, "stale"), "{case}: {}", stale.text());
                let warning = stale.header("warning").unwrap_or_default();
                assert!(warning.contains("credential helper for docker.io has failed"), "{case}: {warning}");
            }
            let refused = setting.registry.client().get(&manifest("app", "other"));
            assert_eq!(refused.status, 403, "{case}: {}", refused.text());
            let words = refused.text();
            assert!(words.contains("has failed") && words.contains("docker-credential-test"), "{case}: {words}");
        }
    }
}

/// A request that comes while the helper runs waits for it, as the first one does.
#[test]
fn helper_that_hangs_refuses_nothing_that_is_cached() {
    let upstream = private();
    let script = format!("test -e $DIR/broken && exec sleep 60 || {}", says(USER, PASSWORD));
    let setting = Setting::new(&upstream, &json!({"credsStore": "test"}), &[("test", &script)]);
    setting.assert_pulls();
    let tags = "/v2/library/app/tags/list";
    assert_eq!(setting.registry.client().get(tags).status, 200);
    fs::write(setting.path("broken"), "").unwrap();
    upstream.set_auth(Auth::Basic(USER, "new"));
    upstream.revoke_tokens();
    age(&setting.registry, "library/app", "_tags/1", OLD);
    age(&setting.registry, "library/app", "_lists/tags", OLD);
    for target in [manifest("app", 1), tags.to_owned()] {
        let stale = setting.registry.client().get(&target);
        assert_eq!((stale.status, cache(&stale)), (200, "stale"), "{}", stale.text());
    }
    let refused = setting.registry.client().get(&manifest("app", "other"));
    assert!(refused.status == 403 && refused.text().contains("docker-credential-test"), "{}", refused.text());
}

#[test]
fn changed_file_is_read_again() {
    let upstream = private();
    let setting = Setting::new(&upstream, &json!({"auths": {"other.test": basic(PASSWORD)}}), &[]);
    let log = setting.registry.wait_for_log("asked anonymously");
    assert!(log.contains(&host(&upstream)) && log.contains("https://index.docker.io/v1/"), "{log}");
    let refusal = setting.refusal();
    assert!(refusal.contains("config.json") && refusal.contains("mirror.upstreams.docker.io.credentials"), "{refusal}");
    setting.login(&json!({"auths": {(host(&upstream)): basic(PASSWORD)}}));
    eventually("the login", || (setting.pull().status == 200).then_some(()));

    // A file that becomes invalid does not replace the last valid one.
    fs::write(setting.path("config.json"), "{\"auths\": {\"s3cret\"").unwrap();
    let mut asked = 0;
    eventually("the warning", || {
        upstream.revoke_tokens();
        // Otherwise the mirror would answer from its cache of missing content.
        asked += 1;
        setting.registry.client().get(&manifest("app", format!("absent-{asked}")));
        setting.registry.log().contains("its previous content stays in force").then_some(())
    });
    assert!(!setting.registry.log().contains("s3cret"));
    upstream.image("library/app", "2", &[]);
    assert_eq!(setting.registry.client().get(&manifest("app", 2)).status, 200);
    setting.registry.wait_for_log("asked anonymously");
    assert_eq!(setting.registry.log().matches("asked anonymously").count(), 1);
}

#[test]
fn content_fetched_with_a_helper_login_is_private() {
    let base = noise(3, 300_000);
    for (config, shared) in [("the entry", 503), ("none", 200)] {
        let upstream = Upstream::start();
        let images = ["library/one", "library/two"].map(|name| upstream.image(name, "1", &[&base]));
        let entry = if config == "none" { json!({}) } else { json!({(host(&upstream)): basic(PASSWORD)}) };
        let setting = Setting::new(&upstream, &json!({"auths": entry}), &[]);
        let client = setting.registry.client();
        for name in ["library/one", "library/two"] {
            assert_eq!(client.get(&manifest(name, 1)).status, 200);
        }
        assert_eq!(client.get(&blob("library/one", images[0].layers[0])).body, base);
        upstream.gone();
        assert_eq!(client.get(&blob("library/two", images[1].layers[0])).status, shared, "with {config}");
    }
}

#[test]
fn home_directory_and_short_helper_name_work() {
    let upstream = private();
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join(".docker")).unwrap();
    let config = json!({"auths": {(host(&upstream)): basic(PASSWORD)}}).to_string();
    fs::write(home.path().join(".docker/config.json"), config).unwrap();
    let environment = [("HOME", home.path().display().to_string())];
    let url = upstream.url();
    let registry = Registry::configured_in(&environment, |place| {
        format!(
            "{}\n{}",
            place.usual(),
            mirroring(&format!("endpoints: [\"{url}\"], credentials: ~/.docker/config.json"))
        )
    });
    assert_eq!(registry.client().get(&manifest("app", 1)).status, 200, "{}", registry.log());

    let helper = home.path().join("helper");
    program(&helper, &says(USER, PASSWORD), home.path());
    let registry = Registry::with(&format!("proxy: {{remoteurl: \"{url}\", exec: {{command: {}}}}}", helper.display()));
    assert_eq!(registry.client().get(&manifest("library/app", 1)).status, 200, "{}", registry.log());
    assert_eq!(fs::read_to_string(home.path().join("runs")).unwrap(), format!("get {}\n", host(&upstream)));
}

#[test]
fn unusable_credentials_are_reported_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    for (name, content) in [
        ("broken.json", "{\"auths\": {\"s3cret"),
        ("entry.json", r#"{"auths": {"a.test": {"auth": "s3cret!"}}}"#),
        ("good.json", "{}"),
        ("nothing.pem", "s3cret"),
        ("client.pem", authority.client_certificate()),
        ("client.key", authority.client_key()),
        ("other.key", Authority::new().client_key()),
    ] {
        fs::write(directory.path().join(name), content).unwrap();
    }
    let run = |command: &str, keys: &str| {
        let config = format!(
            "version: 0.1\nhttp: {{addr: \"127.0.0.1:0\"}}\nstorage: {{filesystem: {{rootdirectory: data}}}}\n\
             mirror: {{upstreams: {{a.test: {{{keys}}}, b.test: {{ca: nowhere.pem}}}}}}\n"
        );
        fs::write(directory.path().join("config.yml"), config).unwrap();
        let mut entrepot = Command::new(env!("CARGO_BIN_EXE_entrepot"));
        let output = entrepot.args([command, "config.yml"]).current_dir(directory.path()).env_clear().output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{keys}");
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    };
    for (keys, wanted) in [
        ("credentials: nowhere.json", ["credentials", "nowhere.json"]),
        ("credentials: broken.json", ["broken.json", "not JSON"]),
        ("credentials: entry.json", ["entry.json", "base64"]),
        ("clientcert: nowhere.pem, clientkey: client.key", ["clientcert", "nowhere.pem"]),
        ("clientcert: client.pem, clientkey: nowhere.key", ["clientkey", "nowhere.key"]),
        ("clientcert: nothing.pem, clientkey: client.key", ["clientcert", "PEM"]),
        ("clientcert: client.pem, clientkey: nothing.pem", ["clientkey", "PEM"]),
        ("clientcert: client.pem, clientkey: other.key", ["clientkey", "belong together"]),
        ("ca: nothing.pem", ["ca", "nothing.pem"]),
    ] {
        for command in ["check", "serve"] {
            let words = run(command, keys);
            assert!(wanted.iter().all(|word| words.contains(word)), "{command} {keys}: {words}");
            assert!(
                words.contains("mirror.upstreams.a.test") && words.contains("b.test.ca"),
                "every unusable file is reported: {words}"
            );
            assert!(!words.contains("s3cret"), "{words}");
        }
    }
    let words = run("check", "clientcert: client.pem, clientkey: client.key, credentials: good.json");
    assert!(!words.contains("a.test"), "{words}");
}
