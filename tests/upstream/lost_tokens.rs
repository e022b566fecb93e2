//! Token servers that an endpoint has named once and that give no token now.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::gateways::{APP, content, registry};
use crate::support::client::digest_of;
use crate::support::mirror::{age, blob, cache, manifest};
use crate::support::registry::Registry;
use crate::support::scripted::{Asked, Script, Scripted};

const OLD: Duration = Duration::from_secs(3600);
const UNAUTHORIZED: &str = r#"{"errors":[{"code":"UNAUTHORIZED"}]}"#;

/// A registry that wants tokens, which are valid for one request.
struct Changing {
    upstream: Scripted,
    mirror: Registry,
    is_changed: Arc<AtomicBool>,
}

/// The address of a server that refuses connections.
fn dead() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}/token", listener.local_addr().unwrap())
}

/// Asks for a token of the server at `realm`.
fn challenge(realm: &str) -> Script {
    Script::new(401, UNAUTHORIZED).with("WWW-Authenticate", format!("Bearer realm=\"{realm}\",service=\"s\""))
}

fn own(asked: &Asked, path: &str) -> String {
    format!("http://{}{path}", asked.header("host").unwrap())
}

/// Gives the token `name`, which is too old for another request at once.
fn token(name: &str) -> Script {
    Script::new(200, format!(r#"{{"token":"{name}","expires_in":0.000001}}"#))
}

/// Answers as a registry that wants the token `name` from `/NAME`.
fn with_token(asked: &Asked, name: &str) -> Script {
    match asked.header("authorization") == Some(&format!("Bearer {name}")) {
        true => registry(asked, &content()),
        false => challenge(&own(asked, &format!("/{name}"))),
    }
}

impl Changing {
    /// The registry has given its tokens at `/a`. Once it has changed, `then` answers.
    fn new(then: impl Fn(&Asked) -> Script + Send + Sync + 'static) -> Self {
        let is_changed = Arc::<AtomicBool>::default();
        let flag = Arc::clone(&is_changed);
        let upstream = Scripted::start("127.0.0.1", move |asked| match flag.load(Ordering::SeqCst) {
            true => then(asked),
            false if asked.path() == "/a" => token("a"),
            false => with_token(asked, "a"),
        });
        let mirror = Registry::with(&format!(
            "mirror:\n  cache: {{reserve: 0}}\n  upstreams:\n    docker.io: {{default: true, endpoints: [\"{}\"], ns: never}}\n",
            upstream.url()
        ));
        Self { upstream, mirror, is_changed }
    }

    fn change(&self, to: bool) {
        self.is_changed.store(to, Ordering::SeqCst);
    }

    fn pulls_tag(&self) {
        let found = self.mirror.client().get(&manifest(APP, "1"));
        assert_eq!(found.status, 200, "{}", found.text());
    }

    fn pulls_layer(&self, case: &str) {
        let layer = self.mirror.client().get(&blob(APP, digest_of(&content().layer)));
        assert!(layer.status == 200 && layer.body == content().layer, "{case}: {}", layer.text());
    }

    /// Returns the number of requests for tokens at `/a`.
    fn tokens(&self) -> usize {
        self.upstream.log().iter().filter(|asked| asked.path() == "/a").count()
    }
}

/// The answers of a token server that is not in use any more.
fn abandoned() -> [fn() -> Script; 4] {
    [
        || Script::new(503, ""),
        || Script::new(404, "{}"),
        || Script::new(401, UNAUTHORIZED),
        || Script::new(200, "<html>moved</html>").with("Content-Type", "text/html"),
    ]
}

#[test]
fn token_server_that_has_moved_is_learnt_from_the_endpoint() {
    for (at, old) in abandoned().into_iter().enumerate() {
        let changing = Changing::new(move |asked| match asked.path() {
            "/a" => old(),
            "/b" => token("b"),
            _ => with_token(asked, "b"),
        });
        changing.pulls_tag();
        changing.change(true);
        changing.pulls_layer(&format!("case {at}"));
        let absent = changing.mirror.client().get(&manifest(APP, "2"));
        assert_eq!(absent.status, 404, "case {at}: {}", absent.text());
    }
}

#[test]
fn registry_that_needs_no_token_any_more_is_asked_without_one() {
    for (at, old) in abandoned().into_iter().enumerate() {
        let changing = Changing::new(move |asked| match asked.path() {
            "/a" => old(),
            "/v2/" => Script::new(200, "{}"),
            _ => registry(asked, &content()),
        });
        changing.pulls_tag();
        changing.change(true);
        let absent = changing.mirror.client().get(&manifest(APP, "2"));
        assert_eq!(absent.status, 404, "case {at}: {}", absent.text());
        let before = changing.tokens();
        changing.pulls_layer(&format!("case {at}"));
        assert_eq!(changing.tokens(), before, "the token server is forgotten");
    }
}

/// A captive portal names a token server of its own.
#[test]
fn challenge_of_a_moment_does_not_last() {
    let realms: [fn(&Asked) -> String; 2] = [|_| dead(), |asked| own(asked, "/sso")];
    for realm in realms {
        let changing = Changing::new(move |asked| match asked.path() {
            "/sso" => Script::new(200, "<html>log in</html>").with("Content-Type", "text/html"),
            _ => challenge(&realm(asked)),
        });
        changing.pulls_tag();
        changing.change(true);
        let failed = changing.mirror.client().get(&blob(APP, digest_of(&content().layer)));
        assert!(failed.status >= 500 && failed.text().contains("token server"), "{}", failed.text());
        changing.change(false);
        changing.pulls_layer("the registry is back");
    }
}

/// The endpoint asks for the same token, or denies the content to a client without a token.
#[test]
fn failure_of_a_token_server_in_use_is_named_and_is_no_absence() {
    let endpoints: [fn(&Asked) -> Script; 4] = [
        |asked| challenge(&own(asked, "/a")),
        |_| Script::new(401, UNAUTHORIZED),
        |_| Script::new(403, r#"{"errors":[{"code":"DENIED"}]}"#),
        |_| Script::new(404, r#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#),
    ];
    for endpoint in endpoints {
        let changing = Changing::new(move |asked| match asked.path() {
            "/a" => Script::new(503, ""),
            "/v2/" => challenge(&own(asked, "/a")),
            _ => endpoint(asked),
        });
        changing.pulls_tag();
        changing.change(true);
        let before = changing.tokens();
        let failed = changing.mirror.client().get(&manifest(APP, "2"));
        assert!(failed.status == 502 && failed.text().contains("token server"), "{}", failed.text());
        // A HEAD and a GET, or a GET alone.
        assert!(changing.tokens() <= before + 2, "the token server is asked once for each request");
        age(&changing.mirror, APP, "_tags/1", OLD);
        let stale = changing.mirror.client().get(&manifest(APP, "1"));
        assert_eq!((stale.status, cache(&stale)), (200, "stale"), "{}", stale.text());
    }
}
