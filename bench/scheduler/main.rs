//! Simulates the scheduler of transfers: `cargo bench --bench scheduler`. Prints figures only, and writes nothing.
//!
//! Virtual time, no sockets. `docs/fills.md` says what the figures mean.

mod links;
mod network;
mod random;
mod simulation;

use std::time::Duration;

use entrepot::config::FillConnections::{self, Auto, Fixed};

use links::random_link;
use network::{Endpoint, Network};
use simulation::{MOST, Outcome, Simulation};

/// The number of random links.
const LINKS: u64 = 1000;
const MIB: u64 = 1 << 20;

fn main() {
    let only: Option<u64> = std::env::args().skip(1).find_map(|word| word.parse().ok());
    if let Some(seed) = only {
        let (network, size) = random_link(seed);
        let outcome = Simulation::new(&network, size, seed, Auto).run();
        return println!("{network:#?}\n{size} bytes: bound {:.2} s, {outcome:#?}", network.bound(size, MOST));
    }
    random_links();
    println!("\n{:<46} {:>9} {:>9} {:>9} {:>6} {:>6}", "link", "bound, s", "16, s", "auto, s", "÷", "share");
    for (name, network, size) in named_links() {
        let run = |connections: FillConnections| Simulation::new(&network, size, 1, connections).run();
        let (auto, fixed) = (run(Auto), run(Fixed(MOST)));
        let bound = network.bound(size, MOST);
        let (seconds, share) = (auto.seconds, auto.share);
        let ratio = bound / seconds;
        println!(
            "{name:<46} {bound:>9.1} {:>9.1} {seconds:>9.1} {ratio:>6.2} {share:>6.2}  {}",
            fixed.seconds,
            counts(&auto)
        );
    }
}

fn random_links() {
    let mut ratios: Vec<(f64, u64)> = Vec::new();
    let (mut twice, mut bytes, mut requests) = (0.0, 0.0, 0);
    for seed in 0..LINKS {
        let (network, size) = random_link(seed);
        let outcome = Simulation::new(&network, size, seed, Auto).run();
        ratios.push((network.bound(size, MOST) / outcome.seconds, seed));
        twice += outcome.twice;
        bytes += size as f64;
        requests += outcome.requests;
    }
    ratios.sort_by(|a, b| a.0.total_cmp(&b.0));
    let at = |part: f64| ratios[(part * (ratios.len() - 1) as f64) as usize].0;
    println!(
        "{LINKS} random links, bound ÷ time: median {:.3}, 5th percentile {:.3}, least {:.3}",
        at(0.5),
        at(0.05),
        at(0.0)
    );
    println!("required: median ≥ 0.95, 5th percentile ≥ 0.8");
    println!(
        "bytes that crossed twice: {:.2} %; bytes for each request: {:.1} MiB",
        100.0 * twice / bytes,
        bytes / requests as f64 / MIB as f64
    );
    println!("the worst seeds: {:?}", &ratios[..8]);
}

fn named_links() -> Vec<(&'static str, Network, u64)> {
    let endpoint = |each: f64, all: f64| Endpoint {
        latency: Duration::from_millis(50),
        each: each * 1e6,
        all: all * 1e6,
        slow: (0.0, 1.0),
    };
    let network = |link: f64, others: usize, endpoints: Vec<Endpoint>| Network { endpoints, link: link * 1e6, others };
    let late = |seconds: u64| Endpoint { latency: Duration::from_secs(seconds), ..endpoint(4.0, 100.0) };
    let slow = Endpoint { slow: (0.2, 0.005), ..endpoint(4.0, 100.0) };
    vec![
        ("each connection 1 MB/s", network(100.0, 0, vec![endpoint(1.0, 100.0)]), 200 * MIB),
        ("shared 10 MB/s, alone", network(10.0, 0, vec![endpoint(100.0, 100.0)]), 400 * MIB),
        ("shared 10 MB/s, beside one other transfer", network(10.0, 1, vec![endpoint(100.0, 100.0)]), 400 * MIB),
        ("shared 10 MB/s, beside three other transfers", network(10.0, 3, vec![endpoint(100.0, 100.0)]), 400 * MIB),
        ("each 4 MB/s, shared 10 MB/s", network(10.0, 0, vec![endpoint(4.0, 100.0)]), 400 * MIB),
        ("each 1 MB/s, 10 MB/s beside one other", network(10.0, 1, vec![endpoint(1.0, 100.0)]), 400 * MIB),
        ("one connection in five 20 kB/s", network(100.0, 0, vec![slow]), 100 * MIB),
        ("two endpoints, 1:10", network(100.0, 0, vec![endpoint(0.4, 1.6), endpoint(4.0, 16.0)]), 100 * MIB),
        ("two endpoints, 10:1", network(100.0, 0, vec![endpoint(4.0, 16.0), endpoint(0.4, 1.6)]), 100 * MIB),
        ("only the fast one of them", network(100.0, 0, vec![endpoint(4.0, 16.0)]), 100 * MIB),
        ("two endpoints, 1:100", network(100.0, 0, vec![endpoint(0.04, 0.16), endpoint(4.0, 16.0)]), 100 * MIB),
        ("first byte after 1 s", network(100.0, 0, vec![late(1)]), 100 * MIB),
        ("first byte after 4 s", network(100.0, 0, vec![late(4)]), 100 * MIB),
    ]
}

fn counts(outcome: &Outcome) -> String {
    let counts = outcome.counts.iter().take(12).map(|(at, count)| format!("{count}@{at:.1}"));
    counts.collect::<Vec<_>>().join(" ")
}
