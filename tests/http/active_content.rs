//! Content that a browser would run: refused in a push, not relayed from an upstream, and harmless where it is stored already.

use entrepot::oci::MediaType;

use crate::support::client::{Answer, Client, digest_of, image_manifest};
use crate::support::mirror::{blob, manifest, mirror};
use crate::support::registry::Registry;
use crate::support::upstream::Upstream;

const SCRIPT: &[u8] = b"<html><script>alert(1)</script></html>";

fn put(client: &Client, content_type: &str, body: &[u8]) -> Answer {
    client.request("PUT", "/v2/team/app/manifests/page").header("Content-Type", content_type).body(body).send()
}

/// An artifact whose type only the `Content-Type` tells.
fn untyped() -> Vec<u8> {
    br#"{"schemaVersion":2,"layers":[],"x":"<script>alert(1)</script>"}"#.to_vec()
}

#[test]
fn manifest_of_a_type_that_a_browser_runs_is_refused() {
    let registry = Registry::start();
    let client = registry.client();
    for active in [
        "text/html",
        "TEXT/HTML; charset=utf-8",
        "image/svg+xml",
        "text/javascript",
        "application/xhtml+xml",
        "application/javascript",
        "application/pdf",
        "text/css",
        "application/xml",
        "video/mp4",
    ] {
        let refused = put(&client, active, &untyped());
        assert_eq!((refused.status, refused.code().as_str()), (400, "MANIFEST_INVALID"), "{active}");
        let declared = format!(r#"{{"schemaVersion":2,"mediaType":"{active}","layers":[]}}"#);
        for content_type in ["application/json", active] {
            let refused = put(&client, content_type, declared.as_bytes());
            assert_eq!((refused.status, refused.code().as_str()), (400, "MANIFEST_INVALID"), "{active} in the body");
        }
    }
    assert_eq!(client.get("/v2/team/app/tags/list").status, 404);
    for artifact in
        ["application/vnd.cncf.helm.chart.v3+json", "application/vnd.wasm.config.v0+json", "application/foo"]
    {
        assert_eq!(put(&client, artifact, &untyped()).status, 201, "{artifact}");
        assert_eq!(client.get("/v2/team/app/manifests/page").header("content-type"), Some(artifact));
    }
}

#[test]
fn body_that_contradicts_its_content_type_is_refused() {
    let registry = Registry::start();
    let client = registry.client();
    let image = client.push_image("team/app", "1", b"layer");
    for (content_type, status) in [
        (MediaType::DOCKER_MANIFEST, 400),
        (MediaType::OCI_INDEX, 400),
        ("application/vnd.example.thing+json", 400),
        ("text/html", 400),
        (MediaType::OCI_MANIFEST, 201),
        // These say nothing about the content. Scripts that use curl send them.
        ("application/json", 201),
        ("application/x-www-form-urlencoded", 201),
    ] {
        let answer = put(&client, content_type, &image.manifest);
        assert_eq!(answer.status, status, "{content_type}: {}", answer.text());
    }
}

/// A registry of an older version, or a damaged one, may hold such a manifest.
#[test]
fn stored_manifest_of_an_active_type_is_served_by_its_shape() {
    let registry = Registry::start();
    let client = registry.client();
    assert_eq!(put(&client, "application/vnd.example.thing+json", &untyped()).status, 201);
    let digest = digest_of(&untyped());
    let record = registry.data().join(format!("entrepot/repositories/team/app/_mediatypes/sha256/{}", digest.hex()));
    assert!(record.exists(), "the type is recorded at {}", record.display());
    std::fs::write(&record, "text/html").unwrap();
    for method in ["GET", "HEAD"] {
        let answer = client.request(method, "/v2/team/app/manifests/page").send();
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(MediaType::OCI_MANIFEST)), "{method}");
    }
}

