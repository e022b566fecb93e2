//! Transfers over simulated links, in virtual time: a small run of `cargo bench --bench scheduler`.
#![allow(dead_code, reason = "the benchmark prints more than the test checks")]

#[path = "../../bench/scheduler/links.rs"]
mod links;
#[path = "../../bench/scheduler/network.rs"]
mod network;
#[path = "../../bench/scheduler/random.rs"]
mod random;
#[path = "../../bench/scheduler/simulation.rs"]
mod simulation;

use entrepot::config::FillConnections;

#[test]
fn transfers_over_random_links_come_near_the_bound_and_fetch_each_byte_once() {
    let mut ratios: Vec<f64> = Vec::new();
    for seed in 0..25 {
        let (network, size) = links::random_link(seed);
        // The simulation itself checks that every byte arrives.
        let outcome = simulation::Simulation::new(&network, size, seed, FillConnections::Auto).run();
        ratios.push(network.bound(size, simulation::MOST) / outcome.seconds);
        assert!(outcome.twice <= size as f64 * 0.1, "link {seed}: {} bytes crossed twice", outcome.twice);
    }
    ratios.sort_by(f64::total_cmp);
    // Seconds of virtual time, which are the same on every machine.
    assert!(ratios[12] >= 0.95 && ratios[1] >= 0.7, "{ratios:?}");
}
