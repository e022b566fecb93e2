//! Pulls over links that are slow, cut, stalled or gone, and from upstreams that send wrong bytes.

use std::thread;
use std::time::Duration;

use entrepot::oci::Digest;

use crate::support::client::{Answer, noise};
use crate::support::fault::{Fault, Rule};
use crate::support::mirror::{Slow, blob, is_sent_once, manifest, mirror, mirror_of, mirror_with};
use crate::support::registry::{Registry, eventually};
use crate::support::upstream::{Links, Upstream};

const MIB: usize = 1 << 20;

/// Waits until the metrics contain `line`.
fn wait_for_metric(mirror: &Registry, line: &str) {
    eventually(line, || mirror.client().get("/metrics").text().contains(line).then_some(()));
}

/// Returns the `Range` headers that the upstream received.
fn ranges(upstream: &Upstream) -> Vec<String> {
    let log = upstream.log();
    let blobs = log.iter().filter(|logged| logged.method == "GET" && logged.path.contains("/blobs/"));
    blobs.filter_map(|logged| logged.header("range").map(ToOwned::to_owned)).collect()
}

fn is_right(answer: &Answer, content: &[u8]) -> bool {
    answer.status == 200 && answer.whole && answer.body == content
}

#[test]
fn blob_arrives_whole_although_every_connection_is_cut() {
    let upstream = Upstream::start();
    let content = noise(1, 10 * MIB);
    let digest = upstream.blob("library/app", &content);
    let mirror = mirror(&upstream);
    upstream.fault("GET", "/blobs/", Fault::Cut(3 * MIB as u64 / 2));
    let target = blob("library/app", digest);
    let clients: Vec<_> = (0..3)
        .map(|_| {
            let (client, target) = (mirror.client(), target.clone());
            thread::spawn(move || client.get(&target))
        })
        .collect();
    for client in clients {
        assert!(is_right(&client.join().unwrap(), &content));
    }
    let sent = upstream.bytes_sent(&digest);
    assert!(sent <= content.len() as u64 * 105 / 100, "{sent} bytes for {}", content.len());
    assert!(!mirror.client().get("/metrics").text().contains("entrepot_fill_resumes_total 0\n"));
}

#[test]
fn stalled_connection_is_replaced() {
    let upstream = Upstream::start();
    let content = noise(2, 2 * MIB);
    let digest = upstream.blob("library/app", &content);
    let mirror = mirror_with(&upstream, "", "  fill: {stall: 500ms}");
    upstream.fault_once("GET", "/blobs/", Fault::Stall(MIB as u64));
    assert!(is_right(&mirror.client().get(&blob("library/app", digest)), &content));
    assert_eq!(upstream.bytes_sent(&digest), content.len() as u64);
}

#[test]
fn silent_connection_among_several_is_replaced_before_the_stall_limit() {
    let upstream = Upstream::start();
    let content = noise(27, 12 * MIB);
    let digest = upstream.blob("library/app", &content);
    // The stall limit is far longer than any test waits.
    let mirror = mirror_with(&upstream, "", "  fill: {stall: 10m, segment: 1MiB}");
    upstream.fault_once("GET", "/blobs/", Fault::Stall(100_000));
    assert!(is_right(&mirror.client().get(&blob("library/app", digest)), &content));
}

#[test]
fn refusal_during_a_fill_is_waited_out() {
    let upstream = Upstream::start();
    let content = noise(3, 2 * MIB);
    let digest = upstream.blob("library/app", &content);
    let mirror = mirror(&upstream);
    for faults in [vec![Fault::Status(429), Fault::RetryAfter("1")], vec![Fault::Status(503)], vec![Fault::Status(500)]]
    {
        upstream.fault("GET", "/blobs/", Fault::Throttle(2 * MIB as u64));
        upstream.fault("GET", "/blobs/", Fault::Cut(MIB as u64));
        let (slow, first) = Slow::begin(&mirror.client(), &blob("library/app", digest), 10);
        upstream.heal();
        faults.iter().for_each(|fault| upstream.fault_once("GET", "/blobs/", fault.clone()));
        assert!([first, slow.rest()].concat() == content, "{faults:?}");
        assert_eq!(mirror.client().request("DELETE", &blob("library/app", digest)).send().status, 202);
        upstream.heal();
    }
}

