//! Checks of the test upstream itself, which tests and `bench/link` depend on: it misbehaves exactly as told, and counts correctly.

use std::io::{BufReader, Write};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::client::{Answer, Client, noise};
use crate::support::fault::{Fault, Rule};
use crate::support::mirror::{Slow, blob, manifest, mirror};
use crate::support::upstream::{Links, Upstream};

const LAYER: usize = 1 << 20;

fn client(upstream: &Upstream) -> Client {
    Client::new(([127, 0, 0, 1], upstream.port()).into())
}

/// Sends `GET`s one after another on one connection, until it ends.
fn on_one_connection(upstream: &Upstream, target: &str, times: usize) -> Vec<Answer> {
    let mut stream = BufReader::new(client(upstream).connect());
    let get = |stream: &mut BufReader<std::net::TcpStream>| {
        stream.get_mut().write_all(format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes()).ok()?;
        Answer::read(stream, false)
    };
    (0..times).map_while(|_| get(&mut stream)).collect()
}

#[test]
fn connection_is_cut_after_its_limit() {
    let upstream = Upstream::start();
    let content = noise(1, LAYER);
    let digest = upstream.blob("library/app", &content);
    upstream.fault("GET", "/blobs/", Fault::CutConnection(LAYER as u64 * 3 / 2));
    for round in 1..=2 {
        let answers = on_one_connection(&upstream, &blob("library/app", digest), 3);
        assert!(answers[0].whole && answers[0].body == content);
        assert!(!answers[1].whole && answers[1].body == content[..LAYER / 2]);
        assert_eq!((answers.len(), upstream.bytes_sent(&digest)), (2, round * LAYER as u64 * 3 / 2));
    }
}

#[test]
fn rate_is_never_exceeded() {
    let upstream = Upstream::start();
    let digest = upstream.blob("library/app", &noise(2, LAYER));
    let target = blob("library/app", digest);
    let seconds = |upstream: &Upstream, clients: usize, pulls: usize| {
        let begun = Instant::now();
        thread::scope(|scope| {
            for _ in 0..clients {
                scope.spawn(|| {
                    on_one_connection(upstream, &target, pulls).iter().for_each(|answer| assert!(answer.whole))
                });
            }
        });
        begun.elapsed()
    };
    // Half a MiB early would be an error of the test upstream. No limit is set for late bytes.
    upstream.fault("GET", "/blobs/", Fault::Throttle(8 << 20));
    assert!(seconds(&upstream, 2, 2) >= Duration::from_millis(235), "two pulls on each connection");
    upstream.heal();
    upstream.fault("GET", "/blobs/", Fault::Bottleneck(8 << 20));
    assert!(seconds(&upstream, 2, 1) >= Duration::from_millis(235), "two connections share the rate");
}

#[test]
fn one_connection_in_several_is_slow() {
    let upstream = Upstream::start();
    let digest = upstream.blob("library/app", &noise(4, LAYER));
    let target = blob("library/app", digest);
    upstream.fault("GET", "/blobs/", Fault::SlowConnection(2, 1000));
    let is_whole = || client(&upstream).get(&target).whole;
    assert!(is_whole(), "the first is a good one");
    let (_slow, _) = Slow::begin(&client(&upstream), &target, 1);
    assert!(is_whole(), "the third is a good one");
    assert!(upstream.bytes_sent(&digest) < 3 * LAYER as u64, "the second is slow");
}

#[test]
fn cookies_are_sent_unless_omitted() {
    let upstream = Upstream::start();
    let target = blob("library/app", upstream.blob("library/app", b"a layer"));
    assert!(client(&upstream).get(&target).header("set-cookie").is_some());
    upstream.omit_cookies();
    assert!(client(&upstream).get(&target).header("set-cookie").is_none());
}

#[test]
fn rule_spares_requests_and_ends() {
    let upstream = Upstream::start();
    upstream.image("library/app", "1", &[]);
    upstream.arm(Rule::new("GET", "/manifests/", Fault::Status(429)).after(2).times(1));
    let statuses: Vec<u16> = (0..4).map(|_| client(&upstream).get(&manifest("library/app", "1")).status).collect();
    assert_eq!(statuses, [200, 200, 429, 200]);
}

#[test]
fn expired_link_is_requested_again() {
    let upstream = Upstream::start();
    let content = noise(3, LAYER);
    let digest = upstream.blob("library/app", &content);
    upstream.set_cdn(true);
    upstream.set_links(Links::Once);
    upstream.fault_once("GET", "/cdn/", Fault::Cut(LAYER as u64 / 2));
    let mirror = mirror(&upstream);
    let pulled = (0..2).map(|_| mirror.client().get(&blob("library/app", digest))).find(|answer| answer.whole);
    assert!(pulled.is_some_and(|answer| answer.body == content));
    assert_eq!(upstream.bytes_sent(&digest), LAYER as u64);
    // A link for one use expires with it, and a link without a lifetime is never valid.
    let link = |upstream: &Upstream| {
        let answer = client(upstream).get(&blob("library/app", digest));
        let location = answer.header("location").unwrap().to_owned();
        let (host, path) = location.strip_prefix("http://").unwrap().split_once('/').unwrap();
        let (cdn, path) = (Client::new(host.parse().unwrap()), format!("/{path}"));
        move || cdn.get(&path).status
    };
    let once = link(&upstream);
    assert_eq!((once(), once()), (200, 403));
    upstream.set_links(Links::For(Duration::ZERO));
    assert_eq!(link(&upstream)(), 403);
}

#[test]
fn upstreams_share_content() {
    let one = Upstream::start();
    let image = one.image("library/app", "1", &[b"a layer"]);
    let two = Upstream::start();
    two.hold_what(&one);
    assert_eq!(client(&two).get(&manifest("library/app", "1")).body, image.manifest);
    assert_eq!(client(&two).get(&blob("library/app", image.layers[0])).body, b"a layer");
}
