//! Registries that only redirect to another registry, and logins that expire.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use entrepot::oci::MediaType;

use crate::support::client::{digest_of, image_manifest, noise};
use crate::support::mirror::{blob, manifest};
use crate::support::registry::Registry;
use crate::support::scripted::{Asked, Script, Scripted};

pub(super) const APP: &str = "org/app";

pub(super) struct Content {
    pub(super) manifest: Vec<u8>,
    pub(super) layer: Vec<u8>,
}

pub(super) fn content() -> Content {
    let (config, layer) = (b"{}".to_vec(), noise(1, 3 << 20));
    let manifest = image_manifest((&digest_of(&config), config.len()), (&digest_of(&layer), layer.len()));
    Content { manifest, layer }
}

/// Answers as a registry whose repositories have the same image.
pub(super) fn registry(asked: &Asked, content: &Content) -> Script {
    let (by_digest, by_layer) = (digest_of(&content.manifest).to_string(), digest_of(&content.layer).to_string());
    let path = asked.path();
    if path.ends_with("/manifests/1") || path.ends_with(&by_digest) {
        let found = Script::new(200, content.manifest.clone()).with("Content-Type", MediaType::OCI_MANIFEST);
        return found.with("Docker-Content-Digest", by_digest);
    }
    if path.ends_with(&by_layer) {
        return ranged(asked, &content.layer);
    }
    if path.ends_with("/tags/list") {
        return Script::new(200, r#"{"name":"org/app","tags":["1"]}"#);
    }
    Script::new(404, r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#)
}

fn ranged(asked: &Asked, content: &[u8]) -> Script {
    let range = asked.header("range").and_then(|range| range.strip_prefix("bytes="));
    let Some((first, last)) = range.and_then(|range| range.split_once('-')) else { return Script::new(200, content) };
    let (first, end) = (first.parse::<usize>().unwrap(), last.parse().map_or(content.len(), |last: usize| last + 1));
    let end = end.min(content.len());
    let part = Script::new(206, &content[first..end]);
    part.with("Content-Range", format!("bytes {first}-{}/{}", end - 1, content.len()))
}

/// Starts a registry that gives anonymous tokens, `tokens` of which it counts. A token is valid for `uses` requests.
fn with_tokens(scope: &'static str, uses: usize) -> (Scripted, Arc<AtomicUsize>) {
    let (issued, left) = (Arc::<AtomicUsize>::default(), AtomicUsize::new(0));
    let (counted, content) = (Arc::clone(&issued), content());
    let back = Scripted::start("127.0.0.2", move |asked| {
        if asked.path() == "/token" {
            left.store(uses, Ordering::SeqCst);
            let number = counted.fetch_add(1, Ordering::SeqCst);
            return Script::new(200, format!(r#"{{"token":"t{number}","expires_in":3600}}"#));
        }
        let current = format!("Bearer t{}", counted.load(Ordering::SeqCst).wrapping_sub(1));
        let is_good = asked.header("authorization") == Some(current.as_str());
        if is_good && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            return registry(asked, &content);
        }
        let host = asked.header("host").unwrap();
        let challenge = format!("Bearer realm=\"http://{host}/token\",service=\"back\"{scope}");
        Script::new(401, "{}").with("WWW-Authenticate", challenge)
    });
    (back, issued)
}

fn mirror_of(endpoint: &str, keys: &str) -> Registry {
    Registry::with(&format!(
        "mirror:\n  cache: {{reserve: 0}}\n  fill: {{segment: 1MiB}}\n  upstreams:\n    up.test: {{default: true, endpoints: [\"{endpoint}\"]{keys}}}\n"
    ))
}

fn pull_all(mirror: &Registry) {
    let (client, content) = (mirror.client(), content());
    assert_eq!(client.head(&manifest(APP, "1")).status, 200);
    assert_eq!(client.get(&manifest(APP, "1")).body, content.manifest);
    let layer = client.get(&blob(APP, digest_of(&content.layer)));
    assert!(layer.status == 200 && layer.body == content.layer, "{}", layer.text());
    let tags = client.get(&format!("/v2/{APP}/tags/list"));
    assert_eq!((tags.status, tags.json()["tags"][0].as_str()), (200, Some("1")));
    let absent = client.get(&manifest(APP, "2"));
    assert_eq!(absent.status, 404, "{}", absent.text());
}

#[test]
fn target_of_redirects_gets_an_anonymous_token_and_no_login() {
    for (scope, keys) in [
        (",scope=\"repository:org/app:pull\"", ""),
        ("", ""),
        (",scope=\"repository:org/app:pull\"", ", username: me, password: s3cret"),
    ] {
        let (back, issued) = with_tokens(scope, usize::MAX);
        let target = back.url();
        let front = Scripted::start("127.0.0.1", move |asked| {
            Script::new(307, "").with("Location", format!("{target}{}", asked.target))
        });
        pull_all(&mirror_of(&front.url(), keys));
        assert_eq!(issued.load(Ordering::SeqCst), 1, "one token for all requests");
        let tokens: Vec<Asked> = back.log().into_iter().filter(|asked| asked.path() == "/token").collect();
        assert!(tokens[0].target.contains("scope=repository%3Aorg%2Fapp%3Apull"), "{}", tokens[0].target);
        assert!(
            tokens.iter().all(|asked| asked.header("authorization").is_none() && !asked.target.contains("account"))
        );
        assert!(
            back.log().iter().all(|asked| !asked.header("authorization").is_some_and(|sent| sent.starts_with("Basic")))
        );
    }
}

#[test]
fn token_that_a_target_rejects_is_replaced() {
    let (back, issued) = with_tokens("", 3);
    let target = back.url();
    let front = Scripted::start("127.0.0.1", move |asked| {
        Script::new(302, "").with("Location", format!("{target}{}", asked.target))
    });
    let mirror = mirror_of(&front.url(), "");
    pull_all(&mirror);
    assert!(issued.load(Ordering::SeqCst) > 1);
}

#[test]
fn target_under_another_path_is_asked_for_its_own_repository() {
    let (back, _) = with_tokens("", usize::MAX);
    let target = back.url();
    let front = Scripted::start("127.0.0.1", move |asked| {
        let path = asked.target.replace("/v2/org/", "/v2/moved/org/");
        Script::new(308, "").with("Location", format!("{target}{path}"))
    });
    pull_all(&mirror_of(&front.url(), ""));
    let scopes = back.log().into_iter().filter(|asked| asked.target.contains("repository%3Amoved%2Forg%2Fapp%3Apull"));
    assert_eq!(scopes.count(), 1);
}

#[test]
fn refusal_of_a_target_names_the_target() {
    let back = Scripted::start("127.0.0.2", |_| Script::new(403, r#"{"errors":[{"code":"DENIED"}]}"#));
    let target = back.url();
    let front = Scripted::start("127.0.0.1", move |asked| {
        Script::new(307, "").with("Location", format!("{target}{}", asked.target))
    });
    let mirror = mirror_of(&front.url(), ", username: me, password: s3cret");
    let refused = mirror.client().get(&manifest(APP, "1"));
    assert_eq!(refused.status, 403, "{}", refused.text());
    assert!(refused.text().contains("127.0.0.2") && refused.text().contains("anonymous"), "{}", refused.text());
}

/// The `Authorization` of a user of the tests.
fn basic(secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("me:{secret}")))
}

/// Starts a registry that refuses every login but the current one, and a mirror that gets its login from a program. The
/// program says the words in the file `secret`.
fn expiring(answer: impl Fn(&Asked, bool) -> Script + Send + Sync + 'static) -> (Registry, std::path::PathBuf) {
    let directory = tempfile::tempdir().unwrap().keep();
    std::fs::write(directory.join("secret"), "one").unwrap();
    let secret = directory.join("secret");
    let upstream = Scripted::start("127.0.0.1", move |asked| {
        // The registry accepts the login that the file held when the test wrote `valid`.
        let valid = std::fs::read_to_string(secret.with_file_name("valid")).unwrap_or_else(|_| "one".to_owned());
        answer(asked, asked.header("authorization") == Some(basic(&valid).as_str()))
    });
    let program = directory.join("helper");
    let script = format!(
        "#!/bin/sh\ncat >/dev/null\necho x >>{0}/calls\nprintf '{{\"Username\":\"me\",\"Secret\":\"%s\"}}' \"$(cat {0}/secret)\"\n",
        directory.display()
    );
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mirror = Registry::with(&format!(
        "proxy:\n  remoteurl: {}\n  exec: {{command: {}}}\n",
        upstream.url(),
        program.display()
    ));
    (mirror, directory)
}

#[test]
fn login_that_has_expired_is_renewed_whatever_the_registry_answers() {
    for (status, challenge, body) in [
        (403, "", r#"{"errors":[{"code":"DENIED","message":"the login has expired"}]}"#),
        (401, "", r#"{"errors":[{"code":"UNAUTHORIZED"}]}"#),
        (401, "Basic realm=\"r\"", ""),
    ] {
        let (mirror, directory) = expiring(move |asked, is_valid| {
            if is_valid {
                return registry(asked, &content());
            }
            if asked.header("authorization").is_none() {
                return Script::new(401, "").with("WWW-Authenticate", "Basic realm=\"r\"");
            }
            let refused = Script::new(status, body);
            if challenge.is_empty() { refused } else { refused.with("WWW-Authenticate", challenge) }
        });
        assert_eq!(mirror.client().get(&manifest(APP, "1")).status, 200, "{status}");
        // The login expires, and the program has a new one.
        for file in ["secret", "valid"] {
            std::fs::write(directory.join(file), "two").unwrap();
        }
        let again = mirror.client().get(&blob(APP, digest_of(&content().layer)));
        assert_eq!(again.status, 200, "{status} {challenge}: {}", again.text());
        let calls = std::fs::read_to_string(directory.join("calls")).unwrap();
        assert_eq!(calls.lines().count(), 2, "{status}: the program is asked once more");
    }
}

#[test]
fn login_that_a_token_server_does_not_know_any_more_is_renewed() {
    // The token server answers an expired login with a token that opens nothing.
    let (mirror, directory) = expiring(|asked, is_valid| {
        let host = asked.header("host").unwrap();
        match asked.path() {
            "/token" => Script::new(200, format!(r#"{{"token":"{}"}}"#, if is_valid { "good" } else { "empty" })),
            _ if asked.header("authorization") == Some("Bearer good") => registry(asked, &content()),
            _ if asked.header("authorization").is_some() => Script::new(403, r#"{"errors":[{"code":"DENIED"}]}"#),
            _ => Script::new(401, "").with("WWW-Authenticate", format!("Bearer realm=\"http://{host}/token\"")),
        }
    });
    assert_eq!(mirror.client().get(&manifest(APP, "1")).status, 200);
    for file in ["secret", "valid"] {
        std::fs::write(directory.join(file), "two").unwrap();
    }
    let other = mirror.client().get(&manifest("org/other", "1"));
    assert_eq!(other.status, 200, "{}", other.text());
    let calls = std::fs::read_to_string(directory.join("calls")).unwrap();
    assert_eq!(calls.lines().count(), 2, "the program is asked once more");
}

/// The registry redirects to its own name of the repository, which only the account may read. Its tokens are for one name.
#[test]
fn login_is_for_the_endpoints_own_redirects_too() {
    for is_basic in [true, false] {
        let upstream = Scripted::start("127.0.0.1", move |asked| {
            let host = asked.header("host").unwrap();
            let sent = asked.header("authorization").unwrap_or_default();
            if asked.path() == "/token" {
                let token = if asked.target.contains("canon%2Fapp") { "canon" } else { "other" };
                let token = if sent.starts_with("Basic ") { token } else { "anonymous" };
                return Script::new(200, format!(r#"{{"token":"{token}"}}"#));
            }
            if let Some((_, rest)) = asked.target.split_once("/v2/org/app/") {
                return Script::new(307, "").with("Location", format!("/v2/canon/app/{rest}"));
            }
            let is_good = if is_basic { sent.starts_with("Basic ") } else { sent == "Bearer canon" };
            let challenge = match is_basic {
                true => "Basic realm=\"x\"".to_owned(),
                false => format!("Bearer realm=\"http://{host}/token\",scope=\"repository:canon/app:pull\""),
            };
            match is_good {
                true => registry(asked, &content()),
                false => Script::new(401, "{}").with("WWW-Authenticate", challenge),
            }
        });
        let mirror = mirror_of(&upstream.url(), ", ns: never, username: me, password: s3cret");
        pull_all(&mirror);
        let absent = mirror.client().get(&manifest(APP, "3"));
        assert_eq!(absent.status, 404, "{}", absent.text());
    }
}

#[test]
fn target_that_refuses_parameters_is_asked_without_one() {
    let back = Scripted::start("127.0.0.2", |asked| match asked.target.contains('?') {
        true => Script::new(404, r#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#),
        false if asked.target == "/v2/" => Script::new(200, "{}"),
        false => registry(asked, &content()),
    });
    let target = back.url();
    let front = Scripted::start("127.0.0.1", move |asked| {
        Script::new(307, "").with("Location", format!("{target}{}", asked.target))
    });
    pull_all(&mirror_of(&front.url(), ""));
}