#[test]
fn upstream_that_ignores_ranges_is_read_to_the_end() {
    let upstream = Upstream::start();
    let content = noise(4, 6 * MIB);
    let digest = upstream.blob("library/app", &content);
    let mirror = mirror(&upstream);
    upstream.fault("GET", "/blobs/", Fault::IgnoreRange);
    upstream.fault_once("GET", "/blobs/", Fault::Cut(4 * MIB as u64));
    assert!(is_right(&mirror.client().get(&blob("library/app", digest)), &content));
    assert_eq!(upstream.requests("GET", "/blobs/"), 2);
}

/// Returns the bytes of a blob that the journal of its fill records.
fn recorded(mirror: &Registry, digest: &Digest) -> u64 {
    let journal = mirror.data().join(format!("cache/partial/sha256/{}/extents", digest.hex()));
    let number = |text: &str| text.parse::<u64>().unwrap_or_default();
    let extent = |line: &str| line.split_once(' ').map_or(0, |(from, to)| number(to).saturating_sub(number(from)));
    std::fs::read_to_string(journal).unwrap_or_default().lines().map(extent).sum()
}

#[test]
fn fill_resumes_after_the_server_is_killed() {
    let upstream = Upstream::start();
    let content = noise(5, 12 * MIB);
    let size = content.len() as u64;
    let digest = upstream.blob("library/app", &content);
    let mut mirror = mirror(&upstream);
    upstream.fault("GET", "/blobs/", Fault::Throttle(MIB as u64));
    let (_slow, _) = Slow::begin(&mirror.client(), &blob("library/app", digest), 10);
    // The journal, and not the upstream, tells how much of the blob survives.
    eventually("60 % of the blob in the journal", || (recorded(&mirror, &digest) >= size * 60 / 100).then_some(()));
    mirror.kill();
    upstream.heal();
    upstream.forget_log();
    mirror.restart();
    assert!(is_right(&mirror.client().get(&blob("library/app", digest)), &content));
    let sent = upstream.bytes_sent(&digest);
    assert!(sent <= size * 45 / 100, "{sent} of {size} bytes were fetched after the restart");
}

#[test]
fn several_connections_fetch_each_byte_once() {
    let upstream = Upstream::start();
    let content = noise(6, 12 * MIB);
    let digest = upstream.blob("library/app", &content);
    for connections in ["auto", "1"] {
        let mirror = mirror_with(&upstream, "", &format!("  fill: {{connections: {connections}, segment: 2MiB}}"));
        upstream.forget_log();
        assert!(is_right(&mirror.client().get(&blob("library/app", digest)), &content));
        assert_eq!(upstream.bytes_sent(&digest), content.len() as u64, "{connections}: {:?}", ranges(&upstream));
        assert!(ranges(&upstream).len() >= 6, "{:?}", ranges(&upstream));
        let begun: Vec<u64> = ranges(&upstream).iter().map(|range| first_byte(range)).collect();
        assert!(connections != "1" || begun.is_sorted(), "one connection requests ranges in order: {begun:?}");
    }
}

/// Returns the first byte of `bytes=FIRST-LAST`.
fn first_byte(range: &str) -> u64 {
    range.strip_prefix("bytes=").and_then(|range| range.split('-').next()).unwrap().parse().unwrap()
}

#[test]
fn connections_of_a_fill_run_in_parallel() {
    let upstream = Upstream::start();
    let content = noise(7, 12 * MIB);
    let digest = upstream.blob("library/app", &content);
    let mirror = mirror_with(&upstream, "", "  fill: {segment: 2MiB}");
    // No answer ends, so requests that have arrived run at the same time.
    upstream.fault("GET", "/blobs/", Fault::Stall(64 << 10));
    let (_slow, _) = Slow::begin(&mirror.client(), &blob("library/app", digest), 10);
    eventually("four connections", || (upstream.requests("GET", "/blobs/") >= 4).then_some(()));
    let mut begun: Vec<u64> = ranges(&upstream).iter().map(|range| first_byte(range)).collect();
    begun.sort_unstable();
    begun.dedup();
    assert_eq!(begun.len(), upstream.requests("GET", "/blobs/"), "no range was requested twice");
}

