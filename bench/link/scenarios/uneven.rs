//! Links whose connections or endpoints differ, whose answers come late, that refuse for a while, that are shared, and that are long.

use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::{Alone, Scenario};
use crate::contestant::Who;
use crate::lab::{Lab, MIB, Stand};
use crate::recipe::Recipe;
use crate::row::{Requirement, Row};
use crate::support::client::{Client, noise};
use crate::support::fault::Fault;

/// The rate of a good connection, in bytes per second.
const RATE: u64 = 4_000_000;

/// The rate of a bad connection.
const SLOW: u64 = 20_000;

/// The head start of a foreign connection.
const HEAD_START: Duration = Duration::from_secs(1);

pub fn all() -> [Scenario; 6] {
    let scenario = |title, text, run| Scenario { title, text, alone: Alone::Entrepot, contestants: &Who::ALL, run };
    [
        scenario(
            "one slow connection in five",
            "A layer of 100 MiB; each connection gets r = 4 MB/s, but every fifth 20 kB/s. The first is a good one.",
            slow_connections,
        ),
        scenario(
            "two endpoints, 10:1",
            "Two endpoints hold the same layer of 40 MiB. The good one gives r = 10 MiB/s on all its connections \
             together, the other a tenth of it. The bare link asks the first endpoint only.",
            uneven_endpoints,
        ),
        scenario(
            "late first bytes",
            "A layer of 24 MiB; every request to the CDN waits 1, 2 or 4 s for its answer, each connection gets \
             r = 4 MB/s.",
            late,
        ),
        scenario(
            "503 for 3 s",
            "When a tenth of a layer of 100 MiB has left the upstream, it closes every connection, and the CDN answers \
             every request with 503 for 3 s; r = 4 MB/s for each connection.",
            refusals,
        ),
        scenario(
            "shared bottleneck",
            "All connections to the CDN share r = 8 MiB/s, each in turn, as over one slow line. A layer of 64 MiB is \
             pulled alone, and beside a foreign connection that fetches something else all the time.",
            shared,
        ),
        scenario(
            "long fat link",
            "A layer of 64 MiB; every request waits 300 ms for its answer, and each connection gets r = 1 MB/s, as a \
             window allows, while the link can carry many connections.",
            long,
        ),
    ]
}

fn slow_connections(lab: &Lab, who: Who) -> Vec<Row> {
    let stand = Stand::new(lab, who, &Recipe { size: 100, ..Recipe::default() });
    stand.upstream().fault("GET", "/cdn/", Fault::SlowConnection(5, SLOW));
    stand.upstream().fault("GET", "/cdn/", Fault::Throttle(RATE));
    vec![Row::of(&stand, &[stand.pull(40)], 40).rate(&stand, RATE)]
}

fn uneven_endpoints(lab: &Lab, who: Who) -> Vec<Row> {
    let rate = 10 * MIB;
    let recipe = Recipe { size: 40, endpoints: 2, ..Recipe::default() };
    let cases = [("the second is slow", [rate, rate / 10]), ("the first is slow", [rate / 10, rate])];
    let row = |(case, rates): (&'static str, [u64; 2])| {
        let stand = Stand::new(lab, who, &recipe);
        for (upstream, rate) in stand.upstreams.iter().zip(rates) {
            upstream.fault("GET", "/cdn/", Fault::Bottleneck(rate));
        }
        Row::of(&stand, &[stand.pull(20)], 20).rate(&stand, rate).case(case)
    };
    cases.into_iter().map(row).collect()
}

fn late(lab: &Lab, who: Who) -> Vec<Row> {
    let row = |(case, seconds)| {
        let stand = Stand::new(lab, who, &Recipe { size: 24, ..Recipe::default() });
        stand.upstream().fault("GET", "/cdn/", Fault::Latency(Duration::from_secs(seconds)));
        stand.upstream().fault("GET", "/cdn/", Fault::Throttle(RATE));
        Row::of(&stand, &[stand.pull(25)], 25).rate(&stand, RATE).case(case)
    };
    [("1 s", 1), ("2 s", 2), ("4 s", 4)].into_iter().map(row).collect()
}

