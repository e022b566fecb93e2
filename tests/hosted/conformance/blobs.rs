//! Every way to push a blob, with both algorithms; mounts and ranges.

use entrepot::oci::{Algorithm, Digest};

use crate::support::client::{Answer, Client, noise};
use crate::support::registry::Registry;

use super::parcel::{REPOSITORY, is_deleted, is_held, target};

/// A way to push a blob. It returns the last answer.
type Way = fn(&Client, &Digest, &[u8]) -> Answer;

const WAYS: [(&str, Way); 7] = [
    ("post only", post_only),
    ("post+put", post_put),
    ("stream", stream),
    ("chunked", |client, digest, content| in_chunks(client, digest, content, Order::Right, End::Empty)),
    ("chunked and put chunk", |client, digest, content| in_chunks(client, digest, content, Order::Right, End::Chunk)),
    ("chunked out-of-order", |client, digest, content| in_chunks(client, digest, content, Order::Astray, End::Empty)),
    ("out-of-order and put chunk", |client, digest, content| {
        in_chunks(client, digest, content, Order::Astray, End::Chunk)
    }),
];

fn post_only(client: &Client, digest: &Digest, content: &[u8]) -> Answer {
    client.request("POST", &format!("/v2/{REPOSITORY}/blobs/uploads/?digest={digest}")).body(content).send()
}

pub fn post_put(client: &Client, digest: &Digest, content: &[u8]) -> Answer {
    client.request("PUT", &format!("{}?digest={digest}", client.begin(REPOSITORY))).body(content).send()
}

fn stream(client: &Client, digest: &Digest, content: &[u8]) -> Answer {
    let pieces: Vec<&[u8]> = content.chunks(700).collect();
    let patched = client.request("PATCH", &client.begin(REPOSITORY)).chunked(&pieces).send();
    assert_eq!(patched.status, 202, "{}", patched.text());
    client.request("PUT", &format!("{}?digest={digest}", patched.header("location").unwrap())).body(b"").send()
}

/// Selects whether chunks with a wrong offset are sent as well.
#[derive(Clone, Copy, PartialEq)]
enum Order {
    Right,
    /// Sends a chunk with a wrong offset before each chunk; the upload's status tells the right offset.
    Astray,
}

/// Selects the body of the PUT.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Empty,
    Chunk,
}

const CHUNK: usize = 1024;

fn in_chunks(client: &Client, digest: &Digest, content: &[u8], order: Order, end: End) -> Answer {
    let mut location = client.begin(REPOSITORY);
    let send = |location: &str, from: usize| {
        let to = content.len().min(from + CHUNK);
        let last = end == End::Chunk && to == content.len();
        let request = match last {
            true => client.request("PUT", &format!("{location}?digest={digest}")),
            false => client.request("PATCH", location),
        };
        request.header("Content-Range", &format!("{from}-{}", to - 1)).body(&content[from..to]).send()
    };
    for from in (0..content.len()).step_by(CHUNK) {
        if order == Order::Astray {
            let wrong = if from + CHUNK < content.len() { from + CHUNK } else { 0 };
            assert_eq!(send(&location, wrong).status, 416, "{wrong} where {from} is next");
            let state = client.get(&location);
            let held = format!("0-{}", from.saturating_sub(1));
            assert_eq!((state.status, state.header("range")), (204, Some(held.as_str())));
            location = state.header("location").unwrap().to_owned();
        }
        let answer = send(&location, from);
        if answer.status != 202 {
            return answer;
        }
        location = answer.header("location").unwrap().to_owned();
    }
    client.request("PUT", &format!("{location}?digest={digest}")).body(b"").send()
}

fn upload_in_every_way(algorithm: Algorithm) {
    let registry = Registry::start();
    let client = registry.client();
    for (seed, (way, push)) in WAYS.iter().enumerate() {
        for content in [noise(seed as u64 + 100, 3 * CHUNK - 5), b"{}".to_vec()] {
            // Two bytes cannot be split into chunks with a wrong offset.
            if content.len() < CHUNK && way.contains("out-of-order") {
                continue;
            }
            let digest = Digest::of(algorithm, &content);
            let answer = push(&client, &digest, &content);
            assert_eq!(answer.status, 201, "{way}: {}", answer.text());
            assert_eq!(answer.header("docker-content-digest"), Some(digest.to_string().as_str()), "{way}");
            assert!(client.get(answer.header("location").unwrap()).body == content, "{way}");
            is_held(&client, &digest, &content);
            is_deleted(&client, &target("blobs", &digest.to_string()));

            let refused = push(&client, &digest, &[&content[..], b"more"].concat());
            assert_eq!((refused.status, refused.code().as_str()), (400, "DIGEST_INVALID"), "{way}");
            assert_eq!(client.head(&target("blobs", &digest.to_string())).status, 404, "{way}");
        }
    }
    let nothing = Digest::of(algorithm, b"");
    for push in [post_only, post_put, stream] {
        assert_eq!(push(&client, &nothing, b"").status, 201);
        is_held(&client, &nothing, b"");
        is_deleted(&client, &target("blobs", &nothing.to_string()));
    }
}

#[test]
fn blobs_sha256() {
    upload_in_every_way(Algorithm::Sha256);
}

#[test]
fn blobs_sha512() {
    upload_in_every_way(Algorithm::Sha512);
}

#[test]
fn mount_missing() {
    let registry = Registry::start();
    let client = registry.client();
    let content = noise(200, 512);
    for (algorithm, from) in [(Algorithm::Sha256, "&from=conformance/two"), (Algorithm::Sha512, "")] {
        let digest = Digest::of(algorithm, &content);
        let mount = format!("/v2/{REPOSITORY}/blobs/uploads/?mount={digest}{from}");
        let begun = client.request("POST", &mount).body(b"").send();
        assert_eq!(begun.status, 202, "{}", begun.text());
        let target = format!("{}?digest={digest}", begun.header("location").unwrap());
        assert_eq!(client.request("PUT", &target).body(&content).send().status, 201);
        is_held(&client, &digest, &content);
    }
}

#[test]
fn range_requests() {
    let registry = Registry::start();
    let client = registry.client();
    let content = noise(201, 2048);
    let digest = Digest::of(Algorithm::Sha512, &content);
    assert_eq!(post_put(&client, &digest, &content).status, 201);
    let ask = |range: &str| client.request("GET", &target("blobs", &digest.to_string())).header("Range", range).send();
    for (range, first, last) in [
        ("bytes=500-1499", 500, 1499),
        ("bytes=500-", 500, 2047),
        ("bytes=-500", 1548, 2047),
        ("bytes=2000-5000", 2000, 2047),
    ] {
        let answer = ask(range);
        assert_eq!((answer.status, &answer.body[..]), (206, &content[first..=last]), "{range}");
        assert_eq!(answer.header("content-range"), Some(format!("bytes {first}-{last}/2048").as_str()));
    }
    // The first range ends before it begins. RFC 9110 §14.1.1 would have it ignored, but the suite expects an error.
    for range in ["bytes=500-0", "bytes=5000-10000"] {
        assert_eq!(ask(range).status, 416, "{range}");
    }
}
