//! The table of PRODUCT.md for tags: how old they may be, when the upstream is asked, and what is said when it does not answer.

use std::thread::sleep;
use std::time::Duration;

use crate::support::client::Answer;
use crate::support::fault::Fault;
use crate::support::mirror::{cache, manifest, mirror_with};
use crate::support::registry::{Registry, eventually};
use crate::support::upstream::Upstream;

/// A mirror that trusts a tag for three seconds: what is asked at once after a change is asked within them, on any machine.
fn impatient(upstream: &Upstream) -> Registry {
    mirror_with(upstream, ", tagttl: 3s", "")
}

fn get(mirror: &Registry) -> Answer {
    mirror.client().get(&manifest("library/app", "1"))
}

/// Until a tag that was seen just now is older than twice its TTL.
const OLD: Duration = Duration::from_millis(7200);

#[test]
fn old_tags_are_asked_about_and_what_changed_is_fetched() {
    let upstream = Upstream::start();
    upstream.image("library/app", "1", &[b"old"]);
    let mirror = impatient(&upstream);
    assert_eq!(cache(&get(&mirror)), "miss");
    sleep(OLD);
    upstream.forget_log();
    assert_eq!(cache(&get(&mirror)), "revalidated");
    assert_eq!((upstream.requests("HEAD", ""), upstream.requests("GET", "")), (1, 0));
    assert_eq!(cache(&get(&mirror)), "hit");

    let image = upstream.image("library/app", "1", &[b"new"]);
    sleep(OLD);
    let changed = get(&mirror);
    assert_eq!((cache(&changed), changed.body.as_slice()), ("miss", &image.manifest[..]));
    assert_eq!(cache(&get(&mirror)), "hit");
}

#[test]
fn a_tag_past_its_ttl_is_answered_at_once_and_asked_about_behind_that() {
    let upstream = Upstream::start();
    upstream.image("library/app", "1", &[b"old"]);
    let mirror = mirror_with(&upstream, ", tagttl: 5s", "");
    get(&mirror);
    let image = upstream.image("library/app", "1", &[b"new"]);
    sleep(Duration::from_millis(6200));
    // Longer than anybody waits for a tag: an answer that had waited would be stale.
    upstream.fault("HEAD", "", Fault::Latency(Duration::from_secs(3)));
    assert_eq!(cache(&get(&mirror)), "hit");
    eventually("the new content", || (get(&mirror).body == image.manifest).then_some(()));
    assert_eq!(upstream.requests("HEAD", ""), 1, "one HEAD for all who asked");
}

#[test]
fn what_is_held_is_served_stale_when_the_upstream_is_down_slow_or_has_enough() {
    for fault in [Fault::Status(500), Fault::Status(429), Fault::Hang] {
        let upstream = Upstream::start();
        let image = upstream.image("library/app", "1", &[b"old"]);
        let mirror = impatient(&upstream);
        get(&mirror);
        sleep(OLD);
        upstream.fault("*", "", fault.clone());
        let stale = get(&mirror);
        assert_eq!(
            (stale.status, cache(&stale), stale.body.as_slice()),
            (200, "stale", &image.manifest[..]),
            "{fault:?}"
        );
        let warning = stale.header("warning").unwrap();
        assert!(warning.starts_with("299 - \"docker.io has not answered since 20"), "{warning}");
        let asked = upstream.log().len();
        assert_eq!(cache(&get(&mirror)), "stale");
        assert_eq!(cache(&mirror.client().head(&manifest("library/app", "1"))), "stale");
        assert_eq!(upstream.log().len(), asked, "{fault:?}: nobody asks, and so nobody waits, again");
        assert!(
            mirror.client().get("/metrics").text().contains("entrepot_stale_answers_total{upstream=\"docker.io\"} 3")
        );
    }
}

#[test]
fn on_revalidation_a_refusal_refuses_and_a_tag_that_is_gone_is_gone() {
    let upstream = Upstream::start();
    upstream.image("library/app", "1", &[b"old"]);
    let mirror = impatient(&upstream);
    get(&mirror);
    sleep(OLD);
    upstream.fault("HEAD", "", Fault::Status(403));
    let refused = get(&mirror);
    assert_eq!((refused.status, refused.code().as_str()), (403, "DENIED"));
    upstream.heal();
    upstream.untag("library/app", "1");
    let gone = get(&mirror);
    assert_eq!((gone.status, gone.code().as_str()), (404, "MANIFEST_UNKNOWN"));
}

#[test]
fn an_upstream_without_digests_in_its_heads_is_asked_by_get() {
    let upstream = Upstream::start();
    let image = upstream.image("library/app", "1", &[b"x"]);
    upstream.fault("HEAD", "", Fault::NoDigest);
    let mirror = impatient(&upstream);
    let head = mirror.client().head(&manifest("library/app", "1"));
    assert_eq!(head.header("docker-content-digest"), Some(image.manifest_digest.to_string().as_str()));
}

#[test]
fn a_tag_known_by_a_head_is_fetched_by_digest_when_it_is_wanted() {
    let upstream = Upstream::start();
    let image = upstream.image("library/app", "1", &[b"x"]);
    let mirror = mirror_with(&upstream, "", "");
    let client = mirror.client();
    assert_eq!(cache(&client.head(&manifest("library/app", "1"))), "miss");
    assert_eq!(cache(&client.head(&manifest("library/app", "1"))), "hit");
    let by_tag = get(&mirror);
    assert_eq!((cache(&by_tag), by_tag.body.as_slice()), ("miss", &image.manifest[..]));
    assert_eq!(upstream.requests("GET", &image.manifest_digest.to_string()), 1);
}

#[test]
fn tags_are_listed_as_the_upstream_has_them() {
    let upstream = Upstream::start();
    for tag in ["1", "2", "3"] {
        upstream.image("library/app", tag, &[b"x"]);
    }
    let mirror = mirror_with(&upstream, "", "");
    let all = mirror.client().get("/v2/library/app/tags/list");
    assert_eq!(all.json()["tags"], serde_json::json!(["1", "2", "3"]));
    let none = mirror.client().get("/v2/library/none/tags/list");
    assert_eq!((none.status, none.code().as_str()), (404, "NAME_UNKNOWN"));
}

#[test]
fn a_changed_tag_that_cannot_be_fetched_is_not_asked_for_again_at_once() {
    let upstream = Upstream::start();
    upstream.image("library/app", "1", &[b"old"]);
    let mirror = impatient(&upstream);
    get(&mirror);
    upstream.image("library/app", "1", &[b"new"]);
    upstream.fault("GET", "/manifests/", Fault::Status(429));
    sleep(OLD);
    upstream.forget_log();
    for _ in 0..3 {
        assert_eq!(cache(&get(&mirror)), "stale");
    }
    assert_eq!(
        (upstream.requests("HEAD", ""), upstream.requests("GET", "")),
        (1, 1),
        "GETs are what Docker Hub counts"
    );
}

#[test]
fn a_head_without_a_length_confirms_a_tag_all_the_same() {
    let upstream = Upstream::start();
    upstream.image("library/app", "1", &[b"x"]);
    let mirror = impatient(&upstream);
    get(&mirror);
    upstream.fault("HEAD", "", Fault::NoLength);
    sleep(OLD);
    assert_eq!(cache(&get(&mirror)), "revalidated");
    assert_eq!(cache(&get(&mirror)), "hit");
}
