//! Pulls through the mirror: requests to the upstream, answers to clients, and what remains when the link is gone.

use std::thread;
use std::time::Duration;

use crate::support::client::noise;
use crate::support::fault::Fault;
use crate::support::mirror::{Slow, blob, cache, is_sent_once, manifest, mirror, mirror_with};
use crate::support::registry::eventually;
use crate::support::upstream::{Auth, Bearer, Upstream};

/// A size that is quick to transfer and still arrives in many pieces.
const LAYER: usize = 3 << 20;

#[test]
fn image_is_fetched_once_and_served_without_the_link() {
    let upstream = Upstream::start();
    let layer = noise(1, LAYER);
    let image = upstream.image("library/app", "1", &[&layer]);
    let mirror = mirror(&upstream);
    let client = mirror.client();

    let first = client.get(&manifest("app", "1"));
    assert_eq!((first.status, cache(&first)), (200, "miss"));
    assert_eq!(first.header("docker-content-digest"), Some(image.manifest_digest.to_string().as_str()));
    let fetched = client.get(&blob("library/app", image.layers[0]));
    assert_eq!((fetched.status, cache(&fetched), fetched.body == layer), (200, "miss", true));
    assert_eq!(client.get(&blob("library/app", image.config)).status, 200);

    upstream.gone();
    for (target, size) in [
        (manifest("library/app", "1"), image.manifest.len()),
        (manifest("library/app", image.manifest_digest), image.manifest.len()),
        (manifest("docker.io/library/app", "1"), image.manifest.len()),
        (blob("app", image.layers[0]), LAYER),
        (blob("docker.io/app", image.config), client.get(&blob("app", image.config)).body.len()),
    ] {
        let again = client.get(&target);
        assert_eq!((again.status, cache(&again), again.body.len()), (200, "hit", size), "{target}");
    }
    let missing = client.get(&manifest("library/other", "1"));
    assert_eq!((missing.status, missing.code().as_str()), (503, "UNAVAILABLE"));
    assert!(missing.header("retry-after").is_some());
}

#[test]
fn eight_cold_clients_cost_one_fetch() {
    let upstream = Upstream::start();
    upstream.set_auth(Auth::Bearer(Bearer::default()));
    upstream.set_cdn(true);
    let layer = noise(2, 30 << 20);
    let image = upstream.image("library/app", "1", &[&layer]);
    upstream.fault("GET", "/cdn/", Fault::Throttle(15 << 20));
    let mirror = mirror(&upstream);

    let pulls: Vec<_> = (0..8)
        .map(|_| {
            let (client, layer, image) = (mirror.client(), layer.clone(), image.clone());
            thread::spawn(move || {
                // dockerd does the same: HEAD of the tag, GET by digest, then the blobs.
                assert_eq!(client.head(&manifest("library/app", "1")).status, 200);
                assert_eq!(client.get(&manifest("library/app", image.manifest_digest)).status, 200);
                assert_eq!(client.get(&blob("library/app", image.config)).status, 200);
                let fetched = client.get(&blob("library/app", image.layers[0]));
                assert!(fetched.whole && fetched.body == layer);
            })
        })
        .collect();
    pulls.into_iter().for_each(|pull| pull.join().unwrap());

    is_sent_once(&upstream, image.layers[0], layer.len());
    assert_eq!(upstream.tokens(), 1);
    assert_eq!(upstream.requests("GET", "/manifests/"), 1);
    assert_eq!(upstream.requests("HEAD", "/blobs/"), 0);
    let leaked = upstream.log().into_iter().filter(|request| request.path.contains("/cdn/"));
    assert!(leaked.into_iter().all(|request| request.header("authorization").is_none()));

    upstream.forget_log();
    let client = mirror.client();
    for _ in 0..5 {
        assert_eq!(cache(&client.head(&manifest("library/app", "1"))), "hit");
        assert_eq!(cache(&client.get(&manifest("library/app", "1"))), "hit");
        assert_eq!(cache(&client.get(&blob("library/app", image.layers[0]))), "hit");
    }
    assert_eq!(upstream.log().len(), 0);
}

