//! Tests of the window.

use super::*;
use crate::oci::Algorithm;

const KIB: u64 = 1 << 10;

fn want(position: u64, reach: Reach, handed: Option<Prefix>) -> Want {
    Want { position, end: None, reach, handed }
}

fn window(capacity: u64) -> Window {
    let mut window = Window::verified(Prefix::empty(Algorithm::Sha256));
    window.set_capacity(capacity);
    window
}

fn bytes(fill: u8, len: u64) -> Bytes {
    vec![fill; len as usize].into()
}

/// Takes everything that a reader may have now. Returns its position and the hash of everything before.
fn drain(window: &mut Window, reader: u64, from: u64) -> (u64, Option<Prefix>) {
    let (mut position, mut handed) = (from, None);
    while let Taken::Bytes(bytes, after) = window.take(reader, &want(position, Reach::End, handed.clone())) {
        position += bytes.len() as u64;
        handed = after;
    }
    (position, handed)
}

#[test]
fn last_bytes_are_withheld_until_the_blob_is_verified() {
    let mut window = window(1 << 20);
    let reader = window.join(0);
    window.push(bytes(1, 200 * KIB));
    let (position, _) = drain(&mut window, reader, 0);
    assert_eq!(position, 128 * KIB, "whole chunks, without the last 64 KiB");
    let early = window.join(0);
    let Taken::Bytes(piece, _) = window.take(early, &want(199 * KIB, Reach::Early, None)) else { panic!() };
    assert_eq!(piece.len() as u64, KIB);
    window.finish(WindowEnd::Verified);
    assert_eq!(drain(&mut window, reader, position).0, 200 * KIB);
    assert!(matches!(window.take(reader, &want(200 * KIB, Reach::End, None)), Taken::End(size) if size == 200 * KIB));
}

#[test]
fn full_window_waits_for_readers_until_its_oldest_bytes_are_dropped() {
    let mut window = window(256 * KIB);
    let (fast, slow) = (window.join(0), window.join(0));
    window.push(bytes(1, 256 * KIB));
    assert_eq!(window.room(), Room::Enough, "both have something to read");
    let (position, _) = drain(&mut window, fast, 0);
    assert_eq!(window.room(), Room::Held, "one waits, and the other has read nothing");
    window.drop_oldest();
    window.push(bytes(2, 64 * KIB));
    assert!(drain(&mut window, fast, position).0 > position);
    assert!(matches!(window.take(slow, &want(0, Reach::End, None)), Taken::Elsewhere), "it is behind");
    assert_eq!(window.room(), Room::Free, "a reader that is behind holds nothing");
    window.leave(fast);
    assert_eq!(window.room(), Room::NoReader);
}

#[test]
fn reader_that_has_handed_out_other_bytes_is_not_admitted() {
    let mut window = window(1 << 20);
    let _ = window.join(0);
    window.push(bytes(1, 300 * KIB));
    for (fill, admitted) in [(1, true), (2, false)] {
        let mut handed = Prefix::empty(Algorithm::Sha256);
        handed.extend(&bytes(fill, 100 * KIB));
        assert_eq!(window.admits(&want(100 * KIB, Reach::End, Some(handed.clone()))), admitted);
        assert!(window.admits(&want(100 * KIB, Reach::Early, None)));
        handed.extend(&bytes(fill, 300 * KIB));
        assert!(!window.admits(&want(400 * KIB, Reach::End, Some(handed))), "nothing to compare with");
    }
    let mut range = Window::unverified(0);
    range.set_capacity(1 << 20);
    assert!(range.admits(&want(0, Reach::Early, None)) && !range.admits(&want(0, Reach::End, None)));
    assert!(!range.admits(&want(2 << 20, Reach::Early, None)), "too far ahead");
}

#[test]
fn range_that_has_ended_admits_only_readers_of_its_bytes() {
    let mut range = Window::unverified(0);
    range.set_capacity(1 << 20);
    let _ = range.join(0);
    range.push(bytes(1, 100 * KIB));
    assert!(range.admits(&want(100 * KIB, Reach::Early, None)), "it may bring more");
    range.finish(WindowEnd::Range);
    assert!(range.admits(&want(99 * KIB, Reach::Early, None)));
    assert!(!range.admits(&want(100 * KIB, Reach::Early, None)));
}

#[test]
fn failure_stays_and_an_ended_stream_holds_nothing() {
    let mut window = window(1 << 20);
    let reader = window.join(0);
    window.push(bytes(1, 300 * KIB));
    window.finish(WindowEnd::Failed(UpstreamError::NotFound));
    window.finish(WindowEnd::Over);
    assert!(matches!(window.take(reader, &want(0, Reach::End, None)), Taken::Failed(UpstreamError::NotFound)));
    assert_eq!(window.held, 0);
}
