//! Each failure is charged to what failed: in the metric, in the log, in the API, and in the warning of an old answer.

use std::time::Duration;

use crate::support::client::noise;
use crate::support::fault::{Fault, Rule};
use crate::support::mirror::{age, blob, cache, manifest, mirror_with};
use crate::support::registry::Registry;
use crate::support::upstream::{Auth, Bearer, Upstream};

const NAME: &str = "library/app";
const OLD: Duration = Duration::from_secs(3600);

/// Returns the causes that the metric counts, sorted.
fn causes(mirror: &Registry) -> Vec<String> {
    let metrics = mirror.client().get("/metrics").text();
    let lines = metrics.lines().filter(|line| line.starts_with("entrepot_upstream_failures_total{"));
    let cause = |line: &str| line.split("cause=\"").nth(1).and_then(|rest| rest.split('"').next()).map(str::to_owned);
    let mut causes: Vec<String> = lines.filter_map(cause).collect();
    causes.sort_unstable();
    causes
}

#[test]
fn failure_of_a_stale_tag_is_charged_to_its_cause() {
    let dead = Upstream::start();
    dead.gone();
    for (cause, faults, logged, warned) in [
        ("connection", vec![], "no connection to 127.0.0.1", "docker.io has not answered since"),
        ("timeout", vec![Fault::Hang], " does not answer", "docker.io has not answered since"),
        ("status", vec![Fault::Status(500)], "answers with an error", "docker.io has answered with errors since"),
        (
            "throttled",
            vec![Fault::Status(429), Fault::RetryAfter("17")],
            "limits requests (429)",
            "docker.io has limited requests (429) since",
        ),
        (
            "foreign",
            vec![Fault::Page(404)],
            "does not answer as a registry",
            "another server has answered in the place of docker.io since",
        ),
        (
            "broken",
            vec![Fault::Cut(10), Fault::NoDigest],
            "cut or malformed",
            "docker.io has sent broken answers since",
        ),
    ] {
        let upstream = Upstream::start();
        upstream.image(NAME, "1", &[b"x"]);
        let mirror = mirror_with(&upstream, ", firstbytetimeout: 500ms", "");
        assert_eq!(mirror.client().get(&manifest(NAME, "1")).status, 200, "{cause}");
        assert!(causes(&mirror).is_empty(), "{cause}");
        age(&mirror, NAME, "_tags/1", OLD);
        if faults.is_empty() {
            upstream.gone();
        }
        faults.iter().for_each(|fault| upstream.fault("*", "", fault.clone()));
        let stale = mirror.client().get(&manifest(NAME, "1"));
        assert_eq!((stale.status, cache(&stale)), (200, "stale"), "{cause}: {}", stale.text());
        let warning = stale.header("warning").unwrap();
        assert!(warning.contains(warned), "{cause}: {warning}");
        assert_eq!(causes(&mirror), [cause]);
        let line = mirror.wait_for_log("cached content is served as it is");
        assert!(line.contains(logged), "{cause}: {line}");
        mirror.wait_for_log("served an old copy, which the upstream has not confirmed");
        let api = mirror.client().get("/api/v1/upstreams").json()["upstreams"][0].clone();
        assert_eq!(api["silent_cause"], cause, "{api}");
        if cause == "throttled" {
            mirror.wait_for_log("the endpoint answered 429, too many requests");
            assert!(!mirror.log().contains("does not answer"), "a 429 is an answer");
        }
        upstream.heal();
    }
}

#[test]
fn failure_of_a_blob_is_charged_to_its_cause() {
    for (cause, rules) in [
        ("content", vec![Rule::new("GET", "/blobs/", Fault::Corrupt)]),
        ("refused", vec![Rule::new("*", "/blobs/", Fault::Status(403))]),
        ("status", vec![Rule::new("*", "/blobs/", Fault::Status(500))]),
        ("foreign", vec![Rule::new("*", "/blobs/", Fault::Page(404))]),
        ("broken", vec![Rule::new("GET", "/blobs/", Fault::Cut(3)).times(1)]),
        ("redirect", vec![Rule::new("*", "/cdn/", Fault::Status(500))]),
        ("redirect", vec![Rule::new("*", "/cdn/", Fault::Status(403))]),
        ("redirect", vec![Rule::new("*", "/cdn/", Fault::Hang)]),
    ] {
        let upstream = Upstream::start();
        upstream.set_cdn(cause == "redirect");
        let digest = upstream.blob(NAME, &noise(1, 100_000));
        let mirror = mirror_with(&upstream, ", firstbytetimeout: 500ms", "");
        let case = format!("{cause} {rules:?}");
        rules.into_iter().for_each(|rule| upstream.arm(rule));
        let answer = mirror.client().get(&blob(NAME, digest));
        assert!(cause == "broken" || answer.status != 200 || !answer.whole, "{case}: {}", answer.status);
        assert_eq!(causes(&mirror), [cause], "{case}");
        let endpoint = format!("endpoint=\"127.0.0.1:{}\"", upstream.port());
        assert!(mirror.client().get("/metrics").text().contains(&endpoint), "{case}");
    }
}

