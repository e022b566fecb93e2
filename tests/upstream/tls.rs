//! TLS to upstreams: trusted authorities and client certificates.

use hyper::Version;

use crate::support::mirror::{blob, manifest, mirror_at, mirror_with};
use crate::support::registry::{Place, Registry};
use crate::support::tls::Authority;
use crate::support::upstream::{Auth, Bearer, Upstream};

#[test]
fn private_authority_is_trusted_and_each_transfer_has_a_connection() {
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
    // The upstream offered HTTP/2 first.
    assert!(log.iter().all(|request| request.version == Version::HTTP_11), "{log:?}");
}

#[test]
fn unverifiable_certificate_is_refused_with_the_key_to_set() {
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
fn upstream_with_plain_http_behind_an_https_url_is_named() {
    let plain = Upstream::start();
    let url = plain.url().replace("http://", "https://");
    let host = plain.url().replace("http://", "");
    let registry =
        Registry::with(&format!("mirror: {{upstreams: {{docker.io: {{default: true, endpoints: [\"{url}\"]}}}}}}"));
    let answer = registry.client().get(&manifest("app", 1));
    let warm = registry
        .client()
        .request("POST", "/api/v1/warm")
        .header("content-type", "application/json")
        .body(br#"{"images": ["app:1"], "platforms": ["linux/amd64"]}"#)
        .send();
    for text in [answer.text(), warm.text()] {
        assert!(text.contains("it answers in plain HTTP, not in TLS"), "{text}");
        assert!(text.contains(&format!("write http://{host} in `endpoints`")), "{text}");
    }
}

#[test]
fn client_certificate_is_sent_only_to_its_upstream() {
    let upstream = Upstream::start_tls_with_client_certificates();
    let image = upstream.image("library/app", "1", &[b"a layer"]);
    upstream.set_auth(Auth::Bearer(Bearer::default()));
    upstream.set_cdn(true);
    let authority = upstream.authority();
    let files = |place: &Place, authority: &Authority| {
        let certificate = place.write("client.pem", authority.client_certificate());
        let key = place.write("client.key", authority.client_key());
        format!("clientcert: {}, clientkey: {}", certificate.display(), key.display())
    };
    let ca = |place: &Place| format!(", ca: {}", place.write("ca.pem", authority.pem()).display());
    let registry = mirror_at(&upstream, |place| format!("{}, {}", ca(place), files(place, authority)), "");
    let client = registry.client();
    assert_eq!(client.get(&manifest("app", 1)).status, 200, "{}", registry.log());
    assert_eq!(client.get(&blob("app", image.layers[0])).body, b"a layer");
    assert!(upstream.log().iter().all(|request| request.version == Version::HTTP_11));

    // Both are in one file.
    let both = |place: &Place| {
        let pem = format!("{}{}", authority.client_key(), authority.client_certificate());
        let file = place.write("both.pem", &pem).display().to_string();
        format!("{}, clientcert: {file}, clientkey: {file}", ca(place))
    };
    assert_eq!(mirror_at(&upstream, both, "").client().get(&manifest("app", 1)).status, 200);

    upstream.forget_log();
    let stranger = Authority::new();
    let strange = mirror_at(&upstream, |place| format!("{}, {}", ca(place), files(place, &stranger)), "");
    let without_certificate = mirror_at(&upstream, ca, "");
    // The certificate belongs to another upstream than the one of this request.
    let others = format!("    other.test: {{endpoints: [\"{}\"], insecure: true}}", upstream.url());
    let beside = mirror_at(&upstream, |place| format!("{}, {}", ca(place), files(place, authority)), &others);
    for (registry, name) in [(&strange, "app"), (&without_certificate, "app"), (&beside, "other.test/library/app")] {
        let answer = registry.client().get(&manifest(name, 1));
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert!(answer.text().contains("`clientcert`"), "{}", answer.text());
    }
    assert_eq!(upstream.requests("*", ""), 0);
}
