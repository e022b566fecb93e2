//! Answers that no registry gave: of a proxy, a captive portal, a web site, or a load balancer whose registry restarts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use entrepot::oci::MediaType;

use crate::support::client::{digest_of, image_manifest};
use crate::support::fault::Fault;
use crate::support::mirror::{age, blob, cache, manifest, mirror, mirror_of, mirror_with};
use crate::support::registry::Registry;
use crate::support::scripted::{Asked, Script, Scripted};
use crate::support::upstream::Upstream;

const APP: &str = "library/app";
const OLD: Duration = Duration::from_secs(3600);

/// The image of [`registry`]: its manifest, config and layer.
struct Content {
    manifest: Vec<u8>,
    layer: Vec<u8>,
}

fn content() -> Content {
    let (config, layer) = (b"{}".to_vec(), b"a layer".to_vec());
    let manifest = image_manifest((&digest_of(&config), config.len()), (&digest_of(&layer), layer.len()));
    Content { manifest, layer }
}

/// Answers as a registry with one image, whose errors are the JSON of the specification.
fn registry(asked: &Asked) -> Script {
    let Content { manifest, layer } = content();
    let (by_digest, by_layer) = (digest_of(&manifest).to_string(), digest_of(&layer).to_string());
    let path = asked.path();
    if path == "/v2/" {
        return Script::new(200, "{}").with("Content-Type", "application/json");
    }
    if path.ends_with("/manifests/1") || path.ends_with(&by_digest) {
        let found = Script::new(200, manifest).with("Content-Type", MediaType::OCI_MANIFEST);
        return found.with("Docker-Content-Digest", by_digest);
    }
    if path.ends_with(&by_layer) {
        return Script::new(200, layer);
    }
    if path.ends_with("/tags/list") {
        return Script::new(200, r#"{"name":"library/app","tags":["1"]}"#);
    }
    Script::new(404, r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"unknown"}]}"#)
}

/// Starts a mirror of a registry in whose place `other` answers once the flag is set.
fn replaced(other: impl Fn(&Asked) -> Script + Send + Sync + 'static) -> (Scripted, Registry, Arc<AtomicBool>) {
    let flag = Arc::<AtomicBool>::default();
    let is_replaced = Arc::clone(&flag);
    let upstream = Scripted::start("127.0.0.1", move |asked| match is_replaced.load(Ordering::SeqCst) {
        true => other(asked),
        false => registry(asked),
    });
    let mirror = Registry::with(&format!(
        "mirror:\n  cache: {{reserve: 0}}\n  upstreams:\n    docker.io: {{default: true, endpoints: [\"{}\"], ns: never}}\n",
        upstream.url()
    ));
    (upstream, mirror, flag)
}

