//! If an answer of the upstream is larger than its limit, the server sends the cached content.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use entrepot::oci::MediaType;

use crate::support::client::{digest_of, image_manifest};
use crate::support::mirror::{age, cache, manifest};
use crate::support::registry::Registry;
use crate::support::scripted::{Asked, Script, Scripted};

const APP: &str = "library/app";
const LIST: &str = "/v2/library/app/tags/list";
const OLD: Duration = Duration::from_secs(3600);

/// A registry with one image. While `huge` is set, its answers to requests whose target contains `part` are too large.
struct Upstream {
    server: Scripted,
    huge: Arc<AtomicBool>,
}

fn image() -> Vec<u8> {
    image_manifest((&digest_of(b"{}"), 2), (&digest_of(b"layer"), 5))
}

impl Upstream {
    fn start(part: &'static str, with_tokens: bool) -> Self {
        let huge = Arc::<AtomicBool>::default();
        let is_huge = Arc::clone(&huge);
        let server = Scripted::start("127.0.0.1", move |asked| {
            let is_huge = is_huge.load(Ordering::SeqCst) && asked.path().contains(part);
            answer(asked, is_huge, with_tokens)
        });
        Self { server, huge }
    }

    fn mirror(&self) -> Registry {
        let upstream = format!("{{default: true, endpoints: [\"{}\"], ns: never}}", self.server.url());
        Registry::with(&format!("mirror:\n  cache: {{reserve: 0}}\n  upstreams:\n    docker.io: {upstream}\n"))
    }

    fn grow(&self) {
        self.huge.store(true, Ordering::SeqCst);
    }
}

fn answer(asked: &Asked, is_huge: bool, with_tokens: bool) -> Script {
    let huge = || "x".repeat(9 << 20);
    let path = asked.path();
    if path == "/token" {
        let token = if is_huge { huge() } else { "token".to_owned() };
        return Script::new(200, format!(r#"{{"token":"{token}"}}"#)).with("Content-Type", "application/json");
    }
    if with_tokens && asked.header("authorization").is_none() {
        let host = asked.header("host").unwrap();
        let challenge = format!(r#"Bearer realm="http://{host}/token",service="s""#);
        return Script::new(401, "{}").with("WWW-Authenticate", challenge);
    }
    if path.ends_with("/tags/list") {
        let tags = if is_huge { huge() } else { "1".to_owned() };
        return Script::new(200, format!(r#"{{"name":"{APP}","tags":["{tags}"]}}"#));
    }
    if path.contains("/referrers/") {
        let note = if is_huge { huge() } else { String::new() };
        let descriptor = format!(
            r#"{{"mediaType":"{}","digest":"{}","size":2,"annotations":{{"note":"{note}"}}}}"#,
            MediaType::OCI_MANIFEST,
            digest_of(b"{}")
        );
        let index =
            format!(r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{descriptor}]}}"#, MediaType::OCI_INDEX);
        return Script::new(200, index).with("Content-Type", MediaType::OCI_INDEX);
    }
    if path.contains("/manifests/") {
        let body = if is_huge { huge().into_bytes() } else { image() };
        return Script::new(200, body).with("Content-Type", MediaType::OCI_MANIFEST);
    }
    Script::new(200, "{}").with("Docker-Distribution-Api-Version", "registry/2.0")
}

#[test]
fn tags_that_became_too_large_are_served_as_they_are_cached() {
    let upstream = Upstream::start("/tags/list", false);
    let mirror = upstream.mirror();
    let client = mirror.client();
    assert_eq!(client.get(LIST).status, 200);
    upstream.grow();
    for target in [LIST, "/v2/library/app/tags/list?n=5"] {
        age(&mirror, APP, "_lists/tags", OLD);
        let found = client.get(target);
        assert_eq!((found.status, cache(&found)), (200, "stale"), "{}", found.text());
        assert_eq!(found.json()["tags"][0], "1");
        assert!(found.header("warning").unwrap().contains("cannot be used"), "{:?}", found.headers);
    }
}

#[test]
fn referrers_that_became_too_large_are_served_as_they_are_cached() {
    let upstream = Upstream::start("/referrers/", false);
    let mirror = upstream.mirror();
    let (client, subject) = (mirror.client(), digest_of(&image()));
    assert_eq!(client.get(&manifest(APP, "1")).status, 200);
    let target = format!("/v2/{APP}/referrers/{subject}");
    assert_eq!(client.get(&target).json()["manifests"].as_array().unwrap().len(), 1);
    upstream.grow();
    age(&mirror, APP, &format!("_lists/referrers/{}", subject.to_string().replace(':', "/")), OLD);
    let found = client.get(&target);
    assert_eq!((found.status, cache(&found)), (200, "stale"), "{}", found.text());
    assert_eq!(found.json()["manifests"].as_array().unwrap().len(), 1);
}

#[test]
fn tag_that_moved_to_a_manifest_that_is_too_large_is_served_as_it_is_cached() {
    let upstream = Upstream::start("/manifests/1", false);
    let mirror = upstream.mirror();
    assert_eq!(mirror.client().get(&manifest(APP, "1")).status, 200);
    upstream.grow();
    age(&mirror, APP, "_tags/1", OLD);
    let found = mirror.client().get(&manifest(APP, "1"));
    assert_eq!((found.status, cache(&found)), (200, "stale"), "{}", found.text());
    assert_eq!(found.body, image());
}

#[test]
fn token_that_is_too_large_does_not_hide_what_is_cached_and_is_called_a_token() {
    let upstream = Upstream::start("/token", true);
    let mut mirror = upstream.mirror();
    assert_eq!(mirror.client().get(&manifest(APP, "1")).status, 200);
    upstream.grow();
    // The token is lost.
    mirror.restart();
    age(&mirror, APP, "_tags/1", OLD);
    let found = mirror.client().get(&manifest(APP, "1"));
    assert_eq!((found.status, cache(&found)), (200, "stale"), "{}", found.text());
    let other = mirror.client().get(&manifest("library/other", "1"));
    assert_eq!(other.status, 502);
    assert!(other.text().contains("request for a token") && !other.text().contains("manifest has"), "{}", other.text());
}

#[test]
fn message_about_an_answer_that_is_too_large_names_it() {
    for (part, target, words) in [
        ("/tags/list", LIST.to_owned(), "a page of tags"),
        ("/referrers/", format!("/v2/{APP}/referrers/{}", digest_of(b"other")), "a page of referrers"),
        ("/manifests/", manifest(APP, "1"), "a manifest of more than"),
    ] {
        let upstream = Upstream::start(part, false);
        upstream.grow();
        let found = upstream.mirror().client().get(&target);
        assert_eq!(found.status, 502, "{part}: {}", found.text());
        assert!(found.text().contains(words), "{part}: {}", found.text());
    }
}
