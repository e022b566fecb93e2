//! Freshness of tags (docs/reference/freshness.md): when a tag is old, when the upstream is asked, what is served when it does not
//! answer, and how long a negative answer is kept.

use std::time::{Duration, Instant};

use futures_util::future::join_all;

use crate::support::client::Answer;
use crate::support::fault::Fault;
use crate::support::mirror::{age, blob, cache, manifest, mirror, mirror_with};
use crate::support::registry::{Registry, eventually};
use crate::support::upstream::Upstream;

/// Older than the TTL, but not than twice the TTL.
const AGED: Duration = Duration::from_secs(900);
/// Older than twice the TTL.
const OLD: Duration = Duration::from_secs(1300);

fn get(mirror: &Registry) -> Answer {
    mirror.client().get(&manifest("library/app", "1"))
}

/// Makes the tag that [`get`] requests older by this much.
fn make(mirror: &Registry, by: Duration) {
    age(mirror, "library/app", "_tags/1", by);
}

#[test]
fn old_tag_is_revalidated_and_changed_content_fetched() {
    let upstream = Upstream::start();
    upstream.image("library/app", "1", &[b"old"]);
    let mirror = mirror(&upstream);
    assert_eq!(cache(&get(&mirror)), "miss");
    make(&mirror, OLD);
    upstream.forget_log();
    assert_eq!(cache(&get(&mirror)), "revalidated");
    assert_eq!((upstream.requests("HEAD", ""), upstream.requests("GET", "")), (1, 0));
    assert_eq!(cache(&get(&mirror)), "hit");

    let image = upstream.image("library/app", "1", &[b"new"]);
    make(&mirror, OLD);
    let changed = get(&mirror);
    assert_eq!((cache(&changed), changed.body.as_slice()), ("miss", &image.manifest[..]));
    assert_eq!(cache(&get(&mirror)), "hit");
}

