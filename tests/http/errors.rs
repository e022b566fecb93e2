//! Errors have the specification's JSON on every path, with details that clients can print.

use std::io::{BufReader, Read, Write};

use crate::support::client::{Answer, Client, digest_of, noise};
use crate::support::fault::Fault;
use crate::support::mirror::{blob, cache, manifest, mirror, mirror_with};
use crate::support::registry::Registry;
use crate::support::upstream::Upstream;

const UUID: &str = "1a2b3c4d-0000-4000-8000-000000000000";

#[test]
fn details_of_errors_are_texts() {
    let registry = Registry::start();
    let client = registry.client();
    let image = client.push_image("team/app", "latest", b"layer");
    let absent = digest_of(b"absent").to_string();
    for (method, target, status, detail) in [
        ("GET", "/v2/UPPER/manifests/x".to_owned(), 400, "name: UPPER"),
        ("GET", format!("/v2/{}/tags/list", "a".repeat(300)), 400, "length: 300"),
        ("POST", "/v2/".to_owned(), 405, "allow: GET, HEAD"),
        ("GET", "/v2/team/none/tags/list".to_owned(), 404, "name: team/none"),
        ("GET", manifest("team/none", "1"), 404, "name: team/none; reference: 1"),
        ("GET", manifest("team/app", "1"), 404, "name: team/app; reference: 1"),
        ("GET", manifest("team/app", ".x"), 404, "tag: .x"),
        ("PUT", manifest("team/app", ".x"), 400, "tag: .x"),
        ("GET", blob("team/app", &absent), 404, &format!("name: team/app; digest: {absent}")),
        ("GET", blob("team/app", "md5:1"), 400, "algorithm: md5; supported: sha256, sha512"),
        ("GET", blob("team/app", "sha256:1"), 400, "algorithm: sha256; expected: 64; found: 1"),
        ("GET", format!("/v2/team/app/blobs/uploads/{UUID}"), 404, &format!("upload: {UUID}")),
        ("PUT", format!("/v2/team/app/blobs/uploads/{UUID}"), 400, "parameter: digest"),
        ("GET", "/v2/_catalog?n=x".to_owned(), 400, "n: x"),
        ("GET", "/v2/_catalog?n=1&n=2".to_owned(), 400, "parameter: n"),
        ("GET", "/v2/nothing".to_owned(), 404, ""),
    ] {
        let answer = client.request(method, &target).send();
        assert_eq!(answer.status, status, "{method} {target}");
        assert!(!answer.code().is_empty());
        assert_eq!(answer.detail(), detail, "{method} {target}");
        assert!(answer.header("x-request-id").is_some());
    }
    let huge = client.put_manifest("team/app", "x", &noise(1, (4 << 20) + 1));
    assert_eq!(huge.detail(), format!("length: {}; limit: {}", (4 << 20) + 1, 4 << 20));
    let hole = client.request("PATCH", &client.begin("team/app")).header("Content-Range", "5-5").body(b"x").send();
    assert_eq!((hole.status, hole.detail().as_str()), (416, "offset: 0"));
    assert_eq!(image.digest, digest_of(&image.manifest));
}

#[test]
fn oversized_head_is_refused_with_a_message() {
    let registry = Registry::start();
    let client = registry.client();
    let fields = |count: usize, len: usize| {
        (0..count)
            .fold(client.request("GET", "/v2/"), |request, at| request.header(&format!("X-{at}"), &"v".repeat(len)))
    };
    for (answer, want) in [
        (client.get(&format!("/v2/?x={}", "a".repeat(7000))), 200),
        (client.get(&format!("/v2/?x={}", "a".repeat(9000))), 414),
        // This is more than hyper reads.
        (client.get(&format!("/v2/?x={}", "a".repeat(63_000))), 414),
        (fields(90, 100).send(), 200),
        (fields(90, 600).send(), 431),
        (fields(120, 1).send(), 431),
        (fields(3, 40_000).send(), 431),
    ] {
        assert_eq!(answer.status, want);
        assert!(answer.header("x-request-id").is_some());
        assert_eq!(answer.header("docker-distribution-api-version"), Some("registry/2.0"));
        if want != 200 {
            assert_eq!(answer.code(), "UNSUPPORTED");
        }
    }
    assert_eq!(client.get("/v2/").status, 200);
}