#[test]
fn first_bytes_arrive_while_the_upstream_is_sending() {
    let upstream = Upstream::start();
    let layer = noise(3, LAYER);
    let image = upstream.image("library/app", "1", &[&layer]);
    // The upstream sends half of the blob and then nothing, so a client that waits for all of it never gets an answer.
    upstream.fault("GET", "/blobs/", Fault::Stall(LAYER as u64 / 2));
    let mirror = mirror(&upstream);
    let target = blob("library/app", image.layers[0]);
    let readers: Vec<_> = (0..4).map(|_| Slow::begin(&mirror.client(), &target, LAYER / 4)).collect();
    for (_, first) in &readers {
        assert!(*first == layer[..LAYER / 4]);
    }
    let metrics = mirror.client().get("/metrics").text();
    assert!(
        metrics.contains("entrepot_fills_in_flight 1\n") && metrics.contains("entrepot_fill_followers 4\n"),
        "{metrics}"
    );
}

#[test]
fn head_of_a_cold_blob_downloads_nothing() {
    let upstream = Upstream::start();
    let image = upstream.image("library/app", "1", &[&noise(4, LAYER)]);
    let mirror = mirror(&upstream);
    let client = mirror.client();
    let head = client.head(&blob("library/app", image.layers[0]));
    assert_eq!((head.status, cache(&head)), (200, "miss"));
    assert_eq!(head.header("content-length"), Some(LAYER.to_string().as_str()));
    let head = client.head(&manifest("library/app", "1"));
    assert_eq!((head.status, cache(&head)), (200, "miss"));
    assert_eq!(head.header("content-length"), Some(image.manifest.len().to_string().as_str()));
    assert_eq!(head.header("content-type"), Some(entrepot::oci::MediaType::OCI_MANIFEST));
    assert_eq!(upstream.requests("GET", "/"), 0);
    assert_eq!(upstream.requests("HEAD", "/"), 2);
}

#[test]
fn ranges_of_an_arriving_and_of_a_stored_blob() {
    let upstream = Upstream::start();
    let layer = noise(5, LAYER);
    let image = upstream.image("library/app", "1", &[&layer]);
    upstream.fault("GET", "/blobs/", Fault::Throttle(8 << 20));
    let mirror = mirror(&upstream);
    let target = blob("library/app", image.layers[0]);
    let ranges = ["bytes=1000-1999", "bytes=2000000-", "bytes=-10", "bytes=0-"].map(|range| {
        let (client, target) = (mirror.client(), target.clone());
        (range, thread::spawn(move || client.request("GET", &target).header("Range", range).send()))
    });
    let spans = [(1000, 2000), (2_000_000, LAYER), (LAYER - 10, LAYER), (0, LAYER)];
    for ((range, answer), (start, end)) in ranges.into_iter().zip(spans) {
        let answer = answer.join().unwrap();
        assert_eq!(answer.status, 206, "{range}");
        let content_range = format!("bytes {start}-{}/{LAYER}", end - 1);
        assert_eq!(answer.header("content-range"), Some(content_range.as_str()), "{range}");
        assert!(answer.body == layer[start..end], "{range}");
    }
    // Bytes that a client waits for may be fetched twice, but not more often.
    let sent = upstream.bytes_sent(&image.layers[0]);
    assert!((LAYER as u64..=LAYER as u64 + 500_000).contains(&sent), "{sent}");
    let stored = mirror.client().request("GET", &target).header("Range", "bytes=5-9").send();
    assert_eq!((stored.status, cache(&stored), stored.body.as_slice()), (206, "hit", &layer[5..10]));
    assert_eq!(upstream.bytes_sent(&image.layers[0]), sent);
    let beyond = mirror.client().request("GET", &target).header("Range", &format!("bytes={LAYER}-")).send();
    assert_eq!((beyond.status, beyond.code().as_str()), (416, "RANGE_INVALID"));
}

