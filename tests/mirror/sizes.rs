//! Wrong sizes, from manifests and from upstreams: they never destroy or refuse what another source has of a digest.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use entrepot::oci::{Digest, MediaType};
use serde_json::json;

use crate::support::client::{digest_of, noise};
use crate::support::fault::{Fault, Rule};
use crate::support::mirror::{Slow, blob, cache, manifest, mirror, mirror_of, mirror_with, wait_until_stored};
use crate::support::registry::Registry;
use crate::support::scripted::{Script, Scripted};
use crate::support::upstream::Upstream;

const MIB: usize = 1 << 20;
const LAYER: usize = 6 * MIB;

/// An upstream whose answers contradict each other each time.
const CHANGES: &str = "it sends another content for the blob each time";

/// With one connection, the bytes arrive in order.
const ONE: &str = "  fill: {connections: 1}";

/// Adds a manifest to `library/wrong` that claims a size of a layer.
fn claim(upstream: &Upstream, layer: &Digest, size: usize) {
    let config = upstream.blob("library/wrong", b"{}");
    let descriptor = |digest: &Digest, size: usize| json!({"mediaType": MediaType::OCTET_STREAM, "digest": digest.to_string(), "size": size});
    let body = json!({"schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST, "config": descriptor(&config, 2), "layers": [descriptor(layer, size)]});
    upstream.manifest("library/wrong", "1", MediaType::OCI_MANIFEST, body.to_string().as_bytes());
}

/// Fetches half of a blob for `library/app`, and returns the number of bytes that are on the disk.
fn leave_half(upstream: &Upstream, mirror: &Registry, digest: &Digest) -> usize {
    upstream.fault("GET", "library/app/blobs/", Fault::Bottleneck(2 * MIB as u64));
    let target = blob("library/app", digest);
    let (slow, _) = Slow::begin(&mirror.client(), &target, LAYER / 2);
    assert_eq!(mirror.client().request("DELETE", &format!("/api/v1/fills/{digest}")).send().status, 202);
    drop(slow);
    wait_until_stored(mirror);
    upstream.heal();
    left(mirror, digest)
}

/// Returns the number of bytes of a blob that an interrupted fill has left.
fn left(mirror: &Registry, digest: &Digest) -> usize {
    let journal = mirror.data().join(format!("cache/partial/sha256/{}/extents", digest.hex()));
    let text = fs::read_to_string(journal).unwrap_or_default();
    let spans = text.lines().filter_map(|line| line.split_once(' '));
    spans.map(|(start, end)| end.parse::<usize>().unwrap() - start.parse::<usize>().unwrap()).sum()
}

/// Requests a blob with a wrong size, and checks that nothing of the left content was lost.
fn is_kept(upstream: &Upstream, mirror: &Registry, digest: &Digest, content: &[u8], case: &str) {
    let before = left(mirror, digest);
    assert!((2 * MIB..5 * MIB).contains(&before), "{case}: {before}");
    let wrong = mirror.client().get(&blob("library/wrong", digest));
    assert!(wrong.status != 200 || !wrong.whole || wrong.body == content, "{case}: {}", wrong.status);
    wait_until_stored(mirror);
    upstream.heal();
    upstream.forget_log();
    let right = mirror.client().get(&blob("library/app", digest));
    assert!(right.status == 200 && right.whole && right.body == content, "{case}: {}", right.status);
    let (sent, most) = (upstream.bytes_sent(digest), (LAYER - before + MIB / 4) as u64);
    assert!(sent <= most, "{case}: {sent} bytes were fetched, although {before} were on the disk");
}

#[test]
fn size_in_a_manifest_destroys_nothing() {
    for case in ["the size of what is left", "smaller", "larger"] {
        let upstream = Upstream::start();
        let content = noise(1, LAYER);
        let digest = upstream.blob("library/app", &content);
        upstream.blob("library/wrong", &content);
        let mirror = mirror_with(&upstream, "", ONE);
        let half = leave_half(&upstream, &mirror, &digest);
        let size = match case {
            "smaller" => half - 1000,
            "larger" => LAYER + 1000,
            _ => half,
        };
        claim(&upstream, &digest, size);
        assert_eq!(mirror.client().get(&manifest("library/wrong", "1")).status, 200);
        is_kept(&upstream, &mirror, &digest, &content, case);
    }
}

#[test]
fn size_of_an_upstream_destroys_nothing() {
    for (case, faults) in [
        ("Content-Length, smaller than what is left", vec![Fault::IgnoreRange, Fault::Length(MIB as u64)]),
        ("Content-Length, smaller than the blob", vec![Fault::IgnoreRange, Fault::Length(5 * MIB as u64)]),
        ("Content-Range, smaller than what is left", vec![Fault::Total(MIB as u64)]),
        ("Content-Range, smaller than the blob", vec![Fault::Total(5 * MIB as u64)]),
        ("Content-Range, larger", vec![Fault::Total(LAYER as u64 + 1000)]),
    ] {
        let upstream = Upstream::start();
        let content = noise(2, LAYER);
        let digest = upstream.blob("library/app", &content);
        upstream.blob("library/wrong", &content);
        let mirror = mirror_with(&upstream, "", ONE);
        leave_half(&upstream, &mirror, &digest);
        for fault in faults {
            upstream.arm(Rule::new("*", "library/wrong/blobs/", fault));
        }
        is_kept(&upstream, &mirror, &digest, &content, case);
    }
}

/// Both sources are asked by one fill, the wrong one first.
#[test]
fn size_of_one_source_does_not_refuse_another_source_of_the_same_fill() {
    for (case, size) in [("smaller", LAYER - MIB), ("larger", LAYER + MIB)] {
        let upstream = Upstream::start();
        let content = noise(3, LAYER);
        let digest = upstream.blob("library/app", &content);
        upstream.blob("library/wrong", &content);
        claim(&upstream, &digest, size);
        let mirror = mirror(&upstream);
        assert_eq!(mirror.client().get(&manifest("library/wrong", "1")).status, 200);
        // Without a size of its own, the answer has the size that the manifest claims.
        for fault in [Fault::IgnoreRange, Fault::NoLength, Fault::Throttle(4 * MIB as u64)] {
            upstream.arm(Rule::new("GET", "library/wrong/blobs/", fault));
        }
        let (slow, first) = Slow::begin(&mirror.client(), &blob("library/wrong", digest), 10);
        let (client, target) = (mirror.client(), blob("library/app", digest));
        let right = thread::spawn(move || client.get(&target));
        let wrong = [first, slow.rest()].concat();
        assert!(wrong.len() < size, "{case}: a body of a wrong size ended as if it were whole");
        let right = right.join().unwrap();
        let again = mirror.client().get(&blob("library/app", digest));
        for answer in [right, again] {
            // The first one may have been told the wrong size, and is cut then.
            assert!(answer.status == 200 && (answer.body == content || !answer.whole), "{case}: {}", answer.status);
        }
        wait_until_stored(&mirror);
        let stored = mirror.client().get(&blob("library/app", digest));
        assert!(stored.whole && stored.body == content && cache(&stored) == "hit", "{case}");
    }
}

#[test]
fn size_of_one_endpoint_does_not_refuse_another_endpoint() {
    for (case, size) in [("smaller", LAYER - MIB), ("larger", LAYER + MIB)] {
        let (wrong, right) = (Upstream::start(), Upstream::start());
        let content = noise(4, LAYER);
        let digest = wrong.blob("library/app", &content);
        right.blob("library/app", &content);
        let mirror = mirror_of(&[&wrong, &right], "", "");
        wrong.arm(Rule::new("GET", "/blobs/", Fault::Total(size as u64)));
        let mut answers = (0..3).map(|_| mirror.client().get(&blob("library/app", digest)));
        assert!(answers.any(|answer| answer.whole && answer.body == content), "{case}");
    }
}

/// A damaged record claims a wrong size of a blob that is stored.
#[test]
fn size_in_a_damaged_link_removes_no_blob() {
    let upstream = Upstream::start();
    let content = noise(5, LAYER);
    let digest = upstream.blob("library/app", &content);
    upstream.blob("library/wrong", &content);
    let image = upstream.image("library/wrong", "image", &[b"layer"]);
    let mirror = mirror(&upstream);
    for name in ["library/app", "library/wrong"] {
        assert_eq!(mirror.client().get(&blob(name, digest)).status, 200);
        wait_until_stored(&mirror);
    }
    assert_eq!(mirror.client().get(&manifest("library/wrong", "image")).status, 200);
    let link = |digest: &Digest| -> PathBuf {
        mirror.data().join(format!("cache/repositories/docker.io/library/wrong/_links/sha256/{}", digest.hex()))
    };
    for digest in [&digest, &image.manifest_digest] {
        let mut record: serde_json::Value = serde_json::from_slice(&fs::read(link(digest)).unwrap()).unwrap();
        record["size"] = 17.into();
        fs::write(link(digest), record.to_string()).unwrap();
    }
    upstream.gone();
    for name in ["library/wrong", "library/app"] {
        let answer = mirror.client().get(&blob(name, digest));
        assert!((answer.status, cache(&answer)) == (200, "hit") && answer.body == content, "{name}: {}", answer.status);
    }
    let answer = mirror.client().get(&manifest("library/wrong", image.manifest_digest));
    assert_eq!((answer.status, answer.body.as_slice()), (200, &image.manifest[..]));
    assert!(mirror.client().get("/metrics").text().contains("entrepot_damaged_blobs_total 0"));
}

/// The blob was fetched without credentials, so a manifest that names it gives a right to it, whatever size it claims.
#[test]
fn size_in_a_manifest_does_not_refuse_a_stored_blob() {
    let upstream = Upstream::start();
    let content = noise(6, LAYER);
    let digest = upstream.blob("library/app", &content);
    claim(&upstream, &digest, LAYER - 1);
    let mirror = mirror(&upstream);
    assert_eq!(mirror.client().get(&manifest("library/wrong", "1")).status, 200);
    assert_eq!(mirror.client().get(&blob("library/app", digest)).status, 200);
    wait_until_stored(&mirror);
    upstream.gone();
    let answer = mirror.client().get(&blob("library/wrong", digest));
    assert!((answer.status, cache(&answer)) == (200, "hit") && answer.body == content, "{}", answer.status);
}

/// The digest decides: the bytes are right, so they are served, and the log tells once that the manifest is wrong.
#[test]
fn size_that_contradicts_the_manifest_is_logged_once_and_the_blob_is_served() {
    for (seed, size) in [LAYER + 1, LAYER - 1, 0, 17, 50 * MIB].into_iter().enumerate() {
        let upstream = Upstream::start();
        let content = noise(20 + seed as u64, LAYER);
        let digest = upstream.blob("library/wrong", &content);
        claim(&upstream, &digest, size);
        let mut mirror = mirror(&upstream);
        assert_eq!(mirror.client().get(&manifest("library/wrong", "1")).status, 200);
        let target = blob("library/wrong", digest);
        for want in ["miss", "hit"] {
            let answer = mirror.client().get(&target);
            assert_eq!((answer.status, cache(&answer)), (200, want), "{size}: {}", answer.text());
            assert!(answer.whole && answer.body == content, "{size}");
            wait_until_stored(&mirror);
        }
        mirror.restart();
        let range = mirror.client().request("GET", &target).header("Range", "bytes=-10").send();
        assert_eq!((range.status, cache(&range), &range.body[..]), (206, "hit", &content[LAYER - 10..]), "{size}");
        mirror.wait_for_log("a manifest names a wrong size");
        let lines = mirror.log().lines().filter(|line| line.contains("wrong size")).count();
        assert_eq!(lines, 1, "{size}: {}", mirror.log());
        assert!(upstream.bytes_sent(&digest) < (LAYER + MIB) as u64, "{size}: {}", upstream.bytes_sent(&digest));
    }
}

/// Small blobs such as configs are asked for by one plain request.
#[test]
fn size_of_a_small_blob_that_contradicts_the_manifest_refuses_nothing() {
    for (size, wrong) in [(0, 1), (1, 0), (300, 299), (300, 301), (300, 900_000), (70_000, 70_001), (70_000, 10)] {
        let upstream = Upstream::start();
        let content = noise(30, size);
        let digest = upstream.blob("library/wrong", &content);
        claim(&upstream, &digest, wrong);
        let mirror = mirror(&upstream);
        assert_eq!(mirror.client().get(&manifest("library/wrong", "1")).status, 200);
        let answer = mirror.client().get(&blob("library/wrong", digest));
        assert!(answer.status == 200 && answer.whole && answer.body == content, "{size} {wrong}: {}", answer.text());
    }
}

/// An answer without a size leaves the size of the manifest. A client that was told it is cut, and the next one is served.
#[test]
fn blob_without_a_size_is_stored_whatever_the_manifest_names() {
    for size in [LAYER + 1, LAYER - 1, 2 * LAYER] {
        let upstream = Upstream::start();
        let content = noise(31, LAYER);
        let digest = upstream.blob("library/wrong", &content);
        claim(&upstream, &digest, size);
        for fault in [Fault::IgnoreRange, Fault::NoLength] {
            upstream.arm(Rule::new("GET", "library/wrong/blobs/", fault));
        }
        let mirror = mirror(&upstream);
        assert_eq!(mirror.client().get(&manifest("library/wrong", "1")).status, 200);
        let target = blob("library/wrong", digest);
        let first = mirror.client().get(&target);
        assert!(!first.whole || first.body == content, "{size}: a wrong body ended as if it were whole");
        wait_until_stored(&mirror);
        let next = mirror.client().get(&target);
        assert!(next.status == 200 && next.whole && next.body == content, "{size}: {}", next.text());
        assert_eq!(cache(&next), "hit", "{size}");
    }
}

#[test]
fn size_that_contradicts_the_manifest_refuses_no_blob_that_cannot_be_stored() {
    for size in [LAYER + 1, LAYER - 1] {
        let upstream = Upstream::start();
        let content = noise(32, LAYER);
        let digest = upstream.blob("library/wrong", &content);
        claim(&upstream, &digest, size);
        let mirror = mirror_with(&upstream, "", "  cache: {maxsize: 1MiB, reserve: 0}");
        assert_eq!(mirror.client().get(&manifest("library/wrong", "1")).status, 200);
        for _ in 0..2 {
            let answer = mirror.client().get(&blob("library/wrong", digest));
            assert!(answer.status == 200 && answer.whole && answer.body == content, "{size}: {}", answer.text());
        }
    }
}

/// The first endpoint sends wrong bytes, and the manifest names a wrong size.
#[test]
fn blob_is_repaired_whatever_size_the_manifest_names() {
    let (damaged, right) = (Upstream::start(), Upstream::start());
    let content = noise(33, LAYER);
    let digest = damaged.blob("library/wrong", &content);
    right.blob("library/wrong", &content);
    claim(&damaged, &digest, LAYER + 1);
    damaged.arm(Rule::new("GET", "/blobs/", Fault::Corrupt));
    let mirror = mirror_of(&[&damaged, &right], "", "");
    assert_eq!(mirror.client().get(&manifest("library/wrong", "1")).status, 200);
    let answer = mirror.client().get(&blob("library/wrong", digest));
    assert!(answer.status == 200 && answer.whole && answer.body == content, "{}", answer.text());
}

/// A server that was killed has left the whole blob. Nothing is fetched again, whatever size a manifest names.
#[test]
fn complete_blob_that_was_left_is_used_whatever_size_the_manifest_names() {
    for size in [LAYER + 1000, LAYER - 1000] {
        let upstream = Upstream::start();
        let content = noise(34, LAYER);
        let digest = upstream.blob("library/wrong", &content);
        claim(&upstream, &digest, size);
        let mirror = mirror(&upstream);
        assert_eq!(mirror.client().get(&manifest("library/wrong", "1")).status, 200);
        let directory = mirror.data().join(format!("cache/partial/sha256/{}", digest.hex()));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("data"), &content).unwrap();
        fs::write(directory.join("extents"), format!("0 {LAYER}\n")).unwrap();
        let answer = mirror.client().get(&blob("library/wrong", digest));
        assert!(answer.status == 200 && answer.whole && answer.body == content, "{size}: {}", answer.text());
        assert_eq!(upstream.bytes_sent(&digest), 0, "{size}");
    }
}

/// Each attempt contradicts the one before. The fill ends, and does not ask for ever.
#[test]
fn endpoint_that_names_another_size_each_time_is_given_up() {
    let asked = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&asked);
    let content = noise(35, LAYER);
    let (digest, sent) = (digest_of(&content), content.clone());
    let upstream = Scripted::start("127.0.0.1", move |request| {
        if !request.path().contains("/blobs/") {
            return Script::new(200, "{}").with("Docker-Distribution-Api-Version", "registry/2.0");
        }
        let number = counted.fetch_add(1, Ordering::SeqCst);
        let range = request.header("range").unwrap_or("bytes=0-").trim_start_matches("bytes=").to_owned();
        let (first, last) = range.split_once('-').unwrap();
        let first: usize = first.parse().unwrap();
        let last = last.parse().unwrap_or(LAYER - 1).min(LAYER - 1);
        let part = Script::new(206, &sent[first..=last]);
        part.with("Content-Range", format!("bytes {first}-{last}/{}", LAYER + number))
    });
    let mirror = Registry::with(&format!(
        "mirror:\n  cache: {{reserve: 0}}\n  upstreams:\n    docker.io: {{default: true, endpoints: [\"{}\"], ns: never}}\n",
        upstream.url()
    ));
    let answer = mirror.client().get(&blob("library/app", digest));
    assert!(answer.status == 502 || !answer.whole || answer.body == content, "{}", answer.status);
    wait_until_stored(&mirror);
    assert!(asked.load(Ordering::SeqCst) < 60, "{asked:?} requests");
}

