//! `mirror.follow`, which confirms and fetches in quiet hours the tags that clients pull.

use std::thread::sleep;
use std::time::Duration;

use crate::support::client::noise;
use crate::support::mirror::{age, blob, cache, manifest, mirror_with};
use crate::support::registry::{Registry, eventually};
use crate::support::upstream::Upstream;

const LAYER: usize = 100_000;
const APP: &str = "library/app";

/// A window that is always open.
const ALWAYS: &str = "  follow: {window: \"00:00-24:00\"}";

#[test]
fn moved_tag_is_fetched_for_the_pulled_platform_and_then_pulled_without_the_upstream() {
    let upstream = Upstream::start();
    let image = |seed| upstream.image(APP, "", &[&noise(seed, LAYER)]);
    let (old, old_other) = (image(1), image(2));
    upstream.index(APP, "1", &[("amd64", &old), ("arm64", &old_other)]);
    upstream.index(APP, "warmed", &[("amd64", &old)]);
    let mut mirror = mirror_with(&upstream, ", tagttl: 1s", ALWAYS);
    let client = mirror.client();
    for target in [manifest(APP, "1"), manifest(APP, old.manifest_digest), blob(APP, old.layers[0])] {
        assert_eq!(client.get(&target).status, 200);
    }
    let order = br#"{"images": ["app:warmed"], "platforms": ["linux/amd64"]}"#;
    let request = client.request("POST", "/api/v1/warm").header("Content-Type", "application/json");
    assert!(request.body(order).send().text().contains("\"failed\":0"));
    // The records are written in the background.
    let pulls = mirror.data().join("cache/repositories/docker.io").join(APP).join("_pulls");
    let recorded = |path: &str| pulls.join(path).exists();
    let child = format!("manifests/sha256/{}", old.manifest_digest.hex());
    eventually("the records of the pulls", || (recorded("tags/1") && recorded(&child)).then_some(()));
    assert!(!recorded("tags/warmed"), "warming is no pull of a client");

    mirror.kill();
    let (new, new_other) = (image(3), image(4));
    let moved = upstream.index(APP, "1", &[("amd64", &new), ("arm64", &new_other)]);
    upstream.index(APP, "warmed", &[("amd64", &new)]);
    age(&mirror, APP, "_tags/1", Duration::from_secs(60));
    upstream.forget_log();
    mirror.restart();
    mirror.wait_for_log("followed the tags that clients pulled");
    assert_eq!(upstream.requests("HEAD", "/manifests/1"), 1);
    assert_eq!((upstream.bytes_sent(&new.layers[0]), upstream.bytes_sent(&new_other.layers[0])), (LAYER as u64, 0));
    assert_eq!(upstream.requests("*", &new_other.manifest_digest.to_string()), 0);
    assert_eq!(upstream.requests("*", "/manifests/warmed"), 0);
    let client = mirror.client();
    let metrics = client.get("/metrics").text();
    assert!(metrics.contains("entrepot_follow_tags_total{outcome=\"moved\"} 1"), "{metrics}");

    // Hours later, a client pulls the tag.
    age(&mirror, APP, "_tags/1", Duration::from_secs(8 * 3600));
    upstream.forget_log();
    let pulled = client.get(&manifest(APP, "1"));
    assert_eq!(pulled.header("docker-content-digest"), Some(moved.to_string().as_str()));
    for target in [manifest(APP, "1"), manifest(APP, new.manifest_digest), blob(APP, new.layers[0])] {
        let answer = client.get(&target);
        assert_eq!((answer.status, cache(&answer)), (200, "hit"), "{target}");
    }
    assert_eq!(upstream.log().len(), 0, "the pull of a followed tag asks the upstream nothing");
    // `tagttl` runs from that pull.
    sleep(Duration::from_millis(1100));
    assert_eq!(cache(&client.get(&manifest(APP, "1"))), "revalidated");
    assert_eq!(upstream.requests("HEAD", "/manifests/1"), 1);
}

/// The tag was confirmed before the window opened, and `tagttl` is longer than that is ago.
#[test]
fn fresh_tag_is_asked_about_in_the_window_too() {
    let upstream = Upstream::start();
    upstream.image(APP, "1", &[&noise(1, LAYER)]);
    let mut mirror = mirror_with(&upstream, ", tagttl: 48h", ALWAYS);
    assert_eq!(mirror.client().get(&manifest(APP, "1")).status, 200);
    let pulls = mirror.data().join("cache/repositories/docker.io").join(APP).join("_pulls/tags/1");
    eventually("the record of the pull", || pulls.exists().then_some(()));
    mirror.kill();
    let moved = upstream.image(APP, "1", &[&noise(2, LAYER)]).manifest_digest.to_string();
    age(&mirror, APP, "_tags/1", Duration::from_secs(25 * 3600));
    upstream.forget_log();
    mirror.restart();
    mirror.wait_for_log("followed the tags that clients pulled");
    assert_eq!(upstream.requests("HEAD", "/manifests/1"), 1);
    assert_eq!(mirror.client().get(&manifest(APP, "1")).header("docker-content-digest"), Some(moved.as_str()));
}

