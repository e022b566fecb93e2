//! Requests for several ranges of a blob that is stored or arriving. The answer has the ranges in the order of the request.

use std::thread;

use crate::support::client::{Answer, noise};
use crate::support::fault::Fault;
use crate::support::mirror::{blob, cache, mirror, mirror_with};
use crate::support::registry::Registry;
use crate::support::upstream::Upstream;

const LAYER: usize = 3 << 20;

/// Returns the parts of a `multipart/byteranges` body: the value of `Content-Range`, and the bytes.
fn parts(answer: &Answer) -> Vec<(String, Vec<u8>)> {
    let content_type = answer.header("content-type").unwrap();
    let boundary = content_type.strip_prefix("multipart/byteranges; boundary=").unwrap();
    let (mut rest, mut parts) = (&answer.body[..], Vec::new());
    let opening = format!("--{boundary}\r\n").into_bytes();
    let (next, last) = (format!("\r\n--{boundary}\r\n").into_bytes(), format!("\r\n--{boundary}--\r\n").into_bytes());
    rest = rest.strip_prefix(&opening[..]).unwrap();
    loop {
        let end = rest.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(rest[..end].to_vec()).unwrap();
        let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        assert_eq!(field("Content-Type: ").as_deref(), Some("application/octet-stream"));
        let range = field("Content-Range: ").unwrap();
        let (first, end_of) = range.strip_prefix("bytes ").unwrap().split_once('-').unwrap();
        let last_byte: usize = end_of.split('/').next().unwrap().parse().unwrap();
        let len = last_byte + 1 - first.parse::<usize>().unwrap();
        rest = &rest[end + 4..];
        parts.push((range, rest[..len].to_vec()));
        rest = &rest[len..];
        if rest == last {
            return parts;
        }
        rest = rest.strip_prefix(&next[..]).unwrap();
    }
}

fn assert_parts(answer: &Answer, content: &[u8], spans: &[(usize, usize)]) {
    assert_eq!(answer.status, 206, "{}", answer.text());
    assert!(answer.whole, "Content-Length is exact");
    assert_eq!(answer.header("content-range"), None);
    let want: Vec<_> = spans
        .iter()
        .map(|(start, end)| (format!("bytes {start}-{}/{}", end - 1, content.len()), content[*start..*end].to_vec()))
        .collect();
    assert!(parts(answer) == want, "{:?}", parts(answer).iter().map(|(range, _)| range).collect::<Vec<_>>());
}

#[test]
fn ranges_of_a_stored_blob_come_in_parts() {
    let registry = Registry::start();
    let client = registry.client();
    let content = noise(1, 400_000);
    let digest = client.push_blob("team/app", &content);
    let target = blob("team/app", digest);
    let ask = |range: &str| client.request("GET", &target).header("Range", range).send();
    for (range, spans) in [
        ("bytes=0-9,100-199", vec![(0, 10), (100, 200)]),
        ("bytes=0-0,-1", vec![(0, 1), (399_999, 400_000)]),
        ("bytes=200000-,0-99999", vec![(200_000, 400_000), (0, 100_000)]),
        ("bytes=5-9,7-12", vec![(5, 10), (7, 13)]),
        ("bytes=0-9, 399990-999999999", vec![(0, 10), (399_990, 400_000)]),
    ] {
        let answer = ask(range);
        assert_parts(&answer, &content, &spans);
        assert_eq!(answer.header("accept-ranges"), Some("bytes"), "{range}");
        assert_eq!(answer.header("docker-content-digest"), Some(digest.to_string().as_str()));
    }
    // Only one of the ranges exists; it is sent alone.
    let one = ask("bytes=400000-,7-9");
    assert_eq!((one.status, one.header("content-range")), (206, Some("bytes 7-9/400000")));
    assert_eq!(one.body, content[7..10]);
    let none = ask("bytes=400000-,-0");
    assert_eq!((none.status, none.code().as_str()), (416, "RANGE_INVALID"));
    assert_eq!(none.header("content-range"), Some("bytes */400000"));
    assert_eq!(none.detail(), "size: 400000");
    let head = client.request("HEAD", &target).header("Range", "bytes=0-9,20-29").send();
    assert_eq!((head.status, head.header("content-length")), (200, Some("400000")));
    assert_eq!(head.header("accept-ranges"), Some("bytes"));
    let conditional = |tag: &str| {
        client.request("GET", &target).header("Range", "bytes=0-9,20-29").header("If-Range", tag).send().status
    };
    assert_eq!(conditional(&format!("\"{digest}\"")), 206);
    assert_eq!(conditional(&digest.to_string()), 206);
    assert_eq!(conditional(&format!("W/\"{digest}\"")), 200);
    assert_eq!(conditional("\"other\""), 200);
}

