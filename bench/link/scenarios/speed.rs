//! Speed: throttled connections, latency, many clients, two endpoints, a range out of order.

use super::{Alone, Scenario};
use crate::contestant::{Contestant, Who};
use crate::lab::{Lab, MIB, Stand, deadline};
use crate::pull::{self, End, Pulled};
use crate::recipe::Recipe;
use crate::row::{Requirement, Row};
use crate::support::fault::Fault;

use std::time::{Duration, Instant};

/// The number of runs of an unthrottled pull, of which the fastest counts, since the machine is the limit.
const ROUNDS: usize = 2;

/// The number of runs where two settings are compared.
const CLOSE_ROUNDS: usize = 4;

pub fn all() -> impl Iterator<Item = Scenario> {
    one_connection().into_iter().chain(several())
}

/// Returns the scenarios that compare with the rate of one connection.
fn one_connection() -> [Scenario; 5] {
    [
        Scenario {
            title: "unthrottled",
            text: "A layer of 100 MiB over a link without a limit. The scenario shows the cost of a server in \
                   between, and of several connections. The best of a few runs counts.",
            alone: Alone::Everybody,
            contestants: &Who::WITHOUT_ARIA2,
            run: |lab, who| unthrottled(lab, who, false),
        },
        Scenario {
            title: "unthrottled, TLS",
            text: "The same over TLS, with HTTP/2 on offer.",
            alone: Alone::Everybody,
            contestants: &Who::WITHOUT_ARIA2,
            run: |lab, who| unthrottled(lab, who, true),
        },
        Scenario {
            title: "throttled per connection",
            text: "A layer of 100 MiB; each connection gets r = 16 MiB/s.",
            alone: Alone::Entrepot,
            contestants: &Who::WITHOUT_ARIA2,
            run: |lab, who| throttled(lab, who, false),
        },
        Scenario {
            title: "throttled per connection, TLS",
            text: "The same over TLS, with HTTP/2 on offer: its streams share the one connection's rate.",
            alone: Alone::Entrepot,
            contestants: &Who::WITHOUT_ARIA2,
            run: |lab, who| throttled(lab, who, true),
        },
        Scenario {
            title: "throttled, 100 ms away",
            text: "A layer of 24 MiB; every request waits 100 ms for its answer, each connection gets r = 8 MiB/s.",
            alone: Alone::Entrepot,
            contestants: &Who::WITHOUT_ARIA2,
            run: far,
        },
    ]
}

/// Returns the scenarios with several clients, endpoints or requests.
fn several() -> [Scenario; 3] {
    [
        Scenario {
            title: "8 cold clients",
            text: "Eight clients pull the same image at once. Its layer of 20 MiB is in no cache; r = 8 MiB/s for \
                   each connection.",
            alone: Alone::Entrepot,
            contestants: &Who::WITHOUT_ARIA2,
            run: crowd,
        },
        Scenario {
            title: "two endpoints",
            text: "Two endpoints hold the same layer of 40 MiB. Each gives r = 10 MiB/s on all its connections \
                   together.",
            alone: Alone::Entrepot,
            contestants: &Who::WITHOUT_ARIA2,
            run: endpoints,
        },
        Scenario {
            title: "range out of order",
            text: "A client requests 1 MiB, from 52.5 MiB on, of a layer of 64 MiB that is in no cache. Another \
                   client requests the whole layer afterwards. r = 8 MiB/s for each connection. Time in order: the \
                   time for the layer up to the end of the range.",
            alone: Alone::Entrepot,
            contestants: &Who::WITHOUT_ARIA2,
            run: range,
        },
    ]
}

fn unthrottled(lab: &Lab, who: Who, tls: bool) -> Vec<Row> {
    let pull = |fill| {
        let stand = Stand::new(lab, who, &Recipe { size: 100, tls, fill, ..Recipe::default() });
        Row::of(&stand, &[stand.pull(10)], 10)
    };
    let best = |a: Row, b: Row| if b.seconds() < a.seconds() { b } else { a };
    let mut found = pull("");
    let mut single = (who == Who::Entrepot).then(|| pull("connections: 1"));
    for _ in 1..if single.is_some() { CLOSE_ROUNDS } else { ROUNDS } {
        found = best(found, pull(""));
        single = single.map(|single| best(single, pull("connections: 1")));
    }
    let Some(single) = single else { return vec![found] };
    let times = found.seconds() / single.seconds();
    let what = if tls { "unthrottled, over TLS" } else { "unthrottled" };
    let requirement = Requirement::new(
        what,
        "no slower than with one connection (≤ 1.10 of its time)",
        format!("{times:.2}"),
        times <= 1.1,
    );
    vec![found.requirement(who, |_| requirement), single.case("1 connection")]
}

fn throttled(lab: &Lab, who: Who, tls: bool) -> Vec<Row> {
    let rate = 16 * MIB;
    let stand = Stand::new(lab, who, &Recipe { size: 100, tls, ..Recipe::default() });
    stand.upstream().fault("GET", "/cdn/", Fault::Throttle(rate));
    let row = Row::of(&stand, &[stand.pull(15)], 15).rate(&stand, rate);
    let what = if tls { "throttled to r per connection, over TLS" } else { "throttled to r per connection" };
    vec![row.requirement(who, |row| faster(what, "≥ 3.6 r", row, 3.6))]
}

