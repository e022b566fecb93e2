//! Answers of the API: HEAD, conditions, ranges, pages, errors, and the endpoints for operators.

use std::io::{BufReader, Read, Write};

use entrepot::oci::MediaType;

use crate::support::client::{Answer, Client, digest_of, noise};
use crate::support::registry::{Registry, free_address};

const UUID: &str = "1a2b3c4d-0000-4000-8000-000000000000";

#[test]
fn base_endpoint_identifies_a_registry() {
    let registry = Registry::start();
    let client = registry.client();
    for target in ["/v2/", "/v2"] {
        let answer = client.get(target);
        assert_eq!((answer.status, answer.text().as_str()), (200, "{}"));
        assert_eq!(answer.header("docker-distribution-api-version"), Some("registry/2.0"));
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("content-length"), Some("2"));
        assert!(answer.header("x-request-id").is_some());
    }
    let named = client.request("GET", "/v2/").header("X-Request-Id", "from-the-proxy_1.2").send();
    assert_eq!(named.header("x-request-id"), Some("from-the-proxy_1.2"));
    let forged = client.request("GET", "/v2/").header("X-Request-Id", "a b").send();
    assert_ne!(forged.header("x-request-id"), Some("a b"));
}

#[test]
fn invalid_requests_are_refused() {
    let registry = Registry::start();
    let client = registry.client();
    let image = client.push_image("team/app", "latest", b"layer");
    let (absent, upper) = (digest_of(b"absent"), image.layer.to_string().to_uppercase());
    for (method, target, status, code) in [
        ("GET", "/v2/nothing", 404, "UNSUPPORTED"),
        ("GET", "/elsewhere", 404, "UNSUPPORTED"),
        ("GET", "/v2/UPPER/manifests/latest", 400, "NAME_INVALID"),
        ("GET", "/v2/../manifests/latest", 400, "NAME_INVALID"),
        ("GET", "/v2/%2e%2e/manifests/latest", 400, "NAME_INVALID"),
        ("GET", "/v2/a%zz/manifests/latest", 400, "NAME_INVALID"),
        ("GET", "/v2/a%00b/tags/list", 400, "NAME_INVALID"),
        ("POST", "/v2/UPPER/blobs/uploads/", 400, "NAME_INVALID"),
        ("GET", "/v2/team/unknown/tags/list", 404, "NAME_UNKNOWN"),
        ("GET", "/v2/team/unknown/manifests/latest", 404, "MANIFEST_UNKNOWN"),
        ("GET", "/v2/team/app/manifests/unknown", 404, "MANIFEST_UNKNOWN"),
        ("GET", "/v2/team/app/manifests/.INVALID_MANIFEST_NAME", 404, "MANIFEST_UNKNOWN"),
        ("GET", &format!("/v2/team/app/manifests/{absent}"), 404, "MANIFEST_UNKNOWN"),
        ("GET", "/v2/team/app/manifests/sha256:abc", 400, "DIGEST_INVALID"),
        ("GET", &format!("/v2/team/app/blobs/{absent}"), 404, "BLOB_UNKNOWN"),
        ("GET", &format!("/v2/team/app/blobs/{upper}"), 400, "DIGEST_INVALID"),
        ("GET", "/v2/team/app/blobs/latest", 400, "DIGEST_INVALID"),
        ("GET", &format!("/v2/team/other/blobs/{}", image.layer), 404, "BLOB_UNKNOWN"),
        ("DELETE", &format!("/v2/team/app/blobs/{absent}"), 404, "BLOB_UNKNOWN"),
        ("DELETE", "/v2/team/app/manifests/unknown", 404, "MANIFEST_UNKNOWN"),
        ("GET", &format!("/v2/team/app/blobs/uploads/{UUID}"), 404, "BLOB_UPLOAD_UNKNOWN"),
        ("PATCH", "/v2/team/app/blobs/uploads/..%2f..%2fx", 404, "UNSUPPORTED"),
        ("GET", "/v2/team/app/blobs/uploads/none", 404, "BLOB_UPLOAD_UNKNOWN"),
        ("GET", "/v2/team/app/tags/list?n=-1", 400, "PAGINATION_NUMBER_INVALID"),
        ("GET", "/v2/_catalog?n=many", 400, "PAGINATION_NUMBER_INVALID"),
        ("POST", "/v2/team/app/blobs/uploads/?digest=x", 400, "DIGEST_INVALID"),
        ("GET", "/v2/team/app/manifests/latest?ns=unknown.example", 404, "NAME_UNKNOWN"),
    ] {
        let answer = client.request(method, target).send();
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{method} {target}");
        assert!(answer.header("x-request-id").is_some());
        let api = answer.header("docker-distribution-api-version");
        assert_eq!(api.is_some(), target.starts_with("/v2"), "{target}");
    }
}