/// Requests that hyper itself refuses.
#[test]
fn invalid_request_is_refused_with_a_message() {
    let registry = Registry::start();
    let digest = registry.client().push_blob("team/app", &noise(2, 200_000));
    let send = |client: &Client, bytes: &[u8]| {
        let mut stream = client.connect();
        let _ = stream.write_all(bytes);
        BufReader::new(stream)
    };
    let huge = format!("GET /v2/{} HTTP/1.1\r\n\r\n", "a".repeat(200_000));
    for (text, status) in [
        ("GET\r\n\r\n", 400),
        ("GET / HTTP/9.9\r\n\r\n", 400),
        ("G\u{e9}T / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nBad Name: x\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nContent-Length: many\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        ("\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\r\n\r\n", 400),
        (&huge, 431),
    ] {
        let mut stream = send(&registry.client(), text.as_bytes());
        let answer = Answer::read(&mut stream, false).unwrap();
        let said = &text[..text.len().min(40)];
        assert_eq!((answer.status, answer.code().as_str()), (status, "UNSUPPORTED"), "{said:?}");
        assert!(answer.whole, "{said:?}");
        assert_eq!(answer.header("connection"), Some("close"));
        let id = answer.header("x-request-id").unwrap();
        // A client that tries TLS first does so for every request, so only the debug log mentions it.
        if !text.starts_with('\u{16}') {
            let line = registry.wait_for_log(id);
            assert!(line.contains("unreadable request") && line.contains("127.0.0.1"), "{line}");
        }
    }
    // The same after answers on the same connection.
    let target = blob("team/app", digest);
    let text = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\nHEAD /v2/ HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut stream = send(&registry.client(), text.as_bytes());
    let first = Answer::read(&mut stream, false).unwrap();
    assert_eq!((first.status, first.body.len()), (200, 200_000));
    assert_eq!(Answer::read(&mut stream, true).unwrap().status, 200);
    stream.get_mut().write_all(b"nonsense\r\n\r\n").unwrap();
    let last = Answer::read(&mut stream, false).unwrap();
    assert_eq!((last.status, last.code().as_str()), (400, "UNSUPPORTED"));
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    assert!(
        registry
            .client()
            .get("/metrics")
            .text()
            .contains(r#"registry_http_requests_total{code="431",handler="unknown",method="unknown"} 1"#)
    );
}

/// A body that looks like an error answer is content.
#[test]
fn stored_content_like_an_http_answer_is_sent_as_content() {
    let registry = Registry::start();
    let client = registry.client();
    let content = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
    let target = blob("team/app", client.push_blob("team/app", content));
    for _ in 0..3 {
        assert_eq!(client.get(&target).body, content);
    }
    let mut stream = client.connect();
    stream.write_all(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").repeat(5).as_bytes()).unwrap();
    let mut stream = BufReader::new(stream);
    for _ in 0..5 {
        assert_eq!(Answer::read(&mut stream, false).unwrap().body, content);
    }
}

#[test]
fn errors_are_the_same_over_http2() {
    let registry = Registry::start();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
        let get = |path: &str| client.get(format!("http://{}{path}", registry.addr()));
        let many = (0..120).fold(get("/v2/"), |request, at| request.header(format!("x-{at}"), "v"));
        let large = (0..4).fold(get("/v2/"), |request, at| request.header(format!("x-{at}"), "v".repeat(14_000)));
        for (request, status) in [
            (get("/v2/nothing"), 404),
            (get("/v2/UPPER/tags/list"), 400),
            (get(&format!("/v2/?x={}", "a".repeat(9000))), 414),
            (many, 431),
            (large, 431),
        ] {
            let answer = request.send().await.unwrap();
            assert_eq!((answer.status().as_u16(), answer.version()), (status, reqwest::Version::HTTP_2));
            assert!(answer.headers().contains_key("x-request-id"));
            assert_eq!(answer.headers()["content-type"], "application/json");
            let json: serde_json::Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
            assert!(json["errors"][0]["message"].is_string(), "{json}");
        }
    });
}

#[test]
fn mirror_errors_name_their_cause() {
    let upstream = Upstream::start();
    upstream.image("library/app", "1", &[b"layer"]);
    let mirror = mirror(&upstream);
    let client = mirror.client();
    let absent = digest_of(b"absent");
    let list = "/v2/library/none/tags/list".to_owned();
    for target in
        [manifest("library/app", "none"), manifest("library/app", absent), blob("library/app", absent), list.clone()]
    {
        for want in ["miss", "hit", "hit"] {
            let answer = client.get(&target);
            assert_eq!((answer.status, cache(&answer)), (404, want), "{target}");
        }
        assert_eq!(cache(&client.head(&target)), "hit", "{target}");
    }
    let error = client.get(&list);
    assert_eq!(error.code(), "NAME_UNKNOWN");
    assert_eq!(error.detail(), "name: docker.io/library/none");
    let heads = client.head(&manifest("library/app", "nothing"));
    assert_eq!((heads.status, cache(&heads)), (404, "miss"));
    assert_eq!(cache(&client.head(&manifest("library/app", "nothing"))), "hit");
    // Stored content has no bytes from the upstream.
    let image = upstream.image("library/app", "2", &[&noise(3, 200_000)]);
    let target = blob("library/app", image.layers[0]);
    assert_eq!(client.get(&target).status, 200);
    let beyond = client.request("GET", &target).header("Range", "bytes=200000-").send();
    assert_eq!((beyond.status, cache(&beyond)), (416, "hit"));
    // Hosted content has no such details.
    client.push_image("local/app", "1", b"x");
    assert_eq!(client.get(&manifest("local/app", "2")).header("x-cache"), None);
    let log = mirror.wait_for_log("MANIFEST_UNKNOWN");
    assert!(log.contains(r#""cache":"miss""#), "{log}");
}

#[test]
fn failing_upstream_is_named_by_its_key() {
    let upstream = Upstream::start();
    let mirror = mirror_with(&upstream, ", firstbytetimeout: 1s", "");
    let client = mirror.client();
    upstream.fault("GET", "/manifests/", Fault::Hang);
    let hangs = client.get(&manifest("library/app", "1"));
    assert_eq!((hangs.status, hangs.code().as_str(), cache(&hangs)), (504, "UNAVAILABLE", "miss"));
    assert_eq!(hangs.detail(), "upstream: docker.io; key: mirror.upstreams.docker.io");
    assert!(hangs.text().contains("mirror.upstreams.docker.io)"), "{}", hangs.text());
    upstream.gone();
    // After this many failures, the upstream is not asked for a while.
    let answers: Vec<_> = (0..6).map(|number| client.get(&manifest("library/app", format!("gone{number}")))).collect();
    for answer in &answers {
        assert!([503, 504].contains(&answer.status), "{}", answer.status);
        assert!(answer.text().contains("mirror.upstreams.docker.io"), "{}", answer.text());
    }
    let last = answers.last().unwrap();
    let wait: u64 = last.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=10).contains(&wait), "the circuit's first pause is about five seconds, not {wait}: {}", last.text());
}

/// A body of a GET request is ignored and does no harm.
#[test]
fn body_of_a_get_is_ignored() {
    let registry = Registry::start();
    let client = registry.client();
    let image = client.push_image("team/app", "1", b"layer");
    for target in [manifest("team/app", "1"), blob("team/app", image.layer), "/v2/".to_owned()] {
        let answer = client.request("GET", &target).body(&noise(4, 100_000)).send();
        assert_eq!((answer.status, answer.whole), (200, true), "{target}");
        let chunked = client.request("GET", &target).chunked(&[b"some", b"more"]).send();
        assert_eq!(chunked.status, 200, "{target}");
    }
}

#[test]
fn ambiguous_or_deeply_nested_json_is_refused() {
    let registry = Registry::start();
    let client = registry.client();
    let digest = client.push_blob("team/app", b"x");
    let other = digest_of(b"absent");
    let descriptor = |digest: &entrepot::oci::Digest| format!(r#"{{"mediaType":"a/b","digest":"{digest}","size":1}}"#);
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    for body in [
        format!(r#"{{"config":{},"config":{},"layers":[]}}"#, descriptor(&digest), descriptor(&other)),
        format!(r#"{{"config":{},"layers":[],"layers":[]}}"#, descriptor(&digest)),
        r#"{"mediaType":"a/b","mediaType":"c/d"}"#.to_owned(),
        format!(r#"{{"config":{{"mediaType":"a/b","digest":"{digest}","digest":"{other}","size":1}},"layers":[]}}"#),
        format!(r#"{{"config":{},"layers":[{}]}}"#, descriptor(&digest), nested(1000)),
        format!(r#"{{"manifests":[{{"digest":"{digest}","size":1,"platform":{}}}]}}"#, nested(1000)),
        nested(1 << 20),
    ] {
        let refused = client.put_manifest("team/app", "t", body.as_bytes());
        assert_eq!((refused.status, refused.code().as_str()), (400, "MANIFEST_INVALID"), "{}", &body[..40]);
    }
}