#[test]
fn every_answer_forbids_scripts() {
    let registry = Registry::with("");
    let client = registry.client();
    let image = client.push_image("team/app", "1", SCRIPT);
    let cases = [
        ("GET", "/v2/".to_owned(), 200),
        ("GET", manifest("team/app", "1"), 200),
        ("HEAD", manifest("team/app", "1"), 200),
        ("GET", blob("team/app", image.layer), 200),
        ("GET", "/v2/team/app/tags/list".to_owned(), 200),
        ("GET", "/v2/_catalog".to_owned(), 200),
        ("GET", format!("/v2/team/app/referrers/{}", image.digest), 200),
        ("GET", "/v2/<script>".to_owned(), 400),
        ("GET", "/v2/nothing".to_owned(), 404),
        ("GET", manifest("team/app", "absent"), 404),
        ("POST", "/v2/".to_owned(), 405),
        ("POST", "/v2/team/app/blobs/uploads/".to_owned(), 202),
    ];
    for (method, target, status) in cases {
        let answer = client.request(method, &target).send();
        assert_eq!(answer.status, status, "{method} {target}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{method} {target}");
        assert_eq!(answer.header("content-security-policy"), Some("default-src 'none'; sandbox"), "{method} {target}");
    }
    let part = client.request("GET", &blob("team/app", image.layer)).header("Range", "bytes=0-1,3-4").send();
    assert_eq!((part.status, part.header("content-security-policy")), (206, Some("default-src 'none'; sandbox")));
    for target in ["/api/v1/repositories", "/metrics", "/readyz", "/", "/elsewhere"] {
        assert_eq!(client.get(target).header("x-content-type-options"), Some("nosniff"), "{target}");
    }
}

#[test]
fn configured_headers_do_not_loosen_the_fixed_ones() {
    let registry = Registry::configured(|place| {
        format!(
            "{}{}  headers: {{X-Content-Type-Options: [none], Content-Security-Policy: [\"script-src *\"], X-Own: [a]}}\nstorage:{}\n",
            place.version(),
            place.http(),
            place.root()
        )
    });
    let answer = registry.client().get("/v2/");
    let all = |name: &str| -> Vec<&str> {
        answer.headers.iter().filter(|(found, _)| found == name).map(|(_, value)| value.as_str()).collect()
    };
    assert_eq!(all("x-content-type-options"), ["nosniff"]);
    assert_eq!(all("content-security-policy"), ["default-src 'none'; sandbox"]);
    assert_eq!(all("x-own"), ["a"]);
}

#[test]
fn upstream_that_labels_a_manifest_as_a_page_is_overruled() {
    let upstream = Upstream::start();
    let oci = MediaType::OCI_MANIFEST;
    let (config, layer) = (upstream.blob("library/app", b"{}"), upstream.blob("library/app", b"layer"));
    let typed = image_manifest((&config, 2), (&layer, 5));
    let shaped = br#"{"schemaVersion":2,"layers":[]}"#;
    let page = br#"{"schemaVersion":2,"mediaType":"text/html","layers":[]}"#;
    for (tag, label, body) in [
        ("html", "text/html", &typed[..]),
        ("plain", "text/plain", &typed),
        ("svg", "image/svg+xml", shaped),
        ("script", "text/javascript; charset=utf-8", shaped),
        ("declared", oci, page),
        ("both", "text/html", page),
    ] {
        upstream.manifest("library/app", tag, label, body);
    }
    upstream.manifest("library/app", "none", "text/html", b"{}");
    upstream.manifest("library/app", "only", "application/xhtml+xml", br#"{"mediaType":"text/javascript"}"#);
    let mirror = mirror(&upstream);
    let client = mirror.client();
    for tag in ["html", "plain", "svg", "script", "declared", "both"] {
        // HEAD first: what it learns is not relayed either.
        for method in ["HEAD", "GET", "HEAD"] {
            let answer = client.request(method, &manifest("library/app", tag)).send();
            assert_eq!(
                (answer.status, answer.header("content-type")),
                (200, Some(oci)),
                "{method} {tag}: {}",
                answer.text()
            );
        }
    }
    for tag in ["none", "only"] {
        for method in ["HEAD", "GET"] {
            let answer = client.request(method, &manifest("library/app", tag)).send();
            assert_eq!(answer.status, 502, "{method} {tag}: {}", answer.text());
        }
    }
}

/// The media type of a layer is chosen by the author of the manifest that names it.
#[test]
fn layer_is_not_served_as_a_manifest_of_its_claimed_type() {
    let upstream = Upstream::start();
    let (config, layer) = (upstream.blob("library/app", b"{}"), upstream.blob("library/app", SCRIPT));
    let image = String::from_utf8(image_manifest((&config, 2), (&layer, SCRIPT.len()))).unwrap();
    let image = image.replace("application/vnd.oci.image.layer.v1.tar", "text/html");
    upstream.manifest("library/app", "1", MediaType::OCI_MANIFEST, image.as_bytes());
    let mirror = mirror(&upstream);
    let client = mirror.client();
    assert_eq!(client.get(&manifest("library/app", "1")).status, 200);
    let served = client.get(&blob("library/app", layer));
    assert_eq!((served.status, served.header("content-type")), (200, Some("application/octet-stream")));
    crate::support::mirror::wait_until_stored(&mirror);
    let answer = client.get(&manifest("library/app", layer));
    assert_eq!(answer.status, 404, "{} {:?}", answer.text(), answer.header("content-type"));
}
