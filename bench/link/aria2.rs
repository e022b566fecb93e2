//! aria2c: a program that fetches one file over many connections, from several servers at once.

use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::pull::{End, Pulled, Step, Wanted};
use crate::support::upstream::Upstream;
use crate::upstream;

/// The most connections that aria2c allows, the smallest parts, no wait for the allocation of the file, and further
/// attempts after a second however many fail.
const OPTIONS: [&str; 9] = [
    "--no-conf",
    "--quiet",
    "--max-connection-per-server=16",
    "--split=16",
    "--min-split-size=1M",
    "--file-allocation=none",
    "--max-tries=0",
    "--retry-wait=1",
    "--out=layer",
];

/// Runs aria2c on the links of the layer at all endpoints.
pub struct Aria2 {
    urls: Vec<String>,
}

impl Aria2 {
    pub(crate) fn of(upstreams: &[Upstream]) -> Self {
        Self { urls: upstreams.iter().map(Upstream::url).collect() }
    }

    /// Returns true if aria2c is installed.
    pub fn is_installed() -> bool {
        let version = Command::new("aria2c").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        version.is_ok_and(|status| status.success())
    }

    pub fn pull(&self, wanted: &Wanted, deadline: Instant) -> Pulled {
        let begun = Instant::now();
        let mut links = Vec::new();
        for url in &self.urls {
            match upstream::link(url, wanted) {
                Ok(link) => links.push(link),
                Err(status) => return Pulled::failed(End::Status(status), Step::Layer, begun),
            }
        }
        let (asked, directory) = (begun.elapsed(), tempfile::tempdir().unwrap());
        let mut aria2 = Command::new("aria2c");
        aria2.args(OPTIONS).arg("--dir").arg(directory.path()).args(links);
        let mut child = aria2.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let status = loop {
            match child.try_wait().unwrap() {
                Some(status) => break Some(status),
                None if Instant::now() > deadline => break None,
                None => thread::sleep(Duration::from_millis(2)),
            }
        };
        let last = begun.elapsed();
        let end = match status {
            None => {
                child.kill().unwrap();
                child.wait().unwrap();
                End::Late
            }
            Some(status) if !status.success() => End::Cut,
            Some(_) if std::fs::read(directory.path().join("layer")).is_ok_and(|layer| layer == wanted.bytes()) => {
                End::Whole
            }
            Some(_) => End::Wrong,
        };
        Pulled { end, step: Step::Layer, asked, first: None, last }
    }
}
