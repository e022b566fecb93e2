//! Answers to HEAD are hints: a GET decides.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use entrepot::oci::MediaType;

use crate::support::client::{digest_of, image_manifest};
use crate::support::mirror::{age, blob, cache, manifest};
use crate::support::registry::{Registry, eventually};
use crate::support::scripted::{Asked, Script, Scripted};

const APP: &str = "library/app";

fn image() -> (Vec<u8>, Vec<u8>) {
    version(0)
}

/// Returns the manifest and the layer of a version of the image.
fn version(number: usize) -> (Vec<u8>, Vec<u8>) {
    let (config, layer) = (b"{}".to_vec(), format!("a layer of version {number}").into_bytes());
    (image_manifest((&digest_of(&config), config.len()), (&digest_of(&layer), layer.len())), layer)
}

/// Answers GET as a registry with one image in each repository, and HEAD with `head`.
fn answer(asked: &Asked, head: &dyn Fn(&[u8]) -> Option<Script>) -> Script {
    answer_with(image(), asked, head)
}

fn answer_with((manifest, layer): (Vec<u8>, Vec<u8>), asked: &Asked, head: &dyn Fn(&[u8]) -> Option<Script>) -> Script {
    if asked.method == "HEAD"
        && let Some(head) = head(&manifest)
    {
        return head;
    }
    let (by_digest, path) = (digest_of(&manifest).to_string(), asked.path());
    if path.ends_with("/manifests/1") || path.ends_with(&by_digest) {
        let found = Script::new(200, manifest).with("Content-Type", MediaType::OCI_MANIFEST);
        return found.with("Docker-Content-Digest", by_digest);
    }
    if path.ends_with(&digest_of(&layer).to_string()) {
        return Script::new(200, layer);
    }
    Script::new(404, r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#)
}

fn mirror_of(upstream: &Scripted) -> Registry {
    mirror_of_all(&[upstream])
}

fn mirror_of_all(upstreams: &[&Scripted]) -> Registry {
    let urls: Vec<String> = upstreams.iter().map(|upstream| format!("{:?}", upstream.url())).collect();
    let upstream = format!("{{default: true, endpoints: [{}], ns: never, clientwait: 8s}}", urls.join(", "));
    Registry::with(&format!("mirror:\n  cache: {{reserve: 0}}\n  upstreams:\n    docker.io: {upstream}\n"))
}

/// Makes the answer to a HEAD of a manifest; `None` stands for the right one.
type Head = fn(&[u8]) -> Option<Script>;

/// The wrong answers to HEAD, by name.
fn wrong_heads() -> Vec<(&'static str, Head)> {
    vec![
        ("404", |_| Some(Script::new(404, "").with("Docker-Distribution-Api-Version", "registry/2.0"))),
        ("403", |_| Some(Script::new(403, "").with("Docker-Distribution-Api-Version", "registry/2.0"))),
        ("400", |_| Some(Script::new(400, ""))),
        ("500", |_| Some(Script::new(500, ""))),
        ("501", |_| Some(Script::new(501, ""))),
        ("502", |_| Some(Script::new(502, ""))),
        ("503 with Retry-After", |_| Some(Script::new(503, "").with("Retry-After", "120"))),
        ("504", |_| Some(Script::new(504, ""))),
        ("hang up", |_| Some(Script::hang_up())),
        ("hang", |_| Some(Script::hang())),
        ("redirect to itself", |_| Some(Script::new(307, "").with("Location", "/v2/library/app/manifests/1"))),
        ("redirect to a closed port", |_| Some(Script::new(307, "").with("Location", "http://127.0.0.1:1/x"))),
        ("401 of a token server that is down", |_| {
            let challenge = r#"Bearer realm="http://127.0.0.1:1/token",service="s""#;
            Some(Script::new(401, "").with("WWW-Authenticate", challenge))
        }),
        ("401 that wants a password", |_| Some(Script::new(401, "").with("WWW-Authenticate", r#"Basic realm="r""#))),
        ("a length of 0", |manifest| {
            let head = Script::new(200, "").with("Content-Type", MediaType::OCI_MANIFEST);
            Some(head.with("Docker-Content-Digest", digest_of(manifest)))
        }),
        ("a length that no manifest has", |manifest| {
            let head =
                Script::new(200, "").with("Content-Type", MediaType::OCI_MANIFEST).with("Content-Length", 1_u64 << 40);
            Some(head.with("Docker-Content-Digest", digest_of(manifest)))
        }),
        ("a page", |_| Some(Script::new(200, "<html>some text</html>").with("Content-Type", "text/html"))),
        ("another digest", |_| {
            let other = digest_of(b"other");
            let head = Script::new(200, "four").with("Content-Type", MediaType::OCI_MANIFEST);
            Some(head.with("Docker-Content-Digest", other))
        }),
    ]
}

#[test]
fn wrong_head_refuses_no_get() {
    for (name, head) in wrong_heads() {
        let upstream = Scripted::start("127.0.0.1", move |asked| answer(asked, &head));
        let (client, (body, layer)) = (mirror_of(&upstream), image());
        let client = client.client();
        // The HEAD of a client must spoil nothing for the GET that follows.
        let _ = client.head(&manifest(APP, "1"));
        let found = client.get(&manifest(APP, "1"));
        assert_eq!((found.status, found.body.as_slice()), (200, &body[..]), "{name}: {}", found.text());
        let _ = client.head(&blob(APP, digest_of(&layer)));
        assert_eq!(client.get(&blob(APP, digest_of(&layer))).body, layer, "{name}");
    }
}

#[test]
fn wrong_head_drops_no_cached_tag() {
    for (name, head) in wrong_heads() {
        let upstream = Scripted::start("127.0.0.1", move |asked| answer(asked, &head));
        let (mirror, (body, _)) = (mirror_of(&upstream), image());
        let client = mirror.client();
        assert_eq!(client.get(&manifest(APP, "1")).status, 200, "{name}");
        for _ in 0..2 {
            age(&mirror, APP, "_tags/1", std::time::Duration::from_secs(3600));
            let found = client.get(&manifest(APP, "1"));
            assert_eq!((found.status, found.body.as_slice()), (200, &body[..]), "{name}");
            // A client does not wait for a HEAD that hangs.
            assert!(name == "hang" || cache(&found) != "stale", "{name}: the GET confirms the tag");
        }
    }
}

/// Asks for tag 1 until it names `wanted`. It becomes older before each request.
fn wait_for_tag(mirror: &Registry, wanted: &[u8], name: &str) {
    eventually(&format!("the moved tag ({name})"), || {
        age(mirror, APP, "_tags/1", std::time::Duration::from_secs(3600));
        let found = mirror.client().get(&manifest(APP, "1"));
        assert_eq!(found.status, 200, "{name}: {}", found.text());
        (found.body == wanted).then_some(())
    });
}

#[test]
fn wrong_head_keeps_no_tag_from_moving() {
    for (name, head) in wrong_heads() {
        let current = Arc::<AtomicUsize>::default();
        let served = Arc::clone(&current);
        let upstream = Scripted::start("127.0.0.1", move |asked| {
            answer_with(version(served.load(Ordering::SeqCst)), asked, &head)
        });
        let mirror = mirror_of(&upstream);
        assert_eq!(mirror.client().get(&manifest(APP, "1")).body, version(0).0, "{name}");
        for number in 1..3 {
            current.store(number, Ordering::SeqCst);
            wait_for_tag(&mirror, &version(number).0, name);
        }
    }
}

#[test]
fn wrong_head_is_answered_by_a_get() {
    for (name, head) in wrong_heads() {
        if name == "another digest" {
            // Nothing shows that it is wrong.
            continue;
        }
        let upstream = Scripted::start("127.0.0.1", move |asked| answer(asked, &head));
        let (mirror, (body, layer)) = (mirror_of(&upstream), image());
        for (target, len) in [(manifest(APP, "1"), body.len()), (blob(APP, digest_of(&layer)), layer.len())] {
            let found = mirror.client().head(&target);
            assert_eq!(found.status, 200, "{name}: {target}");
            let is_unknown = name == "a length that no manifest has" && target.contains("/blobs/");
            let len = len.to_string();
            assert!(is_unknown || found.header("content-length") == Some(len.as_str()), "{name}: {:?}", found.headers);
        }
    }
}

/// The HEAD of a less trusted endpoint must not decide about a tag that the first endpoint serves.
#[test]
fn tag_of_the_first_endpoint_is_not_that_of_the_second_because_head_fails() {
    for (name, head) in wrong_heads() {
        let current = Arc::<AtomicUsize>::default();
        let served = Arc::clone(&current);
        let first = Scripted::start("127.0.0.1", move |asked| {
            answer_with(version(served.load(Ordering::SeqCst)), asked, &head)
        });
        let old = Scripted::start("127.0.0.1", |asked| answer(asked, &|_| None));
        let mirror = mirror_of_all(&[&first, &old]);
        assert_eq!(mirror.client().get(&manifest(APP, "1")).body, version(0).0, "{name}");
        current.store(1, Ordering::SeqCst);
        wait_for_tag(&mirror, &version(1).0, name);
        assert_eq!(old.requests("*", "/manifests/1"), 0, "{name}");
    }
}

#[test]
fn wrong_head_denies_no_right_to_a_shared_blob() {
    for (name, head) in wrong_heads() {
        let upstream = Scripted::start("127.0.0.1", move |asked| answer(asked, &head));
        let (mirror, (_, layer)) = (mirror_of(&upstream), image());
        let client = mirror.client();
        // The blob arrives for one repository. The other's right is asked for by HEAD.
        for repository in [APP, "library/other"] {
            let found = client.get(&blob(repository, digest_of(&layer)));
            assert_eq!(
                (found.status, found.body.as_slice()),
                (200, &layer[..]),
                "{name} {repository}: {}",
                found.text()
            );
        }
    }
}

#[test]
fn page_for_a_head_tells_no_size() {
    let page = |_: &[u8]| Some(Script::new(200, "<html></html>").with("Content-Type", "text/html"));
    let upstream = Scripted::start("127.0.0.1", move |asked| answer(asked, &page));
    let (mirror, (_, layer)) = (mirror_of(&upstream), image());
    let head = mirror.client().head(&blob(APP, digest_of(&layer)));
    assert_eq!(head.header("content-length"), Some(layer.len().to_string().as_str()));
    let absent = mirror.client().head(&blob(APP, digest_of(b"absent")));
    assert_eq!(absent.status, 404);
}

/// The servers of a CDN have different validators for the same bytes. A request with `If-Range` would get the whole blob from
/// each of them.
#[test]
fn blob_of_servers_with_different_validators_is_fetched_once() {
    const PART: usize = 1 << 20;
    let content = crate::support::client::noise(17, 12 << 20);
    let (digest, len) = (digest_of(&content), content.len());
    let (sent, edges) = (Arc::<AtomicUsize>::default(), AtomicUsize::default());
    let (counted, body) = (Arc::clone(&sent), content.clone());
    let upstream = Scripted::start("127.0.0.1", move |asked| {
        if !asked.path().contains("/blobs/") {
            return Script::new(200, "{}").with("Docker-Distribution-Api-Version", "registry/2.0");
        }
        let edge = format!("\"edge-{}\"", edges.fetch_add(1, Ordering::SeqCst));
        let range = asked.header("range").filter(|_| asked.header("if-range").is_none_or(|known| known == edge));
        let Some((first, last)) = range.and_then(|range| range.trim_start_matches("bytes=").split_once('-')) else {
            counted.fetch_add(len, Ordering::SeqCst);
            return Script::new(200, body.clone()).with("ETag", edge);
        };
        let first: usize = first.parse().unwrap();
        // Each answer ends early, so that the next server is asked.
        let end = last.parse::<usize>().map_or(len, |last| last + 1).min(first + PART).min(len);
        counted.fetch_add(end - first, Ordering::SeqCst);
        let part = Script::new(206, &body[first..end]).with("ETag", edge);
        part.with("Content-Range", format!("bytes {first}-{}/{len}", end - 1))
    });
    let mirror = Registry::with(&format!(
        "mirror:\n  cache: {{reserve: 0}}\n  upstreams:\n    docker.io: {{default: true, endpoints: [\"{}\"], ns: never}}\n",
        upstream.url()
    ));
    let answer = mirror.client().get(&blob("library/app", digest));
    assert!(answer.status == 200 && answer.whole && answer.body == content, "{}", answer.status);
    let sent = sent.load(Ordering::SeqCst);
    assert!(sent <= len + len / 20, "{sent} bytes were sent for a blob of {len}");
}