fn refusals(lab: &Lab, who: Who) -> Vec<Row> {
    let stand = Stand::new(lab, who, &Recipe { size: 100, ..Recipe::default() });
    let throttle = || stand.upstream().fault("GET", "/cdn/", Fault::Throttle(RATE));
    throttle();
    let pulled = stand.pull_while(40, |stand| {
        stand.wait_for(0.1, Duration::from_secs(20));
        stand.upstream().fault("GET", "/cdn/", Fault::Status(503));
        stand.upstream().gone();
        stand.upstream().back();
        thread::sleep(Duration::from_secs(3));
        stand.upstream().heal();
        throttle();
    });
    vec![Row::of(&stand, &[pulled], 40).rate(&stand, RATE)]
}

fn shared(lab: &Lab, who: Who) -> Vec<Row> {
    let rate = 8 * MIB;
    let stand = || {
        let stand = Stand::new(lab, who, &Recipe { size: 64, ..Recipe::default() });
        stand.upstream().fault("GET", "/cdn/", Fault::Bottleneck(rate));
        stand
    };
    let alone = stand();
    let row = Row::of(&alone, &[alone.pull(30)], 30).rate(&alone, rate).case("alone");
    let alone = row.requirement(who, |row| {
        let measured = row.rate.map_or_else(|| row.result.clone(), |rate| format!("{rate:.2} r"));
        let met = row.rate.is_some_and(|rate| rate >= 0.97);
        Requirement::new("a bottleneck that nothing else uses", "≥ 0.97 r", measured, met)
    });
    let stand = stand();
    let (row, share) = beside_a_foreign_connection(&stand);
    let note = format!("{:.0} % of the bytes are its own", share * 100.0);
    let row = row.rate(&stand, rate).case("beside another").note(note).requirement(who, |row| {
        let measured = format!("{:.0} %, {}", share * 100.0, row.result);
        let wanted = "≤ 60 % of the bytes";
        Requirement::new(
            "a bottleneck that a foreign connection uses too",
            wanted,
            measured,
            share <= 0.6 && row.is_whole(),
        )
    });
    vec![alone, row]
}

/// Pulls while a foreign connection fetches another blob. Returns the row, and the part of the bytes that were the layer's.
fn beside_a_foreign_connection(stand: &Stand) -> (Row, f64) {
    let upstream = stand.upstream();
    let foreign = upstream.blob("foreign/app", &noise(7, 64 << 20));
    let cdn = Client::new(upstream.cdn_url().trim_start_matches("http://").parse().unwrap());
    let (is_over, target) = (AtomicBool::new(false), format!("/cdn/blobs/{foreign}"));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::SeqCst) {
                let (mut body, mut piece) = (cdn.request("GET", &target).send_head(), vec![0; 64 << 10]);
                while body.read(&mut piece).is_ok_and(|len| len > 0) && !is_over.load(Ordering::SeqCst) {
                    thread::yield_now();
                }
            }
        });
        thread::sleep(HEAD_START);
        let before = upstream.bytes_sent(&foreign);
        let pulled = stand.pull(30);
        let foreign = upstream.bytes_sent(&foreign) - before;
        is_over.store(true, Ordering::SeqCst);
        let own = stand.ratio() * stand.size() as f64;
        (Row::of(stand, &[pulled], 30), own / (own + foreign as f64))
    })
}

fn long(lab: &Lab, who: Who) -> Vec<Row> {
    let stand = Stand::new(lab, who, &Recipe { size: 64, ..Recipe::default() });
    stand.upstream().fault("*", "", Fault::Latency(Duration::from_millis(300)));
    stand.upstream().fault("GET", "/cdn/", Fault::Throttle(1_000_000));
    vec![Row::of(&stand, &[stand.pull(30)], 30).rate(&stand, 1_000_000)]
}