/// podman accepts several parts, the whole blob, or a 400; a 416 would end its pull.
#[test]
fn ranges_that_cost_more_than_the_whole_get_the_whole() {
    let registry = Registry::start();
    let client = registry.client();
    let content = noise(2, 100_000);
    let target = blob("team/app", client.push_blob("team/app", &content));
    let ask = |range: &str| client.request("GET", &target).header("Range", range).send();
    let many = |count: usize| {
        let ranges: Vec<_> = (0..count).map(|at| format!("{}-{}", at * 50, at * 50 + 9)).collect();
        format!("bytes={}", ranges.join(","))
    };
    assert_eq!(parts(&ask(&many(1024))).len(), 1024);
    for range in [&many(1025), "bytes=0-,0-", "bytes=0-9,x-y", "bytes=0-9;20-29"] {
        let answer = ask(range);
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/octet-stream")));
        assert!(answer.body == content);
    }
    // Two header fields do not form a list of ranges.
    let twice = client.request("GET", &target).header("Range", "bytes=0-1").header("Range", "bytes=2-3").send();
    assert_eq!((twice.status, twice.body.len()), (200, 100_000));
    // A manifest that is requested as a blob has parts, too.
    let image = client.push_image("team/app", "1", b"layer");
    let answer = client.request("GET", &blob("team/app", image.digest)).header("Range", "bytes=0-9,20-29").send();
    assert_parts(&answer, &image.manifest, &[(0, 10), (20, 30)]);
}

#[test]
fn ranges_of_an_arriving_blob_come_in_parts() {
    let upstream = Upstream::start();
    let layer = noise(3, LAYER);
    let image = upstream.image("library/app", "1", &[&layer]);
    upstream.fault("GET", "/blobs/", Fault::Throttle(4 << 20));
    let mirror = mirror(&upstream);
    let target = blob("library/app", image.layers[0]);
    let asked = [
        ("bytes=1000-1999,2000000-2000999", vec![(1000, 2000), (2_000_000, 2_001_000)]),
        ("bytes=2500000-2500999,5-9", vec![(2_500_000, 2_501_000), (5, 10)]),
        ("bytes=0-9,1500000-", vec![(0, 10), (1_500_000, LAYER)]),
        ("bytes=-10,100-199", vec![(LAYER - 10, LAYER), (100, 200)]),
    ];
    let asked = asked.map(|(range, spans)| {
        let (client, target) = (mirror.client(), target.clone());
        (spans, thread::spawn(move || client.request("GET", &target).header("Range", range).send()))
    });
    for (spans, answer) in asked {
        assert_parts(&answer.join().unwrap(), &layer, &spans);
    }
    let stored = mirror.client().request("GET", &target).header("Range", "bytes=0-9,20-29").send();
    assert_eq!(cache(&stored), "hit");
    assert_parts(&stored, &layer, &[(0, 10), (20, 30)]);
    assert!(upstream.bytes_sent(&image.layers[0]) <= LAYER as u64 + 1_000_000, "one fill for all of them");
}