/// The upstream alternates between a longer answer without a length, which is cut, and a short one.
#[test]
fn upstream_whose_answers_alternate_is_given_up() {
    let content = noise(31, MIB);
    let (digest, asked) = (digest_of(&content), Arc::<AtomicUsize>::default());
    let (known, body) = (Arc::clone(&asked), content.clone());
    let upstream = Scripted::start("127.0.0.1", move |asked| match asked.path() {
        path if !path.contains("/blobs/") => {
            Script::new(200, "{}").with("Docker-Distribution-Api-Version", "registry/2.0")
        }
        _ if asked.method == "HEAD" => Script::new(200, "").with("Docker-Distribution-Api-Version", "registry/2.0"),
        _ if known.fetch_add(1, Ordering::SeqCst) % 2 == 0 => Script::new(200, &body[..200_000]).chunked().cut(),
        _ => Script::new(200, "<html>maintenance</html>"),
    });
    let mirror = Registry::with(&format!(
        "mirror:\n  cache: {{reserve: 0}}\n  upstreams:\n    docker.io: {{default: true, endpoints: [\"{}\"], ns: never}}\n",
        upstream.url()
    ));
    let answer = mirror.client().get(&blob("library/app", digest));
    assert!(answer.status != 200 || !answer.whole, "{}", answer.status);
    mirror.wait_for_log(CHANGES);
    wait_until_stored(&mirror);
    assert!(asked.load(Ordering::SeqCst) < 50, "{} requests", asked.load(Ordering::SeqCst));
}

/// A manifest names a huge size for a small blob, whose answer has no length. Nothing is evicted for it.
#[test]
fn size_in_a_manifest_evicts_nothing() {
    let upstream = Upstream::start();
    let held: Vec<Digest> = (0..3).map(|seed| upstream.blob("library/app", &noise(40 + seed, MIB))).collect();
    let small = noise(43, 100_000);
    let digest = upstream.blob("library/wrong", &small);
    claim(&upstream, &digest, 4 * MIB);
    let mirror = mirror_with(&upstream, "", "  cache: {maxsize: 5MiB, reserve: 0}");
    for held in &held {
        assert_eq!(mirror.client().get(&blob("library/app", held)).status, 200);
    }
    wait_until_stored(&mirror);
    assert_eq!(mirror.client().get(&manifest("library/wrong", "1")).status, 200);
    upstream.fault("GET", &digest.to_string(), Fault::NoLength);
    assert!(mirror.client().get(&blob("library/wrong", digest)).body == small);
    wait_until_stored(&mirror);
    for held in &held {
        assert_eq!(cache(&mirror.client().get(&blob("library/app", held))), "hit", "{held}");
    }
}