/// The token server has another address than the registry.
#[test]
fn failure_of_a_token_server_is_not_charged_to_the_registry() {
    for gone in [true, false] {
        let (upstream, tokens) = (Upstream::start(), Upstream::start());
        upstream.image(NAME, "1", &[b"x"]);
        let realm = Some(format!("{}/token", tokens.url()));
        upstream.set_auth(Auth::Bearer(Bearer { realm, ..Bearer::default() }));
        let mirror = mirror_with(&upstream, "", "");
        if gone {
            tokens.gone();
        } else {
            tokens.fault("*", "", Fault::Status(500));
        }
        let refused = mirror.client().get(&manifest(NAME, "1"));
        let named =
            format!("the token server 127.0.0.1:{} (which 127.0.0.1:{} asks to use)", tokens.port(), upstream.port());
        assert!(refused.status >= 500 && refused.text().contains(&named), "{}", refused.text());
        assert!(!refused.text().contains("(configured as"), "its address is not configured: {}", refused.text());
        assert_eq!(causes(&mirror), ["token"], "{gone}");
        let api = mirror.client().get("/api/v1/upstreams").json()["upstreams"][0].clone();
        assert_eq!(api["silent_cause"], "token", "{api}");
    }
}

/// The log promises cached content only where there is some that may be served.
#[test]
fn silence_is_logged_with_the_fate_of_the_requests() {
    for (kept, keys, logged) in [
        (false, "", "this content is not cached, so requests for it fail"),
        (true, "", "cached content is served as it is"),
        (true, ", staleif: never", "mirror.upstreams.docker.io.staleif is `never`"),
        (true, ", stalemax: 30m", "mirror.upstreams.docker.io.stalemax is 30m"),
    ] {
        let upstream = Upstream::start();
        upstream.image(NAME, "1", &[b"x"]);
        let mirror = mirror_with(&upstream, keys, "");
        if kept {
            assert_eq!(mirror.client().get(&manifest(NAME, "1")).status, 200);
            age(&mirror, NAME, "_tags/1", OLD);
        }
        upstream.fault("*", "", Fault::Status(500));
        mirror.client().get(&manifest(NAME, "1"));
        let line = mirror.wait_for_log("answers with an error; ");
        assert!(line.contains(logged), "{kept} {keys}: {line}");
    }
}

/// A tag is cached, and the token of its repository has expired.
#[test]
fn old_tag_names_the_token_server_that_failed() {
    let (upstream, tokens) = (Upstream::start(), Upstream::start());
    upstream.image(NAME, "1", &[b"x"]);
    let mirror = mirror_with(&upstream, ", firstbytetimeout: 500ms", "");
    assert_eq!(mirror.client().get(&manifest(NAME, "1")).status, 200);
    age(&mirror, NAME, "_tags/1", OLD);
    let realm = Some(format!("{}/token", tokens.url()));
    upstream.set_auth(Auth::Bearer(Bearer { realm, ..Bearer::default() }));
    tokens.fault("*", "", Fault::Hang);
    let stale = mirror.client().get(&manifest(NAME, "1"));
    assert_eq!((stale.status, cache(&stale)), (200, "stale"), "{}", stale.text());
    let warning = stale.header("warning").unwrap();
    assert!(warning.contains("the token server of docker.io has failed since"), "{warning}");
    let named = format!("the token server 127.0.0.1:{} (which", tokens.port());
    assert!(mirror.wait_for_log("cached content is served").contains(&named));
    tokens.heal();
}

/// Each message about a blob names the target of the redirect as such: that of the request, of its body, and of a later request
/// that is not sent because the server hangs.
#[test]
fn failure_of_a_redirects_target_names_the_endpoint_that_redirects() {
    for (fault, status) in
        [(Some(Fault::Hang), 504), (Some(Fault::Status(500)), 502), (Some(Fault::Status(403)), 502), (None, 503)]
    {
        let (upstream, other) = (Upstream::start(), Upstream::start());
        let digest = upstream.blob(NAME, &noise(1, 100_000));
        upstream.set_cdn_at(&other.url());
        let case = format!("{fault:?}");
        match fault {
            Some(fault) => other.fault("*", "", fault),
            None => other.gone(),
        }
        let mirror = mirror_with(&upstream, ", firstbytetimeout: 500ms", "");
        for time in 1..=4 {
            let refused = mirror.client().get(&blob(NAME, digest));
            assert_eq!(refused.status, status, "{case} {time}: {}", refused.text());
            let text = refused.text();
            let named = format!("127.0.0.1:{} (to which 127.0.0.1:{} redirects)", other.port(), upstream.port());
            assert!(text.contains(&named), "{case} {time}: {text}");
            assert!(!text.contains("(configured as"), "its address is not configured: {case}: {text}");
        }
        other.heal();
    }
}