#[test]
fn requested_range_of_a_cold_blob_is_fetched_first() {
    let upstream = Upstream::start();
    let content = noise(8, 12 * MIB);
    let digest = upstream.blob("library/app", &content);
    let mirror = mirror(&upstream);
    let wanted = 10 * MIB..10 * MIB + 1000;
    upstream.fault("GET", "/blobs/", Fault::Throttle(4 * MIB as u64));
    let range = format!("bytes={}-{}", wanted.start, wanted.end - 1);
    let answer = mirror.client().request("GET", &blob("library/app", digest)).header("Range", &range).send();
    assert!(answer.status == 206 && answer.body == content[wanted.clone()]);
    assert!(upstream.bytes_sent(&digest) < wanted.start as u64, "the range did not wait for the bytes before it");
    assert_eq!(first_byte(&ranges(&upstream)[0]), wanted.start as u64);
    upstream.heal();
    assert!(is_right(&mirror.client().get(&blob("library/app", digest)), &content));
    is_sent_once(&upstream, digest, content.len());
}

#[test]
fn requested_range_moves_to_the_front_of_a_running_fill() {
    let upstream = Upstream::start();
    let content = noise(9, 12 * MIB);
    let digest = upstream.blob("library/app", &content);
    let mirror = mirror_with(&upstream, "", "  fill: {segment: 1MiB, connections: 2}");
    upstream.fault("GET", "/blobs/", Fault::Throttle(MIB as u64 / 2));
    let (slow, begun) = Slow::begin(&mirror.client(), &blob("library/app", digest), 10);
    let range = format!("bytes={}-{}", 10 * MIB, 10 * MIB + 9);
    let answer = mirror.client().request("GET", &blob("library/app", digest)).header("Range", &range).send();
    assert!(answer.status == 206 && answer.body == content[10 * MIB..10 * MIB + 10]);
    assert!(upstream.bytes_sent(&digest) < 8 * MIB as u64);
    upstream.heal();
    assert!([begun, slow.rest()].concat() == content);
    // A connection whose last bytes another one has taken over is dropped with what it has received meanwhile.
    let sent = upstream.bytes_sent(&digest);
    assert!((content.len() as u64..content.len() as u64 + 2 * MIB as u64).contains(&sent), "{sent} bytes");
}

/// Each connection fetches 1 MiB, two at a time. Once, the fill brought everything for the second reader first.
#[test]
fn reader_from_the_start_and_reader_of_the_end_are_served_in_turn() {
    let upstream = Upstream::start();
    let content = noise(29, 16 * MIB);
    let digest = upstream.blob("library/app", &content);
    let mirror = mirror_with(&upstream, "", "  fill: {segment: 1MiB, connections: 2}");
    upstream.fault("GET", "/blobs/", Fault::Throttle(MIB as u64));
    let target = blob("library/app", digest);
    let (mut whole, begun) = Slow::begin(&mirror.client(), &target, 10);
    let client = mirror.client();
    let range = format!("bytes={}-", 8 * MIB);
    let (mut end, _) = Slow::answer(client.request("GET", &target).header("Range", &range), 10);
    let reading = thread::spawn(move || {
        end.read(7 * MIB);
    });
    // While the other reader gets 7 MiB, at least a part of these arrives.
    let first = whole.read(3 * MIB);
    assert!(!reading.is_finished(), "the reader from the start got 3 MiB after the other one had got 7 MiB");
    upstream.heal();
    reading.join().unwrap();
    assert!([begun, first, whole.rest()].concat() == content);
}

