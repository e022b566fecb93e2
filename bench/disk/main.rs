//! Measures whether a slow disk delays answers that need nothing from it: `/livez`, `/metrics`, and a hit of another blob.
//!
//! ```sh
//! cargo bench --bench disk   # writes docs/measured/DISK.md; takes less than a minute
//! ```
//!
//! One server is measured twice while clients pull blobs that are not cached: on a good disk, and on a disk on which each write
//! takes 3 s. `tests/support/slow_disk.c` is that disk.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on fails at that line")]
#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark is outside the product, and measures with the machine's clock"
)]

mod report;
#[allow(dead_code, reason = "shared with the tests, which use the rest")]
#[path = "../../tests/support/mod.rs"]
mod support;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use report::{Row, page};
use support::client::{Client, noise};
use support::fault::Fault;
use support::mirror::{blob, cache};
use support::registry::Registry;
use support::slow_disk::SlowDisk;
use support::upstream::Upstream;

/// The time for which answers are measured, after the same time of pulls.
const MEASURED: Duration = Duration::from_secs(12);
/// The time between two requests of one kind.
const PAUSE: Duration = Duration::from_millis(10);
/// The number of clients that pull at once.
const PULLING: usize = 8;
/// Blobs of this size are pulled, each once. The upstream sends each connection 2 MiB/s.
const LAYER: usize = 4 << 20;
const LAYERS: usize = 200;

fn main() {
    let Some(disk) = SlowDisk::new() else { return };
    let upstream = Upstream::start();
    let (hit, layers) = blobs(&upstream);
    upstream.fault("GET", "/blobs/", Fault::Throttle(2 << 20));
    let mirror = Registry::configured_in(&disk.environment(), |place| {
        let upstreams =
            format!("  upstreams:\n    docker.io: {{default: true, endpoints: [\"{}\"]}}\n", upstream.url());
        format!("{}\nmirror:\n{upstreams}  cache: {{reserve: 0}}\n", place.usual())
    });
    assert_eq!(mirror.client().get(&hit).status, 200);
    let next = AtomicUsize::new(0);
    let good = measured(&mirror.client(), &hit, &layers, &next);
    disk.set(&["write delay=3000 path=/data/"]);
    let slow = measured(&mirror.client(), &hit, &layers, &next);
    let delayed = disk.affected().iter().filter(|line| line.starts_with("done write")).count();
    disk.heal();
    assert!(delayed > PULLING, "only {delayed} writes took 3 s");
    let text = page(&good, &slow, delayed);
    print!("{text}");
    std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/measured/DISK.md"), text).unwrap();
}

/// Puts the blobs into the upstream. Returns the target of the one that is a hit, and those of the others.
fn blobs(upstream: &Upstream) -> (String, Vec<String>) {
    let noise = noise(1, LAYER + LAYERS);
    let target = |content: &[u8]| blob("library/app", upstream.blob("library/app", content));
    let layers = (0..LAYERS).map(|i| target(&noise[i..i + LAYER])).collect();
    (target(&noise[..64 << 10]), layers)
}

/// Measures the answers while clients pull.
fn measured(client: &Client, hit: &str, layers: &[String], next: &AtomicUsize) -> Vec<Row> {
    let over = AtomicBool::new(false);
    let running = || !over.load(Ordering::Relaxed);
    thread::scope(|scope| {
        for _ in 0..PULLING {
            scope.spawn(|| {
                while running() {
                    let target = layers.get(next.fetch_add(1, Ordering::Relaxed)).expect("more layers");
                    client.get(target);
                }
            });
        }
        thread::sleep(MEASURED);
        let get = |target: &str| {
            let answer = client.get(target);
            assert!(answer.status == 200 && (target != hit || cache(&answer) == "hit"), "{target}");
        };
        let requests = [("`/livez`", "/livez"), ("`/metrics`", "/metrics"), ("a hit of 64 KiB", hit)];
        let threads: Vec<_> = requests
            .map(|(name, target)| scope.spawn(move || Row::new(name, sample(|| get(target)))))
            .into_iter()
            .collect();
        let machine = scope.spawn(|| Row::new("no request: a pause of 1 ms", sample(|| thread::sleep(PAUSE / 10))));
        let mut rows: Vec<Row> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        rows.push(machine.join().unwrap());
        over.store(true, Ordering::Relaxed);
        rows
    })
}

/// Returns the time that each call takes.
fn sample(call: impl Fn()) -> Vec<Duration> {
    let begun = Instant::now();
    let mut samples = Vec::new();
    while begun.elapsed() < MEASURED {
        let asked = Instant::now();
        call();
        samples.push(asked.elapsed());
        thread::sleep(PAUSE);
    }
    samples
}
