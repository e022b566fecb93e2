//! Several endpoints of one upstream: selection, avoidance, and the operator's view.

use serde_json::Value;

use crate::support::client::{Answer, noise};
use crate::support::fault::Fault;
use crate::support::mirror::{blob, manifest, mirror_of, mirror_with};
use crate::support::registry::{Registry, eventually};
use crate::support::upstream::{Auth, Bearer, Upstream};

const NAME: &str = "library/app";
const LAYER: usize = 200_000;

/// Starts two endpoints with the same images under the tags 0 to `tags`, and different images under `own`.
fn twins(tags: usize) -> [Upstream; 2] {
    [0, 1].map(|which| {
        let upstream = Upstream::start();
        for tag in 0..tags {
            upstream.image(NAME, &tag.to_string(), &[&noise(tag as u64, LAYER)]);
        }
        upstream.image(NAME, "own", &[&noise(1000 + which, 10)]);
        upstream
    })
}

fn get(mirror: &Registry, tag: impl std::fmt::Display) -> Answer {
    mirror.client().get(&manifest(NAME, tag))
}

/// Requests missing tags one after another, each of which is a request to the upstream, until `seen` returns a value.
fn ask_until<T>(mirror: &Registry, what: &str, mut seen: impl FnMut() -> Option<T>) -> T {
    let mut asked = 0;
    eventually(what, || {
        asked += 1;
        get(mirror, format!("absent-{what}-{asked}").replace(' ', "-"));
        seen()
    })
}

/// Returns docker.io's entry of `/api/v1/upstreams`.
fn report(mirror: &Registry) -> Value {
    mirror.client().get("/api/v1/upstreams").json()["upstreams"][0].clone()
}

fn circuit(mirror: &Registry, endpoint: &Upstream) -> String {
    let reports = report(mirror);
    let found = reports["endpoints"].as_array().unwrap().iter().find(|report| report["address"] == endpoint.url());
    found.unwrap()["circuit"].as_str().unwrap().to_owned()
}

fn has_line(mirror: &Registry, line: &str) -> bool {
    mirror.client().get("/metrics").text().lines().any(|found| found == line)
}

fn circuit_line(endpoint: &Upstream, value: u8) -> String {
    format!("entrepot_upstream_circuit{{endpoint=\"127.0.0.1:{}\",upstream=\"docker.io\"}} {value}", endpoint.port())
}

#[test]
fn second_endpoint_replaces_the_first_until_it_is_back() {
    let [first, second] = twins(3);
    let image = second.image(NAME, "3", &[&noise(3, LAYER)]);
    let mirror = mirror_of(&[&first, &second], "", "");
    assert!(has_line(&mirror, &circuit_line(&first, 0)));
    first.gone();
    for tag in 0..4 {
        assert_eq!(get(&mirror, tag).status, 200);
    }
    let layer = mirror.client().get(&blob(NAME, image.layers[0]));
    assert!(layer.whole && layer.body == noise(3, LAYER));
    assert_eq!((circuit(&mirror, &first), circuit(&mirror, &second)), ("open".to_owned(), "closed".to_owned()));
    assert!(has_line(&mirror, &circuit_line(&first, 2)) && has_line(&mirror, &circuit_line(&second, 0)));
    let dead = &report(&mirror)["endpoints"][0];
    assert!(dead["failures"].as_u64() >= Some(3) && dead["retry_at"].as_str().is_some(), "{dead}");

    first.back();
    ask_until(&mirror, "a closed circuit", || (circuit(&mirror, &first) == "closed").then_some(()));
    assert!(has_line(&mirror, &circuit_line(&first, 0)));
    for words in ["several times in a row; it is paused", "the endpoint answers again"] {
        mirror.wait_for_log(words);
    }
    second.forget_log();
    assert_eq!(get(&mirror, "own").body, first_own(&first));
    assert_eq!(second.requests("*", ""), 0);
}

/// Returns the content of `upstream`'s tag `own`.
fn first_own(upstream: &Upstream) -> Vec<u8> {
    let alone = mirror_with(upstream, "", "");
    get(&alone, "own").body
}

#[test]
fn probe_lets_one_request_through() {
    let [first, second] = twins(4);
    // The delay is longer than a client of these tests waits.
    let mirror = mirror_of(&[&first, &second], ", firstbytetimeout: 60s", "");
    first.fault("*", "", Fault::Status(500));
    for tag in 0..4 {
        get(&mirror, tag);
    }
    assert_eq!(first.requests("*", ""), 3, "the fourth request did not reach the endpoint");
    // The probe hangs. The mirror waits for it briefly, and no other request is sent.
    first.heal();
    first.fault("*", "", Fault::Hang);
    first.forget_log();
    ask_until(&mirror, "the probe", || (first.requests("*", "") > 0).then_some(()));
    assert_eq!((first.requests("*", ""), circuit(&mirror, &first).as_str()), (1, "open"));
}