#[test]
fn fill_uses_two_endpoints() {
    let (one, two) = (Upstream::start(), Upstream::start());
    let content = noise(10, 12 * MIB);
    let digest = one.blob("library/app", &content);
    two.blob("library/app", &content);
    let mirror = mirror_of(&[&one, &two], "", "  fill: {segment: 1MiB}");
    [&one, &two].iter().for_each(|upstream| upstream.fault("GET", "/blobs/", Fault::Throttle(2 * MIB as u64)));
    assert!(is_right(&mirror.client().get(&blob("library/app", digest)), &content));
    let sent = [one.bytes_sent(&digest), two.bytes_sent(&digest)];
    // As above: the end of a segment may have been taken over.
    let all = sent.iter().sum::<u64>();
    assert!((content.len() as u64..content.len() as u64 + 2 * MIB as u64).contains(&all), "{all} bytes");
    assert!(sent.iter().all(|sent| *sent >= 2 * MIB as u64), "{sent:?}");
}

#[test]
fn fill_survives_the_loss_of_an_endpoint() {
    let (one, two) = (Upstream::start(), Upstream::start());
    let content = noise(11, 8 * MIB);
    let digest = one.blob("library/app", &content);
    two.blob("library/app", &content);
    let mirror = mirror_of(&[&one, &two], "", "  fill: {segment: 1MiB}");
    [&one, &two].iter().for_each(|upstream| upstream.fault("GET", "/blobs/", Fault::Throttle(MIB as u64)));
    let (client, target) = (mirror.client(), blob("library/app", digest));
    let pull = thread::spawn(move || client.get(&target));
    eventually("bytes from both", || (one.bytes_sent(&digest) > 0 && two.bytes_sent(&digest) > 0).then_some(()));
    one.gone();
    two.heal();
    assert!(is_right(&pull.join().unwrap(), &content));
}

#[test]
fn fill_succeeds_with_a_damaging_and_a_good_endpoint() {
    for wrong in [0, 1] {
        let endpoints = [Upstream::start(), Upstream::start()];
        let content = noise(12, 6 * MIB);
        let digests = endpoints.each_ref().map(|upstream| upstream.blob("library/app", &content));
        let mirror = mirror_of(&[&endpoints[0], &endpoints[1]], "", "  fill: {segment: 1MiB}");
        endpoints[wrong].fault("GET", "/blobs/", Fault::Corrupt);
        endpoints.iter().for_each(|upstream| upstream.fault("GET", "/blobs/", Fault::Throttle(4 * MIB as u64)));
        let target = blob("library/app", digests[0]);
        assert!(is_right(&mirror.client().get(&target), &content), "the good endpoint suffices");
        assert!(endpoints[1 - wrong].bytes_sent(&digests[0]) <= 2 * content.len() as u64);
        mirror.wait_for_log(
            "this endpoint sent content that does not match its digest; another endpoint had the right content",
        );
        let blamed = mirror.wait_for_log("this endpoint sent");
        assert!(blamed.contains(&endpoints[wrong].port().to_string()), "{blamed}");
    }
}

#[test]
fn repair_asks_only_endpoints_that_sent_bytes() {
    let [dead, wrong, good] = [Upstream::start(), Upstream::start(), Upstream::start()];
    let content = noise(41, 6 * MIB);
    let digest = wrong.blob("library/app", &content);
    good.blob("library/app", &content);
    dead.gone();
    let mirror = mirror_of(&[&dead, &wrong, &good], "", "  fill: {segment: 1MiB}");
    wrong.fault("GET", "/blobs/", Fault::Corrupt);
    [&wrong, &good].iter().for_each(|upstream| upstream.fault("GET", "/blobs/", Fault::Throttle(4 * MIB as u64)));
    assert!(is_right(&mirror.client().get(&blob("library/app", digest)), &content));
    mirror.wait_for_log("this endpoint sent content");
    let tried = |upstream: &Upstream| {
        let host = format!("127.0.0.1:{}\"", upstream.port());
        mirror.log().lines().any(|line| line.contains("fetching it from one endpoint") && line.contains(&host))
    };
    assert!(tried(&good) && !tried(&dead), "{}", mirror.log());
}