#[test]
fn tag_past_its_ttl_is_answered_at_once_and_revalidated_afterwards() {
    let upstream = Upstream::start();
    upstream.image("library/app", "1", &[b"old"]);
    let mirror = mirror(&upstream);
    get(&mirror);
    let image = upstream.image("library/app", "1", &[b"new"]);
    make(&mirror, AGED);
    upstream.close_connections();
    // The delay is longer than a request waits for a tag, so an answer that had waited would be stale.
    upstream.fault("HEAD", "", Fault::Latency(Duration::from_secs(3)));
    assert_eq!(cache(&get(&mirror)), "hit");
    eventually("the new content", || (get(&mirror).body == image.manifest).then_some(()));
    assert_eq!(upstream.requests("HEAD", ""), 1, "one HEAD for all requests");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousand_waiters_for_an_old_tag_cost_one_head() {
    let upstream = Upstream::start();
    let image = upstream.image("library/app", "1", &[b"x"]);
    let mirror = mirror(&upstream);
    get(&mirror);
    make(&mirror, OLD);
    upstream.forget_log();
    upstream.fault("HEAD", "", Fault::Latency(Duration::from_millis(1500)));
    let url = format!("http://{}{}", mirror.addr(), manifest("library/app", "1"));
    let connections: Vec<_> =
        (0..8).map(|_| reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap()).collect();
    let ask = |client: &reqwest::Client| {
        let request = client.get(&url);
        async {
            let answer = request.send().await.unwrap();
            let cache = answer.headers()["x-cache"].to_str().unwrap().to_owned();
            (cache, answer.bytes().await.unwrap())
        }
    };
    let answers = join_all((0..1000).map(|n| ask(&connections[n % connections.len()]))).await;
    assert!(answers.iter().all(|(_, body)| *body == image.manifest));
    assert!(answers.iter().any(|(cache, _)| cache == "revalidated"));
    assert_eq!(upstream.log().len(), 1, "{:?}", upstream.log());
    assert_eq!(upstream.requests("HEAD", "/manifests/1"), 1);
}

#[test]
fn tag_without_requests_costs_nothing() {
    let upstream = Upstream::start();
    for tag in ["1", "2", "3"] {
        upstream.image("library/app", tag, &[b"x"]);
    }
    let mut mirror = mirror(&upstream);
    for tag in ["1", "2", "3"] {
        mirror.client().get(&manifest("library/app", tag));
    }
    make(&mirror, OLD);
    age(&mirror, "library/app", "_tags/2", OLD);
    age(&mirror, "library/app", "_tags/3", AGED);
    upstream.forget_log();
    mirror.restart();
    assert_eq!(cache(&get(&mirror)), "revalidated");
    let asked: Vec<String> = upstream.log().into_iter().map(|request| request.path).collect();
    assert_eq!(asked, ["/v2/library/app/manifests/1"]);
}

#[test]
fn stored_content_is_served_stale_when_the_upstream_fails() {
    for (fault, words) in [
        (Fault::Status(500), "docker.io has answered with errors"),
        (Fault::Status(429), "docker.io has limited requests (429)"),
        (Fault::Page(403), "another server has answered in the place of docker.io"),
        (Fault::Hang, "docker.io has not answered"),
    ] {
        let upstream = Upstream::start();
        let image = upstream.image("library/app", "1", &[b"old"]);
        let mirror = mirror(&upstream);
        get(&mirror);
        make(&mirror, OLD);
        upstream.fault("*", "", fault.clone());
        let stale = get(&mirror);
        assert_eq!(
            (stale.status, cache(&stale), stale.body.as_slice()),
            (200, "stale", &image.manifest[..]),
            "{fault:?}"
        );
        let warning = stale.header("warning").unwrap();
        assert!(warning.starts_with(&format!("299 - \"{words} since 20")), "{warning}");
        let asked = upstream.log().len();
        assert_eq!(cache(&get(&mirror)), "stale");
        assert_eq!(cache(&mirror.client().head(&manifest("library/app", "1"))), "stale");
        assert_eq!(upstream.log().len(), asked, "{fault:?}: no further request is sent, so no client waits");
        assert!(
            mirror.client().get("/metrics").text().contains("entrepot_stale_answers_total{upstream=\"docker.io\"} 3")
        );
    }
}

/// The result of a fault where no old content may be served. `gone` is the result where none is stored.
const MEANINGS: &[(&str, u16)] = &[("500", 502), ("429", 429), ("hang", 504), ("gone", 503)];

fn apply_fault(upstream: &Upstream, what: &str) {
    match what {
        "500" => upstream.fault("*", "", Fault::Status(500)),
        "429" => {
            upstream.fault("*", "", Fault::Status(429));
            upstream.fault("*", "", Fault::RetryAfter("17"));
        }
        "hang" => upstream.fault("*", "", Fault::Hang),
        _ => upstream.gone(),
    }
}

#[test]
fn upstream_errors_are_passed_on_with_staleif_never() {
    for (what, status) in MEANINGS {
        let upstream = Upstream::start();
        upstream.image("library/app", "1", &[b"old"]);
        let mirror = mirror_with(&upstream, ", staleif: never, firstbytetimeout: 500ms", "");
        get(&mirror);
        make(&mirror, OLD);
        apply_fault(&upstream, what);
        // The second request finds that the upstream has just failed to answer; that is no answer either.
        for _ in 0..2 {
            let refused = get(&mirror);
            assert_eq!((refused.status, refused.header("warning")), (*status, None), "{what}: {}", refused.text());
            let key = "the cached copy, which was confirmed 21m ";
            let text = refused.text();
            assert!(text.contains(key) && text.contains("mirror.upstreams.docker.io.staleif is `never`"), "{text}");
            assert_eq!(mirror.client().head(&manifest("library/app", "1")).status, *status, "{what}");
            let wait = refused.header("retry-after");
            assert!(*what != "429" || wait == Some("17"), "{wait:?}");
        }
    }
}

/// The client is told before the upstream request ends.
#[test]
fn wait_of_a_client_that_ends_names_staleif() {
    let upstream = Upstream::start();
    upstream.image("library/app", "1", &[b"old"]);
    let mirror = mirror_with(&upstream, ", staleif: never, clientwait: 500ms", "");
    get(&mirror);
    upstream.fault("*", "", Fault::Hang);
    make(&mirror, OLD);
    let refused = get(&mirror);
    assert_eq!(refused.status, 504);
    assert!(refused.text().contains("mirror.upstreams.docker.io.staleif is `never`"), "{}", refused.text());
    let uncached = mirror.client().get(&manifest("library/app", "2"));
    assert!(uncached.status == 504 && !uncached.text().contains("staleif"), "{}", uncached.text());
    upstream.heal();
}

#[test]
fn content_older_than_the_maximum_age_is_not_served_stale() {
    let upstream = Upstream::start();
    upstream.image("library/app", "1", &[b"old"]);
    let mirror = mirror_with(&upstream, ", stalemax: 1h", "");
    get(&mirror);
    make(&mirror, OLD);
    upstream.gone();
    assert_eq!(cache(&get(&mirror)), "stale");
    make(&mirror, Duration::from_secs(3600));
    let refused = get(&mirror);
    assert_eq!((refused.status, refused.code().as_str()), (503, "UNAVAILABLE"));
    let key = "mirror.upstreams.docker.io.stalemax is 1h: a longer time would serve it";
    assert!(refused.text().contains(key), "{}", refused.text());
    upstream.back();
    assert_eq!(cache(&get(&mirror)), "revalidated");
}

#[test]
fn unfetchable_changed_tag_is_an_error_with_staleif_never() {
    let upstream = Upstream::start();
    upstream.image("library/app", "1", &[b"old"]);
    let mirror = mirror_with(&upstream, ", staleif: never", "");
    get(&mirror);
    upstream.image("library/app", "1", &[b"new"]);
    upstream.fault("GET", "/manifests/", Fault::Status(429));
    make(&mirror, OLD);
    assert_eq!(get(&mirror).status, 429);
}

#[test]
fn hanging_upstream_does_not_delay_stored_content() {
    let upstream = Upstream::start();
    upstream.image("library/app", "1", &[b"x"]);
    // Long enough for a busy machine: a stale answer after 2 s and one after the time-out are told apart.
    let timeout = Duration::from_secs(20);
    let mirror = mirror_with(&upstream, ", firstbytetimeout: 20s", "");
    get(&mirror);
    make(&mirror, OLD);
    upstream.fault("*", "", Fault::Hang);
    let begun = Instant::now();
    assert_eq!(cache(&get(&mirror)), "stale");
    let asked = upstream.log().len();
    assert_eq!(cache(&get(&mirror)), "stale");
    assert_eq!(mirror.client().get("/v2/").status, 200);
    assert!(begun.elapsed() < timeout, "stored content is served before the request to the upstream times out");
    assert_eq!(upstream.log().len(), asked, "no further request is sent, so no client waits");
    let begun = Instant::now();
    let uncached = mirror.client().get(&manifest("library/app", "2"));
    assert_eq!((uncached.status, uncached.code().as_str()), (504, "UNAVAILABLE"));
    assert!(begun.elapsed() < 2 * timeout, "the client is told soon after the time-out");
}

#[test]
fn revalidation_passes_on_refusals_and_deletions() {
    let upstream = Upstream::start();
    upstream.image("library/app", "1", &[b"old"]);
    let mirror = mirror(&upstream);
    get(&mirror);
    make(&mirror, OLD);
    upstream.fault("*", "", Fault::Status(403));
    let refused = get(&mirror);
    assert_eq!((refused.status, refused.code().as_str()), (403, "DENIED"));
    upstream.heal();
    upstream.untag("library/app", "1");
    let gone = get(&mirror);
    assert_eq!((gone.status, gone.code().as_str()), (404, "MANIFEST_UNKNOWN"));
}

#[test]
fn upstream_without_digests_in_heads_is_revalidated_by_get() {
    let upstream = Upstream::start();
    let image = upstream.image("library/app", "1", &[b"x"]);
    upstream.fault("HEAD", "", Fault::NoDigest);
    let mirror = mirror(&upstream);
    let head = mirror.client().head(&manifest("library/app", "1"));
    assert_eq!(head.header("docker-content-digest"), Some(image.manifest_digest.to_string().as_str()));
}

#[test]
fn tag_known_by_head_is_fetched_by_digest() {
    let upstream = Upstream::start();
    let image = upstream.image("library/app", "1", &[b"x"]);
    let mirror = mirror(&upstream);
    let client = mirror.client();
    assert_eq!(cache(&client.head(&manifest("library/app", "1"))), "miss");
    assert_eq!(cache(&client.head(&manifest("library/app", "1"))), "hit");
    let by_tag = get(&mirror);
    assert_eq!((cache(&by_tag), by_tag.body.as_slice()), ("miss", &image.manifest[..]));
    assert_eq!(upstream.requests("GET", &image.manifest_digest.to_string()), 1);
}

#[test]
fn unfetchable_changed_tag_is_not_requested_again_at_once() {
    let upstream = Upstream::start();
    upstream.image("library/app", "1", &[b"old"]);
    let mirror = mirror(&upstream);
    get(&mirror);
    upstream.image("library/app", "1", &[b"new"]);
    upstream.fault("GET", "/manifests/", Fault::Status(429));
    make(&mirror, OLD);
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
fn head_without_a_length_confirms_a_tag() {
    let upstream = Upstream::start();
    upstream.image("library/app", "1", &[b"x"]);
    let mirror = mirror(&upstream);
    get(&mirror);
    upstream.fault("HEAD", "", Fault::NoLength);
    make(&mirror, OLD);
    assert_eq!(cache(&get(&mirror)), "revalidated");
    assert_eq!(cache(&get(&mirror)), "hit");
}

/// A HEAD of the upstream names a wrong length. The manifest that is stored tells more.
#[test]
fn length_of_a_head_does_not_outlive_the_manifest() {
    let upstream = Upstream::start();
    let image = upstream.image("library/app", "1", &[b"x"]);
    let mirror = mirror(&upstream);
    let size = get(&mirror).body.len().to_string();
    upstream.fault("HEAD", "", Fault::Length(7));
    make(&mirror, OLD);
    assert_eq!(cache(&get(&mirror)), "revalidated");
    for reference in ["1", &image.manifest_digest.to_string()] {
        let head = mirror.client().head(&manifest("library/app", reference));
        assert_eq!((head.status, head.header("content-length")), (200, Some(size.as_str())), "{reference}");
    }
}

#[test]
fn last_pulls_of_the_budget_are_kept_for_missing_content() {
    let upstream = Upstream::start();
    let held = upstream.image("library/app", "1", &[b"old"]);
    for tag in ["2", "3"] {
        upstream.image("library/app", tag, &[b"x"]);
    }
    upstream.set_ratelimit("2;w=21600");
    let mirror = mirror(&upstream);
    let client = mirror.client();
    get(&mirror);
    client.get(&manifest("library/app", "2"));
    client.get("/v2/library/app/tags/list");
    let changed = upstream.image("library/app", "1", &[b"new"]);
    upstream.forget_log();

    make(&mirror, AGED);
    assert_eq!(cache(&get(&mirror)), "hit");
    make(&mirror, OLD);
    for _ in 0..3 {
        let spared = get(&mirror);
        assert_eq!((cache(&spared), spared.body.as_slice()), ("stale", &held.manifest[..]));
        assert!(spared.header("warning").unwrap().contains("docker.io allows few more pulls"));
    }
    let asked: Vec<_> = upstream.log().into_iter().map(|asked| (asked.method, asked.path)).collect();
    assert_eq!(asked, [("HEAD".to_owned(), manifest("library/app", "1"))], "no HEAD after an answer, one before it");
    age(&mirror, "library/app", "_tags/2", OLD);
    assert_eq!(cache(&client.get(&manifest("library/app", "2"))), "revalidated", "a HEAD is not counted");
    age(&mirror, "library/app", "_lists/tags", OLD);
    assert_eq!(cache(&client.get("/v2/library/app/tags/list")), "stale");
    assert_eq!((upstream.requests("HEAD", ""), upstream.requests("GET", "")), (2, 0));

    upstream.set_ratelimit("100;w=21600");
    assert_eq!(cache(&client.get(&manifest("library/app", "3"))), "miss", "missing content does not wait");
    let renewed = get(&mirror);
    assert_eq!((cache(&renewed), renewed.body.as_slice()), ("miss", &changed.manifest[..]));
}

/// Requests for everything in a repository that an upstream may report as missing.
fn missing_targets() -> [String; 3] {
    let digest = format!("sha256:{}", "0".repeat(64));
    [manifest("library/app", "none"), manifest("library/app", &digest), blob("library/app", &digest)]
}

#[test]
fn missing_content_is_requested_once() {
    let upstream = Upstream::start();
    upstream.image("library/app", "1", &[b"x"]);
    let mirror = mirror(&upstream);
    let client = mirror.client();
    for target in missing_targets() {
        for _ in 0..3 {
            assert_eq!((client.head(&target).status, client.get(&target).status), (404, 404), "{target}");
        }
        // A HEAD is only a hint, so a GET confirms it.
        let asked = (upstream.requests("HEAD", &target), upstream.requests("GET", &target));
        assert_eq!(asked, (1, 1), "{target}");
        assert_eq!(client.get(&target.replace("library/app", "library/other")).status, 404);
        assert_eq!(upstream.requests("*", "/other/"), 1, "another repository needs its own request");
        upstream.forget_log();
    }
}

#[test]
fn missing_content_is_requested_again_after_its_ttl() {
    let upstream = Upstream::start();
    upstream.image("library/app", "0", &[b"x"]);
    let mirror = mirror_with(&upstream, ", negativettl: 2s", "");
    assert_eq!(get(&mirror).status, 404);
    upstream.image("library/app", "1", &[b"x"]);
    let layer = upstream.blob("library/app", b"late");
    eventually("the tag", || (get(&mirror).status == 200).then_some(()));
    assert!(upstream.requests("*", "/manifests/1") <= 3, "{:?}", upstream.log());
    assert_eq!(mirror.client().get(&blob("library/app", layer)).body, b"late");
}

#[test]
fn missing_content_is_requested_each_time_without_a_negative_ttl() {
    let upstream = Upstream::start();
    upstream.image("library/app", "1", &[b"x"]);
    let mirror = mirror_with(&upstream, ", negativettl: 0s", "");
    for target in missing_targets() {
        for _ in 0..3 {
            assert_eq!(mirror.client().get(&target).status, 404);
        }
        assert_eq!(upstream.requests("*", &target), 3, "{target}");
    }
}

#[test]
fn upstream_error_is_no_negative_answer() {
    for (fault, status) in [(500, 502), (429, 429), (403, 403), (401, 403)] {
        let upstream = Upstream::start();
        let image = upstream.image("library/app", "1", &[b"x"]);
        let mirror = mirror_with(&upstream, ", negativettl: 1h", "");
        upstream.fault("*", "", Fault::Status(fault));
        let targets = [
            manifest("library/app", "1"),
            manifest("library/app", image.manifest_digest),
            blob("library/app", image.layers[0]),
            "/v2/library/app/tags/list".to_owned(),
        ];
        for target in &targets {
            assert_eq!(mirror.client().get(target).status, status, "{fault} {target}");
        }
        upstream.heal();
        for target in &targets {
            let asked = || (mirror.client().get(target).status == 200).then_some(());
            eventually(&format!("{target} after {fault}"), asked);
        }
    }
}

#[test]
fn content_of_a_tag_overrides_a_negative_answer() {
    let upstream = Upstream::start();
    upstream.image("library/app", "1", &[b"x"]);
    let scratch = Upstream::start();
    let later = scratch.image("library/app", "2", &[b"new layer"]);
    let mirror = mirror(&upstream);
    let client = mirror.client();
    let (by_digest, layer) = (manifest("library/app", later.manifest_digest), blob("library/app", later.layers[0]));
    for target in [&by_digest, &layer] {
        assert_eq!(client.get(target).status, 404);
    }
    upstream.image("library/app", "2", &[b"new layer"]);
    // containerd does the same: the digest that HEAD returned must exist, and so must the content that its manifest names.
    assert_eq!(client.head(&manifest("library/app", "2")).status, 200);
    for target in [&by_digest, &layer] {
        assert_eq!(client.get(target).status, 200);
    }
    for evicted in [&by_digest, &layer] {
        assert_eq!(client.request("DELETE", evicted).send().status, 202);
        assert_eq!(client.get(evicted).status, 200, "evicted, and fetched again");
    }
}

#[test]
fn deleted_content_is_requested_again() {
    let upstream = Upstream::start();
    upstream.image("library/app", "0", &[b"x"]);
    let mirror = mirror(&upstream);
    assert_eq!(get(&mirror).status, 404);
    upstream.image("library/app", "1", &[b"x"]);
    assert_eq!(get(&mirror).status, 404);
    assert_eq!(mirror.client().request("DELETE", &manifest("library/app", "1")).send().status, 404);
    assert_eq!(cache(&get(&mirror)), "miss");
}

#[test]
fn failing_repository_leaves_the_tags_of_others_fresh() {
    for fault in [Fault::Status(500), Fault::Hang] {
        let upstream = Upstream::start();
        for name in ["library/app", "library/bad"] {
            upstream.image(name, "1", &[b"old"]);
        }
        let mirror = mirror(&upstream);
        get(&mirror);
        mirror.client().get(&manifest("library/bad", "1"));
        upstream.fault("*", "/library/bad/", fault.clone());
        age(&mirror, "library/bad", "_tags/1", OLD);
        for round in 0..4 {
            let stale = mirror.client().get(&manifest("library/bad", "1"));
            assert_eq!((stale.status, cache(&stale)), (200, "stale"), "{fault:?} {round}");
            make(&mirror, OLD);
            assert_eq!(cache(&get(&mirror)), "revalidated", "{fault:?} {round}");
        }
    }
}

#[test]
fn silent_tag_leaves_the_other_tags_of_its_repository_fresh() {
    let upstream = Upstream::start();
    for tag in ["1", "bad"] {
        upstream.image("library/app", tag, &[b"old"]);
    }
    let mirror = mirror(&upstream);
    get(&mirror);
    mirror.client().get(&manifest("library/app", "bad"));
    upstream.fault("*", "/manifests/bad", Fault::Hang);
    for tag in ["1", "bad"] {
        age(&mirror, "library/app", &format!("_tags/{tag}"), OLD);
    }
    let stale = mirror.client().get(&manifest("library/app", "bad"));
    assert_eq!(cache(&stale), "stale");
    assert_eq!(cache(&get(&mirror)), "revalidated");
    let since =
        |mirror: &Registry| mirror.client().get("/api/v1/upstreams").json()["upstreams"][0]["silent_since"].clone();
    assert!(since(&mirror).is_null(), "the upstream has answered");
}
