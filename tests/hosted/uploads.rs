//! Blob uploads: the parts of the protocol that few clients use.

use std::io::{BufReader, Write};

use entrepot::oci::{Algorithm, Digest};

use crate::support::client::{Answer, Client, digest_of, noise};
use crate::support::registry::{Registry, eventually};

fn sha512(content: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha512, content)
}

fn assert_held(client: &Client, repository: &str, digest: &Digest, content: &[u8]) {
    let answer = client.get(&format!("/v2/{repository}/blobs/{digest}"));
    assert_eq!((answer.status, answer.body == content), (200, true), "{digest}");
    assert_eq!(answer.header("docker-content-digest"), Some(digest.to_string().as_str()));
}

/// Returns the directory of a digest's bytes, and the content of the repository's link to it.
fn on_disk(registry: &Registry, repository: &str, digest: &Digest) -> (Vec<u8>, String) {
    let root = registry.data().join("docker/registry/v2");
    let hex = digest.hex();
    let link = root.join(format!("repositories/{repository}/_layers/{}/{hex}/link", digest.algorithm().as_str()));
    let content: Digest = std::fs::read_to_string(link).unwrap().parse().unwrap();
    let hex = content.hex();
    let bytes = std::fs::read(root.join(format!("blobs/sha256/{}/{hex}/data", &hex[..2]))).unwrap();
    (bytes, content.to_string())
}

#[test]
fn upload_reports_its_minimum_chunk_length() {
    let registry = Registry::start();
    let client = registry.client();
    let begun = client.request("POST", "/v2/team/app/blobs/uploads/?unknown=1&also").body(b"").send();
    assert_eq!((begun.status, begun.header("oci-chunk-min-length")), (202, Some("1")));
    let location = begun.header("location").unwrap();
    let one = client.request("PATCH", location).header("Content-Range", "0-0").body(b"x").send();
    assert_eq!((one.status, one.header("range")), (202, Some("0-0")));
    let two = client.request("PATCH", location).header("Content-Range", "1-1").body(b"y").send();
    assert_eq!((two.status, two.header("range")), (202, Some("0-1")));
}

#[test]
fn sha512_uploads_in_every_form() {
    let mut registry = Registry::start();
    let client = registry.client();
    let announced = || {
        let begun = client.request("POST", "/v2/team/app/blobs/uploads/?digest-algorithm=sha512").body(b"").send();
        assert_eq!(begun.status, 202, "{}", begun.text());
        begun.header("location").unwrap().to_owned()
    };
    let finish = |location: &str, digest: &Digest, last: &[u8]| {
        client.request("PUT", &format!("{location}?digest={digest}")).body(last).send()
    };
    let contents: Vec<_> = (20..25).map(|seed| noise(seed, 30_000)).collect();
    let patch = |location: &str, content: &[u8]| {
        assert_eq!(client.request("PATCH", location).body(content).send().status, 202);
    };
    // The algorithm is announced, and the bytes are sent in pieces.
    let location = announced();
    patch(&location, &contents[0][..10_000]);
    patch(&location, &contents[0][10_000..20_000]);
    assert_eq!(finish(&location, &sha512(&contents[0]), &contents[0][20_000..]).status, 201);
    // The algorithm is not announced, so the bytes are read again.
    let location = client.begin("team/app");
    patch(&location, &contents[1]);
    assert_eq!(finish(&location, &sha512(&contents[1]), b"").status, 201);
    // sha512 is announced, and the upload is completed with the sha256 digest.
    let location = announced();
    patch(&location, &contents[2]);
    assert_eq!(finish(&location, &digest_of(&contents[2]), b"").status, 201);
    assert_held(&client, "team/app", &digest_of(&contents[2]), &contents[2]);
    // Everything in one request.
    let target = format!("/v2/team/app/blobs/uploads/?digest={}", sha512(&contents[3]));
    assert_eq!(client.request("POST", &target).body(&contents[3]).send().status, 201);
    for content in [&contents[0], &contents[1], &contents[3]] {
        let digest = sha512(content);
        assert_held(&client, "team/app", &digest, content);
        assert_eq!(on_disk(&registry, "team/app", &digest), (content.clone(), digest_of(content).to_string()));
    }
    // A restart forgets the announced algorithm, but not the bytes.
    let location = announced();
    patch(&location, &contents[4][..5000]);
    registry.restart();
    let client = registry.client();
    assert_eq!(client.request("PATCH", &location).body(&contents[4][5000..]).send().status, 202);
    let digest = sha512(&contents[4]);
    assert_eq!(client.request("PUT", &format!("{location}?digest={digest}")).send().status, 201);
    assert_held(&client, "team/app", &digest, &contents[4]);

    let wrong = client.begin("team/app");
    let refused = client.request("PUT", &format!("{wrong}?digest={}", sha512(b"other"))).body(b"this").send();
    assert_eq!((refused.status, refused.code().as_str()), (400, "DIGEST_INVALID"));
    assert_eq!(refused.detail().split("found: ").nth(1), Some(sha512(b"this").to_string().as_str()));
}

