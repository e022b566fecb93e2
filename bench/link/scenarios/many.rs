//! A layer whose hash costs more than its transfer, and many small layers on a long link.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use super::{Alone, Scenario};
use crate::contestant::{Contestant, Who};
use crate::lab::{Lab, REPOSITORY, Stand, deadline};
use crate::recipe::Recipe;
use crate::row::{Requirement, Row};
use crate::support::client::{Client, noise};
use crate::support::fault::Fault;
use crate::support::mirror::{blob, manifest};
use crate::support::upstream::{Auth, Bearer, Image, Upstream};
use crate::upstream;

/// The number of runs of which the fastest counts.
const ROUNDS: usize = 3;

/// The number of small layers: the most that docker allows.
const LAYERS: usize = 127;

pub fn all() -> [Scenario; 2] {
    const SERVERS_AND_CURL: &[Who] = &Who::WITHOUT_ARIA2;
    [
        Scenario {
            title: "unthrottled, with the hash",
            text: "A layer of 300 MiB over a link without a limit, beside `curl | openssl dgst -sha256`, and beside \
                   the same with `tee layer` in between, which stores the layer as a registry has to. The best of a few \
                   runs counts.",
            alone: Alone::Everybody,
            contestants: SERVERS_AND_CURL,
            run: hashed,
        },
        Scenario {
            title: "127 small layers, 300 ms away",
            text: "A client that has the manifest of an image requests its 127 layers of 20 to 100 kB at once. Every \
                   request waits 300 ms for its answer; there is no CDN. The bare link is the same client, directly \
                   at the upstream.",
            alone: Alone::Everybody,
            contestants: SERVERS_AND_CURL,
            run: small_layers,
        },
    ]
}

fn hashed(lab: &Lab, who: Who) -> Vec<Row> {
    let run = |who: Who, store: bool| {
        let stand = Stand::new(lab, who, &Recipe { size: 300, ..Recipe::default() });
        let pulled = match &stand.contestant {
            Contestant::Curl(curl) => curl.pull_and_hash(&stand.wanted(), deadline(20), store),
            _ => stand.pull(20),
        };
        Row::of(&stand, &[pulled], 20)
    };
    let best = |a: Row, b: Row| if b.seconds() < a.seconds() { b } else { a };
    if who != Who::Entrepot {
        let rounds = |store: bool| (0..ROUNDS).map(|_| run(who, store)).reduce(best).unwrap();
        return match who {
            Who::Curl => vec![rounds(false), rounds(true).case("and `tee` into a file")],
            _ => vec![rounds(false)],
        };
    }
    // All three run in turn, so that the machine is as busy for each of them.
    let round = || [run(Who::Entrepot, false), run(Who::Curl, false), run(Who::Curl, true)];
    let mut rows = round();
    for _ in 1..ROUNDS {
        for (row, again) in rows.iter_mut().zip(round()) {
            *row = best(row.clone(), again);
        }
    }
    let [mut own, direct, stored] = rows;
    let (times, both) = (own.seconds() / direct.seconds(), own.seconds() / stored.seconds());
    let requirements = [
        ("unthrottled, 300 MiB", "≤ 1.10 of the time of `curl | openssl dgst -sha256`, which stores nothing", times),
        ("unthrottled, 300 MiB, stored", "≤ 1.10 of the time of `curl | tee layer | openssl dgst -sha256`", both),
    ];
    for (what, wanted, times) in requirements {
        own = own.requirement(who, |_| Requirement::new(what, wanted, format!("{times:.2}"), times <= 1.1));
    }
    vec![own]
}

fn small_layers(lab: &Lab, who: Who) -> Vec<Row> {
    let row = ask_for_all(lab, who);
    if who != Who::Entrepot {
        return vec![row];
    }
    let times = row.seconds() / ask_for_all(lab, Who::Curl).seconds();
    let measured = if row.is_whole() { format!("{times:.2}") } else { row.result.clone() };
    let met = row.is_whole() && times <= 2.0;
    let wanted = "≤ 2.00 of the time of the bare link";
    vec![
        row.requirement(who, |_| {
            Requirement::new("127 small layers at 300 ms, requested at once", wanted, measured, met)
        }),
    ]
}

/// Requests all layers of an image at once.
fn ask_for_all(lab: &Lab, who: Who) -> Row {
    let content = noise(3, LAYERS * 100_000);
    let layers: Vec<&[u8]> = content.chunks(100_000).enumerate().map(|(at, layer)| &layer[at * 600..]).collect();
    let upstream = Upstream::start();
    let image = upstream.image(REPOSITORY, "1", &layers);
    upstream.set_auth(Auth::Bearer(Bearer::default()));
    let contestant =
        Contestant::start(lab.distribution.as_deref(), who, &Recipe::default(), std::slice::from_ref(&upstream));
    let direct = upstream.url().trim_start_matches("http://").parse().unwrap();
    let client = Client::new(contestant.addr().unwrap_or(direct));
    let authorization = upstream::authorization(&upstream.url(), REPOSITORY);
    let get = |target: &str| {
        let request = client.request("GET", target).header("Accept", "application/vnd.oci.image.manifest.v1+json, */*");
        request.header("Authorization", &authorization).send()
    };
    let tag = get(&manifest(REPOSITORY, "1"));
    if tag.status != 200 {
        return Row::said(format!("{} for the tag", tag.status));
    }
    upstream.forget_log();
    upstream.fault("*", "", Fault::Latency(Duration::from_millis(300)));
    let (whole, last) = at_once(&image, &layers, &get);
    let sent: u64 = image.layers.iter().map(|layer| upstream.bytes_sent(layer)).sum();
    let size: usize = layers.iter().map(|layer| layer.len()).sum();
    Row {
        result: if whole == LAYERS {
            "whole".to_owned()
        } else {
            format!("whole at {whole}, failed at {}", LAYERS - whole)
        },
        ratio: Some(sent as f64 / size as f64),
        requests: Some(upstream.requests("*", "")),
        last: Some(last),
        ..Row::default()
    }
}

/// Returns the number of layers that arrived right, and the time until the last of them.
fn at_once(
    image: &Image,
    layers: &[&[u8]],
    get: &(impl Fn(&str) -> crate::support::client::Answer + Sync),
) -> (usize, Duration) {
    let barrier = Barrier::new(LAYERS + 1);
    thread::scope(|scope| {
        let barrier = &barrier;
        let fetch = move |at: usize| {
            barrier.wait();
            let answer = get(&blob(REPOSITORY, image.layers[at]));
            answer.status == 200 && answer.whole && answer.body == layers[at]
        };
        let fetches: Vec<_> = (0..LAYERS).map(|at| scope.spawn(move || fetch(at))).collect();
        barrier.wait();
        let begun = Instant::now();
        let whole = fetches.into_iter().map(|fetch| fetch.join().unwrap()).filter(|right| *right).count();
        (whole, begun.elapsed())
    })
}