#[test]
fn reader_of_wrong_bytes_is_cut() {
    let (damaging, good) = (Upstream::start(), Upstream::start());
    let content = noise(13, 16 * MIB);
    let digest = damaging.blob("library/app", &content);
    good.blob("library/app", &content);
    let mirror = mirror_of(&[&damaging, &good], "", "  fill: {connections: 1}");
    // At first only the damaging endpoint has the blob. A range that ends before the last byte is not withheld.
    damaging.fault("GET", "/blobs/", Fault::Corrupt);
    damaging.fault("GET", "/blobs/", Fault::Throttle(8 * MIB as u64));
    good.fault("GET", "/blobs/", Fault::Status(404));
    let target = blob("library/app", digest);
    let client = mirror.client();
    let request = client.request("GET", &target).header("Range", &format!("bytes=0-{}", 16 * MIB - 2));
    let (slow, first) = Slow::answer(request, 10);
    assert!(first != content[..10], "the wrong bytes are arriving");
    good.heal();
    wait_for_metric(&mirror, "entrepot_fills_total{outcome=\"complete\"} 1\n");
    assert!(first.len() + slow.rest().len() < 16 * MIB - 1, "the reader was not cut");
    assert!(is_right(&mirror.client().get(&target), &content));
}

#[test]
fn fill_without_waiters_pauses_and_resumes() {
    let upstream = Upstream::start();
    let content = noise(14, 8 * MIB);
    let digest = upstream.blob("library/app", &content);
    let mirror = mirror_with(&upstream, "", "  fill: {unattended: pause, grace: 200ms}");
    upstream.fault("GET", "/blobs/", Fault::Throttle(MIB as u64 / 2));
    let target = blob("library/app", digest);
    let range = mirror.client().request("GET", &target).header("Range", "bytes=0-999").send();
    assert_eq!((range.status, range.body.as_slice()), (206, &content[..1000]));
    wait_for_metric(&mirror, "entrepot_fills_in_flight 0\n");
    let before = upstream.bytes_sent(&digest);
    assert!(before < content.len() as u64);
    let partial = mirror.client().get("/metrics").text();
    assert!(!partial.contains("entrepot_cache_partial_bytes 0\n"), "{partial}");
    upstream.heal();
    assert!(is_right(&mirror.client().get(&target), &content));
    // Bytes in transit when the fill paused are lost.
    assert!(upstream.bytes_sent(&digest) <= content.len() as u64 + 4 * (MIB as u64 / 2));
    wait_for_metric(&mirror, "entrepot_cache_partial_bytes 0\n");
}

#[test]
fn fill_is_cancelled_through_the_api() {
    let upstream = Upstream::start();
    let content = noise(15, 4 * MIB);
    let digest = upstream.blob("library/app", &content);
    let mirror = mirror(&upstream);
    let client = mirror.client();
    let path = format!("/api/v1/fills/{digest}");
    assert_eq!(client.request("DELETE", &path).send().status, 404);
    upstream.fault("GET", "/blobs/", Fault::Throttle(MIB as u64));
    let (slow, first) = Slow::begin(&client, &blob("library/app", digest), 10);
    let fills = client.get("/api/v1/fills").text();
    assert!(fills.contains(&digest.to_string()) && fills.contains("docker.io/library/app"), "{fills}");
    assert_eq!(client.request("DELETE", &path).send().status, 202);
    assert!(first.len() + slow.rest().len() < content.len(), "its reader is cut");
    wait_for_metric(&mirror, "entrepot_fills_in_flight 0\n");
    upstream.heal();
    assert!(is_right(&client.get(&blob("library/app", digest)), &content));
    assert!(upstream.bytes_sent(&digest) <= content.len() as u64 + MIB as u64);
}

#[test]
fn unfinished_fill_is_evicted_first() {
    let upstream = Upstream::start();
    let content = noise(16, 3 * MIB);
    let digest = upstream.blob("library/app", &content);
    let other = noise(17, 3 * MIB);
    let second = upstream.blob("library/app", &other);
    let mirror = mirror_with(&upstream, "", "  cache: {maxsize: 5MiB, reserve: 0}\n  fill: {connections: 1}");
    upstream.fault("GET", "/blobs/", Fault::Throttle(MIB as u64));
    let (slow, _) = Slow::begin(&mirror.client(), &blob("library/app", digest), 2 * MIB + 1000);
    assert_eq!(mirror.client().request("DELETE", &format!("/api/v1/fills/{digest}")).send().status, 202);
    drop(slow);
    wait_for_metric(&mirror, "entrepot_fills_in_flight 0\n");
    let partial = mirror.data().join(format!("cache/partial/sha256/{}", digest.hex()));
    assert!(partial.exists());
    upstream.heal();
    assert!(is_right(&mirror.client().get(&blob("library/app", second)), &other));
    assert!(!partial.exists(), "the unfinished fill was not evicted");
}