#[test]
fn unknown_algorithm_is_refused_with_a_message() {
    let registry = Registry::start();
    for algorithm in ["md5", "sha384", "SHA512", "", "sha256%00"] {
        let target = format!("/v2/team/app/blobs/uploads/?digest-algorithm={algorithm}");
        let refused = registry.client().request("POST", &target).body(b"").send();
        assert_eq!((refused.status, refused.code().as_str()), (400, "DIGEST_INVALID"), "{algorithm}");
        assert!(refused.text().contains("use sha256 or sha512"), "{}", refused.text());
    }
}

#[test]
fn parallel_uploads_with_both_algorithms_succeed() {
    let registry = Registry::start();
    let client = registry.client();
    let content = noise(30, 2_000_000);
    std::thread::scope(|scope| {
        for digest in [digest_of(&content), sha512(&content), digest_of(&content), sha512(&content)] {
            let (client, content) = (&client, &content);
            scope.spawn(move || {
                let target = format!("{}?digest={digest}", client.begin("team/app"));
                assert_eq!(client.request("PUT", &target).body(content).send().status, 201);
            });
        }
    });
    assert_held(&client, "team/app", &digest_of(&content), &content);
    assert_held(&client, "team/app", &sha512(&content), &content);
}

#[test]
fn repeated_parameter_is_refused() {
    let registry = Registry::start();
    let client = registry.client();
    let digest = digest_of(b"x");
    let location = client.begin("team/app");
    for target in [
        format!("{location}?digest={digest}&digest={digest}"),
        format!("{location}?digest={digest}&digest={}", digest_of(b"y")),
    ] {
        let refused = client.request("PUT", &target).body(b"x").send();
        assert_eq!((refused.status, refused.code().as_str()), (400, "DIGEST_INVALID"), "{target}");
        assert_eq!(refused.detail(), "parameter: digest");
    }
    // The attempts have no effect, and the upload can still be completed.
    assert_eq!(client.request("PUT", &format!("{location}?digest={digest}")).body(b"x").send().status, 201);
}

#[test]
fn body_is_requested_only_from_authorized_clients() {
    let registry = Registry::configured(|place| {
        let hash = bcrypt::hash("secret", 4).unwrap();
        let path = place.write("htpasswd", &format!("alice:{hash}\n"));
        let auth = format!("auth:\n  htpasswd: {{realm: r, path: {}}}\n", path.display());
        format!("{}{}storage:{}\n{auth}", place.version(), place.http(), place.root())
    });
    let (anonymous, alice) = (registry.client(), registry.client().login("alice", "secret"));
    let unknown = "1a2b3c4d-0000-4000-8000-000000000000";
    let digest = digest_of(b"x");
    let location = alice.begin("team/app");
    let expecting = |client: &Client, method: &str, target: &str| {
        let request = client.request(method, target).header("Expect", "100-continue").header("Content-Length", "1");
        Answer::read(&mut BufReader::new(request.send_head()), false).unwrap().status
    };
    for (client, method, target, want) in [
        (&anonymous, "POST", format!("/v2/team/app/blobs/uploads/?digest={digest}"), 401),
        (&anonymous, "PATCH", location.clone(), 401),
        (&anonymous, "PUT", "/v2/team/app/manifests/1".to_owned(), 401),
        (&alice, "PATCH", format!("/v2/team/app/blobs/uploads/{unknown}"), 404),
        (&alice, "PUT", format!("/v2/team/app/blobs/uploads/{unknown}?digest={digest}"), 404),
        (&alice, "PUT", location.clone(), 400),
        (&alice, "PUT", "/v2/team/app/manifests/.x".to_owned(), 400),
        (&alice, "PUT", format!("/v2/team/app/manifests/{digest}?tag=.x"), 400),
        (&alice, "POST", format!("/v2/team/app/blobs/uploads/?digest={digest}"), 100),
        (&alice, "PATCH", location.clone(), 100),
        (&alice, "PUT", "/v2/team/app/manifests/1".to_owned(), 100),
    ] {
        assert_eq!(expecting(client, method, &target), want, "{method} {target}");
    }
}