#[test]
fn leaving_client_cancels_nothing() {
    let upstream = Upstream::start();
    let layer = noise(6, LAYER);
    let image = upstream.image("library/app", "1", &[&layer]);
    upstream.fault("GET", "/blobs/", Fault::Throttle(4 << 20));
    let mirror = mirror(&upstream);
    let target = blob("library/app", image.layers[0]);
    drop(Slow::begin(&mirror.client(), &target, 1000));
    eventually("the end of the fill", || {
        mirror.client().get("/metrics").text().contains("entrepot_fills_total{outcome=\"complete\"} 1").then_some(())
    });
    upstream.gone();
    let again = mirror.client().get(&target);
    assert_eq!((cache(&again), again.body == layer), ("hit", true));
}

#[test]
fn only_the_requested_platform_of_an_index_is_fetched() {
    let upstream = Upstream::start();
    let images = ["amd64", "arm64", "riscv64"].map(|architecture| {
        (architecture, upstream.image("library/app", architecture, &[&noise(architecture.len() as u64 + 70, LAYER)]))
    });
    upstream.index("library/app", "1", &images.each_ref().map(|(architecture, image)| (*architecture, image)));
    let mirror = mirror(&upstream);
    let client = mirror.client();
    assert_eq!(client.get(&manifest("library/app", "1")).status, 200);
    let (_, wanted) = &images[1];
    assert_eq!(client.get(&manifest("library/app", wanted.manifest_digest)).status, 200);
    assert_eq!(client.get(&blob("library/app", wanted.layers[0])).status, 200);
    assert_eq!(upstream.requests("GET", "/manifests/"), 2);
    assert_eq!(upstream.requests("GET", "/blobs/"), 1);
}

#[test]
fn small_empty_and_unsized_blobs_arrive() {
    let upstream = Upstream::start();
    let mirror = mirror(&upstream);
    let client = mirror.client();
    upstream.fault("GET", "/blobs/", Fault::NoLength);
    for (seed, size) in [(8, 0), (9, 1), (10, 65_536), (11, 65_537), (12, 500_000)] {
        let content = noise(seed, size);
        let digest = upstream.blob("library/app", &content);
        for status in ["miss", "hit"] {
            let answer = client.get(&blob("library/app", digest));
            assert_eq!((answer.status, cache(&answer)), (200, status), "{size}");
            assert!(answer.whole && answer.body == content, "{size}");
        }
    }
}

#[test]
fn manifest_can_be_requested_as_a_blob() {
    let upstream = Upstream::start();
    let image = upstream.image("library/app", "1", &[b"x"]);
    let mirror = mirror(&upstream);
    let client = mirror.client();
    assert_eq!(client.get(&manifest("library/app", "1")).status, 200);
    let as_blob = client.get(&blob("library/app", image.manifest_digest));
    assert_eq!((as_blob.status, as_blob.body.as_slice()), (200, &image.manifest[..]));
}

#[test]
fn names_lead_to_their_upstream() {
    let (hub, other) = (Upstream::start(), Upstream::start());
    hub.image("library/app", "1", &[b"hub"]);
    let image = other.image("org/app", "1", &[b"other"]);
    let ghcr = format!(
        "    ghcr.io: {{endpoints: [\"{}\"], aliases: [packages.corp]}}\n  names: [\"mirror.lan:5000\"]",
        other.url()
    );
    let mirror = mirror_with(&hub, "", &ghcr);
    let client = mirror.client();
    let digest = image.manifest_digest.to_string();
    for (target, namespace) in [
        (manifest("ghcr.io/org/app", "1"), None),
        (manifest("org/app", "1") + "?ns=ghcr.io", Some("ghcr.io")),
        (manifest("org/app", "1") + "?ns=packages.corp", Some("packages.corp")),
        (manifest("packages.corp/org/app", "1"), None),
        (manifest("ghcr.io/org/app", "1") + "?ns=mirror.lan:5000", None),
    ] {
        let answer = client.get(&target);
        assert_eq!((answer.status, answer.header("docker-content-digest")), (200, Some(digest.as_str())), "{target}");
        assert_eq!(answer.header("oci-namespace"), namespace, "{target}");
    }
    assert_eq!(other.requests("GET", "/manifests/"), 1, "each spelling names the same repository");
    let unknown = client.get(&(manifest("org/app", "1") + "?ns=quay.io"));
    assert_eq!((unknown.status, unknown.code().as_str()), (404, "NAME_UNKNOWN"));
    assert!(unknown.text().contains("mirror.upstreams.quay.io"));
    let catalog = client.get("/v2/_catalog").json();
    assert_eq!(catalog["repositories"], serde_json::json!(["ghcr.io/org/app"]));

    for target in [
        "/v2/library/app/blobs/uploads/",
        "/v2/ghcr.io/org/app/blobs/uploads/",
        "/v2/org/app/blobs/uploads/?ns=ghcr.io",
    ] {
        let refused = client.request("POST", target).body(b"").send();
        assert_eq!((refused.status, refused.code().as_str()), (403, "DENIED"), "{target}");
        assert!(refused.text().contains("local/**"), "{}", refused.text());
    }
    client.push_image("local/team/app", "1", b"mine");
    let evicted = client.request("DELETE", &manifest("ghcr.io/org/app", "1")).send();
    assert_eq!(evicted.status, 202);
    assert_eq!(cache(&client.get(&manifest("ghcr.io/org/app", "1"))), "miss");
}