#[test]
fn wrong_methods_get_the_allowed_ones() {
    let registry = Registry::start();
    let client = registry.client();
    for (method, target, allow) in [
        ("POST", "/v2/", "GET, HEAD"),
        ("DELETE", "/v2/_catalog", "GET, HEAD"),
        ("PUT", "/v2/a/tags/list", "GET, HEAD"),
        ("POST", "/v2/a/manifests/x", "GET, HEAD, PUT, DELETE"),
        ("PATCH", &format!("/v2/a/blobs/{}", digest_of(b"")), "GET, HEAD, DELETE"),
        ("GET", "/v2/a/blobs/uploads/", "POST"),
        ("POST", &format!("/v2/a/blobs/uploads/{UUID}"), "GET, HEAD, PATCH, PUT, DELETE"),
        ("BREW", "/v2/", "GET, HEAD"),
        ("DELETE", "/", "GET, HEAD"),
    ] {
        let answer = client.request(method, target).send();
        assert_eq!((answer.status, answer.code().as_str()), (405, "UNSUPPORTED"), "{method} {target}");
        assert_eq!(answer.header("allow"), Some(allow), "{method} {target}");
    }
}

#[test]
fn head_has_the_headers_of_get() {
    let registry = Registry::start();
    let client = registry.client();
    let image = client.push_image("team/app", "latest", &noise(1, 5000));
    for target in [
        "/v2/team/app/manifests/latest".to_owned(),
        format!("/v2/team/app/manifests/{}", image.digest),
        format!("/v2/team/app/blobs/{}", image.layer),
        format!("/v2/team/app/blobs/{}", image.digest),
        "/v2/".to_owned(),
        "/v2/team/app/tags/list".to_owned(),
        "/v2/team/app/manifests/unknown".to_owned(),
        format!("/v2/team/app/blobs/{}", digest_of(b"absent")),
        "/v2/UPPER/manifests/x".to_owned(),
        "/readyz".to_owned(),
    ] {
        let (head, get) = (client.head(&target), client.get(&target));
        assert_eq!(head.status, get.status, "{target}");
        assert!(head.body.is_empty());
        let headers = |answer: &Answer| -> Vec<(String, String)> {
            let varies = |name: &str| matches!(name, "x-request-id" | "date");
            let mut headers: Vec<_> = answer.headers.iter().filter(|(name, _)| !varies(name)).cloned().collect();
            headers.sort();
            headers
        };
        assert_eq!(headers(&head), headers(&get), "{target}");
        assert_eq!(get.header("content-length").unwrap(), get.body.len().to_string());
    }
    let manifest = client.head("/v2/team/app/manifests/latest");
    assert_eq!(manifest.header("content-type"), Some(MediaType::OCI_MANIFEST));
    assert_eq!(manifest.header("docker-content-digest"), Some(image.digest.to_string().as_str()));
    assert_eq!(manifest.header("etag"), Some(format!("\"{}\"", image.digest).as_str()));
    assert_eq!(manifest.header("x-cache"), None);
    let blob = client.head(&format!("/v2/team/app/blobs/{}", image.layer));
    assert_eq!(blob.header("accept-ranges"), Some("bytes"));
    assert_eq!(blob.header("content-type"), Some("application/octet-stream"));
    assert_eq!(blob.header("content-encoding"), None);
}

