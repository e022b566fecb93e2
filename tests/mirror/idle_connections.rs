//! Connections that bring nothing, beside blobs of the same host that arrive.

use std::thread;

use entrepot::oci::Digest;

use crate::support::client::noise;
use crate::support::fault::Fault;
use crate::support::mirror::{blob, manifest, mirror_with};
use crate::support::registry::{Registry, eventually};
use crate::support::upstream::Upstream;

const MIB: usize = 1 << 20;
const BAD: &str = "library/bad";
const GOOD: &str = "library/app";

/// Requests blobs, and does not wait for the answers.
fn request(mirror: &Registry, name: &str, digests: &[Digest]) {
    for digest in digests {
        let (client, target) = (mirror.client(), blob(name, digest));
        thread::spawn(move || client.try_get(&target));
    }
}

fn is_pulled(mirror: &Registry, name: &str, digest: Digest, content: &[u8]) {
    let answer = mirror.client().get(&blob(name, digest));
    assert_eq!(answer.status, 200, "{name}: {}", answer.text());
    assert!(answer.whole && answer.body == content, "{name}");
}

/// Waits until this many requests for blobs of the bad repository have reached the upstream.
fn wait_for_requests(upstream: &Upstream, count: usize) {
    eventually("the requests of bad blobs", || {
        (upstream.requests("GET", &format!("/v2/{BAD}/blobs/")) >= count).then_some(())
    });
}

#[test]
fn blobs_that_hang_or_drip_do_not_stop_other_blobs_of_their_host() {
    for (number, fault) in [Fault::Hang, Fault::Throttle(1), Fault::Stall(1000)].into_iter().enumerate() {
        let upstream = Upstream::start();
        let seed = 100 * number as u64;
        let bad: Vec<_> = (0..7).map(|blob| upstream.blob(BAD, &noise(seed + blob, MIB))).collect();
        let contents = [noise(seed + 50, MIB), noise(seed + 51, 3 * MIB), noise(seed + 52, MIB)];
        let good = [(GOOD, 0), (BAD, 1), (GOOD, 2)].map(|(name, at)| upstream.blob(name, &contents[at]));
        let mirror = mirror_with(&upstream, "", "  fill: {perhost: 3, stall: 10m}");
        for digest in &bad {
            upstream.fault("GET", &digest.to_string(), fault.clone());
        }
        request(&mirror, BAD, &bad[..4]);
        wait_for_requests(&upstream, 3);
        is_pulled(&mirror, GOOD, good[0], &contents[0]);
        // A bad blob does not stop the others of its own repository either.
        is_pulled(&mirror, BAD, good[1], &contents[1]);
        request(&mirror, BAD, &bad[4..]);
        is_pulled(&mirror, GOOD, good[2], &contents[2]);
    }
}

#[test]
fn small_blobs_that_hang_do_not_stop_other_small_blobs() {
    let upstream = Upstream::start();
    let layers: Vec<_> = (0..20).map(|seed| noise(200 + seed, 10_000)).collect();
    let bad = upstream.image(BAD, "1", &layers.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let content = noise(230, 10_000);
    let good = upstream.image(GOOD, "1", &[&content]);
    let mirror = mirror_with(&upstream, "", "  fill: {perhost: 1}");
    // From here on, the sizes are known.
    for name in [BAD, GOOD] {
        assert_eq!(mirror.client().get(&manifest(name, 1)).status, 200);
    }
    upstream.fault("GET", &format!("/v2/{BAD}/blobs/"), Fault::Hang);
    request(&mirror, BAD, &bad.layers);
    wait_for_requests(&upstream, 8);
    is_pulled(&mirror, GOOD, good.layers[0], &content);
}

#[test]
fn blobs_that_are_passed_through_and_hang_do_not_stop_others() {
    let upstream = Upstream::start();
    let bad: Vec<_> = (0..3).map(|seed| upstream.blob(BAD, &noise(300 + seed, 6 * MIB))).collect();
    let content = noise(310, 6 * MIB);
    let good = upstream.blob(GOOD, &content);
    let sections = "  cache: {maxsize: 4MiB, reserve: 0}\n  fill: {perhost: 2, stall: 10m}";
    let mirror = mirror_with(&upstream, "", sections);
    upstream.fault("GET", &format!("/v2/{BAD}/blobs/"), Fault::Stall(100_000));
    request(&mirror, BAD, &bad);
    eventually("a stream", || {
        mirror.client().get("/metrics").text().contains("entrepot_passthrough_connections 1\n").then_some(())
    });
    is_pulled(&mirror, GOOD, good, &content);
}
