//! Blobs that the cache cannot keep: clients share the streams that pass them through.

use std::thread;
use std::time::Duration;

use crate::support::client::{Answer, noise};
use crate::support::fault::{Fault, Rule};
use crate::support::mirror::{Slow, blob, cache, mirror_of, mirror_with, wait_until_stored};
use crate::support::registry::{Registry, eventually};
use crate::support::upstream::Upstream;

const MIB: usize = 1 << 20;

/// A cache that keeps only small blobs.
const SMALL: &str = "  cache: {maxsize: 1MiB, reserve: 0}";

/// The value of a metric, with its labels.
fn metric(mirror: &Registry, name: &str) -> u64 {
    let text = mirror.client().get("/metrics").text();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0, |value| value.parse().unwrap())
}

/// Sends a GET from a thread of its own.
fn pull(mirror: &Registry, target: &str) -> thread::JoinHandle<Answer> {
    let (client, target) = (mirror.client(), target.to_owned());
    thread::spawn(move || client.get(&target))
}

/// Requests a range.
fn range(mirror: &Registry, target: &str, range: &str) -> Answer {
    mirror.client().request("GET", target).header("Range", range).send()
}

/// The number of clients that wait for the only running fill.
fn readers(mirror: &Registry) -> u64 {
    mirror.client().get("/api/v1/fills").json()["fills"][0]["readers"].as_u64().unwrap_or(0)
}

/// Begins `clients` pulls of a blob before the upstream has answered any request for it.
fn pull_together(upstream: &Upstream, mirror: &Registry, target: &str, clients: usize) -> Vec<Answer> {
    upstream.fault("GET", "/blobs/", Fault::Latency(Duration::from_secs(2)));
    let pulls: Vec<_> = (0..clients).map(|_| pull(mirror, target)).collect();
    pulls.into_iter().map(|pull| pull.join().unwrap()).collect()
}