#[test]
fn tags_come_in_order_of_trust_and_digests_from_any_endpoint() {
    let [first, second] = twins(1);
    let lone = second.image(NAME, "lone", &[b"x"]);
    first.fault("*", "", Fault::Latency(std::time::Duration::from_millis(500)));
    let mirror = mirror_of(&[&first, &second], "", "");
    for tag in ["0", "own"] {
        assert_eq!(get(&mirror, tag).status, 200);
    }
    assert_eq!(mirror.client().get(&format!("/v2/{NAME}/tags/list")).status, 200);
    assert_eq!(get(&mirror, "lone").status, 404, "a 404 of the first is an answer");
    assert_eq!(second.requests("*", ""), 0, "the first endpoint is asked although it is slow");
    // After one failure of the first endpoint, the second is healthier. Content that the second lacks may still be at the first.
    let only = first.image(NAME, "only", &[b"y"]).manifest_digest.to_string();
    first.fault_once("*", "", Fault::Status(503));
    assert_eq!(get(&mirror, "0-absent").status, 404);
    assert_eq!(mirror.client().get(&manifest(NAME, &only)).status, 200);
    assert_eq!(
        (second.requests("GET", &only), first.requests("GET", &only)),
        (1, 1),
        "the healthier endpoint is asked first"
    );
    // By now the second endpoint is known to be faster.
    let lone = lone.manifest_digest.to_string();
    assert_eq!(mirror.client().get(&manifest(NAME, &lone)).status, 200);
    assert_eq!((second.requests("GET", &lone), first.requests("GET", &lone)), (1, 0));
}

#[test]
fn damaged_manifest_is_fetched_from_another_endpoint() {
    for (fault, mismatches) in [(Fault::Corrupt, 1), (Fault::Cut(20), 0)] {
        let [first, second] = twins(1);
        let image = second.image(NAME, "0", &[&noise(0, LAYER)]);
        first.fault("GET", "/manifests/", fault.clone());
        let mirror = mirror_of(&[&first, &second], "", "");
        let got = mirror.client().get(&manifest(NAME, image.manifest_digest));
        assert_eq!((got.status, got.body), (200, image.manifest.to_vec()), "{fault:?}");
        let port = first.port();
        let line = format!(
            "entrepot_upstream_digest_mismatch_total{{endpoint=\"127.0.0.1:{port}\",upstream=\"docker.io\"}} {mismatches}"
        );
        assert_eq!(has_line(&mirror, &line), mismatches > 0, "{fault:?}");
        assert_eq!(report(&mirror)["endpoints"][0]["distrusted_until"].is_string(), mismatches > 0, "{fault:?}");
    }
}

#[test]
fn damaged_content_of_one_repository_concerns_no_other() {
    let [first, second] = [Upstream::start(), Upstream::start()];
    for upstream in [&first, &second] {
        for name in ["library/a", "library/b", "library/c", "library/d"] {
            upstream.image(name, "1", &[name.as_bytes()]);
        }
    }
    let mirror = mirror_of(&[&first, &second], "", "");
    let pull = |name: &str| {
        let image = second.image(name, "1", &[name.as_bytes()]);
        let target = manifest(name, image.manifest_digest);
        let got = mirror.client().get(&target);
        assert_eq!((got.status, got.body), (200, image.manifest.to_vec()), "{name}");
        first.requests("GET", &target)
    };
    first.fault("GET", "library/a/manifests/", Fault::Corrupt);
    first.fault("GET", "library/c/manifests/", Fault::Corrupt);
    assert_eq!(pull("library/a"), 1);
    assert_eq!(pull("library/b"), 1, "nothing is wrong with this repository");
    assert_eq!(pull("library/c"), 1);
    assert_eq!(pull("library/d"), 0, "the endpoint damages content");
}

#[test]
fn throttled_endpoint_is_left_alone_and_the_other_asked() {
    let [first, second] = twins(3);
    let mirror = mirror_of(&[&first, &second], "", "");
    first.fault("*", "", Fault::Status(429));
    first.fault("*", "", Fault::RetryAfter("200"));
    assert_eq!(get(&mirror, 0).status, 200);
    first.heal();
    first.forget_log();
    assert_eq!(get(&mirror, 1).status, 200);
    assert_eq!(first.requests("*", ""), 0, "no request before the time in Retry-After");
    let held = &report(&mirror)["endpoints"][0];
    assert!(held["throttled_until"].is_string() && held["circuit"] == "closed", "{held}");
    // Content that the second endpoint lacks may be at the first, so a 404 would claim too much.
    let absent = get(&mirror, "absent");
    assert_eq!((absent.status, absent.code().as_str()), (429, "TOOMANYREQUESTS"));
    let wait: u64 = absent.header("retry-after").unwrap().parse().unwrap();
    assert!(wait <= 200 && wait > 100, "{wait}");
    // This is more precise than a failed connection to the other endpoint.
    second.gone();
    for answer in [get(&mirror, 2), mirror.client().head(&manifest(NAME, 2))] {
        assert_eq!(answer.status, 429);
    }
    assert_eq!(first.requests("*", ""), 0);
}

