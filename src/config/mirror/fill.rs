//! `mirror.fill`: settings for fetching missing blobs.

use std::time::Duration;

use serde_json::json;

use crate::config::document::{number, show_size};
use crate::config::keys::Notation;
use crate::config::scalar_type::{Choices, DURATION, SIZE, ScalarType, TIMEOUT};
use crate::config::section::{Keys, Section};

/// The values of `mirror.fill`.
#[derive(Clone, Debug)]
pub struct Fill {
    /// The connections that feed one fill.
    pub connections: FillConnections,
    /// The most connections to one host for all fills together, except those that bring nothing (`perhost`, 16).
    pub per_host: usize,
    /// The most bytes that one of several connections requests at a time (`segment`, 8 MiB).
    pub segment: u64,
    /// A connection that delivers no byte for this time is replaced (`stall`, 15 s).
    pub stall: Duration,
    pub unattended: Unattended,
    /// The time that the bytes of an unfinished blob are kept after the last request for it (`keep`, 168 h).
    pub keep: Duration,
}

/// The number of connections that feed one fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FillConnections {
    /// As many as raise the throughput; four at first.
    Auto,
    /// This number, at least one.
    Fixed(usize),
}

/// The treatment of a fill that no client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unattended {
    Finish,
    /// The fill stops after this time. The next request resumes it.
    Pause(Duration),
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const SMALLEST_SEGMENT: u64 = 64 << 10;
/// A size that most layers do not reach.
const LONG_SEGMENT: u64 = 1 << 30;

const CONNECTIONS: ScalarType<FillConnections> = ScalarType {
    notation: Notation::Auto(1, 64),
    write: "write auto, or a number from 1 to 64",
    parse: |text| {
        if text == "auto" { Some(FillConnections::Auto) } else { count(text, 64).map(FillConnections::Fixed) }
    },
    show: |connections| match connections {
        FillConnections::Auto => json!("auto"),
        FillConnections::Fixed(count) => json!(count),
    },
};

const PER_HOST: ScalarType<usize> = ScalarType {
    notation: Notation::Number(1, 1024),
    write: "write a number from 1 to 1024",
    parse: |text| count(text, 1024),
    show: |count| json!(count),
};

/// The values of `unattended`: true pauses.
const UNATTENDED: Choices<bool> =
    Choices { words: &["finish", "pause"], values: &[false, true], write: "write finish or pause" };

impl Default for Fill {
    fn default() -> Self {
        Self {
            connections: FillConnections::Auto,
            per_host: 16,
            segment: 8 << 20,
            stall: 15 * SECOND,
            unattended: Unattended::Finish,
            keep: 7 * 24 * 60 * MINUTE,
        }
    }
}

impl Section for Fill {
    fn keys(&mut self, keys: &mut Keys<'_, '_>) {
        keys.scalar("connections", &CONNECTIONS, &mut self.connections);
        keys.scalar("perhost", &PER_HOST, &mut self.per_host);
        keys.scalar("segment", &SIZE, &mut self.segment);
        keys.scalar("stall", &TIMEOUT, &mut self.stall);
        unattended(&mut self.unattended, keys);
        keys.scalar("keep", &DURATION, &mut self.keep);
        if self.segment < SMALLEST_SEGMENT {
            let message = "is smaller than 64KiB, so that requests take longer than the bytes they bring; write 8MiB";
            keys.error("segment", message);
        }
        warn(self, keys);
    }
}

fn unattended(unattended: &mut Unattended, keys: &mut Keys<'_, '_>) {
    let (mut pause, mut grace) = match *unattended {
        Unattended::Finish => (false, None),
        Unattended::Pause(grace) => (true, Some(grace)),
    };
    keys.choice("unattended", &UNATTENDED, &mut pause);
    keys.scalar("grace", &DURATION, &mut grace);
    *unattended = if pause { Unattended::Pause(grace.unwrap_or(10 * SECOND)) } else { Unattended::Finish };
}

fn count(text: &str, most: usize) -> Option<usize> {
    number(text).and_then(|n| usize::try_from(n).ok()).filter(|n| (1..=most).contains(n))
}

/// Warns of values that are valid and surely not meant.
fn warn(fill: &Fill, keys: &mut Keys<'_, '_>) {
    if fill.segment > LONG_SEGMENT {
        let message = format!(
            "is {}, longer than a layer, so that one connection fetches all of it; write 8MiB, or `connections: 1` if you want that",
            show_size(fill.segment)
        );
        keys.warn("segment", &message);
    }
    if let FillConnections::Fixed(count) = fill.connections
        && count > fill.per_host
    {
        let message =
            format!("is {count}, but `perhost` allows {}; write no more than that, or raise `perhost`", fill.per_host);
        keys.warn("connections", &message);
    }
    if fill.stall < SECOND {
        keys.warn("stall", "is shorter than 1s, so that slow connections are replaced; write 15s");
    }
    if fill.keep < MINUTE {
        keys.warn("keep", "is shorter than 1m, so that the bytes of an interrupted blob are discarded; write 168h");
    }
}