fn far(lab: &Lab, who: Who) -> Vec<Row> {
    let rate = 8 * MIB;
    let stand = Stand::new(lab, who, &Recipe { size: 24, ..Recipe::default() });
    stand.upstream().fault("*", "", Fault::Latency(Duration::from_millis(100)));
    stand.upstream().fault("GET", "/cdn/", Fault::Throttle(rate));
    vec![Row::of(&stand, &[stand.pull(10)], 10).rate(&stand, rate)]
}

fn crowd(lab: &Lab, who: Who) -> Vec<Row> {
    let rate = 8 * MIB;
    let stand = Stand::new(lab, who, &Recipe::default());
    stand.upstream().fault("GET", "/cdn/", Fault::Throttle(rate));
    vec![Row::of(&stand, &stand.pulls(8, 10), 10).rate(&stand, rate)]
}

fn endpoints(lab: &Lab, who: Who) -> Vec<Row> {
    let rate = 10 * MIB;
    let recipe = Recipe { size: 40, endpoints: 2, ..Recipe::default() };
    let fresh = || {
        let stand = Stand::new(lab, who, &recipe);
        stand.upstreams.iter().for_each(|upstream| upstream.fault("GET", "/cdn/", Fault::Bottleneck(rate)));
        stand
    };
    let stand = fresh();
    let row = Row::of(&stand, &[stand.pull(10)], 10).rate(&stand, rate);
    if who != Who::Entrepot {
        return vec![row.note("knows one endpoint only")];
    }
    let both = row.requirement(who, |row| faster("two endpoints that give r each", "≥ 1.8 r", row, 1.8));
    let stand = fresh();
    let pulled = stand.pull_while(15, |stand| {
        stand.wait_for(0.5, Duration::from_secs(8));
        stand.upstream().gone();
    });
    let circuit = circuit_is_visible(&stand.contestant);
    let note = if circuit { "the circuit shows in /metrics" } else { "no circuit shows in /metrics" };
    let dying = Row::of(&stand, &[pulled], 15).case("the first dies at half").note(note).requirement(who, |row| {
        let measured = format!("{}; {note}", row.result);
        Requirement::new(
            "one of two endpoints dies in the middle",
            "whole, and the circuit in /metrics",
            measured,
            row.is_whole() && circuit,
        )
    });
    vec![both, dying]
}

/// Returns true if a metric reports an endpoint that is avoided.
fn circuit_is_visible(contestant: &Contestant) -> bool {
    let Contestant::Entrepot(registry) = contestant else { return false };
    let metrics = registry.client().get("/metrics").text();
    let samples = metrics.lines().filter(|line| !line.starts_with('#') && line.contains("circuit"));
    samples.filter(|line| !line.contains("closed")).any(|line| !line.ends_with(" 0"))
}

fn range(lab: &Lab, who: Who) -> Vec<Row> {
    let begin = 52 * MIB as usize + MIB as usize / 2;
    let stand = Stand::new(lab, who, &Recipe { size: 64, ..Recipe::default() });
    stand.upstream().fault("GET", "/cdn/", Fault::Throttle(8 * MIB));
    let (begun, deadline) = (Instant::now(), deadline(12));
    let mut wanted = stand.wanted();
    wanted.range = Some(begin..begin + MIB as usize);
    let ranged = stand.contestant.pull(&wanted, deadline);
    let row = |row: Row| row.case("the range");
    if ranged.end == End::Status(200) {
        return vec![row(Row::of(&stand, &[ranged], 12)).note("the whole layer instead of the range")];
    }
    let Some(addr) = stand.contestant.addr() else { return vec![row(Row::of(&stand, &[ranged], 12))] };
    let whole = pull::layer(addr, &stand.wanted(), deadline);
    let whole = Pulled { last: begun.elapsed(), first: None, ..whole };
    let in_order = whole.last.as_secs_f64() * (begin as f64 + MIB as f64) / stand.size() as f64;
    let part = if ranged.end == End::Whole { ranged.last.as_secs_f64() / in_order } else { f64::INFINITY };
    // The costs of both together stand beside the whole.
    let ranged = row(Row { ratio: None, requests: None, ..Row::of(&stand, &[ranged], 12) });
    let whole = Row::of(&stand, &[whole], 12).case("the whole afterwards").requirement(who, |whole| {
        let measured = format!("{part:.2}; {:.2} times", whole.ratio.unwrap_or_default());
        let kept = part < 1.0 / 3.0 && whole.is_whole() && whole.ratio.is_some_and(|ratio| ratio <= 1.02);
        let wanted = "in < 0.33 of the time in order; the whole fetched once (≤ 1.02)";
        Requirement::new("a range in the last quarter of a cold layer", wanted, measured, kept)
    });
    vec![ranged.note(format!("{part:.2} of the time in order")), whole]
}

fn faster(what: &'static str, wanted: &'static str, row: &Row, times: f64) -> Requirement {
    let measured = row.rate.map_or_else(|| row.result.clone(), |rate| format!("{rate:.2} r"));
    Requirement::new(what, wanted, measured, row.rate.is_some_and(|rate| rate >= times))
}
