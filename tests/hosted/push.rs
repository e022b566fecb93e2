//! Pushes in every form that clients use, and their failures.

use std::io::{BufReader, Read, Write};
use std::net::Shutdown;

use entrepot::oci::{Algorithm, Digest, MediaType};

use crate::support::client::{Answer, Client, digest_of, image_manifest, noise};
use crate::support::registry::{Registry, eventually};

fn assert_held(client: &Client, repository: &str, content: &[u8]) {
    let target = format!("/v2/{repository}/blobs/{}", digest_of(content));
    let head = client.head(&target);
    assert_eq!(head.status, 200);
    assert_eq!(head.header("content-length"), Some(content.len().to_string().as_str()));
    let answer = client.get(&target);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.whole && answer.body == content);
}

fn assert_created(answer: &Answer, repository: &str, digest: &Digest) {
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert_eq!(answer.header("location"), Some(format!("/v2/{repository}/blobs/{digest}").as_str()));
    assert_eq!(answer.header("docker-content-digest"), Some(digest.to_string().as_str()));
    assert_eq!(answer.header("content-length"), Some("0"));
}

#[test]
fn streamed_upload_of_docker() {
    let registry = Registry::start();
    let client = registry.client();
    let content = noise(1, 300_000);
    let begun = client.request("POST", "/v2/team/app/blobs/uploads/").body(b"").send();
    assert_eq!(begun.status, 202);
    assert_eq!(begun.header("range"), Some("0-0"));
    assert_eq!(begun.header("content-length"), Some("0"));
    let location = begun.header("location").unwrap();
    let id = begun.header("docker-upload-uuid").unwrap();
    assert_eq!(location, format!("/v2/team/app/blobs/uploads/{id}"));

    let (first, second) = content.split_at(100_000);
    let patched = client.request("PATCH", location).chunked(&[first, second]).send();
    assert_eq!(patched.status, 202, "{}", patched.text());
    assert_eq!(patched.header("range"), Some("0-299999"));
    assert_eq!(patched.header("docker-upload-uuid"), Some(id));

    let digest = digest_of(&content);
    let target = format!("{}?digest={digest}", patched.header("location").unwrap());
    assert_created(&client.request("PUT", &target).body(b"").send(), "team/app", &digest);
    assert_held(&client, "team/app", &content);
    assert_eq!(client.get(location).code(), "BLOB_UPLOAD_UNKNOWN");
}

#[test]
fn single_put_upload_of_containerd() {
    let registry = Registry::start();
    let client = registry.client();
    for content in [noise(2, 200_000), Vec::new()] {
        let digest = digest_of(&content);
        let target = format!("{}?digest={}", client.begin("team/app"), digest.to_string().replace(':', "%3A"));
        assert_created(&client.request("PUT", &target).body(&content).send(), "team/app", &digest);
        assert_held(&client, "team/app", &content);
    }
}

#[test]
fn single_post_upload() {
    let registry = Registry::start();
    let client = registry.client();
    let content = noise(3, 100_000);
    let digest = digest_of(&content);
    let target = format!("/v2/team/app/blobs/uploads/?digest={digest}");
    assert_created(&client.request("POST", &target).body(&content).send(), "team/app", &digest);
    assert_held(&client, "team/app", &content);

    let wrong = format!("/v2/team/app/blobs/uploads/?digest={}", digest_of(b"other"));
    let refused = client.request("POST", &wrong).body(&content).send();
    assert_eq!((refused.status, refused.code().as_str()), (400, "DIGEST_INVALID"));
}

