//! Addresses and headers that clients and proxies spell carelessly mean the usual ones.

use crate::support::client::digest_of;
use crate::support::mirror::{manifest, mirror, mirror_with};
use crate::support::registry::Registry;
use crate::support::upstream::Upstream;

#[test]
fn careless_slashes_are_normalised() {
    let registry = Registry::start();
    let client = registry.client();
    let image = client.push_image("team/app", "1", b"layer");
    let referrers = format!("/v2/team/app/referrers/{}", image.digest);
    for (careless, usual) in [
        ("//v2/", "/v2/"),
        ("/v2//", "/v2/"),
        ("/v2/_catalog/", "/v2/_catalog"),
        ("//v2//_catalog//?n=1", "/v2/_catalog?n=1"),
        ("/v2/team/app/tags/list/", "/v2/team/app/tags/list"),
        ("/v2//team/app/tags/list", "/v2/team/app/tags/list"),
        ("/v2/team//app//tags/list//?n=5", "/v2/team/app/tags/list?n=5"),
        ("/v2/team%2F%2Fapp/tags/list", "/v2/team/app/tags/list"),
        ("/v2/team/app/manifests//1", "/v2/team/app/manifests/1"),
        (&format!("{referrers}/"), &referrers),
        (&format!("/{referrers}"), &referrers),
        (&format!("//v2/team/app/blobs/{}", image.layer), &format!("/v2/team/app/blobs/{}", image.layer)),
        ("/api/v1/repositories/", "/api/v1/repositories"),
        ("//readyz", "/readyz"),
    ] {
        let (answer, want) = (client.get(careless), client.get(usual));
        assert_eq!((answer.status, want.status), (200, 200), "{careless}: {}", answer.text());
        assert!(answer.body == want.body, "{careless}");
        for protection in ["content-security-policy", "x-content-type-options", "docker-distribution-api-version"] {
            assert_eq!(answer.header(protection), want.header(protection), "{careless}");
        }
    }
    // A push needs no redirect, which would turn its POST into a GET.
    let pushed =
        client.request("POST", &format!("/v2//team//app/blobs/uploads//?digest={}", digest_of(b"x"))).body(b"x");
    assert_eq!(pushed.send().status, 201);
    assert_eq!(client.request("OPTIONS", "//v2/team/app/tags/list/").send().status, 204);
}

#[test]
fn protection_of_the_api_does_not_depend_on_the_spelling() {
    let registry = Registry::start();
    let client = registry.client();
    let image = client.push_image("team/app", "1", b"<script>");
    for spelling in ["//v2/", "/%76%32/", "/v%32//", "/%2Fv2/"] {
        let answer = client.get(&format!("{spelling}team/app/blobs/{}", image.layer));
        assert_eq!(answer.status, 200, "{spelling}");
        assert_eq!(answer.header("content-security-policy"), Some("default-src 'none'; sandbox"), "{spelling}");
    }
}

#[test]
fn namespace_of_the_same_host_is_that_upstream() {
    let upstream = Upstream::start();
    upstream.image("library/app", "1", &[b"layer"]);
    let mirror = mirror(&upstream);
    for ns in
        ["docker.io", "docker.io:443", "docker.io.", "DOCKER.io.:443", "index.docker.io", "registry-1.docker.io:443"]
    {
        let answer = mirror.client().get(&format!("{}?ns={ns}", manifest("library/app", "1")));
        assert_eq!((answer.status, answer.header("oci-namespace")), (200, Some(ns)), "{}", answer.text());
    }
    for ns in ["docker.io:80", "docker.io..", "docker.io:5000"] {
        let answer = mirror.client().get(&format!("{}?ns={ns}", manifest("library/app", "1")));
        assert_eq!((answer.status, answer.code().as_str()), (404, "NAME_UNKNOWN"), "{ns}");
    }
}

#[test]
fn own_name_in_another_spelling_means_nothing() {
    let upstream = Upstream::start();
    let mirror = mirror_with(&upstream, "", "  names: [mirror.corp]");
    mirror.client().push_image("local/app", "1", b"layer");
    for ns in ["mirror.corp", "mirror.corp:443", "mirror.corp.", "Mirror.Corp"] {
        let answer = mirror.client().get(&format!("/v2/local/app/manifests/1?ns={ns}"));
        assert_eq!((answer.status, answer.header("oci-namespace")), (200, None), "{ns}: {}", answer.text());
    }
}

#[test]
fn range_of_a_put_without_a_body_is_ignored() {
    let registry = Registry::start();
    let client = registry.client();
    let digest = digest_of(b"hello");
    for range in ["0-4", "bytes 0-4/5", "5-9", "5-5", "", "0--1"] {
        for chunked in [false, true] {
            let location = client.begin("team/app");
            assert_eq!(
                client.request("PATCH", &location).header("Content-Range", "0-4").body(b"hello").send().status,
                202
            );
            let request = client.request("PUT", &format!("{location}?digest={digest}")).header("Content-Range", range);
            let done = if chunked { request.chunked(&[]) } else { request.body(b"") }.send();
            assert_eq!(done.status, 201, "{range:?}, chunked {chunked}: {}", done.text());
        }
    }
    // With a body, the range is that of the last chunk.
    let location = client.begin("team/app");
    assert_eq!(client.request("PATCH", &location).body(b"he").send().status, 202);
    let target = format!("{location}?digest={digest}");
    let put =
        |range: &str| client.request("PUT", &target).header("Content-Range", range).chunked(&[b"l", b"lo"]).send();
    assert_eq!((put("0-2").status, put("5-7").status), (416, 416));
    assert_eq!(put("2-4").status, 201);
}

#[test]
fn empty_login_is_no_login() {
    let registry = Registry::configured(|place| {
        let file = place.write("htpasswd", "alice:$2y$04$wmhVyjwlCckFDM8CnfXU2.Y60N8xqNVTZLTFyJl8K0zmYmxPTPGPS\n");
        format!("{}\nauth: {{htpasswd: {{realm: r, path: {}}}}}", place.usual(), file.display())
    });
    let client = registry.client();
    let asked = |value: &str| client.request("GET", "/v2/").header("Authorization", value).send();
    for empty in ["Basic Og==", "Basic", "Bearer", ""] {
        let answer = asked(empty);
        assert_eq!(answer.status, 401, "{empty:?}");
        assert!(answer.text().contains("authentication required"), "{empty:?}: {}", answer.text());
    }
    // A name without a password is a wrong login.
    assert!(asked("Basic YWxpY2U6").text().contains("wrong password"), "{}", asked("Basic YWxpY2U6").text());
}
