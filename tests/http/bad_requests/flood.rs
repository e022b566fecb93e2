//! Bad requests in such numbers that whatever they leave behind is seen: in the server's memory.

use std::io::{BufReader, Write};
use std::net::TcpStream;

use super::table::{self, Row};
use super::world::World;
use super::{Kind, open, send};
use crate::support::client::Answer;

/// `ENTREPOT_BAD_REQUESTS` asks for another number: `.ci/run` sends a hundred thousand to the release build.
const REQUESTS: usize = 10_000;
/// Connections at a time.
const CONNECTIONS: usize = 4;
/// What the server's memory may have grown by in the end, in bytes: what an allocator takes is not all given back at once.
const SLACK: u64 = 8 << 20;

/// A row as bytes, and whether its answer has no body.
struct Sent {
    bytes: Vec<u8>,
    is_head: bool,
    status: u16,
}

#[test]
fn memory_stays_where_it_is() {
    let requests = std::env::var("ENTREPOT_BAD_REQUESTS").map_or(REQUESTS, |text| text.parse().unwrap());
    let world = open();
    let rows = rows(&world);
    // Whatever is made on first use is made.
    flood(&world, &rows, 4 * rows.len());
    let before = world.registry.resident();
    flood(&world, &rows, requests);
    let after = world.registry.resident();
    println!("{requests} bad requests: {} KiB before, {} KiB after", before >> 10, after >> 10);
    assert!(after <= before + SLACK, "{requests} bad requests: from {before} to {after} bytes");
}

/// All rows but those that want an upload of their own.
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

/// Sends so many, row after row, over a few connections that are kept as long as the server keeps them.
fn flood(world: &World, rows: &[Sent], requests: usize) {
    std::thread::scope(|scope| {
        for lane in 0..CONNECTIONS {
            scope.spawn(move || {
                let mut stream: Option<BufReader<TcpStream>> = None;
                for at in (lane..requests).step_by(CONNECTIONS) {
                    let row = &rows[at % rows.len()];
                    let answer = exchange(world, &mut stream, row);
                    // Another lane may just have the upload that all of them ask for.
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
                // It may have been closed meanwhile: then a new one is tried.
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