#[test]
fn chunked_upload_checks_offsets() {
    let registry = Registry::start();
    let client = registry.client();
    let content = noise(4, 3000);
    let location = client.begin("team/app");
    let first = client.request("PATCH", &location).header("Content-Range", "0-999").body(&content[..1000]).send();
    assert_eq!((first.status, first.header("range")), (202, Some("0-999")));

    // A gap or a repetition is refused; the answer tells the right offset.
    for range in ["2000-2999", "0-999"] {
        let wrong = client.request("PATCH", &location).header("Content-Range", range).body(&content[..1000]).send();
        assert_eq!((wrong.status, wrong.code().as_str()), (416, "RANGE_INVALID"), "{range}");
        assert_eq!(wrong.header("range"), Some("0-999"));
        assert_eq!(wrong.header("location"), Some(location.as_str()));
    }
    let status = client.get(&location);
    assert_eq!((status.status, status.header("range")), (204, Some("0-999")));
    assert_eq!(status.header("location"), Some(location.as_str()));
    assert!(status.header("docker-upload-uuid").is_some());

    // Lengths that contradict the range, and invalid ranges.
    for range in ["1000-1500", "x", "1999-1000", "1000-"] {
        let wrong = client.request("PATCH", &location).header("Content-Range", range).body(&content[1000..2000]).send();
        assert_eq!((wrong.status, wrong.code().as_str()), (400, "SIZE_INVALID"), "{range}");
    }
    let second = client.request("PATCH", &location).header("Content-Range", "1000-1999").body(&content[1000..2000]);
    assert_eq!(second.send().header("range"), Some("0-1999"));

    let digest = digest_of(&content);
    let target = format!("{location}?digest={digest}");
    let hole = client.request("PUT", &target).header("Content-Range", "1000-1999").body(&content[2000..]).send();
    assert_eq!(hole.status, 416);
    let last = client.request("PUT", &target).header("Content-Range", "2000-2999").body(&content[2000..]).send();
    assert_created(&last, "team/app", &digest);
    assert_held(&client, "team/app", &content);
}

#[test]
fn interrupted_upload_resumes() {
    let registry = Registry::start();
    let client = registry.client();
    let content = noise(5, 200_000);
    let location = client.begin("team/app");
    let mut stream = client.request("PATCH", &location).header("Content-Length", "200000").send_head();
    stream.write_all(&content[..150_000]).unwrap();
    stream.shutdown(Shutdown::Both).unwrap();

    // Bytes that arrived are kept. The registry reports their number once it has noticed the end of the connection.
    let resumed = eventually("the release of the upload", || {
        let status = client.get(&location);
        let range = status.header("range")?.strip_prefix("0-")?.parse::<usize>().ok()?;
        let from = if range == 0 { 0 } else { range + 1 };
        let rest = client.request("PATCH", &location).header("Content-Range", &format!("{from}-199999"));
        let answer = rest.body(&content[from..]).send();
        (answer.status == 202).then_some(answer)
    });
    assert_eq!(resumed.header("range"), Some("0-199999"));
    let digest = digest_of(&content);
    assert_created(&client.request("PUT", &format!("{location}?digest={digest}")).send(), "team/app", &digest);
    assert_held(&client, "team/app", &content);
}

#[test]
fn upload_resumes_after_restart() {
    let mut registry = Registry::start();
    let client = registry.client();
    let content = noise(6, 100_000);
    let location = client.begin("team/app");
    let patched = client.request("PATCH", &location).body(&content[..60_000]).send();
    assert_eq!(patched.status, 202);
    let whole = client.push_blob("team/app", b"pushed before");

    registry.restart();
    assert_eq!(client.get(&location).header("range"), Some("0-59999"));
    let rest = client.request("PATCH", &location).body(&content[60_000..]).send();
    assert_eq!(rest.header("range"), Some("0-99999"));
    let digest = digest_of(&content);
    assert_created(&client.request("PUT", &format!("{location}?digest={digest}")).send(), "team/app", &digest);
    assert_held(&client, "team/app", &content);
    assert_eq!(client.head(&format!("/v2/team/app/blobs/{whole}")).status, 200);
}