/// Each part waits only for its own bytes, so the first parts arrive while the upstream still holds back the rest.
#[test]
fn part_is_sent_as_soon_as_it_has_arrived() {
    let upstream = Upstream::start();
    let layer = noise(4, LAYER);
    let image = upstream.image("library/app", "1", &[&layer]);
    // Each answer stops before the end of the requested range.
    upstream.fault("GET", "/blobs/", Fault::Stall(100_000));
    let mirror = mirror(&upstream);
    let target = blob("library/app", image.layers[0]);
    let answer = mirror.client().request("GET", &target).header("Range", "bytes=0-9,2900000-2900009,10-19").send();
    assert_parts(&answer, &layer, &[(0, 10), (2_900_000, 2_900_010), (10, 20)]);
}

/// The first segment is chosen before the size is known, and ends after the blob. The rest of it goes to other connections.
#[test]
fn range_of_a_blob_of_unknown_size_survives_a_connection_that_stalls() {
    let upstream = Upstream::start();
    let layer = noise(5, LAYER - (1 << 20) + 1);
    let image = upstream.image("library/app", "1", &[&layer]);
    upstream.fault("GET", "/blobs/", Fault::Throttle(2 << 20));
    upstream.fault_once("GET", "/blobs/", Fault::Stall(193_559));
    let mirror = mirror_with(&upstream, "", "  fill: {stall: 2s, segment: 1MiB, connections: 4}");
    let target = blob("library/app", image.layers[0]);
    let answer = mirror.client().request("GET", &target).header("Range", "bytes=1382976-1861789").send();
    assert!(answer.status == 206 && answer.whole && answer.body == layer[1_382_976..1_861_790]);
    let asked = upstream.log().into_iter().filter(|request| request.path.contains("/blobs/"));
    for range in asked.filter_map(|request| request.header("range").map(str::to_owned)) {
        let start: usize = range.trim_start_matches("bytes=").split('-').next().unwrap().parse().unwrap();

        assert!(start < layer.len(), "{range}");
    }
}

#[test]
fn last_byte_is_withheld_until_the_digest_matches() {
    let upstream = Upstream::start();
    let layer = noise(5, LAYER);
    let mirror = mirror(&upstream);
    for (seed, range, whole) in
        [(6, "bytes=100-199,-10", false), (7, "bytes=-10,100-199", false), (8, "bytes=100-199,300-399", true)]
    {
        let layer = [&layer[..], &noise(seed, 10)].concat();
        let image = upstream.image("library/app", &seed.to_string(), &[&layer]);
        upstream.fault("GET", "/blobs/", Fault::Corrupt);
        let target = blob("library/app", image.layers[0]);
        let answer = mirror.client().request("GET", &target).header("Range", range).send();
        assert_eq!((answer.status, answer.whole), (206, whole), "{range}");
        if !whole {
            assert!(!answer.body.windows(10).any(|window| window == noise(seed, 10)), "{range}");
        }
        upstream.heal();
    }
}

#[test]
fn ranges_of_a_blob_that_is_not_stored_come_in_parts() {
    let upstream = Upstream::start();
    let layer = noise(9, LAYER);
    let digest = upstream.blob("library/app", &layer);
    let mirror = mirror_with(&upstream, "", "  cache: {maxsize: 1MiB, reserve: 0}");
    let target = blob("library/app", digest);
    let ask = |range: &str| mirror.client().request("GET", &target).header("Range", range).send();
    for _ in 0..2 {
        assert_parts(
            &ask("bytes=0-9,2000000-2000009,-10"),
            &layer,
            &[(0, 10), (2_000_000, 2_000_010), (LAYER - 10, LAYER)],
        );
        assert_parts(
            &ask("bytes=-10,2000000-2000009,0-9"),
            &layer,
            &[(LAYER - 10, LAYER), (2_000_000, 2_000_010), (0, 10)],
        );
    }
    upstream.fault("GET", "/blobs/", Fault::Corrupt);
    assert!(!ask("bytes=0-9,-10").whole, "the content is verified all the same");
}