#[test]
fn page_never_drops_or_refuses_what_is_cached() {
    for (status, kind, body) in [
        (404, "text/plain", "404 page not found\n"),
        (404, "text/html", "<html>no such site</html>"),
        (404, "application/json", r#"{"message":"no Route matched with those values"}"#),
        (404, "application/json", ""),
        (404, "application/json", r#"{"errors":[{"code":"UNSUPPORTED","message":"nothing is served at this path"}]}"#),
        (404, "application/json", r#"{"errors":[{"code":"UNKNOWN","message":"the database does not answer"}]}"#),
        (403, "text/html", "<html>blocked</html>"),
        (403, "application/json", r#"{"message":"Forbidden"}"#),
        (401, "text/html", "<html>log in</html>"),
        (200, "text/html", "<html>please log in to the network</html>"),
    ] {
        let case = format!("{status} {kind} {body}");
        let (_upstream, mirror, flag) = replaced(move |_| Script::new(status, body).with("Content-Type", kind));
        let client = mirror.client();
        assert_eq!(client.get(&manifest(APP, "1")).status, 200, "{case}");
        assert_eq!(client.get(&format!("/v2/{APP}/tags/list")).status, 200, "{case}");
        flag.store(true, Ordering::SeqCst);
        age(&mirror, APP, "_tags/1", OLD);
        age(&mirror, APP, "_lists/tags", OLD);
        for _ in 0..2 {
            let stale = client.get(&manifest(APP, "1"));
            assert_eq!((stale.status, cache(&stale)), (200, "stale"), "{case}: {}", stale.text());
            let list = client.get(&format!("/v2/{APP}/tags/list"));
            assert_eq!((list.status, cache(&list)), (200, "stale"), "{case}: {}", list.text());
        }
        // Content that is not cached is an error, and no absence.
        for target in [manifest(APP, "2"), blob(APP, digest_of(b"other")), "/v2/library/x/tags/list".to_owned()] {
            let failed = client.get(&target);
            assert_eq!(failed.status, 502, "{case}: {target}: {}", failed.text());
            assert_eq!(client.head(&target).status, 502, "{case}: {target}");
        }
        flag.store(false, Ordering::SeqCst);
        assert_eq!(client.get(&blob(APP, digest_of(&content().layer))).body, content().layer, "{case}");
    }
}

/// The whole of such a body takes an hour, and each byte comes in time.
#[test]
fn error_that_trickles_does_not_hold_later_requests() {
    let (_upstream, mirror, flag) = replaced(|_| Script::new(404, vec![b' '; 36_000]).trickling());
    flag.store(true, Ordering::SeqCst);
    let client = mirror.client();
    let layer = blob(APP, digest_of(&content().layer));
    let targets = [manifest(APP, "1"), layer, format!("/v2/{APP}/tags/list")];
    for target in &targets {
        let failed = client.get(target);
        assert_eq!(failed.status, 502, "{target}: {}", failed.text());
        assert!(failed.text().contains("not as a registry answers"), "{target}: {}", failed.text());
    }
    flag.store(false, Ordering::SeqCst);
    for target in &targets {
        let found = client.get(target);
        assert_eq!(found.status, 200, "{target}: {}", found.text());
    }
}

#[test]
fn answers_of_a_registry_count() {
    for (status, header, body, want) in [
        (404, ("Content-Type", "application/json"), r#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#, 404),
        (404, ("Docker-Distribution-Api-Version", "registry/2.0"), "", 404),
        (404, ("Docker-Distribution-Api-Version", "registry/2.0"), r#"{"errors":[{"code":"BLOB_UNKNOWN"}]}"#, 404),
        (
            404,
            ("Content-Type", "application/json"),
            r#"{"errors":[{"code":"NOT_FOUND","message":"no artifact"}]}"#,
            404,
        ),
        (404, ("Content-Type", "application/json"), r#"{"errors":[{"status":404,"message":"not known"}]}"#, 404),
        (403, ("Content-Type", "application/json"), r#"{"errors":[{"code":"DENIED","message":"no"}]}"#, 403),
        (401, ("WWW-Authenticate", "Basic realm=\"x\""), r#"{"errors":[{"code":"UNAUTHORIZED"}]}"#, 403),
        (401, ("Docker-Distribution-Api-Version", "registry/2.0"), "", 403),
    ] {
        let (_upstream, mirror, flag) = replaced(move |_| Script::new(status, body).with(header.0, header.1));
        let client = mirror.client();
        assert_eq!(client.get(&manifest(APP, "1")).status, 200);
        flag.store(true, Ordering::SeqCst);
        age(&mirror, APP, "_tags/1", OLD);
        assert_eq!(client.get(&manifest(APP, "1")).status, want, "{status} {body}");
        assert_eq!(client.get(&manifest(APP, "2")).status, want, "{status} {body}");
    }
}

/// A login that a server in front of a registry wants is an error, and says nothing about the content.
#[test]
fn challenge_that_no_registry_gives_leaves_what_is_cached() {
    let basic = "Basic realm=\"x\"";
    for (challenge, kind, body, want) in [
        ("Negotiate", "text/html", "<html>log in</html>", 502),
        ("NTLM", "text/html", "<html>log in</html>", 502),
        ("Digest realm=\"x\", nonce=\"y\"", "text/plain", "log in", 502),
        ("Bearer", "application/json", r#"{"message":"no token"}"#, 502),
        (basic, "text/html", "<html>401</html>", 403),
        (basic, "text/plain", "", 403),
        ("Negotiate, Basic realm=\"x\"", "application/json", r#"{"message":"Unauthorized"}"#, 403),
    ] {
        for is_elsewhere in [false, true] {
            let case = format!("{challenge} {kind} {body} {is_elsewhere}");
            let page = move || Script::new(401, body).with("Content-Type", kind).with("WWW-Authenticate", challenge);
            let elsewhere = Scripted::start("127.0.0.2", move |_| page());
            let (_upstream, mirror, flag) = replaced(move |_| match is_elsewhere {
                true => Script::new(302, "").with("Location", format!("{}/login", elsewhere.url())),
                false => page(),
            });
            let client = mirror.client();
            assert_eq!(client.get(&manifest(APP, "1")).status, 200, "{case}");
            assert_eq!(client.get(&format!("/v2/{APP}/tags/list")).status, 200, "{case}");
            flag.store(true, Ordering::SeqCst);
            age(&mirror, APP, "_tags/1", OLD);
            age(&mirror, APP, "_lists/tags", OLD);
            for target in [manifest(APP, "1"), format!("/v2/{APP}/tags/list")] {
                let stale = client.get(&target);
                assert_eq!((stale.status, cache(&stale)), (200, "stale"), "{case}: {}", stale.text());
            }
            let want = if is_elsewhere { 502 } else { want };
            let layer = blob(APP, digest_of(&content().layer));
            for target in [manifest(APP, "2"), layer.clone(), "/v2/library/x/tags/list".to_owned()] {
                let failed = client.get(&target);
                assert_eq!(failed.status, want, "{case}: {target}: {}", failed.text());
                let is_told = failed.text().contains("wants a login") && failed.text().contains("no account");
                assert!(want == 502 || is_told, "{case}: {target}: {}", failed.text());
            }
            flag.store(false, Ordering::SeqCst);
            assert_eq!(client.get(&layer).body, content().layer, "{case}");
        }
    }
}

/// A proxy with a password file stands in front of a registry.
#[test]
fn login_at_a_server_in_front_of_a_registry_is_used() {
    let front = Scripted::start("127.0.0.1", |asked| match asked.header("authorization") {
        Some("Basic bWU6czNjcmV0") if asked.path().contains("/referrers/") => Script::new(404, "404 page not found"),
        Some("Basic bWU6czNjcmV0") => registry(asked),
        _ => Script::new(401, "<html>401</html>")
            .with("Content-Type", "text/html")
            .with("WWW-Authenticate", "Basic realm=\"x\""),
    });
    let mirror = Registry::with(&format!(
        "mirror:\n  cache: {{reserve: 0}}\n  upstreams:\n    docker.io: {{default: true, endpoints: [\"{}\"], username: me, password: s3cret}}\n",
        front.url()
    ));
    let client = mirror.client();
    assert_eq!(client.get(&manifest(APP, "1")).status, 200);
    assert_eq!(client.get(&blob(APP, digest_of(&content().layer))).body, content().layer);
    assert_eq!(client.get(&manifest(APP, "2")).status, 404);
    let list = client.get(&format!("/v2/{APP}/referrers/{}", digest_of(&content().manifest)));
    assert_eq!(list.status, 200, "the registry does not support it: {}", list.text());
}

#[test]
fn login_page_of_one_endpoint_leads_to_the_next() {
    let first = Scripted::start("127.0.0.1", |_| {
        Script::new(401, "<html>401</html>").with("WWW-Authenticate", "Basic realm=\"x\"")
    });
    let second = Scripted::start("127.0.0.2", registry);
    let mirror = Registry::with(&format!(
        "mirror:\n  cache: {{reserve: 0}}\n  upstreams:\n    docker.io: {{default: true, endpoints: [\"{}\", \"{}\"], ns: never}}\n",
        first.url(),
        second.url()
    ));
    assert_eq!(mirror.client().get(&manifest(APP, "1")).status, 200);
    assert_eq!(mirror.client().get(&format!("/v2/{APP}/tags/list")).status, 200);
}

#[test]
fn page_at_one_endpoint_leads_to_the_next() {
    for page in [404, 403, 200] {
        let (first, second) = (Upstream::start(), Upstream::start());
        let image = second.image(APP, "1", &[b"layer"]);
        first.fault("*", "", Fault::Page(page));
        let mirror = mirror_of(&[&first, &second], "", "");
        assert_eq!(mirror.client().get(&manifest(APP, "1")).body, image.manifest, "{page}");
        assert!(mirror.client().get(&blob(APP, image.layers[0])).whole, "{page}");
    }
}

/// Answers that claim to be the content, or that no registry gives for content.
fn wrong_answers() -> Vec<(u16, Vec<u8>)> {
    let whole = content().manifest;
    let padded = [b"{\"a\":\"", vec![b'x'; 5 << 20].as_slice(), b"\"}"].concat();
    vec![
        (200, br#"{"message":"maintenance"}"#.to_vec()),
        (200, b"{}".to_vec()),
        (200, b"<html>".to_vec()),
        (200, whole[..whole.len() - 40].to_vec()),
        (200, padded),
        (204, Vec::new()),
        (400, br#"{"errors":[{"code":"X"}]}"#.to_vec()),
        (410, b"gone".to_vec()),
    ]
}

#[test]
fn wrong_answer_of_one_endpoint_leads_to_the_next() {
    for (status, body) in wrong_answers() {
        let case = format!("{status} {}", String::from_utf8_lossy(&body[..body.len().min(40)]));
        let first = Scripted::start("127.0.0.1", move |_| {
            Script::new(status, body.clone()).with("Content-Type", "application/json")
        });
        let second = Scripted::start("127.0.0.1", registry);
        let mirror = Registry::with(&format!(
            "mirror:\n  cache: {{reserve: 0}}\n  upstreams:\n    docker.io: {{default: true, endpoints: [\"{}\", \"{}\"], ns: never}}\n",
            first.url(),
            second.url()
        ));
        let client = mirror.client();
        let found = client.get(&manifest(APP, "1"));
        assert_eq!(found.body, content().manifest, "{case}: {}", found.text());
        let list = client.get(&format!("/v2/{APP}/tags/list"));
        assert_eq!(list.json()["tags"][0], "1", "{case}: {}", list.text());
        assert!(first.requests("GET", "/manifests/1") > 0 && first.requests("GET", "/tags/list") > 0, "{case}");
    }
}

#[test]
fn warning_of_an_old_tag_names_the_wrong_answer() {
    for (status, body) in wrong_answers().into_iter().filter(|(status, body)| *status == 200 && body.len() < 1 << 20) {
        let case = String::from_utf8_lossy(&body).into_owned();
        let wrong = move |_: &Asked| Script::new(status, body.clone()).with("Content-Type", "application/json");
        let (_upstream, mirror, flag) = replaced(wrong);
        assert_eq!(mirror.client().get(&manifest(APP, "1")).status, 200, "{case}");
        flag.store(true, Ordering::SeqCst);
        age(&mirror, APP, "_tags/1", OLD);
        let stale = mirror.client().get(&manifest(APP, "1"));
        assert_eq!((stale.status, cache(&stale)), (200, "stale"), "{case}: {}", stale.text());
        let warning = stale.header("warning").unwrap();
        assert!(warning.contains("another server has answered in the place of docker.io"), "{case}: {warning}");
    }
}

#[test]
fn body_that_is_not_what_was_asked_for_is_a_failure() {
    for body in [r#"{"errors":[{"code":"UNAUTHORIZED"}]}"#, "{}", "[]", r#"{"tags":"1"}"#, "<html></html>", ""] {
        let (_upstream, mirror, flag) =
            replaced(move |_| Script::new(200, body).with("Content-Type", "application/json"));
        flag.store(true, Ordering::SeqCst);
        let list = mirror.client().get(&format!("/v2/{APP}/tags/list"));
        assert_eq!(list.status, 502, "{body}: {}", list.text());
    }
}

/// The page of a firewall in the place of the token server, with and without a label.
#[test]
fn refusal_that_no_token_server_gave_leaves_old_copies() {
    for (status, label, body, want) in [
        (403, None, "<html>waf", 200),
        (401, None, "log in to the network", 200),
        (403, None, "", 200),
        (401, None, "", 403),
        (403, Some(("Content-Type", "text/plain")), "blocked", 200),
        (403, Some(("Content-Type", "application/json")), r#"{"message":"Forbidden"}"#, 200),
        (401, Some(("Content-Type", "application/json")), r#"{"details":"incorrect username or password"}"#, 403),
        (403, None, r#"{"errors":[{"code":"DENIED"}]}"#, 403),
        (401, Some(("WWW-Authenticate", "Basic realm=\"x\"")), "Auth failed.", 403),
    ] {
        let behind = move |asked: &Asked| match asked.path() {
            "/token" => label.iter().fold(Script::new(status, body), |script, (name, value)| script.with(name, *value)),
            _ => {
                let realm = format!("Bearer realm=\"http://{}/token\"", asked.header("host").unwrap());
                Script::new(401, "").with("WWW-Authenticate", realm)
            }
        };
        let (_upstream, mirror, flag) = replaced(behind);
        let client = mirror.client();
        assert_eq!(client.get(&manifest(APP, "1")).status, 200);
        flag.store(true, Ordering::SeqCst);
        age(&mirror, APP, "_tags/1", OLD);
        let found = client.get(&manifest(APP, "1"));
        assert_eq!(found.status, want, "{status} {body}: {}", found.text());
        assert!(want != 200 || cache(&found) == "stale", "{status} {body}");
        let absent = client.get(&manifest(APP, "2")).status;
        assert_eq!(absent, if want == 200 { 502 } else { 403 }, "{status} {body}");
    }
}

#[test]
fn token_server_is_not_a_web_page() {
    for (status, body, want) in [
        (200, "<html>log in</html>", 502),
        (403, "<html>blocked</html>", 502),
        (201, r#"{"token":"t"}"#, 200),
        (200, r#"{"token":"","access_token":"t"}"#, 200),
    ] {
        let page = move |asked: &Asked| {
            let realm = format!("Bearer realm=\"http://{}/token\"", asked.header("host").unwrap());
            match asked.path() {
                "/token" => Script::new(status, body)
                    .with("Content-Type", if body.starts_with('<') { "text/html" } else { "application/json" }),
                _ if asked.header("authorization") == Some("Bearer t") => registry(asked),
                _ => Script::new(401, "").with("WWW-Authenticate", realm),
            }
        };
        let (_upstream, mirror, flag) = replaced(page);
        flag.store(true, Ordering::SeqCst);
        let answer = mirror.client().get(&manifest(APP, "1"));
        assert_eq!(answer.status, want, "{status} {body}: {}", answer.text());
    }
}

#[test]
fn referrers_are_unsupported_only_where_a_registry_answers() {
    for status in [404, 405, 501] {
        let other = move |asked: &Asked| match asked.path().contains("/referrers/") {
            true => Script::new(status, "404 page not found").with("Content-Type", "text/plain"),
            false => registry(asked),
        };
        let (upstream, mirror, flag) = replaced(other);
        flag.store(true, Ordering::SeqCst);
        let target = format!("/v2/{APP}/referrers/{}", digest_of(&content().manifest));
        let list = mirror.client().get(&target);
        assert_eq!((list.status, list.json()["manifests"].as_array().map(Vec::len)), (200, Some(0)), "{status}");
        assert!(upstream.requests("GET", "/manifests/sha256-") > 0, "{status}: the fallback tag is asked for");
        // The same where no registry answers.
        let (_upstream, mirror, flag) = replaced(move |_| Script::new(status, "404 page not found"));
        flag.store(true, Ordering::SeqCst);
        assert_eq!(mirror.client().get(&target).status, 502, "{status}");
    }
}

#[test]
fn cached_referrers_survive_a_page() {
    let upstream = Upstream::start();
    let image = upstream.image(APP, "1", &[b"x"]);
    upstream.refer(APP, image.manifest_digest, "a/sig");
    let mirror = mirror(&upstream);
    let target = format!("/v2/{APP}/referrers/{}", image.manifest_digest);
    assert_eq!(mirror.client().get(&manifest(APP, "1")).status, 200);
    assert_eq!(mirror.client().get(&target).json()["manifests"].as_array().unwrap().len(), 1);
    for page in [404, 403, 200] {
        upstream.heal();
        upstream.fault("*", "", Fault::Page(page));
        age(&mirror, APP, &format!("_lists/referrers/sha256/{}", image.manifest_digest.hex()), OLD);
        let stale = mirror.client().get(&target);
        assert_eq!((stale.status, stale.json()["manifests"].as_array().unwrap().len()), (200, 1), "{page}");
    }
}

#[test]
fn label_of_an_encoding_does_not_change_the_bytes() {
    for coding in ["gzip", "x-gzip", "deflate", "aws-chunked", "br", "", "identity"] {
        let labelled = move |asked: &Asked| registry(asked).with("Content-Encoding", coding);
        let (_upstream, mirror, flag) = replaced(labelled);
        flag.store(true, Ordering::SeqCst);
        let client = mirror.client();
        assert_eq!(client.get(&manifest(APP, "1")).body, content().manifest, "{coding:?}");
        assert_eq!(client.get(&manifest(APP, digest_of(&content().manifest))).body, content().manifest, "{coding:?}");
        assert_eq!(client.get(&blob(APP, digest_of(&content().layer))).body, content().layer, "{coding:?}");
        assert_eq!(client.get(&format!("/v2/{APP}/tags/list")).json()["tags"][0], "1", "{coding:?}");
    }
}

#[test]
fn upstream_error_of_a_page_names_what_answered() {
    let upstream = Upstream::start();
    upstream.fault("*", "", Fault::Page(404));
    let mirror = mirror_with(&upstream, "", "");
    let failed = mirror.client().get(&manifest(APP, "1"));
    assert!(failed.text().contains("text/html") && failed.text().contains("captive portal"), "{}", failed.text());
}