#[test]
fn cancelled_upload_is_gone() {
    let registry = Registry::start();
    let client = registry.client();
    let location = client.begin("team/app");
    assert_eq!(client.request("PATCH", &location).body(b"some").send().status, 202);
    assert_eq!(client.request("DELETE", &location).send().status, 204);
    for method in ["GET", "PATCH", "DELETE"] {
        let answer = client.request(method, &location).body(b"").send();
        assert_eq!((answer.status, answer.code().as_str()), (404, "BLOB_UPLOAD_UNKNOWN"), "{method}");
    }
    // An upload belongs to its repository.
    let location = client.begin("team/app");
    let elsewhere = location.replace("team/app", "team/other");
    assert_eq!(client.get(&elsewhere).code(), "BLOB_UPLOAD_UNKNOWN");
}

#[test]
fn content_with_a_wrong_digest_is_never_stored() {
    let registry = Registry::start();
    let client = registry.client();
    let (content, other) = (noise(7, 50_000), digest_of(b"other"));
    let wrong = client.request("PUT", &format!("{}?digest={other}", client.begin("team/app"))).body(&content).send();
    assert_eq!((wrong.status, wrong.code().as_str()), (400, "DIGEST_INVALID"));
    for digest in [other, digest_of(&content)] {
        let head = client.head(&format!("/v2/team/app/blobs/{digest}"));
        assert_eq!(head.status, 404, "{digest}");
    }
    let missing = client.request("PUT", &client.begin("team/app")).body(&content).send();
    assert_eq!((missing.status, missing.code().as_str()), (400, "DIGEST_INVALID"));
}

#[test]
fn parallel_pushes_of_one_blob_succeed() {
    let registry = Registry::start();
    let client = registry.client();
    let content = noise(8, 2_000_000);
    let digest = digest_of(&content);
    std::thread::scope(|scope| {
        for repository in ["team/one", "team/two", "team/one"] {
            let (client, content) = (&client, &content);
            scope.spawn(move || {
                let target = format!("{}?digest={digest}", client.begin(repository));
                assert_created(&client.request("PUT", &target).body(content).send(), repository, &digest);
            });
        }
    });
    assert_held(&client, "team/one", &content);
    assert_held(&client, "team/two", &content);
}

#[test]
fn sha512() {
    let registry = Registry::start();
    let client = registry.client();
    let content = noise(9, 10_000);
    let digest = Digest::of(Algorithm::Sha512, &content);
    let target = format!("{}?digest={digest}", client.begin("team/app"));
    assert_created(&client.request("PUT", &target).body(&content).send(), "team/app", &digest);
    let answer = client.get(&format!("/v2/team/app/blobs/{digest}"));
    assert_eq!(answer.body, content);
    assert_eq!(answer.header("docker-content-digest"), Some(digest.to_string().as_str()));
}

#[test]
fn blob_is_mounted_from_its_repository() {
    let registry = Registry::start();
    let client = registry.client();
    let content = noise(10, 10_000);
    let digest = client.push_blob("team/app", &content);
    let mount = |repository: &str, query: &str| {
        client.request("POST", &format!("/v2/{repository}/blobs/uploads/?mount={digest}{query}")).body(b"").send()
    };
    assert_created(&mount("team/named", "&from=team/app"), "team/named", &digest);
    assert_created(&mount("team/anonymous", ""), "team/anonymous", &digest);
    assert_created(&mount("team/elsewhere", "&from=team/nowhere"), "team/elsewhere", &digest);
    for repository in ["team/named", "team/anonymous", "team/elsewhere"] {
        assert_held(&client, repository, &content);
    }
    let unknown = format!("/v2/team/app/blobs/uploads/?mount={}&from=team/app", digest_of(b"nowhere"));
    let begun = client.request("POST", &unknown).body(b"").send();
    assert_eq!((begun.status, begun.header("range")), (202, Some("0-0")));
    assert_eq!(client.request("DELETE", begun.header("location").unwrap()).send().status, 204);
}

