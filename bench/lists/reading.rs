//! Reads a list page by page, and measures the cost for the server.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::store::{SIGNED, TAGGED};
use crate::support::client::{Answer, Client};

/// A list and its address.
pub struct List {
    pub title: String,
    first: String,
    key: &'static str,
}

/// The result of reading a list.
pub struct ListReading {
    pub entries: usize,
    pub requests: usize,
    pub took: Duration,
    /// The time of the slowest page.
    pub slowest: Duration,
    /// The size of the largest page, in bytes.
    pub longest: usize,
    pub before: Memory,
    pub after: Memory,
    pub is_whole: bool,
}

/// The memory of a process, in KiB.
#[derive(Clone, Copy)]
pub struct Memory {
    pub resident: u64,
    /// The peak since [`Memory::forget_peak`].
    pub peak: u64,
}

impl List {
    pub fn tags(page: usize) -> Self {
        let first = format!("/v2/{TAGGED}/tags/list?n={page}");
        Self { title: format!("tags, n={page}"), first, key: "tags" }
    }

    pub fn catalog(page: usize) -> Self {
        Self { title: format!("catalog, n={page}"), first: format!("/v2/_catalog?n={page}"), key: "repositories" }
    }

    pub fn referrers(subject: &str, query: &str) -> Self {
        let first = format!("/v2/{SIGNED}/referrers/{subject}{query}");
        let title = format!("referrers, {}", query.trim_start_matches('?'));
        Self { title: title.trim_end_matches(", ").to_owned(), first, key: "manifests" }
    }

    fn entries(&self, page: &Answer) -> Vec<String> {
        let json = page.json();
        let text = |entry: &serde_json::Value| entry["digest"].as_str().or(entry.as_str()).unwrap().to_owned();
        json[self.key].as_array().unwrap().iter().map(text).collect()
    }
}

impl ListReading {
    pub fn of(addr: SocketAddr, pid: u32, list: &List, limit: Duration) -> Self {
        let client = Client::new(addr);
        Memory::forget_peak(pid);
        let before = Memory::of(pid);
        let (mut seen, mut requests, mut slowest, mut longest) = (BTreeSet::new(), 0, Duration::ZERO, 0);
        let (mut next, mut took) = (Some(list.first.clone()), Duration::ZERO);
        while let Some(target) = next.take_if(|_| took < limit) {
            let begun = Instant::now();
            let page = client.get(&target);
            let spent = begun.elapsed();
            assert_eq!(page.status, 200, "{target}: {}", page.text());
            (took, slowest, longest) = (took + spent, slowest.max(spent), longest.max(page.body.len()));
            requests += 1;
            for entry in list.entries(&page) {
                assert!(seen.insert(entry), "each once");
            }
            next = page.next();
        }
        let (entries, is_whole) = (seen.len(), next.is_none());
        Self { entries, requests, took, slowest, longest, before, after: Memory::of(pid), is_whole }
    }
}

impl Memory {
    pub fn of(pid: u32) -> Self {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let of = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
            line.split_whitespace().next().unwrap().parse().unwrap()
        };
        Self { resident: of("VmRSS:"), peak: of("VmHWM:") }
    }

    fn forget_peak(pid: u32) {
        fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
    }
}
