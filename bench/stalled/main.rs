//! Measures what clients that take nothing, and clients that guess passwords, cost the others.
//!
//! ```sh
//! cargo bench --bench stalled   # writes docs/measured/STALLED.md; takes about a minute
//! ```
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on fails at that line")]
#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark is outside the product, and measures with the machine's clock"
)]

mod guesses;
mod report;
#[allow(dead_code, reason = "shared with the tests, which use the rest")]
#[path = "../../tests/support/mod.rs"]
mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;

use report::{Rates, page};
use support::client::{Client, noise};
use support::mirror::blob;
use support::registry::Registry;

/// The number of connections that take nothing, and of streams on each.
const CONNECTIONS: usize = 20;
const STREAMS: usize = 50;
/// Rates are measured for this time, with and without those connections in turn.
const MEASURED: Duration = Duration::from_secs(3);
const ROUNDS: usize = 4;
/// The size of the blobs that are pulled and pushed.
const BLOB: usize = 4 << 20;

const REPOSITORY: &str = "team/app";

fn main() {
    let registry = Registry::start();
    let target = blob(REPOSITORY, registry.client().push_blob(REPOSITORY, &noise(1, BLOB)));
    let pushed = AtomicUsize::new(0);
    let measure = || Rates { pulls: pulls(&registry.client(), &target), pushes: pushes(&registry.client(), &pushed) };
    let (mut alone, mut beside) = (Rates::default(), Rates::default());
    measure();
    for _ in 0..ROUNDS {
        alone.add(measure());
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let held = runtime.block_on(hold(registry.addr(), &target));
        beside.add(measure());
        assert!(held.iter().all(|held| !held.driver.is_finished()), "a connection that takes nothing has ended");
        runtime.shutdown_background();
    }
    let text = page(&alone, &beside, &guesses::measured());
    print!("{text}");
    std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/measured/STALLED.md"), text).unwrap();
}

/// A connection of HTTP/2 whose streams have a window of 0 bytes, so the server may send nothing of a body.
struct Held {
    _streams: Vec<h2::RecvStream>,
    driver: tokio::task::JoinHandle<Result<(), h2::Error>>,
}

/// Opens connections, requests the blob on each many times, and takes nothing.
async fn hold(addr: SocketAddr, target: &str) -> Vec<Held> {
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS {
        let socket = tokio::net::TcpStream::connect(addr).await.unwrap();
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(0);
        let (send, connection) = builder.handshake::<_, Bytes>(socket).await.unwrap();
        let driver = tokio::spawn(connection);
        let mut streams = Vec::new();
        for _ in 0..STREAMS {
            let request = http::Request::get(format!("http://registry{target}")).body(()).unwrap();
            let mut ready = send.clone().ready().await.unwrap();
            let answer = ready.send_request(request, true).unwrap().0.await.unwrap();
            assert_eq!(answer.status(), 200);
            streams.push(answer.into_body());
        }
        held.push(Held { _streams: streams, driver });
    }
    held
}

/// Returns the bytes per second that one client pulls.
fn pulls(client: &Client, target: &str) -> f64 {
    rate(|| {
        let answer = client.get(target);
        assert!(answer.status == 200 && answer.body.len() == BLOB);
    })
}

/// Returns the bytes per second that one client pushes. Every blob is new.
fn pushes(client: &Client, pushed: &AtomicUsize) -> f64 {
    let mut content = noise(2, BLOB);
    rate(|| {
        let number = pushed.fetch_add(1, Ordering::Relaxed);
        content[..8].copy_from_slice(&number.to_le_bytes());
        client.push_blob(REPOSITORY, &content);
    })
}

fn rate(mut transfer: impl FnMut()) -> f64 {
    let (begun, mut count) = (Instant::now(), 0);
    while begun.elapsed() < MEASURED {
        transfer();
        count += 1;
    }
    (count * BLOB) as f64 / begun.elapsed().as_secs_f64()
}