#[test]
fn unfinished_fill_expires() {
    let upstream = Upstream::start();
    let digest = upstream.blob("library/app", &noise(18, 3 * MIB));
    let mut mirror = mirror_with(&upstream, "", "  fill: {keep: 1s}");
    upstream.fault("GET", "/blobs/", Fault::Throttle(MIB as u64));
    let (_slow, _) = Slow::begin(&mirror.client(), &blob("library/app", digest), MIB);
    let partial = mirror.data().join(format!("cache/partial/sha256/{}", digest.hex()));
    assert!(partial.exists());
    mirror.kill();
    thread::sleep(Duration::from_millis(1100));
    mirror.restart();
    eventually("the removal of the unfinished fill", || (!partial.exists()).then_some(()));
}

#[test]
fn fill_that_is_not_stored_resumes() {
    let upstream = Upstream::start();
    let content = noise(19, 3 * MIB);
    let digest = upstream.blob("library/app", &content);
    let mirror = mirror_with(&upstream, "", "  cache: {maxsize: 1MiB, reserve: 0}");
    upstream.fault("GET", "/blobs/", Fault::Cut(MIB as u64));
    assert!(is_right(&mirror.client().get(&blob("library/app", digest)), &content));
}

#[test]
fn expired_signed_links_are_requested_again() {
    let content = noise(20, 12 * MIB);
    // A connection lasts for a second, as long as a link.
    for links in [Links::Once, Links::For(Duration::from_secs(1))] {
        let upstream = Upstream::start();
        let digest = upstream.blob("library/app", &content);
        upstream.set_cdn(true);
        upstream.set_links(links);
        upstream.fault("GET", "/cdn/", Fault::Throttle(2 * MIB as u64));
        upstream.fault("GET", "/cdn/", Fault::Cut(2 * MIB as u64));
        let mirror = mirror_with(&upstream, "", "  fill: {segment: 3MiB}");
        assert!(is_right(&mirror.client().get(&blob("library/app", digest)), &content), "{links:?}");
        is_sent_once(&upstream, digest, content.len());
    }
}

#[test]
fn lasting_link_is_requested_once() {
    let upstream = Upstream::start();
    let content = noise(21, 12 * MIB);
    let digest = upstream.blob("library/app", &content);
    upstream.set_cdn(true);
    let mirror = mirror_with(&upstream, "", "  fill: {segment: 2MiB}");
    assert!(is_right(&mirror.client().get(&blob("library/app", digest)), &content));
    assert_eq!(upstream.requests("GET", "/v2/library/app/blobs/"), 1);
    assert!(upstream.requests("GET", "/cdn/") > 4);
}

/// Starts an upstream that redirects to a CDN with these faults, and a mirror that knows the size of the layer.
fn redirected(seed: u64, faults: &[Fault]) -> (Upstream, Registry, Vec<u8>, Digest) {
    let upstream = Upstream::start();
    let content = noise(seed, 12 * MIB);
    let image = upstream.image("library/app", "1", &[&content]);
    upstream.set_cdn(true);
    let mirror = mirror(&upstream);
    assert_eq!(mirror.client().get(&manifest("library/app", "1")).status, 200);
    faults.iter().for_each(|fault| upstream.fault("GET", "/cdn/", fault.clone()));
    (upstream, mirror, content, image.layers[0])
}

/// Makes each answer so late that several connections wait for theirs at the same time.
const LATE: Fault = Fault::Latency(Duration::from_millis(300));

#[test]
fn connections_begin_before_the_target_of_a_redirect_answers() {
    let (upstream, mirror, _, layer) = redirected(60, &[Fault::Hang]);
    let (client, target) = (mirror.client(), blob("library/app", layer));
    thread::spawn(move || client.try_get(&target));
    eventually("four connections", || (upstream.requests("GET", "/cdn/") == 4).then_some(()));
    assert_eq!(upstream.requests("GET", "/v2/library/app/blobs/"), 1, "only the first one asks the registry");
}