#[test]
fn interrupted_content_is_fetched_in_the_next_round() {
    let upstream = Upstream::start();
    upstream.image(APP, "1", &[&noise(1, LAYER)]);
    let mut mirror = mirror_with(&upstream, ", tagttl: 1s", ALWAYS);
    let client = mirror.client();
    assert_eq!(client.get(&manifest(APP, "1")).status, 200);
    let record = mirror.data().join("cache/repositories/docker.io/library/app/_pulls/tags/1");
    eventually("the record of the pull", || record.exists().then_some(()));
    mirror.kill();
    let new = upstream.image(APP, "1", &[&noise(2, LAYER)]);
    upstream.fault("GET", &new.layers[0].to_string(), crate::support::fault::Fault::Status(404));
    age(&mirror, APP, "_tags/1", Duration::from_secs(60));
    mirror.restart();
    mirror.wait_for_log("a tag could not be followed");
    mirror.kill();
    // The tag names the new manifest already, and its layer is still missing.
    upstream.heal();
    mirror.restart();
    mirror.wait_for_log("a tag has moved and its content was fetched");
    assert_eq!(upstream.bytes_sent(&new.layers[0]), LAYER as u64);
}

/// Pulls a tag of two images, moves it, restarts the server and lets it follow the tag. Returns the new images.
fn move_and_follow(upstream: &Upstream, mirror: &mut Registry, pulls_left: u64) {
    let image = |seed| upstream.image(APP, "", &[&noise(seed, LAYER)]);
    let old = [image(1), image(2)];
    upstream.index(APP, "1", &[("amd64", &old[0]), ("arm64", &old[1])]);
    let client = mirror.client();
    for target in [manifest(APP, "1"), manifest(APP, old[0].manifest_digest), manifest(APP, old[1].manifest_digest)] {
        assert_eq!(client.get(&target).status, 200);
    }
    let pulls = mirror.data().join("cache/repositories/docker.io").join(APP).join("_pulls");
    let recorded = |path: String| pulls.join(path).exists();
    let child = |at: usize| format!("manifests/sha256/{}", old[at].manifest_digest.hex());
    eventually("the records of the pulls", || {
        (recorded("tags/1".to_owned()) && recorded(child(0)) && recorded(child(1))).then_some(())
    });
    mirror.kill();
    let new = [image(3), image(4)];
    upstream.index(APP, "1", &[("amd64", &new[0]), ("arm64", &new[1])]);
    age(mirror, APP, "_tags/1", Duration::from_secs(60));
    upstream.forget_log();
    upstream.set_pulls_left(pulls_left);
    mirror.restart();
}

/// The server learns only by its first HEAD that few pulls are left.
#[test]
fn follow_does_not_spend_the_last_pulls() {
    let upstream = Upstream::start();
    let mut mirror = mirror_with(&upstream, ", tagttl: 1s", ALWAYS);
    move_and_follow(&upstream, &mut mirror, 3);
    eventually("a postponed tag", || {
        let metrics = mirror.client().get("/metrics").text();
        metrics.contains("entrepot_follow_tags_total{outcome=\"postponed\"} 1").then_some(())
    });
    assert_eq!((upstream.requests("HEAD", "/manifests/"), upstream.requests("GET", "/manifests/")), (1, 0));
    // With enough pulls, the next round follows it.
    upstream.set_pulls_left(90);
    mirror.restart();
    mirror.wait_for_log("a tag has moved and its content was fetched");
    assert_eq!(upstream.requests("GET", "/manifests/"), 3);
}

/// The pulls become few while a tag is followed: after the index, 10 of 100 are left.
#[test]
fn follow_ends_when_its_own_pulls_make_the_budget_low() {
    let upstream = Upstream::start();
    let mut mirror = mirror_with(&upstream, ", tagttl: 1s", ALWAYS);
    move_and_follow(&upstream, &mut mirror, 11);
    eventually("a postponed tag", || {
        let metrics = mirror.client().get("/metrics").text();
        metrics.contains("entrepot_follow_tags_total{outcome=\"postponed\"} 1").then_some(())
    });
    assert_eq!((upstream.requests("HEAD", "/manifests/"), upstream.requests("GET", "/manifests/")), (1, 1));
    upstream.set_pulls_left(90);
    mirror.restart();
    mirror.wait_for_log("a tag has moved and its content was fetched");
    assert_eq!(upstream.requests("GET", "/manifests/"), 3);
}
