//! Upstreams whose answers are unusual or change between requests.

use entrepot::oci::MediaType;

use crate::support::client::noise;
use crate::support::fault::{Fault, Rule};
use crate::support::mirror::{Slow, blob, manifest, mirror, mirror_of, mirror_with};
use crate::support::registry::{Registry, eventually};
use crate::support::upstream::Upstream;

const MIB: usize = 1 << 20;

fn idle(mirror: &Registry) {
    eventually("the end of the fills", || {
        mirror.client().get("/metrics").text().contains("entrepot_fills_in_flight 0\n").then_some(())
    });
}

#[test]
fn empty_layer_of_a_manifest_is_served() {
    let upstream = Upstream::start();
    let image = upstream.image("library/app", "1", &[b""]);
    let mirror = mirror(&upstream);
    assert_eq!(mirror.client().get(&manifest("library/app", "1")).status, 200);
    for _ in 0..2 {
        let answer = mirror.client().get(&blob("library/app", image.layers[0]));
        assert!(answer.status == 200 && answer.whole && answer.body.is_empty(), "{}", answer.text());
    }
    assert_eq!(upstream.requests("GET", "/blobs/"), 1);
}

#[test]
fn range_beyond_an_unknown_end_is_refused() {
    let upstream = Upstream::start();
    let content = noise(1, 6 * MIB);
    let digest = upstream.blob("library/app", &content);
    let mirror = mirror(&upstream);
    let (client, target) = (mirror.client(), blob("library/app", digest));
    upstream.fault_once("GET", "/blobs/", Fault::Status(416));
    let beyond = client.request("GET", &target).header("Range", "bytes=99999999-").send();
    assert_eq!((beyond.status, beyond.header("content-range")), (416, Some("bytes */6291456")));
    idle(&mirror);
    // The same holds where a part of the blob is stored.
    assert_eq!(client.request("DELETE", &target).send().status, 202);
    upstream.fault("GET", "/blobs/", Fault::Throttle(MIB as u64));
    let (slow, _) = Slow::begin(&client, &target, 2 * MIB);
    assert_eq!(client.request("DELETE", &format!("/api/v1/fills/{digest}")).send().status, 202);
    drop(slow);
    idle(&mirror);
    upstream.heal();
    upstream.forget_log();
    upstream.fault_once("GET", "/blobs/", Fault::Status(416));
    let beyond = client.request("GET", &target).header("Range", "bytes=99999999-").send();
    assert_eq!((beyond.status, beyond.header("content-range")), (416, Some("bytes */6291456")));
    assert!(client.get(&target).body == content);
    assert!(upstream.bytes_sent(&digest) <= 4 * MIB as u64, "stored bytes were thrown away");
}

#[test]
fn partial_answer_without_the_whole_size_is_used() {
    let upstream = Upstream::start();
    let content = noise(2, 6 * MIB);
    let digest = upstream.blob("library/app", &content);
    let mirror = mirror(&upstream);
    upstream.fault("GET", "/blobs/", Fault::UnknownTotal);
    let answer = mirror.client().get(&blob("library/app", digest));
    assert!(answer.whole && answer.body == content);
    assert_eq!(upstream.bytes_sent(&digest), content.len() as u64);
}

#[test]
fn partial_answer_longer_than_requested_is_used() {
    let upstream = Upstream::start();
    let content = noise(3, 8 * MIB);
    let digest = upstream.blob("library/app", &content);
    let mirror = mirror_with(&upstream, "", "  fill: {segment: 1MiB}");
    upstream.fault("GET", "/blobs/", Fault::Overlong);
    upstream.fault("GET", "/blobs/", Fault::Throttle(4 * MIB as u64));
    let answer = mirror.client().get(&blob("library/app", digest));
    assert!(answer.whole && answer.body == content);
    // Only bytes in transit are lost when a connection has finished its part.
    let sent = upstream.bytes_sent(&digest);
    assert!(sent <= 2 * content.len() as u64, "{sent}");
}

#[test]
fn content_of_an_unavailable_endpoint_is_no_404() {
    for out in ["wrong bytes", "429", "503"] {
        let (one, two) = (Upstream::start(), Upstream::start());
        let (both, only) = (noise(4, 2 * MIB), noise(5, MIB));
        let digest = one.blob("library/app", &both);
        two.blob("library/app", &both);
        let wanted = one.blob("library/app", &only);
        let mirror = mirror_of(&[&one, &two], "", "");
        let client = mirror.client();
        match out {
            "wrong bytes" => one.fault_once("GET", "/blobs/", Fault::Corrupt),
            "429" => one.fault_once("GET", &wanted.to_string(), Fault::Status(429)),
            _ => one.fault("GET", &wanted.to_string(), Fault::Status(503)),
        }
        if out == "wrong bytes" {
            let answer = client.get(&blob("library/app", digest));
            assert!(answer.whole && answer.body == both);
        }
        let answer = client.get(&blob("library/app", wanted));
        let want = if out == "wrong bytes" { 200 } else { out.parse().unwrap() };
        let told = if want == 503 { 502 } else { want };
        assert_eq!(answer.status, told, "{out}: {}", answer.text());
        one.heal();
        let again = client.get(&blob("library/app", wanted));
        assert!(again.status == 200 && again.body == only, "{out}: {} {}", again.status, again.text());
    }
}