#[test]
fn target_that_ignores_ranges_sends_the_blob_to_one_of_the_first_connections() {
    let (upstream, mirror, content, layer) =
        redirected(61, &[LATE, Fault::IgnoreRange, Fault::Throttle(4 * MIB as u64)]);
    assert!(is_right(&mirror.client().get(&blob("library/app", layer)), &content));
    assert!(upstream.bytes_sent(&layer) < 2 * content.len() as u64, "{}", upstream.bytes_sent(&layer));
}

#[test]
fn target_that_refuses_is_asked_by_the_first_connections_and_once_more() {
    let (upstream, mirror, _, layer) = redirected(62, &[LATE, Fault::Status(403)]);
    assert_eq!(mirror.client().get(&blob("library/app", layer)).status, 502);
    let requests = [upstream.requests("GET", "/v2/library/app/blobs/"), upstream.requests("GET", "/cdn/")];
    assert!(requests[0] == 2 && requests[1] <= 5, "{requests:?}");
}

/// Of the connections that use one link, all may be refused: the first to use it was cut, or its answer comes late.
#[test]
fn link_that_an_early_connection_has_used_up_is_requested_again() {
    let (upstream, mirror, content, layer) = redirected(64, &[LATE]);
    upstream.arm(Rule::new("GET", "/cdn/", Fault::Status(403)).times(4));
    assert!(is_right(&mirror.client().get(&blob("library/app", layer)), &content));
    assert_eq!(upstream.requests("GET", "/v2/library/app/blobs/"), 2);
}

#[test]
fn failure_of_one_of_the_first_connections_is_recovered_from() {
    for spared in 0..4 {
        let (upstream, mirror, content, layer) = redirected(63, &[LATE]);
        upstream.arm(Rule::new("GET", "/cdn/", Fault::Status(503)).after(spared).times(1));
        assert!(is_right(&mirror.client().get(&blob("library/app", layer)), &content), "{spared}");
    }
}

#[test]
fn small_layer_is_not_starved_by_a_large_one() {
    let upstream = Upstream::start();
    let (large, small) = (noise(22, 12 * MIB), noise(23, 100_000));
    let digests = [&large, &small].map(|content| upstream.blob("library/app", content));
    let mirror = mirror_with(&upstream, "", "  fill: {perhost: 1, segment: 1MiB}");
    upstream.fault("GET", "/blobs/", Fault::Throttle(4 * MIB as u64));
    let (slow, first) = Slow::begin(&mirror.client(), &blob("library/app", digests[0]), 10);
    assert!(is_right(&mirror.client().get(&blob("library/app", digests[1])), &small));
    let fills = mirror.client().get("/api/v1/fills").text();
    assert!(fills.contains(&digests[0].to_string()), "the small layer waited for the large one: {fills}");
    upstream.heal();
    assert!([first, slow.rest()].concat() == large);
}

#[test]
fn connections_per_host_are_limited() {
    let upstream = Upstream::start();
    let digests = [24, 25].map(|seed| upstream.blob("library/app", &noise(seed, 12 * MIB)));
    let mirror = mirror_with(&upstream, "", "  fill: {perhost: 3, segment: 1MiB}");
    upstream.fault("GET", "/blobs/", Fault::Stall(100_000));
    let _first = Slow::begin(&mirror.client(), &blob("library/app", digests[0]), 10);
    eventually("three connections", || (upstream.requests("GET", "/blobs/") == 3).then_some(()));
    let (client, second) = (mirror.client(), blob("library/app", digests[1]));
    thread::spawn(move || client.try_get(&second));
    eventually("the second fill", || {
        mirror.client().get("/metrics").text().contains("entrepot_fills_in_flight 2\n").then_some(())
    });
    thread::sleep(Duration::from_millis(300));
    assert_eq!(upstream.requests("GET", "/blobs/"), 3);
}