#[test]
fn clients_of_a_blob_that_cannot_be_kept_share_one_stream() {
    let upstream = Upstream::start();
    let content = noise(1, 12 * MIB);
    let digest = upstream.blob("library/app", &content);
    let mirror = mirror_with(&upstream, "", SMALL);
    let answers = pull_together(&upstream, &mirror, &blob("library/app", digest), 40);
    for answer in &answers {
        assert!(answer.status == 200 && answer.whole && answer.body == content);
    }
    // The fill asks first, and finds that the blob cannot be kept. It may have received some bytes by then.
    assert_eq!(upstream.requests("GET", "/blobs/"), 2);
    let sent = upstream.bytes_sent(&digest);
    assert!(sent < content.len() as u64 * 2, "{sent} bytes were sent for 40 clients");
    assert_eq!(metric(&mirror, r#"entrepot_passthrough_streams_total{reason="first"}"#), 1);
    assert_eq!(metric(&mirror, "entrepot_passthrough_bytes_total"), content.len() as u64);
    wait_until_stored(&mirror);
    assert_eq!(metric(&mirror, "entrepot_passthrough_connections"), 0);
}

#[test]
fn client_that_reads_nothing_does_not_stop_the_others_and_reads_on_later() {
    let upstream = Upstream::start();
    let content = noise(2, 40 * MIB);
    let digest = upstream.blob("library/app", &content);
    let mirror = mirror_with(&upstream, "", SMALL);
    let target = blob("library/app", digest);
    upstream.fault("GET", "/blobs/", Fault::Latency(Duration::from_secs(2)));
    let pulls: Vec<_> = (0..3).map(|_| pull(&mirror, &target)).collect();
    let (slow, first) = Slow::begin(&mirror.client(), &target, 10);
    for pull in pulls {
        let answer = pull.join().unwrap();
        assert!(answer.whole && answer.body == content);
    }
    upstream.heal();
    let read = [first, slow.rest()].concat();
    assert!(read.ends_with(&content[content.len() - 10..]) && read == content, "{} bytes", read.len());
    assert!(metric(&mirror, r#"entrepot_passthrough_streams_total{reason="behind"}"#) >= 1);
}

#[test]
fn client_that_reads_nothing_keeps_no_connection() {
    let upstream = Upstream::start();
    let (one, two) = (noise(3, 40 * MIB), noise(4, 40 * MIB));
    let digests = [upstream.blob("library/app", &one), upstream.blob("library/app", &two)];
    let sections = format!("{SMALL}\n  fill: {{perhost: 2}}");
    let mirror = mirror_with(&upstream, "", &sections);
    let (slow, first) = Slow::begin(&mirror.client(), &blob("library/app", digests[0]), 10);
    // One connection of two may pass blobs through, and the first client has it as long as it reads.
    let answer = mirror.client().get(&blob("library/app", digests[1]));
    assert!(answer.whole && answer.body == two);
    eventually("the end of the idle connection", || {
        (metric(&mirror, "entrepot_passthrough_connections") == 0).then_some(())
    });
    assert!([first, slow.rest()].concat() == one);
}

#[test]
fn connections_that_pass_blobs_through_count_for_their_host() {
    let upstream = Upstream::start();
    let content = noise(5, 48 * MIB);
    let digest = upstream.blob("library/app", &content);
    let sections = format!("{SMALL}\n  fill: {{perhost: 4}}");
    let mirror = mirror_with(&upstream, "", &sections);
    let target = blob("library/app", digest);
    upstream.fault("GET", "/blobs/", Fault::Throttle(8 * MIB as u64));
    let parts: Vec<_> = (0..12)
        .map(|part| {
            let (client, target) = (mirror.client(), target.clone());
            let (from, to) = (part * 4 * MIB, part * 4 * MIB + MIB);
            let asked = format!("bytes={from}-{}", to - 1);
            thread::spawn(move || (from..to, client.request("GET", &target).header("Range", &asked).send()))
        })
        .collect();
    for part in parts {
        let (span, answer) = part.join().unwrap();
        assert!(answer.status == 206 && answer.whole && answer.body == content[span], "{}", answer.status);
    }
    // Each has its own range. Two of them are fetched at once, over connections that are used again.
    assert!(upstream.connections() <= 6, "{} connections", upstream.connections());
    let sent = upstream.bytes_sent(&digest);
    assert!(sent < 20 * MIB as u64, "{sent} bytes were sent for 12 MiB");
}

#[test]
fn ranges_of_a_blob_that_cannot_be_kept_are_right() {
    let upstream = Upstream::start();
    let content = noise(6, 10 * MIB);
    let digest = upstream.blob("library/app", &content);
    let mirror = mirror_with(&upstream, "", SMALL);
    let target = blob("library/app", digest);
    let size = content.len();
    for (asked, span) in [
        ("bytes=0-0".to_owned(), 0..1),
        ("bytes=5000000-6000000".to_owned(), 5_000_000..6_000_001),
        ("bytes=5000000-".to_owned(), 5_000_000..size),
        ("bytes=-70000".to_owned(), size - 70_000..size),
        (format!("bytes=1-{}", size - 1), 1..size),
    ] {
        for fault in [None, Some(Fault::NoLength), Some(Fault::UnknownTotal), Some(Fault::IgnoreRange)] {
            fault.iter().for_each(|fault| upstream.fault("GET", "/blobs/", fault.clone()));
            let answer = range(&mirror, &target, &asked);
            upstream.heal();
            // An answer to a range has a size, and so the whole blob is the answer while the size is unknown.
            let (status, span) = match fault {
                Some(Fault::NoLength | Fault::UnknownTotal) if answer.status == 200 => (200, 0..size),
                _ => (206, span.clone()),
            };
            assert_eq!((answer.status, answer.whole), (status, true), "{asked} {fault:?}");
            assert!(answer.body == content[span], "{asked} {fault:?}");
        }
    }
    let beyond = range(&mirror, &target, "bytes=99999999-999999999");
    assert_eq!((beyond.status, beyond.header("content-range")), (416, Some("bytes */10485760")));
    let parts = range(&mirror, &target, "bytes=0-9,5000000-5000009,10485750-10485759");
    assert!(parts.status == 206 && parts.whole, "{}", parts.status);
    for span in [0..10, 5_000_000..5_000_010, 10_485_750..10_485_760] {
        assert!(parts.body.windows(10).any(|bytes| *bytes == content[span.clone()]), "{span:?}");
    }
}

#[test]
fn wrong_content_that_is_passed_through_never_ends_cleanly() {
    let upstream = Upstream::start();
    let content = noise(7, 4 * MIB);
    let digest = upstream.blob("library/app", &content);
    let mirror = mirror_with(&upstream, "", SMALL);
    let target = blob("library/app", digest);
    upstream.fault("GET", "/blobs/", Fault::Corrupt);
    for answer in pull_together(&upstream, &mirror, &target, 5) {
        assert!(!answer.whole && answer.body.len() <= content.len() - (64 << 10), "{}", answer.body.len());
    }
    upstream.heal();
    let again = mirror.client().get(&target);
    assert!(again.whole && again.body == content);
}

#[test]
fn passed_blob_comes_from_another_endpoint_after_one_has_sent_wrong_content() {
    let (damaging, good) = (Upstream::start(), Upstream::start());
    let content = noise(8, 4 * MIB);
    let digest = damaging.blob("library/app", &content);
    good.blob("library/app", &content);
    let mirror = mirror_of(&[&damaging, &good], "", SMALL);
    damaging.fault("GET", "/blobs/", Fault::Corrupt);
    let target = blob("library/app", digest);
    let first = mirror.client().get(&target);
    assert!(!first.whole, "the bytes had been sent when they turned out to be wrong");
    let second = mirror.client().get(&target);
    assert!(second.whole && second.body == content);
    // The last bytes are not sent before the hash is right, so this client has got none of the wrong content.
    let mirror = mirror_of(&[&damaging, &good], "", SMALL);
    let last = range(&mirror, &target, "bytes=-1000");
    assert!(last.status == 206 && last.whole && last.body == content[content.len() - 1000..], "{}", last.text());
}

#[test]
fn stream_that_is_cut_resumes_for_all_its_clients() {
    let upstream = Upstream::start();
    let content = noise(9, 12 * MIB);
    let digest = upstream.blob("library/app", &content);
    let mirror = mirror_with(&upstream, "", SMALL);
    upstream.fault("GET", "/blobs/", Fault::Cut(3 * MIB as u64));
    for answer in pull_together(&upstream, &mirror, &blob("library/app", digest), 8) {
        assert!(answer.whole && answer.body == content);
    }
    let sent = upstream.bytes_sent(&digest);
    assert!(sent < 2 * content.len() as u64, "{sent} bytes were sent for 8 clients");
}

#[test]
fn slow_connection_of_a_blob_that_is_passed_through_is_replaced() {
    let upstream = Upstream::start();
    let (known, content) = (noise(20, 2 * MIB), noise(21, 12 * MIB));
    let [known, digest] = [&known, &content].map(|content| upstream.blob("library/app", content));
    let mirror = mirror_with(&upstream, "", "  cache: {maxsize: 4MiB, reserve: 0}");
    // At this rate the blob would take an hour. The first request may belong to the fill, which cannot store the blob.
    upstream.arm(Rule::new("GET", &digest.to_string(), Fault::Throttle(3000)).times(2));
    upstream.fault("GET", "/blobs/", Fault::Throttle(4 * MIB as u64));
    assert_eq!(mirror.client().get(&blob("library/app", known)).status, 200);
    let answer = mirror.client().get(&blob("library/app", digest));
    assert!(answer.whole && answer.body == content);
    assert!(metric(&mirror, "entrepot_fill_replaced_connections_total{reason=\"slow\"}") > 0);
}

/// The fill's first request comes first. It finds that the blob cannot be kept.
#[test]
fn burst_of_5xx_is_waited_out_before_a_blob_is_passed_through() {
    let upstream = Upstream::start();
    let content = noise(22, 6 * MIB);
    let digest = upstream.blob("library/app", &content);
    let mirror = mirror_with(&upstream, "", SMALL);
    for (after, status) in [(1, 503), (2, 500)] {
        upstream.arm(Rule::new("GET", "/blobs/", Fault::Status(status)).after(after).times(1));
    }
    let answer = mirror.client().get(&blob("library/app", digest));
    assert!(answer.status == 200 && answer.whole && answer.body == content, "{}", answer.text());
    assert_eq!(upstream.requests("GET", "/blobs/"), 4);
}

/// An endpoint that lacks a blob says less than one that fails: the blob may exist.
#[test]
fn stream_begins_although_one_endpoint_lacks_the_blob_and_another_fails() {
    for (times, status) in [(1, 200), (usize::MAX, 502)] {
        let (one, two) = (Upstream::start(), Upstream::start());
        let content = noise(27, 6 * MIB);
        let digest = one.blob("library/app", &content);
        two.hold_what(&one);
        let mirror = mirror_of(&[&one, &two], "", SMALL);
        // The first request belongs to the fill, which finds that the blob cannot be kept.
        one.arm(Rule::new("GET", "/blobs/", Fault::Status(404)).after(1));
        two.arm(Rule::new("GET", "/blobs/", Fault::Status(503)).times(times));
        let answer = mirror.client().get(&blob("library/app", digest));
        assert_eq!((answer.status, answer.whole && answer.body == content), (status, status == 200));
    }
}

#[test]
fn expired_link_of_a_blob_that_is_passed_through_is_requested_again() {
    let upstream = Upstream::start();
    let content = noise(26, 6 * MIB);
    let digest = upstream.blob("library/app", &content);
    upstream.set_cdn(true);
    let mirror = mirror_with(&upstream, "", SMALL);
    // The second request belongs to the stream, or to another connection of the fill.
    upstream.arm(Rule::new("GET", "/cdn/", Fault::Status(403)).after(1).times(1));
    let answer = mirror.client().get(&blob("library/app", digest));
    assert!(answer.status == 200 && answer.whole && answer.body == content, "{}", answer.text());
}

#[test]
fn slow_connection_is_replaced_although_no_rate_is_known() {
    for fault in [None, Some(Fault::NoLength), Some(Fault::IgnoreRange)] {
        let upstream = Upstream::start();
        let content = noise(23, 6 * MIB);
        let digest = upstream.blob("library/app", &content);
        let mirror = mirror_with(&upstream, "", SMALL);
        // At this rate the blob would take an hour.
        upstream.arm(Rule::new("GET", "/blobs/", Fault::Throttle(1000)).after(1).times(1));
        fault.iter().for_each(|fault| upstream.fault("GET", "/blobs/", fault.clone()));
        let answer = mirror.client().get(&blob("library/app", digest));
        assert!(answer.whole && answer.body == content, "{fault:?}");
    }
}

/// One stream takes the only permit of its host, and lasts as long as its client reads.
#[test]
fn stream_does_not_wait_for_a_host_whose_connections_are_taken_while_another_endpoint_is_free() {
    let (one, two) = (Upstream::start(), Upstream::start());
    let contents = [24, 25].map(|seed| noise(seed, 24 * MIB));
    let [first, second] = [&contents[0], &contents[1]].map(|content| one.blob("library/app", content));
    two.hold_what(&one);
    let sections = format!("{SMALL}\n  fill: {{perhost: 2}}");
    let mirror = mirror_of(&[&one, &two], ", firstbytetimeout: 1h", &sections);
    // The first request belongs to the fill.
    one.arm(Rule::new("GET", &first.to_string(), Fault::Hang).after(1));
    let _hangs = mirror.client().request("GET", &blob("library/app", first)).send_head();
    eventually("the stream", || (one.requests("GET", "/blobs/") == 2).then_some(()));
    let answer = mirror.client().get(&blob("library/app", second));
    assert!(answer.whole && answer.body == contents[1]);
}

#[test]
fn nothing_is_evicted_for_a_blob_that_cannot_be_kept() {
    let upstream = Upstream::start();
    let mirror = mirror_with(&upstream, "", "  cache: {maxsize: 16MiB, reserve: 0}");
    let held: Vec<_> = (0..7).map(|seed| upstream.blob("library/app", &noise(100 + seed, 2 * MIB))).collect();
    for digest in &held {
        assert_eq!(mirror.client().get(&blob("library/app", digest)).status, 200);
    }
    wait_until_stored(&mirror);
    let huge = noise(10, 20 * MIB);
    let target = blob("library/app", upstream.blob("library/app", &huge));
    assert!(mirror.client().get(&target).body == huge);
    assert_eq!(metric(&mirror, "entrepot_evictions_total"), 0);
    // Without a stated size, the blob turns out to be too large only while it arrives.
    let unknown = noise(11, 20 * MIB);
    let target = blob("library/app", upstream.blob("library/app", &unknown));
    upstream.fault("GET", "/blobs/", Fault::NoLength);
    upstream.fault("GET", "/blobs/", Fault::IgnoreRange);
    for _ in 0..3 {
        assert!(mirror.client().get(&target).body == unknown);
    }
    let evictions = metric(&mirror, "entrepot_evictions_total");
    assert!(evictions <= 3, "{evictions} blobs of 2 MiB: at most a quarter of the cache is evicted, and once");
    assert_eq!(cache(&mirror.client().get(&blob("library/app", held[6]))), "hit");
}

#[test]
fn cancelled_fill_that_passes_its_blob_through_ends() {
    let upstream = Upstream::start();
    let content = noise(12, 40 * MIB);
    let digest = upstream.blob("library/app", &content);
    let mirror = mirror_with(&upstream, "", SMALL);
    let target = blob("library/app", digest);
    upstream.fault("GET", "/blobs/", Fault::Throttle(2 * MIB as u64));
    let (slow, first) = Slow::begin(&mirror.client(), &target, 10);
    let fills = mirror.client().get("/api/v1/fills").json();
    assert_eq!((fills["fills"][0]["state"].as_str(), readers(&mirror)), (Some("passing"), 1));
    assert_eq!(mirror.client().request("DELETE", &format!("/api/v1/fills/{digest}")).send().status, 202);
    assert!([first, slow.rest()].concat().len() < content.len());
    wait_until_stored(&mirror);
    upstream.heal();
    assert!(mirror.client().get(&target).body == content);
}

/// Each repository has a right of its own to the blob, also when the blob is passed through.
#[test]
fn stream_of_another_repository_is_shared_only_with_a_right() {
    let upstream = Upstream::start();
    let content = noise(13, 12 * MIB);
    let digest = upstream.blob("library/one", &content);
    upstream.blob("library/two", &content);
    let mirror = mirror_with(&upstream, "", SMALL);
    upstream.fault("GET", "library/one/blobs/", Fault::Throttle(4 * MIB as u64));
    let (slow, first) = Slow::begin(&mirror.client(), &blob("library/one", digest), 10);
    let two = mirror.client().get(&blob("library/two", digest));
    assert!(two.whole && two.body == content);
    assert_eq!(upstream.requests("GET", "library/two/blobs/"), 1, "the stream was shared after a proof of one byte");
    assert_eq!(mirror.client().get(&blob("library/three", digest)).status, 404);
    assert!([first, slow.rest()].concat() == content);
}

/// Requests a blob until it is answered otherwise than by 504. Returns the number of 504s.
fn tries(mirror: &Registry, target: &str, range_of: Option<&str>, content: &[u8]) -> usize {
    for tries in 0..50 {
        let client = mirror.client();
        let request = client.request("GET", target);
        let answer = if let Some(range) = range_of { request.header("Range", range).send() } else { request.send() };
        if answer.status != 504 {
            assert!(answer.whole && answer.body == content, "{}: {}", answer.status, answer.text());
            return tries;
        }
    }
    panic!("{target} is never answered");
}

/// Each answer of the upstream takes longer than a client waits. The request for which the client did not wait goes on, and the
/// next request joins it.
#[test]
fn stream_that_a_client_gave_up_is_joined_by_the_next() {
    let content = noise(60, 4 * MIB);
    for (asked, part) in [(None, &content[..]), (Some("bytes=1000-1999"), &content[1000..2000])] {
        let upstream = Upstream::start();
        let digest = upstream.blob("library/app", &content);
        let mirror = mirror_with(&upstream, ", clientwait: 500ms", SMALL);
        let target = blob("library/app", digest);
        upstream.fault("GET", "/blobs/", Fault::Latency(Duration::from_millis(1800)));
        assert!(tries(&mirror, &target, asked, part) > 0, "{asked:?}");
        // The fill asks, and then the stream.
        assert!(upstream.requests("GET", "/blobs/") <= 3, "{asked:?}: {}", upstream.requests("GET", "/blobs/"));
        wait_until_stored(&mirror);
        assert_eq!(metric(&mirror, "entrepot_passthrough_connections"), 0);
    }
}

/// No client asks again, so that the connection of the answer is given up.
#[test]
fn stream_that_no_client_joins_ends() {
    let upstream = Upstream::start();
    let digest = upstream.blob("library/app", &noise(61, 4 * MIB));
    let mirror = mirror_with(&upstream, ", clientwait: 500ms", SMALL);
    upstream.fault("GET", "/blobs/", Fault::Latency(Duration::from_millis(800)));
    while upstream.requests("GET", "/blobs/") < 2 {
        assert_eq!(mirror.client().get(&blob("library/app", digest)).status, 504);
    }
    wait_until_stored(&mirror);
    assert_eq!(metric(&mirror, "entrepot_passthrough_connections"), 0);
}

/// An endpoint names a smaller size than the blob has. Another stream brings all of it, and its digest matches: that must not end the body of
/// a client that was told the smaller size, as if the body were whole.
#[test]
fn digest_of_a_longer_blob_completes_no_shorter_body() {
    const CLAIMED: usize = 3 * MIB;
    // Whether the next client still hears of the wrong size depends on the end of the first transfer.
    for seed in 21..26 {
        let upstream = Upstream::start();
        let content = noise(seed, 4 * MIB);
        let digest = upstream.blob("library/app", &content);
        let mirror = mirror_with(&upstream, "", SMALL);
        let target = blob("library/app", digest);
        let first = mirror.client().get(&target);
        assert!(first.whole && first.body == content);
        wait_until_stored(&mirror);
        upstream.arm(Rule::new("GET", "/blobs/", Fault::Length(CLAIMED as u64)).times(2));
        upstream.arm(Rule::new("GET", "/blobs/", Fault::NoLength).after(2));
        let told = mirror.client().get(&target);
        let size = told.header("content-length").map(str::to_owned);
        assert!(!told.whole && size == Some(CLAIMED.to_string()), "{size:?}, {} bytes", told.body.len());
        let whole = || Some(mirror.client().get(&target)).filter(|answer| answer.status == 200 && answer.whole);
        assert!(eventually("the whole blob", whole).body == content);
    }
}

/// The only endpoint that answers has sent wrong bytes before. The digest protects the client from them, so the endpoint is asked again.
#[test]
fn endpoint_that_sent_wrong_bytes_is_better_than_none() {
    let (damaged, failing) = (Upstream::start(), Upstream::start());
    let (wrong, right) = (noise(41, 2 * MIB), noise(42, 2 * MIB));
    let digests = [&wrong, &right].map(|content| {
        failing.blob("library/app", content);
        damaged.blob("library/app", content)
    });
    damaged.arm(Rule::new("GET", &digests[0].to_string(), Fault::Corrupt));
    failing.arm(Rule::new("GET", "/blobs/", Fault::Status(500)));
    let mirror = mirror_of(&[&damaged, &failing], "", SMALL);
    for _ in 0..2 {
        let answer = mirror.client().get(&blob("library/app", digests[0]));
        assert!(!(answer.status == 200 && answer.whole), "wrong bytes are never whole");
    }
    let answer = mirror.client().get(&blob("library/app", digests[1]));
    assert!(answer.status == 200 && answer.whole && answer.body == right, "{}", answer.text());
}