#[test]
fn repair_is_not_paused() {
    let (damaging, good) = (Upstream::start(), Upstream::start());
    let content = noise(6, 4 * MIB);
    let digest = damaging.blob("library/app", &content);
    good.blob("library/app", &content);
    let mirror = mirror_of(&[&damaging, &good], "", "  fill: {segment: 1MiB, unattended: pause, grace: 100ms}");
    damaging.fault("GET", "/blobs/", Fault::Corrupt);
    [&damaging, &good].iter().for_each(|upstream| upstream.fault("GET", "/blobs/", Fault::Throttle(2 * MIB as u64)));
    let client = mirror.client();
    let stream = client.request("GET", &blob("library/app", digest)).send_head();
    mirror.wait_for_log("the content of a blob does not match its digest; fetching it from one endpoint");
    drop(stream);
    idle(&mirror);
    mirror.wait_for_log("this endpoint sent");
    [&damaging, &good].iter().for_each(|upstream| upstream.gone());
    let answer = client.get(&blob("library/app", digest));
    assert!(answer.whole && answer.body == content, "the stored bytes were thrown away");
}

/// A manifest that one client reads as an image and another as an index (CVE-2021-41190).
#[test]
fn manifest_that_is_image_and_index_is_refused() {
    let upstream = Upstream::start();
    let (image, index) = (MediaType::OCI_MANIFEST, MediaType::OCI_INDEX);
    for (tag, media_type, body) in [
        ("both", image, &br#"{"schemaVersion":2,"layers":[],"manifests":[]}"#[..]),
        ("list", index, br#"{"schemaVersion":2,"layers":[],"manifests":[]}"#),
        ("array", image, br#"[2,"application/vnd.foo+json",null,null,null,null,null,null]"#),
        ("index", index, br#"{"schemaVersion":2,"manifests":[],"layers":null}"#),
    ] {
        upstream.manifest("library/app", tag, media_type, body);
    }
    let mirror = mirror(&upstream);
    for (tag, status) in [("both", 502), ("list", 502), ("array", 502), ("index", 200)] {
        let answer = mirror.client().get(&manifest("library/app", tag));
        assert_eq!(answer.status, status, "{tag}: {}", answer.text());
        assert!(status == 200 || answer.text().contains("is not a manifest"), "{}", answer.text());
    }
}

/// Docker and containerd ask for whole blobs, so a server without ranges works for them.
#[test]
fn server_that_refuses_ranges_is_asked_for_whole_blobs() {
    let faults =
        [400, 405, 416, 501].map(Fault::RefuseRange).into_iter().chain([Fault::NoContentRange, Fault::WrongRange]);
    for fault in faults {
        let upstream = Upstream::start();
        let content = noise(30, 6 * MIB);
        let digest = upstream.blob("library/app", &content);
        let other = upstream.blob("library/app", &noise(31, MIB));
        let mirror = mirror(&upstream);
        let (client, target) = (mirror.client(), blob("library/app", digest));
        let case = format!("{fault:?}");
        upstream.fault("GET", "/blobs/", fault);
        let answer = client.get(&target);
        assert!(answer.status == 200 && answer.whole && answer.body == content, "{case}: {}", answer.text());
        let part = client.request("GET", &target).header("Range", "bytes=100-199").send();
        assert!(part.status == 206 && part.body == content[100..200], "{case}");
        // A cold range needs the whole blob, too.
        let part = client.request("GET", &blob("library/app", other)).header("Range", "bytes=1000-1999").send();
        assert!(part.status == 206 && part.body == noise(31, MIB)[1000..2000], "{case}: {}", part.text());
        upstream.fault("HEAD", "/blobs/", Fault::Status(405));
        let size = client.head(&blob("library/app", upstream.blob("library/app", &noise(32, MIB))));
        assert_eq!(size.status, 200, "{case}");
    }
}

/// One answer of a replica that lags behind does not end the fill.
#[test]
fn false_416_within_a_blob_ends_no_fill() {
    let upstream = Upstream::start();
    let content = noise(33, 12 * MIB);
    let digest = upstream.blob("library/app", &content);
    let mirror = mirror_with(&upstream, "", "  fill: {segment: 1MiB}");
    for spared in (1..40).step_by(2) {
        upstream.arm(Rule::new("GET", "/blobs/", Fault::RefuseRange(416)).after(spared).times(1));
    }
    let answer = mirror.client().get(&blob("library/app", digest));
    assert!(answer.status == 200 && answer.whole && answer.body == content, "{}", answer.text());
}