#[test]
fn manifests_are_pushed_by_tag_and_by_digest() {
    let registry = Registry::start();
    let client = registry.client();
    let image = client.push_image("team/app", "latest", &noise(11, 1000));
    let put = client.put_manifest("team/app", "1.0", &image.manifest);
    assert_eq!(put.status, 201);
    assert_eq!(put.header("location"), Some(format!("/v2/team/app/manifests/{}", image.digest).as_str()));
    assert_eq!(put.header("docker-content-digest"), Some(image.digest.to_string().as_str()));
    let by_digest = client.put_manifest("team/app", &image.digest.to_string(), &image.manifest);
    assert_eq!(by_digest.status, 201);
    for reference in ["latest", "1.0", &image.digest.to_string()] {
        let answer = client.get(&format!("/v2/team/app/manifests/{reference}"));
        assert_eq!(answer.header("content-type"), Some(MediaType::OCI_MANIFEST));
        assert_eq!(answer.body, image.manifest);
    }
    // A parameter does not change the media type.
    let request = client.request("PUT", "/v2/team/app/manifests/2.0");
    let request = request.header("Content-Type", &format!("{}; charset=utf-8", MediaType::OCI_MANIFEST));
    assert_eq!(request.body(&image.manifest).send().status, 201);

    let subject = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","config":{{"mediaType":"a/b","digest":"{}","size":1}},"layers":[],
            "subject":{{"mediaType":"{}","digest":"{}","size":1}}}}"#,
        MediaType::OCI_MANIFEST,
        image.layer,
        MediaType::OCI_MANIFEST,
        image.digest
    );
    let put = client.put_manifest("team/app", "about", subject.as_bytes());
    assert_eq!(put.status, 201, "{}", put.text());
    assert_eq!(put.header("oci-subject"), Some(image.digest.to_string().as_str()));
}

#[test]
fn bad_manifests_are_refused() {
    let registry = Registry::start();
    let client = registry.client();
    let image = client.push_image("team/app", "latest", &noise(12, 1000));
    let absent = digest_of(b"absent");
    let lacks_config = image_manifest((&absent, 1), (&image.layer, 1000));
    let lacks_layer = image_manifest((&image.layer, 1000), (&absent, 1));
    let huge = vec![b' '; (4 << 20) + 1];
    let other = absent.to_string();
    for (reference, body, status, code) in [
        ("x", &b"not json"[..], 400, "MANIFEST_INVALID"),
        ("x", b"[]", 400, "MANIFEST_INVALID"),
        ("x", b"", 400, "MANIFEST_INVALID"),
        ("x", &lacks_config, 400, "MANIFEST_BLOB_UNKNOWN"),
        ("x", &lacks_layer, 400, "MANIFEST_BLOB_UNKNOWN"),
        ("x", &huge, 413, "MANIFEST_INVALID"),
        (&other, &image.manifest, 400, "DIGEST_INVALID"),
        (".x", &image.manifest, 400, "TAG_INVALID"),
        ("sha256:abc", &image.manifest, 400, "DIGEST_INVALID"),
    ] {
        let answer = client.put_manifest("team/app", reference, body);
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{reference}: {}", answer.text());
    }
    let chunked = client.request("PUT", "/v2/team/app/manifests/x").chunked(&[&huge]).send();
    assert_eq!((chunked.status, chunked.code().as_str()), (413, "MANIFEST_INVALID"));
    let lacking = client.put_manifest("team/app", "x", &lacks_layer);
    assert_eq!(lacking.detail(), format!("missing: {absent}"));
    assert_eq!(client.get("/v2/team/app/manifests/x").code(), "MANIFEST_UNKNOWN");
}

#[test]
fn body_is_requested_only_if_the_push_is_accepted() {
    let registry = Registry::with(&mirror());
    let client = registry.client();
    let content = b"asked for";
    let digest = digest_of(content);
    let put = |location: &str| {
        let request = client.request("PUT", &format!("{location}?digest={digest}"));
        let request = request.header("Expect", "100-continue").header("Content-Length", &content.len().to_string());
        BufReader::new(request.send_head())
    };
    let mut stream = put(&client.begin("local/app"));
    assert_eq!(Answer::read(&mut stream, false).unwrap().status, 100);
    stream.get_mut().write_all(content).unwrap();
    assert_created(&Answer::read(&mut stream, false).unwrap(), "local/app", &digest);

    // The name is mirrored, so the server does not ask for the body.
    let mut stream = put("/v2/library/alpine/blobs/uploads/1a2b3c4d-0000-4000-8000-000000000000");
    let refused = Answer::read(&mut stream, false).unwrap();
    assert_eq!((refused.status, refused.code().as_str()), (403, "DENIED"));
    assert!(refused.text().contains("local/**"), "{}", refused.text());
}

