//! The words of an upstream's error reach the client and the log, and no secret does.

use crate::support::client::Answer;
use crate::support::mirror::{manifest, mirror_with};
use crate::support::registry::Registry;
use crate::support::scripted::{Script, Scripted};
use crate::support::upstream::{Auth, Bearer, Upstream};

const NAME: &str = "library/app";
const PASSWORD: &str = "pass-w0rd";

/// Starts a mirror of a server at this address.
fn mirror_at(url: &str, keys: &str) -> Registry {
    let upstream = format!("docker.io: {{default: true, endpoints: [\"{url}\"], ns: never{keys}}}");
    Registry::with(&format!("mirror:\n  cache: {{reserve: 0}}\n  upstreams:\n    {upstream}\n"))
}

fn message(answer: &Answer) -> String {
    answer.json()["errors"][0]["message"].as_str().unwrap().to_owned()
}

fn error(status: u16, body: impl Into<String>) -> Script {
    Script::new(status, body.into()).with("Content-Type", "application/json")
}

#[test]
fn words_of_an_error_reach_the_client_and_the_log() {
    for (status, told) in [(500, 502), (400, 502), (429, 429), (401, 403), (403, 403), (404, 502)] {
        let body = format!(r#"{{"errors":[{{"code":"UNSUPPORTED","message":"reason {status}:\r\n\u001b[1mquota"}}]}}"#);
        let upstream = Scripted::start("127.0.0.1", move |_| error(status, body.clone()));
        let mirror = mirror_at(&upstream.url(), "");
        let refused = mirror.client().get(&manifest(NAME, "1"));
        assert_eq!(refused.status, told, "{}", refused.text());
        let said = format!("the upstream says: \"reason {status}: [1mquota\" (UNSUPPORTED)");
        assert!(message(&refused).contains(&said), "{status}: {}", message(&refused));
        mirror.wait_for_log(&format!("reason {status}: [1mquota"));
    }
}

/// Some registries answer too many requests by 403 with the code of 429. That says nothing about the rights of the account.
#[test]
fn limit_that_is_called_forbidden_is_a_limit() {
    let limit = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"rate exceeded"}]}"#;
    let upstream = Scripted::start("127.0.0.1", move |_| error(403, limit).with("Retry-After", "7"));
    let mirror = mirror_at(&upstream.url(), "");
    let refused = mirror.client().get(&manifest(NAME, "1"));
    assert_eq!((refused.status, refused.code().as_str()), (429, "TOOMANYREQUESTS"), "{}", refused.text());
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=7).contains(&wait), "{wait}");
    assert!(message(&refused).contains("rate exceeded"), "{}", message(&refused));
    let causes = mirror.client().get("/metrics").text();
    let throttled = |line: &&str| line.starts_with("entrepot_upstream_failures_total") && line.contains("throttled");
    assert!(causes.lines().any(|line| throttled(&line) && !line.ends_with(" 0")), "{causes}");
    let refusals = |line: &&str| line.starts_with("entrepot_upstream_failures_total") && line.contains("refused");
    assert!(causes.lines().filter(refusals).all(|line| line.ends_with(" 0")), "{causes}");
}

#[test]
fn error_without_words_is_reported_as_before() {
    for body in ["", "<html>busy</html>", "{}", r#"{"errors":[]}"#, r#"{"errors":[{"message":7}]}"#] {
        let upstream = Scripted::start("127.0.0.1", move |_| error(500, body));
        let refused = mirror_at(&upstream.url(), "").client().get(&manifest(NAME, "1"));
        assert_eq!(refused.status, 502, "{body}");
        assert!(!message(&refused).contains("the upstream says"), "{body}: {}", message(&refused));
    }
}

#[test]
fn long_words_are_cut() {
    let body = format!(r#"{{"errors":[{{"code":"X","message":"{}"}}]}}"#, "long ".repeat(5000));
    let upstream = Scripted::start("127.0.0.1", move |_| error(500, body.clone()));
    let refused = mirror_at(&upstream.url(), "").client().get(&manifest(NAME, "1"));
    let message = message(&refused);
    assert!(message.contains("the upstream says: \"long long") && message.chars().count() < 400, "{message}");
}

/// Some servers repeat the request in the error.
#[test]
fn words_with_credentials_are_not_quoted() {
    let upstream = Scripted::start("127.0.0.1", |asked| match asked.header("authorization") {
        None => error(401, "{}").with("WWW-Authenticate", "Basic realm=\"x\""),
        Some(sent) if asked.path().ends_with("/1") => {
            error(500, format!(r#"{{"errors":[{{"message":"refused Authorization: {sent}"}}]}}"#))
        }
        Some(_) => error(403, format!(r#"{{"errors":[{{"message":"the password {PASSWORD} has expired"}}]}}"#)),
    });
    let mirror = mirror_at(&upstream.url(), &format!(", username: me, password: {PASSWORD}"));
    let encoded = "bWU6cGFzcy13MHJk";
    for tag in ["1", "2"] {
        let refused = mirror.client().get(&manifest(NAME, tag));
        assert!(refused.status >= 403, "{}", refused.text());
        assert!(!refused.text().contains(PASSWORD) && !refused.text().contains(encoded), "{}", refused.text());
    }
    mirror.wait_for_log("manifests/2");
    assert!(!mirror.log().contains(PASSWORD) && !mirror.log().contains(encoded));
}

#[test]
fn words_of_a_token_server_reach_the_client() {
    let tokens = Scripted::start("127.0.0.1", |_| error(401, r#"{"details":"incorrect username or password"}"#));
    let upstream = Upstream::start();
    let realm = Some(format!("{}/token", tokens.url()));
    upstream.set_auth(Auth::Bearer(Bearer { realm, ..Bearer::default() }));
    let refused = mirror_with(&upstream, "", "").client().get(&manifest(NAME, "1"));
    assert_eq!(refused.status, 403, "{}", refused.text());
    assert!(message(&refused).ends_with("the upstream says: \"incorrect username or password\""), "{}", refused.text());
}

/// The inner server names its own upstream and the key.
#[test]
fn error_of_an_entrepot_reaches_the_clients_of_the_next_one() {
    let gone = Upstream::start();
    gone.gone();
    let inner = mirror_with(&gone, "", "");
    let outer = mirror_at(&format!("http://{}", inner.addr()), "");
    let refused = outer.client().get(&manifest(NAME, "1"));
    let message = message(&refused);
    assert_eq!(refused.status, 502, "{message}");
    let said = format!("the upstream says: \"no connection to 127.0.0.1:{}", gone.port());
    assert!(message.contains(&said) && message.contains("(configured as mirror.upstreams.docker.io)"), "{message}");
    // The inner server has asked for a pause, so this request is not sent.
    let again = self::message(&outer.client().get(&manifest(NAME, "1")));
    assert!(again.contains(&said), "{again}");
    let other = self::message(&outer.client().get(&manifest("library/other", "1")));
    assert!(!other.contains("the upstream says"), "the words are about another repository: {other}");
}