#[test]
fn absence_and_unsupported_lists_are_no_failures() {
    let upstream = Upstream::start();
    let image = upstream.image(NAME, "1", &[b"x"]);
    upstream.fault("*", "/referrers/", Fault::Status(404));
    let mirror = mirror_with(&upstream, "", "");
    let client = mirror.client();
    for target in [
        manifest(NAME, "absent"),
        blob(NAME, crate::support::client::digest_of(b"absent")),
        format!("/v2/{NAME}/referrers/{}", image.manifest_digest),
        "/v2/library/nothing/tags/list".to_owned(),
    ] {
        client.get(&target);
        client.head(&target);
    }
    assert!(causes(&mirror).is_empty(), "{:?}", causes(&mirror));
}

#[test]
fn low_budget_and_its_end_are_logged_once() {
    let upstream = Upstream::start();
    for tag in ["1", "2", "3", "4"] {
        upstream.image(NAME, tag, &[tag.as_bytes()]);
    }
    upstream.set_ratelimit("9;w=21600");
    let mirror = mirror_with(&upstream, "", "");
    for tag in ["1", "2"] {
        assert_eq!(mirror.client().get(&manifest(NAME, tag)).status, 200);
    }
    let low = mirror.wait_for_log("the upstream allows few more pulls");
    assert!(low.contains("\"remaining\":\"9\"") || low.contains("\"remaining\":9"), "{low}");
    upstream.set_ratelimit("90;w=21600");
    assert_eq!(mirror.client().get(&manifest(NAME, "3")).status, 200);
    mirror.wait_for_log("the upstream allows enough pulls again");
    assert_eq!(mirror.log().matches("the upstream allows few more pulls").count(), 1);
}

/// A tag is not asked about, because another repository was answered 429.
#[test]
fn warning_of_a_tag_that_is_not_asked_about_names_the_limit() {
    let upstream = Upstream::start();
    upstream.image(NAME, "1", &[b"x"]);
    let mirror = mirror_with(&upstream, "", "");
    assert_eq!(mirror.client().get(&manifest(NAME, "1")).status, 200);
    age(&mirror, NAME, "_tags/1", OLD);
    upstream.fault("*", "library/other", Fault::Status(429));
    upstream.fault("*", "library/other", Fault::RetryAfter("60"));
    assert_eq!(mirror.client().get(&manifest("library/other", "1")).status, 429);
    let stale = mirror.client().get(&manifest(NAME, "1"));
    assert_eq!(cache(&stale), "stale");
    assert!(stale.header("warning").unwrap().contains("limits requests (429)"), "{:?}", stale.header("warning"));
}

/// A repository that needs a new token waits. Another one, which has a token, is asked.
#[test]
fn limit_of_a_token_server_is_not_that_of_the_registry() {
    let upstream = Upstream::start();
    for (name, tag) in [(NAME, "1"), (NAME, "2"), ("library/other", "1")] {
        upstream.image(name, tag, &[tag.as_bytes()]);
    }
    let mirror = mirror_with(&upstream, "", "");
    // The token server of the upstream gives a token for the first repository.
    upstream.set_auth(Auth::Bearer(Bearer::default()));
    assert_eq!(mirror.client().get(&manifest(NAME, "1")).status, 200);
    upstream.fault("*", "/token", Fault::Status(429));
    upstream.fault("*", "/token", Fault::RetryAfter("60"));
    let refused = mirror.client().get(&manifest("library/other", "1"));
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("60")), "{}", refused.text());
    assert!(refused.text().contains("it is not the registry itself"), "{}", refused.text());
    let again = mirror.client().get(&manifest("library/other", "1"));
    assert!(again.status == 429 && again.text().contains("the token server of "), "{}", again.text());
    assert_eq!(mirror.client().get(&manifest(NAME, "2")).status, 200, "its token is valid");
    mirror.wait_for_log("the token server of the endpoint answered 429");
    assert!(!mirror.log().contains("the endpoint answered 429, too many requests of this account"));
}