#[test]
fn arriving_manifest_is_fetched_once() {
    let upstream = Upstream::start();
    let image = upstream.image("library/app", "1", &[b"layer"]);
    let mirror = mirror(&upstream);
    upstream.fault("GET", "/manifests/", Fault::Latency(Duration::from_millis(600)));
    let (client, target) = (mirror.client(), manifest("library/app", 1));
    // One client requests the tag at once. Another asks for the digest first and then requests that.
    let first = thread::spawn(move || client.get(&target));
    eventually("the GET", || (upstream.requests("GET", "/manifests/1") == 1).then_some(()));
    let head = mirror.client().head(&manifest("library/app", 1));
    assert_eq!(head.header("docker-content-digest"), Some(image.manifest_digest.to_string().as_str()));
    let second = mirror.client().get(&manifest("library/app", image.manifest_digest));
    assert!(second.body == image.manifest && first.join().unwrap().body == image.manifest);
    assert_eq!(upstream.requests("GET", "/manifests/"), 1);
    // The same in the other order.
    let image = upstream.image("library/app", "2", &[b"other"]);
    upstream.fault("HEAD", "/manifests/", Fault::Latency(Duration::from_millis(600)));
    let (client, target) = (mirror.client(), manifest("library/app", 2));
    let first = thread::spawn(move || client.head(&target));
    eventually("the HEAD", || (upstream.requests("HEAD", "/manifests/2") == 1).then_some(()));
    assert!(mirror.client().get(&manifest("library/app", 2)).body == image.manifest);
    assert_eq!(first.join().unwrap().status, 200);
    assert_eq!(mirror.client().get(&manifest("library/app", image.manifest_digest)).status, 200);
    assert_eq!(upstream.requests("GET", "/manifests/"), 2);
}

/// A manifest that arrives slowly holds a client for a limited time, and is fetched to its end all the same.
#[test]
fn slow_manifest_does_not_hold_clients_and_arrives() {
    let upstream = Upstream::start();
    let layers: Vec<Vec<u8>> = (0..8).map(|layer| vec![layer]).collect();
    let layers: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
    upstream.image("library/app", "1", &layers);
    let mirror = mirror_with(&upstream, ", connecttimeout: 1s, clientwait: 2s", "");
    upstream.fault("GET", "/manifests/", Fault::Throttle(200));
    let clients: Vec<_> = (0..3)
        .map(|_| {
            let client = mirror.client();
            std::thread::spawn(move || client.get(&manifest("library/app", "1")))
        })
        .collect();
    for client in clients {
        let answer = client.join().unwrap();
        assert_eq!((answer.status, answer.code().as_str()), (504, "UNAVAILABLE"), "{}", answer.text());
        assert!(answer.text().contains("has not answered within"), "{}", answer.text());
    }
    eventually("the manifest", || (mirror.client().get(&manifest("library/app", "1")).status == 200).then_some(()));
    assert_eq!(upstream.requests("GET", "/manifests/"), 1, "the requests joined the one that was running");
}