#[test]
fn burst_of_5xx_is_waited_out_before_the_answer() {
    let upstream = Upstream::start();
    let content = noise(26, MIB);
    let digest = upstream.blob("library/app", &content);
    let mirror = mirror(&upstream);
    upstream.fault_once("GET", "/blobs/", Fault::Status(503));
    upstream.fault_once("GET", "/blobs/", Fault::Status(500));
    assert!(is_right(&mirror.client().get(&blob("library/app", digest)), &content));
}

#[test]
fn blobs_of_boundary_sizes_arrive_whole() {
    let upstream = Upstream::start();
    let mirror = mirror(&upstream);
    for (seed, size) in [0, 1, 65_536, 65_537, 2 * MIB - 1, 2 * MIB, 2 * MIB + 1, 4 * MIB + 1].into_iter().enumerate() {
        let content = noise(30 + seed as u64, size);
        let digest = upstream.blob("library/app", &content);
        assert!(is_right(&mirror.client().get(&blob("library/app", digest)), &content), "{size}");
        is_sent_once(&upstream, digest, size);
    }
}

#[test]
fn range_assigned_to_a_slow_connection_is_fetched_by_another() {
    let upstream = Upstream::start();
    let content = noise(40, 12 * MIB);
    let image = upstream.image("library/app", "1", &[&content]);
    let digest = image.layers[0];
    let mirror = mirror_with(&upstream, "", "  fill: {connections: 2, stall: 10m}");
    let client = mirror.client();
    assert_eq!(client.get(&manifest("library/app", 1)).status, 200);
    // Both connections send a little of their parts, and then nothing for longer than the test waits.
    upstream.fault("GET", "/blobs/", Fault::Stall(300_000));
    let (slow, first) = Slow::begin(&client, &blob("library/app", digest), 10);
    eventually("two connections", || (upstream.requests("GET", "/blobs/") == 2).then_some(()));
    upstream.heal();
    let begun: Vec<u64> = ranges(&upstream).iter().map(|range| first_byte(range)).collect();
    let within = *begun.iter().max().unwrap() as usize + 900_000;
    let range = format!("bytes={}-{}", within, within + 9);
    let answer = client.request("GET", &blob("library/app", digest)).header("Range", &range).send();
    assert!(answer.status == 206 && answer.body == content[within..within + 10]);
    assert!([first, slow.rest()].concat() == content);
}

/// The only connection of a fill has no other one that it can be compared with.
#[test]
fn only_connection_of_a_fill_is_replaced_if_its_blob_would_take_long() {
    for (seed, size, fault) in [(50, 3 * MIB, None), (51, 3 * MIB, Some(Fault::IgnoreRange)), (52, 6 * MIB, None)] {
        let upstream = Upstream::start();
        let content = noise(seed, size);
        let digest = upstream.blob("library/app", &content);
        let mirror = mirror_with(&upstream, "", "  fill: {connections: 1}");
        // At this rate the blob would take an hour.
        upstream.fault_once("GET", "/blobs/", Fault::Throttle(1000));
        fault.iter().for_each(|fault| upstream.fault("GET", "/blobs/", fault.clone()));
        assert!(is_right(&mirror.client().get(&blob("library/app", digest)), &content), "{size} {fault:?}");
        wait_for_metric(&mirror, "entrepot_fill_replaced_connections_total{reason=\"slow\"} 1");
    }
}

#[test]
fn fill_does_not_wait_for_a_host_whose_connections_are_taken_while_another_endpoint_is_free() {
    let (one, two) = (Upstream::start(), Upstream::start());
    let contents = [53, 54].map(|seed| noise(seed, MIB));
    let [first, second] = [&contents[0], &contents[1]].map(|content| one.blob("library/app", content));
    two.hold_what(&one);
    let mirror = mirror_of(&[&one, &two], ", firstbytetimeout: 1h", "  fill: {perhost: 1}");
    one.fault("GET", &first.to_string(), Fault::Hang);
    let _hangs = mirror.client().request("GET", &blob("library/app", first)).send_head();
    eventually("the first request", || (one.requests("GET", "/blobs/") == 1).then_some(()));
    assert!(is_right(&mirror.client().get(&blob("library/app", second)), &contents[1]));
    assert_eq!(one.requests("GET", &second.to_string()), 0);
}
