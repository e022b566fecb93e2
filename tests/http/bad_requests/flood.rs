//! Bad requests in large numbers: anything that they leave in the server's memory becomes visible.

use std::io::{BufReader, Write};
use std::net::TcpStream;

use super::table::{self, Row};
use super::world::World;
use super::{Kind, open, send};
use crate::support::client::Answer;

/// The default number of requests. `.ci/nightly` sets `ENTREPOT_BAD_REQUESTS` to 100000 and uses the release binary.
const REQUESTS: usize = 10_000;
/// The number of connections at a time.
const CONNECTIONS: usize = 4;
/// The allowed growth of the server's memory, in bytes. An allocator does not return everything at once.
const SLACK: u64 = 8 << 20;

/// A row as bytes. The flag is set if its answer has no body.
struct Sent {
    bytes: Vec<u8>,
    is_head: bool,
    status: u16,
}

#[test]
fn memory_does_not_grow() {
    let requests = std::env::var("ENTREPOT_BAD_REQUESTS").map_or(REQUESTS, |text| text.parse().unwrap());
    let world = open();
    let rows = rows(&world);
    // The first requests allocate everything that is made on first use.
    flood(&world, &rows, 4 * rows.len());
    let before = world.registry.resident();
    flood(&world, &rows, requests);
    let after = world.registry.resident();
    println!("{requests} bad requests: {} KiB before, {} KiB after", before >> 10, after >> 10);
    assert!(after <= before + SLACK, "{requests} bad requests: from {before} to {after} bytes");
}

/// Returns all rows except those that need an upload of their own.
fn rows(world: &World) -> Vec<Sent> {
    let ours = table::OPEN.iter().copied().flatten().map(|row| (row, Kind::Ours));
    let raw = table::FRAMING.iter().chain(table::RAW).map(|row| (row, Kind::Below));
    let shared = |(row, _): &(&Row, Kind)| !row.2.contains("<fresh>") && !row.2.contains("<begun>");
    let sent = |(row, kind): (&Row, Kind)| {
        let text = row.2;
        let prepared = if kind == Kind::Ours { world.prepare(text) } else { world.prepare_raw(text) };
        Sent { bytes: prepared.bytes, is_head: text.starts_with("HEAD"), status: row.0 }
    };
    ours.chain(raw).filter(shared).map(sent).collect()
}

/// Sends this number of requests, row after row, over a few connections that are kept as long as the server keeps them.
fn flood(world: &World, rows: &[Sent], requests: usize) {
    std::thread::scope(|scope| {
        for lane in 0..CONNECTIONS {
            scope.spawn(move || {
                let mut stream: Option<BufReader<TcpStream>> = None;
                for at in (lane..requests).step_by(CONNECTIONS) {
                    let row = &rows[at % rows.len()];
                    let answer = exchange(world, &mut stream, row);
                    // All connections use the same upload, so another one may have it at the moment.
                    assert!([row.status, 409].contains(&answer.status), "{} {}", answer.status, answer.text());
                }
            });
        }
    });
}

fn exchange(world: &World, kept: &mut Option<BufReader<TcpStream>>, row: &Sent) -> Answer {
    loop {
        let fresh = kept.is_none();
        let mut stream = match kept.take() {
            Some(mut stream) => {
                // The server may have closed the connection meanwhile; then the request goes over a new one.
                let _ = stream.get_mut().write_all(&row.bytes);
                stream
            }
            None => send(world, &row.bytes),
        };
        match Answer::read(&mut stream, row.is_head) {
            Some(answer) => {
                *kept = (answer.header("connection") != Some("close")).then_some(stream);
                return answer;
            }
            None => assert!(!fresh, "no answer"),
        }
    }
}