#[test]
fn manifests_are_not_converted_for_any_accept_header() {
    let registry = Registry::start();
    let client = registry.client();
    let image = client.push_image("team/app", "latest", b"layer");
    for accept in [None, Some("*/*"), Some(MediaType::DOCKER_MANIFEST), Some("text/html;q=0.9, application/json")] {
        let request = client.request("GET", "/v2/team/app/manifests/latest");
        let request = match accept {
            Some(accept) => request.header("Accept", accept),
            None => request,
        };
        let answer = request.header("Accept-Encoding", "zstd;q=1.0, gzip;q=0.8").send();
        assert_eq!(answer.header("content-type"), Some(MediaType::OCI_MANIFEST), "{accept:?}");
        assert_eq!(answer.header("content-encoding"), None);
        assert_eq!(answer.body, image.manifest);
    }
}

#[test]
fn conditional_get_sends_no_known_content() {
    let registry = Registry::start();
    let client = registry.client();
    let image = client.push_image("team/app", "latest", b"layer");
    for (target, digest) in [
        ("/v2/team/app/manifests/latest".to_owned(), image.digest),
        (format!("/v2/team/app/blobs/{}", image.layer), image.layer),
    ] {
        let ask = |method: &str, tag: &str| client.request(method, &target).header("If-None-Match", tag).send();
        for tag in [format!("\"{digest}\""), digest.to_string(), format!("W/\"{digest}\""), "*".to_owned()] {
            for method in ["GET", "HEAD"] {
                let answer = ask(method, &tag);
                assert_eq!((answer.status, answer.body.len()), (304, 0), "{method} {target} {tag}");
                assert_eq!(answer.header("etag"), Some(format!("\"{digest}\"").as_str()));
                assert_eq!(answer.header("docker-content-digest"), Some(digest.to_string().as_str()));
            }
        }
        assert_eq!(ask("GET", &format!("\"{}\"", digest_of(b"other"))).status, 200);
    }
}

#[test]
fn ranges_of_a_blob() {
    let registry = Registry::start();
    let client = registry.client();
    let content = noise(2, 400_000);
    let digest = client.push_blob("team/app", &content);
    let target = format!("/v2/team/app/blobs/{digest}");
    let ask = |range: &str| client.request("GET", &target).header("Range", range).send();
    for (range, first, last) in [
        ("bytes=0-0", 0, 0),
        ("bytes=0-", 0, 399_999),
        ("bytes=100000-299999", 100_000, 299_999),
        ("bytes=399999-", 399_999, 399_999),
        ("bytes=300000-999999999", 300_000, 399_999),
        ("bytes=-1", 399_999, 399_999),
        ("bytes=-999999999", 0, 399_999),
    ] {
        let answer = ask(range);
        assert_eq!(answer.status, 206, "{range}");
        assert_eq!(answer.header("content-range"), Some(format!("bytes {first}-{last}/400000").as_str()), "{range}");
        assert_eq!(answer.header("content-length"), Some((last - first + 1).to_string().as_str()));
        assert!(answer.body == content[first..=last], "{range}");
    }
    for range in ["bytes=400000-", "bytes=999999999-", "bytes=-0"] {
        let answer = ask(range);
        assert_eq!((answer.status, answer.code().as_str()), (416, "RANGE_INVALID"), "{range}");
        assert_eq!(answer.header("content-range"), Some("bytes */400000"));
    }
    for range in ["bytes", "items=0-1", "bytes=a-b", "bytes="] {
        let answer = ask(range);
        assert_eq!((answer.status, answer.body.len()), (200, 400_000), "{range}");
    }
    let conditional =
        |tag: &str| client.request("GET", &target).header("Range", "bytes=0-9").header("If-Range", tag).send().status;
    assert_eq!(conditional(&format!("\"{digest}\"")), 206);
    assert_eq!(conditional("\"other\""), 200);
    assert_eq!(conditional("Wed, 21 Oct 2015 07:28:00 GMT"), 200);
    let head = client.request("HEAD", &target).header("Range", "bytes=0-9").send();
    assert_eq!((head.status, head.header("content-length")), (200, Some("400000")));
}

