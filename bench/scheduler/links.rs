//! Random links.

use std::time::Duration;

use super::network::{Endpoint, Network};
use super::random::Random;

const MIB: f64 = 1024.0 * 1024.0;

/// A random network without other transfers, and the size of a blob of at least 64 MiB.
pub fn random_link(seed: u64) -> (Network, u64) {
    let random = &mut Random::new(seed);
    let link = random.between(0.5, 25.0) * MIB;
    let endpoints = match random.part() {
        ..0.6 => 1,
        ..0.85 => 2,
        _ => 3,
    };
    let endpoint = |random: &mut Random| {
        let slow = if random.part() < 0.3 { (random.part() * 0.25, random.between(0.005, 0.1)) } else { (0.0, 1.0) };
        Endpoint {
            latency: Duration::from_secs_f64(random.between(0.005, 0.4)),
            each: link * random.between(0.08, 4.0),
            all: link * random.between(0.2, 3.0),
            slow,
        }
    };
    let endpoints = (0..endpoints).map(|_| endpoint(random)).collect();
    let size = (random.between(64.0, 512.0) * MIB) as u64;
    (Network { endpoints, link, others: 0 }, size)
}