/// Docker sends a layer without waiting for 100-continue. It must still see the reason of a refusal.
#[test]
fn refusal_reaches_a_client_that_is_still_sending() {
    let registry = Registry::with(&mirror());
    let client = registry.client();
    let content = noise(13, 8 << 20);
    let digest = digest_of(&content);
    let target = format!("/v2/library/alpine/blobs/uploads/?digest={digest}");
    let refused = client.request("POST", &target).body(&content).send();
    assert_eq!((refused.status, refused.code().as_str()), (403, "DENIED"));
    let refused = client.request("PUT", "/v2/library/alpine/manifests/x").body(&content).send();
    assert_eq!((refused.status, refused.code().as_str()), (403, "DENIED"));
}

/// After a refusal, the connection can be used for the next request.
#[test]
fn refused_body_leaves_the_connection_usable() {
    let registry = Registry::with(&mirror());
    let mut stream = registry.client().connect();
    let body = noise(14, 100_000);
    let head = format!("POST /v2/alpine/blobs/uploads/ HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&body).unwrap();
    stream.write_all(b"GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut stream = BufReader::new(stream);
    assert_eq!(Answer::read(&mut stream, false).unwrap().status, 403);
    assert_eq!(Answer::read(&mut stream, false).unwrap().status, 200);
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

/// Starts a mirror of Docker Hub whose upstream cannot be reached.
fn mirror() -> String {
    "mirror:\n  local: [\"local/**\"]\n  upstreams:\n    docker.io: {default: true, endpoints: [\"http://127.0.0.1:1\"]}\n"
        .to_owned()
}

#[test]
fn lost_blob_is_neither_mounted_nor_accepted_in_manifests() {
    let registry = Registry::start();
    let client = registry.client();
    let image = client.push_image("team/app", "1", b"layer");
    // The garbage collection of registry:2 removes a blob and leaves the links to it.
    let hex = image.layer.hex();
    let blob = registry.data().join(format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]));
    std::fs::remove_file(blob).unwrap();
    assert_eq!(client.head(&format!("/v2/team/app/blobs/{}", image.layer)).status, 404);
    let mount = format!("/v2/team/new/blobs/uploads/?mount={}&from=team/app", image.layer);
    assert_eq!(client.request("POST", &mount).body(b"").send().status, 202);
    let refused = client.put_manifest("team/app", "2", &image.manifest);
    assert_eq!((refused.status, refused.code().as_str()), (400, "MANIFEST_BLOB_UNKNOWN"));
    client.push_blob("team/app", b"layer");
    assert_eq!(client.put_manifest("team/app", "2", &image.manifest).status, 201);
}

#[test]
fn manifest_that_contradicts_its_type_is_refused() {
    let registry = Registry::start();
    for (content_type, body) in [
        ("application/json", "{}"),
        ("application/json", "[]"),
        (entrepot::oci::MediaType::OCI_MANIFEST, r#"{"schemaVersion":2}"#),
        (entrepot::oci::MediaType::OCI_INDEX, r#"{"schemaVersion":2}"#),
        (entrepot::oci::MediaType::OCI_MANIFEST, r#"{"schemaVersion":2,"layers":[]}"#),
        (entrepot::oci::MediaType::OCI_MANIFEST, "not json"),
    ] {
        let client = registry.client();
        let request = client.request("PUT", "/v2/team/app/manifests/1").header("Content-Type", content_type);
        let refused = request.body(body.as_bytes()).send();
        assert_eq!((refused.status, refused.code().as_str()), (400, "MANIFEST_INVALID"), "{content_type} {body}");
        assert!(!refused.text().contains("struct"), "{}", refused.text());
    }
}