#[test]
fn lists_are_paged() {
    let registry = Registry::start();
    let client = registry.client();
    let image = client.push_image("team/app", "a", b"layer");
    for tag in ["b", "c", "C", "_d"] {
        assert_eq!(client.put_manifest("team/app", tag, &image.manifest).status, 201);
    }
    client.push_image("team/app/sub", "x", b"layer");
    client.push_image("other", "x", b"layer");
    assert_eq!(
        walk(&client, "/v2/team/app/tags/list", "tags"),
        (["C", "_d", "a", "b", "c"].map(String::from).to_vec(), 1)
    );
    assert_eq!(walk(&client, "/v2/team/app/tags/list?n=2", "tags").1, 3);
    assert_eq!(walk(&client, "/v2/team/app/tags/list?n=5", "tags").1, 1);
    assert_eq!(walk(&client, "/v2/team/app/tags/list?last=a", "tags").0, ["b", "c"]);
    let (repositories, pages) = walk(&client, "/v2/_catalog?n=1", "repositories");
    assert_eq!((repositories, pages), (["other", "team/app", "team/app/sub"].map(String::from).to_vec(), 3));

    let link = client.get("/v2/team/app/tags/list?n=2");
    assert_eq!(link.header("link"), Some("</v2/team/app/tags/list?last=_d&n=2>; rel=\"next\""));
    assert_eq!(link.json()["name"], "team/app");
    let none = client.get("/v2/team/app/tags/list?n=0");
    assert_eq!((none.json()["tags"].as_array().map(Vec::len), none.header("link")), (Some(0), None));

    // A repository without tags has an empty list, not a missing one.
    for tag in ["a", "b", "c", "C", "_d"] {
        assert_eq!(client.request("DELETE", &format!("/v2/team/app/manifests/{tag}")).send().status, 202);
    }
    assert_eq!(client.get("/v2/team/app/tags/list").text(), r#"{"name":"team/app","tags":[]}"#);
}

/// Follows `Link` to the end. Returns all entries and the number of pages.
fn walk(client: &Client, first: &str, key: &str) -> (Vec<String>, usize) {
    let (mut entries, mut pages, mut target) = (Vec::new(), 0, first.to_owned());
    loop {
        let answer = client.get(&target);
        assert_eq!(answer.status, 200, "{target}: {}", answer.text());
        pages += 1;
        let json = answer.json();
        entries.extend(json[key].as_array().unwrap().iter().map(|entry| entry.as_str().unwrap().to_owned()));
        match answer.header("link") {
            Some(link) => target = link.trim_start_matches('<').split('>').next().unwrap().to_owned(),
            None => return (entries, pages),
        }
    }
}

#[test]
fn deletion_of_tags_manifests_and_blobs() {
    let registry = Registry::start();
    let client = registry.client();
    let image = client.push_image("team/app", "a", b"layer");
    client.put_manifest("team/app", "b", &image.manifest);
    let delete = |what: &str| client.request("DELETE", &format!("/v2/team/app/{what}")).send().status;
    let get = |what: &str| client.get(&format!("/v2/team/app/{what}")).status;
    assert_eq!(delete("manifests/a"), 202);
    assert_eq!((get("manifests/a"), get("manifests/b")), (404, 200));
    let by_digest = format!("manifests/{}", image.digest);
    assert_eq!(delete(&by_digest), 202);
    assert_eq!((get("manifests/b"), get(&by_digest), delete(&by_digest)), (404, 404, 404));
    let blob = format!("blobs/{}", image.layer);
    assert_eq!(delete(&blob), 202);
    assert_eq!((get(&blob), delete(&blob)), (404, 404));

    let registry =
        Registry::configured(|place| format!("{}{}storage:{}\n", place.version(), place.http(), place.root()));
    let client = registry.client();
    let image = client.push_image("team/app", "a", b"layer");
    for target in ["/v2/team/app/manifests/a".to_owned(), format!("/v2/team/app/blobs/{}", image.layer)] {
        let refused = client.request("DELETE", &target).send();
        assert_eq!((refused.status, refused.code().as_str()), (405, "UNSUPPORTED"), "{target}");
        let allowed = if target.contains("manifests") { "GET, HEAD, PUT" } else { "GET, HEAD" };
        assert_eq!(refused.header("allow"), Some(allowed), "{target}");
        assert_eq!(refused.detail(), "key: storage.delete.enabled");
    }
}

#[test]
fn logins_are_checked() {
    let registry = Registry::configured(|place| {
        let hash = bcrypt::hash("secret", 4).unwrap();
        let path = place.write("htpasswd", &format!("alice:{hash}\n"));
        format!(
            "{}{}storage:{}\nauth:\n  htpasswd: {{realm: 'the \"realm\"', path: {}}}\n",
            place.version(),
            place.http(),
            place.root(),
            path.display()
        )
    });
    let (anonymous, wrong, alice) =
        (registry.client(), registry.client().login("alice", "wrong"), registry.client().login("alice", "secret"));
    let digest = digest_of(b"x");
    for target in ["/v2/", "/v2/_catalog", "/v2/a/tags/list", "/metrics", &format!("/v2/a/blobs/{digest}")] {
        for client in [&anonymous, &wrong] {
            let refused = client.get(target);
            assert_eq!((refused.status, refused.code().as_str()), (401, "UNAUTHORIZED"), "{target}");
            assert_eq!(refused.header("www-authenticate"), Some(r#"Basic realm="the \"realm\"""#));
            let api = refused.header("docker-distribution-api-version");
            assert_eq!(api.is_some(), target.starts_with("/v2"), "{target}");
        }
    }
    for target in ["/", "/livez", "/readyz", "/debug/health"] {
        assert_eq!(anonymous.get(target).status, 200, "{target}");
    }
    for target in ["/v2/", "/v2/_catalog", "/metrics"] {
        assert_eq!(alice.get(target).status, 200, "{target}");
    }
    // A body that the client sends unasked does not hide the answer.
    let body = noise(3, 8 << 20);
    let refused = anonymous.request("POST", &format!("/v2/a/blobs/uploads/?digest={digest}")).body(&body).send();
    assert_eq!((refused.status, refused.code().as_str()), (401, "UNAUTHORIZED"));
    alice.push_image("team/app", "latest", b"layer");
    assert_eq!(alice.get("/v2/team/app/manifests/latest").status, 200);
    let line = registry.wait_for_log("/v2/team/app/manifests/latest");
    assert!(line.contains("alice"), "{line}");
    assert!(!registry.log().contains("secret"));
}

#[test]
fn operator_endpoints_answer() {
    let registry = Registry::start();
    let client = registry.client();
    for target in ["/", "/livez", "/readyz"] {
        let answer = client.get(target);
        assert_eq!(answer.status, 200, "{target}");
        assert!(answer.header("content-type").is_some_and(|kind| kind.starts_with("text/")), "{target}");
    }
    assert_eq!(client.get("/debug/health").text(), "{}");
    let ping = client.get("/v1/_ping");
    assert_eq!((ping.status, ping.text().as_str()), (200, "true"));
    assert_eq!(ping.header("x-docker-registry-standalone"), Some("true"));

    client.push_image("team/app", "latest", b"layer");
    client.get("/v2/team/app/manifests/latest");
    client.get("/v2/team/app/manifests/unknown");
    let metrics = client.get("/metrics").text();
    for line in [
        r#"registry_http_requests_total{code="200",handler="manifest",method="get"} 1"#,
        r#"registry_http_requests_total{code="404",handler="manifest",method="get"} 1"#,
        r#"registry_http_requests_total{code="201",handler="manifest",method="put"} 1"#,
        r#"registry_http_requests_total{code="202",handler="blob_upload",method="post"} 2"#,
        r#"registry_http_requests_total{code="201",handler="blob_upload_chunk",method="put"} 2"#,
        r#"registry_http_in_flight_requests{handler="metrics"} 1"#,
    ] {
        assert!(metrics.contains(line), "no {line} in\n{metrics}");
    }
}

#[test]
fn every_request_is_logged() {
    let registry = Registry::start();
    let client = registry.client();
    let image = client.push_image("team/app", "latest", b"layer");
    client.request("GET", "/v2/team/app/manifests/latest").header("User-Agent", "tester/1").send();
    let line = registry.wait_for_log("tester/1");
    let json: serde_json::Value = serde_json::from_str(&line).unwrap();
    for (field, want) in [
        ("msg", "response completed"),
        ("http.request.method", "GET"),
        ("http.request.uri", "/v2/team/app/manifests/latest"),
        ("http.request.useragent", "tester/1"),
        ("http.response.contenttype", MediaType::OCI_MANIFEST),
        ("vars.name", "team/app"),
        ("vars.reference", "latest"),
        ("repository", "team/app"),
    ] {
        assert_eq!(json[field], want, "{field} in {line}");
    }
    assert_eq!(json["http.response.status"], 200, "{line}");
    assert_eq!(json["http.response.written"], image.manifest.len(), "{line}");
    client.get("/v2/team/app/manifests/unknown");
    let line = registry.wait_for_log("MANIFEST_UNKNOWN");
    assert!(line.contains("response completed with error") && line.contains("err.message"), "{line}");
}

#[test]
fn prefix_headers_and_debug_port_are_configurable() {
    let debug = free_address();
    let registry = Registry::configured(|place| {
        format!(
            "{}{}  prefix: /behind/\n  host: https://registry.example\n  headers: {{X-Content-Type-Options: [nosniff]}}\n  \
             debug: {{addr: '{debug}', prometheus: {{enabled: true, path: /numbers}}}}\nstorage:{}\n",
            place.version(),
            place.http(),
            place.root()
        )
    });
    let client = registry.client();
    let answer = client.get("/behind/v2/");
    assert_eq!((answer.status, answer.header("x-content-type-options")), (200, Some("nosniff")));
    assert_eq!(answer.header("docker-distribution-api-version"), Some("registry/2.0"));
    for target in ["/v2/", "/api/v1/repositories", "/behind"] {
        let outside = client.get(target);
        assert_eq!(outside.status, 404, "{target}");
        assert!(outside.text().contains("this server serves below /behind/ (http.prefix)"), "{}", outside.text());
    }
    assert!(client.get("/behind/nothing").text().contains("nothing is served at this path"));
    assert!(client.get("/").text().contains("Its API is under /behind/v2/."), "{}", client.get("/").text());
    assert_eq!(client.get("/metrics").status, 404);
    let begun = client.request("POST", "/behind/v2/team/app/blobs/uploads/").send();
    let location = begun.header("location").unwrap();
    assert!(location.starts_with("https://registry.example/behind/v2/team/app/blobs/uploads/"), "{location}");

    let debug = Client::new(debug);
    assert!(debug.get("/numbers").text().contains("registry_http_requests_total"));
    assert_eq!(debug.get("/debug/health").status, 200);
    for target in ["/", "/v2/", "/behind/v2/", "/metrics"] {
        assert_eq!(debug.get(target).status, 404, "{target}");
    }
}

#[test]
fn connection_without_http_is_closed() {
    let registry = Registry::start();
    for nonsense in
        [&b"\x16\x03\x01\x02\x00\x01\x00"[..], b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\0\0\0\0\r\n\r\n"]
    {
        let mut stream = registry.client().connect();
        stream.write_all(nonsense).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        // A reset also ends the connection.
        let _ = stream.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP/1.1 2"), "{nonsense:?}");
    }
    let long = format!("GET /v2/{} HTTP/1.1\r\n\r\n", "a".repeat(200_000));
    let mut stream = registry.client().connect();
    let _ = stream.write_all(long.as_bytes());
    if let Some(answer) = Answer::read(&mut BufReader::new(stream), false) {
        assert!((400..500).contains(&answer.status), "{}", answer.status);
    }
    assert_eq!(registry.client().get("/v2/").status, 200);
}

#[test]
fn http2_works_without_tls() {
    let registry = Registry::start();
    tokio::runtime::Runtime::new().unwrap().block_on(push_and_pull_over_http2(&registry));
}

async fn push_and_pull_over_http2(registry: &Registry) {
    let content = noise(4, 3_000_000);
    let digest = digest_of(&content);
    let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let url = |path: &str| format!("http://{}{path}", registry.addr());
    let begun = client.post(url("/v2/team/app/blobs/uploads/")).send().await.unwrap();
    assert_eq!((begun.status().as_u16(), begun.version()), (202, reqwest::Version::HTTP_2));
    let location = begun.headers()["location"].to_str().unwrap().to_owned();
    let put = client.put(url(&format!("{location}?digest={digest}"))).body(content.clone()).send().await.unwrap();
    assert_eq!(put.status(), 201);
    let blob = url(&format!("/v2/team/app/blobs/{digest}"));
    let head = client.head(&blob).send().await.unwrap();
    assert_eq!(head.headers()["content-length"], content.len().to_string());
    assert!(client.get(&blob).send().await.unwrap().bytes().await.unwrap() == content);
}

/// The server still reads the body of a refused request for a while, also after `Expect: 100-continue`: the client sends it after a
/// second, and some clients lose the answer if the stream is reset right after it.
#[tokio::test]
async fn refusal_over_http2_reads_the_body() {
    let registry = Registry::start();
    let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    for expect in [None, Some("100-continue")] {
        let (pieces, body) = tokio::sync::mpsc::channel::<Result<Vec<u8>, std::io::Error>>(1);
        let body = futures_util::stream::unfold(body, |mut body| async { Some((body.recv().await?, body)) });
        let mut put = client.put(format!("http://{}/v2/UPPER/manifests/a", registry.addr()));
        if let Some(expect) = expect {
            put = put.header("Expect", expect);
        }
        let answer = put.body(reqwest::Body::wrap_stream(body)).send().await.unwrap();
        assert_eq!(answer.status(), 400, "{expect:?}");
        assert!(answer.text().await.unwrap().contains("NAME_INVALID"));
        // Many times the window of the stream, so that bytes leave only if the server reads them.
        for piece in 0..64 {
            pieces.send(Ok(vec![0; 64 << 10])).await.unwrap_or_else(|_| panic!("{expect:?}: cut off at piece {piece}"));
        }
    }
}

#[test]
fn running_transfer_completes_before_the_process_stops() {
    let mut registry = Registry::start();
    let client = registry.client();
    let content = noise(5, 16 << 20);
    let digest = client.push_blob("team/app", &content);
    let mut stream = BufReader::new(client.request("GET", &format!("/v2/team/app/blobs/{digest}")).send_head());
    let mut first = [0; 1];
    stream.read_exact(&mut first).unwrap();
    // A connection without a request delays nothing.
    let _idle = client.connect();

    registry.terminate();
    crate::support::registry::eventually("the closing of the port", || {
        client.try_get("/livez").is_none().then_some(())
    });
    let mut rest = first.to_vec();
    stream.read_to_end(&mut rest).unwrap();
    assert!(rest.ends_with(&content[content.len() - 1000..]));
    assert!(rest.len() > content.len());
    assert!(registry.wait().success());
}

#[test]
fn no_login_is_requested_without_auth() {
    let registry = Registry::start();
    for header in ["Bearer stale", "Basic !!!", "Negotiate x"] {
        let answer = registry.client().request("GET", "/v2/").header("Authorization", header).send();
        assert_eq!(answer.status, 200, "{header}");
    }
}
