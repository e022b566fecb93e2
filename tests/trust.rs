//! TLS towards an upstream: whom we believe, and who we say that we are.

use hyper::Version;

use crate::support::mirror::{blob, manifest, mirror_at, mirror_with};
use crate::support::tls::Authority;
use crate::support::upstream::{Auth, Bearer, Upstream};

#[test]
fn an_upstream_with_a_private_authority_is_pulled_from_over_one_connection_for_each_transfer() {
    let upstream = Upstream::start_tls();
    let image = upstream.image("library/app", "1", &[b"a layer"]);
    upstream.set_auth(Auth::Bearer(Bearer::default()));
    upstream.set_cdn(true);
    let registry = mirror_at(
        &upstream,
        |place| format!(", ca: {}", place.write("ca.pem", upstream.authority().pem()).display()),
        "",
    );
    let client = registry.client();
    assert_eq!(client.get(&manifest("app", 1)).status, 200);
    assert_eq!(client.get(&blob("app", image.layers[0])).body, b"a layer");
    let log = upstream.log();
    assert!(upstream.tokens() > 0 && upstream.requests("GET", "/cdn/") == 1, "{log:?}");
    // HTTP/2 was on offer, and first.
    assert!(log.iter().all(|request| request.version == Version::HTTP_11), "{log:?}");
}

#[test]
fn a_certificate_that_cannot_be_checked_is_refused_with_the_key_that_would_help() {
    let upstream = Upstream::start_tls();
    upstream.image("library/app", "1", &[b"a layer"]);
    let other = Authority::new();
    let unknown = mirror_with(&upstream, "", "");
    let wrong = mirror_at(&upstream, |place| format!(", ca: {}", place.write("ca.pem", other.pem()).display()), "");
    for registry in [unknown, wrong] {
        let answer = registry.client().get(&manifest("app", 1));
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert!(answer.text().contains("`ca`"), "{}", answer.text());
    }
    assert_eq!(upstream.requests("*", ""), 0);
    let insecure = mirror_with(&upstream, ", insecure: true", "");
    assert_eq!(insecure.client().get(&manifest("app", 1)).status, 200);
}

#[test]
fn an_upstream_that_wants_a_certificate_of_ours_gets_none_unasked() {
    let upstream = Upstream::start_tls_with_client_certificates();
    upstream.image("library/app", "1", &[b"a layer"]);
    let registry = mirror_with(&upstream, ", insecure: true", "");
    let answer = registry.client().get(&manifest("app", 1));
    assert!(answer.status >= 502 && answer.text().contains("CertificateRequired"), "{}", answer.text());
}