/// Docker rewrites the query of an upload's address, and zot's benchmark drops it, so the state must be in the path.
#[test]
fn upload_state_is_in_its_path() {
    let registry = Registry::start();
    let client = registry.client();
    let location = client.begin("team/app");
    assert!(!location.contains('?'), "{location}");
    let mut stream =
        client.request("PATCH", &format!("{location}?_state=stale&x=%zz")).header("Content-Length", "3").send_head();
    stream.write_all(b"abc").unwrap();
    assert_eq!(Answer::read(&mut BufReader::new(stream), false).unwrap().status, 202);
    let digest = digest_of(b"abc");
    assert_eq!(client.request("PUT", &format!("{location}?_state=&digest={digest}")).send().status, 201);
}

/// Starts a registry that gives a client up after a second without progress.
fn registry_with_short_limits() -> Registry {
    Registry::configured(|place| place.usual().replace("http:\n", "http:\n  stall: 1s\n"))
}

/// Begins a request to an upload that sends some bytes and then nothing.
fn hang(client: &Client, method: &str, target: &str) -> std::net::TcpStream {
    let mut stream = client.request(method, target).header("Content-Length", "100").send_head();
    std::io::Write::write_all(&mut stream, b"half").unwrap();
    stream
}

/// The network of a client fails in the middle of a request. The client connects again and goes on where the server is, while the
/// server still waits for the first request.
#[test]
fn upload_is_taken_over_from_a_request_that_hangs() {
    let registry = registry_with_short_limits();
    let client = registry.client();
    let digest = digest_of(b"half and the rest");
    for (hanging, end) in [("PATCH", "PATCH"), ("PATCH", "PUT"), ("PUT", "PATCH"), ("PUT", "PUT")] {
        let upload = client.begin("team/app");
        let finish = format!("{upload}?digest={digest}");
        let target = |method: &str| if method == "PUT" { finish.clone() } else { upload.clone() };
        let _hanging = hang(&client, hanging, &target(hanging));
        eventually("the first bytes", || (client.get(&upload).header("range") == Some("0-3")).then_some(()));
        let request = client.request(end, &target(end)).header("Content-Range", "4-16");
        let answer = request.body(b" and the rest").send();
        assert!(matches!(answer.status, 201 | 202), "{hanging} {end}: {} {}", answer.status, answer.text());
        if end == "PATCH" {
            assert_eq!(client.request("PUT", &finish).send().status, 201, "{hanging} {end}");
        }
        assert!(client.get(&format!("/v2/team/app/blobs/{digest}")).body == b"half and the rest");
    }
}

/// A request that still receives bytes keeps its upload.
#[test]
fn upload_is_not_taken_over_from_a_request_that_receives_bytes() {
    let registry = Registry::start();
    let client = registry.client();
    let upload = client.begin("team/app");
    let mut slow = hang(&client, "PATCH", &upload);
    eventually("the first bytes", || (client.get(&upload).header("range") == Some("0-3")).then_some(()));
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut sent = 4;
            while sent < 99 && stopped.recv_timeout(std::time::Duration::from_millis(300)).is_err() {
                std::io::Write::write_all(&mut slow, b"x").unwrap();
                sent += 1;
            }
            std::io::Write::write_all(&mut slow, &vec![b'x'; 100 - sent]).unwrap();
            assert_eq!(Answer::read(&mut std::io::BufReader::new(&slow), false).unwrap().status, 202);
        });
        let refused = client.request("PATCH", &upload).body(b"y").send();
        assert_eq!((refused.status, refused.code().as_str()), (409, "BLOB_UPLOAD_INVALID"));
        assert!(refused.header("retry-after").is_some());
        drop(stop);
    });
    assert_eq!(client.get(&upload).header("range"), Some("0-99"));
}