#[test]
fn hanging_endpoint_is_avoided_after_a_few_waits() {
    let upstream = Upstream::start();
    upstream.image(NAME, "1", &[b"x"]);
    let mirror = mirror_with(&upstream, ", firstbytetimeout: 1s", "");
    upstream.fault("*", "", Fault::Hang);
    for tag in 0..3 {
        let answer = get(&mirror, format!("hangs-{tag}"));
        assert_eq!((answer.status, answer.code().as_str()), (504, "UNAVAILABLE"));
        assert!(answer.text().contains("sent nothing for 1s"), "{}", answer.text());
    }
    let asked = upstream.log().len();
    assert_eq!(asked, 3);
    let answers = [get(&mirror, "1"), get(&mirror, "2"), mirror.client().get(&format!("/v2/{NAME}/tags/list"))];
    for answer in answers {
        assert_eq!((answer.status, answer.code().as_str()), (504, "UNAVAILABLE"));
        assert!(answer.text().contains("has not answered since 20"), "{}", answer.text());
    }
    assert_eq!(upstream.log().len(), asked, "no request was sent, so no client waited");
    upstream.heal();
    eventually("an answer", || (get(&mirror, "1").status == 200).then_some(()));
}

#[test]
fn restored_link_is_noticed_at_once() {
    let upstream = Upstream::start();
    upstream.image(NAME, "1", &[b"x"]);
    let mirror = mirror_with(&upstream, "", "");
    upstream.gone();
    for tag in 0..5 {
        assert_eq!(get(&mirror, format!("gone-{tag}")).status, 503);
    }
    assert_eq!(circuit(&mirror, &upstream), "open");
    upstream.back();
    assert_eq!(get(&mirror, "1").status, 200);
    assert_eq!(circuit(&mirror, &upstream), "closed");
}

#[test]
fn api_shows_the_budget_but_no_secret() {
    let upstream = Upstream::start();
    upstream.set_auth(Auth::Bearer(Bearer { login: Some(("somebody", "pa55word")), ..Bearer::default() }));
    upstream.image(NAME, "1", &[b"x"]);
    let mirror = mirror_with(&upstream, ", username: somebody, password: pa55word", "");
    assert!(report(&mirror)["budget"].is_null());
    for (tag, remaining, spared) in [("1", 50, false), ("2", 7, true)] {
        upstream.set_ratelimit(if spared { "7;w=21600" } else { "50;w=21600" });
        upstream.image(NAME, tag, &[b"x"]);
        assert_eq!(get(&mirror, tag).status, 200);
        let shown = report(&mirror);
        let budget = &shown["budget"];
        assert_eq!((&budget["limit"], &budget["remaining"]), (&100.into(), &remaining.into()), "{budget}");
        assert_eq!((&budget["window_seconds"], &budget["pulls_spared"]), (&21_600.into(), &spared.into()), "{budget}");
        assert!(budget["seen"].as_str().is_some_and(|seen| seen.starts_with("20") && seen.ends_with('Z')));
        assert_eq!((&shown["name"], &shown["account"]), (&"docker.io".into(), &true.into()));
        assert!(shown["silent_since"].is_null() && shown["endpoints"][0]["latency_ms"].is_u64(), "{shown}");
        let metric = |name: &str, value: i32| {
            has_line(&mirror, &format!("entrepot_ratelimit_{name}{{upstream=\"docker.io\"}} {value}"))
        };
        assert!(metric("limit", 100) && metric("remaining", remaining));
    }
    upstream.gone();
    get(&mirror, "absent");
    let shown = mirror.client().get("/api/v1/upstreams");
    assert!(shown.json()["upstreams"][0]["silent_since"].is_string(), "{}", shown.text());
    for secret in ["somebody", "pa55word", "token-"] {
        assert!(!shown.text().contains(secret) && !mirror.log().contains(secret), "{secret}");
    }
}

#[test]
fn repository_that_hangs_delays_no_other() {
    let upstream = Upstream::start();
    for name in ["org/bad", "org/good"] {
        upstream.image(name, "1", &[b"x"]);
    }
    let mirror = mirror_with(&upstream, ", firstbytetimeout: 500ms", "");
    upstream.fault("*", "/v2/org/bad/", Fault::Hang);
    for _ in 0..4 {
        assert_eq!(mirror.client().get(&manifest("org/bad", "1")).status, 504);
    }
    assert_eq!(circuit(&mirror, &upstream), "open", "nothing shows yet that only one repository hangs");
    assert_eq!(mirror.client().get(&manifest("org/good", "1")).status, 200);
    assert_eq!(circuit(&mirror, &upstream), "closed");
    for _ in 0..5 {
        assert_eq!(mirror.client().get(&manifest("org/bad", "1")).status, 504);
    }
    assert_eq!(circuit(&mirror, &upstream), "closed");
    // Its own circuit is open: not each request waits for it.
    let asked = upstream.requests("*", "/v2/org/bad/");
    assert_eq!(mirror.client().get(&manifest("org/bad", "1")).status, 504);
    assert_eq!(upstream.requests("*", "/v2/org/bad/"), asked);
}
