//! The state of a server that has nothing to do: its gauges, its files, its descriptors, its memory.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use entrepot::oci::{Algorithm, Digest};

use crate::plan::Plan;
use crate::site::{LOOK, Site};

/// A server must be quiet within this time.
const WAIT_LIMIT: Duration = Duration::from_secs(30);

/// Connections to upstreams that the server may keep for later requests, for each endpoint and its CDN.
const POOLED: usize = 70;

/// Growth of the resident memory that is no leak: the allocator keeps memory of earlier transfers.
const GROWTH: u64 = 96 << 20;

/// The gauges that must be 0 when nothing is requested.
const GAUGES: [&str; 2] = ["entrepot_fills_in_flight", "entrepot_fill_followers"];

/// The resources of the server at one time.
#[derive(Clone, Debug)]
pub struct Resources {
    pub memory: u64,
    sockets: usize,
    /// Other descriptors than sockets, by what they refer to.
    others: BTreeMap<String, usize>,
}

impl Resources {
    pub fn of(site: &Site) -> Self {
        let mut found = Self { memory: site.registry.resident(), sockets: 0, others: BTreeMap::new() };
        for entry in fs::read_dir(format!("/proc/{}/fd", site.registry.pid())).unwrap().flatten() {
            // A descriptor may be closed meanwhile.
            let Ok(target) = fs::read_link(entry.path()) else { continue };
            let target = target.display().to_string();
            if target.starts_with("socket:") {
                found.sockets += 1;
            } else {
                let kind = target.split_once(":[").map_or(target.as_str(), |(kind, _)| kind).to_owned();
                *found.others.entry(kind).or_default() += 1;
            }
        }
        found
    }
}

/// Waits until the server is quiet, and returns what is wrong with it.
pub fn problems(site: &Site, plan: &Plan, before: &Resources) -> Vec<String> {
    let mut problems = Vec::new();
    let mut check = |what: &dyn Fn() -> Vec<String>| problems.extend(eventually_none(what));
    check(&|| gauges(site));
    check(&|| leftovers(site, plan));
    check(&|| descriptors(before, &Resources::of(site), plan));
    let memory = Resources::of(site).memory;
    if memory > before.memory + GROWTH {
        problems.push(format!("memory grew from {} to {} MiB", before.memory >> 20, memory >> 20));
    }
    problems.extend(rehash(site));
    if let Some(line) = site.registry.log().lines().find(|line| line.contains("panicked")) {
        problems.push(format!("a panic: {line}"));
    }
    problems
}

/// Repeats a check until it finds nothing, or returns what it finds at last.
fn eventually_none(check: &dyn Fn() -> Vec<String>) -> Vec<String> {
    let begun = Instant::now();
    loop {
        let found = check();
        if found.is_empty() || begun.elapsed() > WAIT_LIMIT {
            return found;
        }
        thread::sleep(LOOK);
    }
}

fn gauges(site: &Site) -> Vec<String> {
    let metrics = site.client().get("/metrics").text();
    let value = |line: &str| line.rsplit(' ').next().and_then(|number| number.parse::<f64>().ok()).unwrap_or(f64::NAN);
    let named = metrics.lines().filter(|line| GAUGES.iter().any(|gauge| line.split([' ', '{']).next() == Some(*gauge)));
    let mut found: Vec<String> =
        named.filter(|line| value(line) != 0.0).map(|line| format!("{line} when nothing is requested")).collect();
    let requests = metrics.lines().filter(|line| line.starts_with("registry_http_in_flight_requests"));
    // The request for the metrics is one itself.
    let running: f64 = requests.map(value).sum();
    if running > 1.0 {
        found.push(format!("{running} requests are in flight when one is running"));
    }
    let fills = site.client().get("/api/v1/fills").text();
    if fills.contains("digest") {
        found.push(format!("a fill is left: {fills}"));
    }
    found
}

/// Finds files that should not exist: temporary files, partial blobs, and more bytes than the quota.
fn leftovers(site: &Site, plan: &Plan) -> Vec<String> {
    let mut found = Vec::new();
    let files = files(&site.registry.data());
    for path in &files {
        let text = path.strip_prefix(site.registry.data()).unwrap().display().to_string();
        // The server removes them later, when they are old.
        if plan.keeps_files() || text.contains("/.tmp-") && plan.kills() {
            continue;
        }
        if text.contains("/.tmp") || text.starts_with("cache/partial/") {
            found.push(format!("a file is left: {text}"));
        }
    }
    let bytes: u64 = files
        .iter()
        .filter(|path| is_blob(path))
        .filter_map(|path| fs::metadata(path).ok())
        .map(|metadata| metadata.len())
        .sum();
    if plan.quota.is_some_and(|quota| bytes > quota) {
        found.push(format!("the cache holds {bytes} bytes, more than its quota"));
    }
    found
}

fn descriptors(before: &Resources, after: &Resources, plan: &Plan) -> Vec<String> {
    let mut found = Vec::new();
    let pooled = POOLED * plan.endpoints() * 2;
    if after.sockets > before.sockets + pooled {
        found.push(format!("sockets: {} at first, {} now", before.sockets, after.sockets));
    }
    for (kind, count) in &after.others {
        let at_first = before.others.get(kind).copied().unwrap_or_default();
        if *count > at_first {
            found.push(format!("open descriptors of {kind}: {at_first} at first, {count} now"));
        }
    }
    found
}

/// Hashes every cached blob, and returns those whose name is not their digest.
pub fn rehash(site: &Site) -> Vec<String> {
    let wrong = |path: &&PathBuf| {
        // A blob that is evicted meanwhile is not wrong.
        let Ok(content) = fs::read(path) else { return false };
        let algorithm = path.parent().and_then(Path::parent).and_then(Path::file_name);
        let algorithm =
            if algorithm.is_some_and(|name| name == "sha512") { Algorithm::Sha512 } else { Algorithm::Sha256 };
        path.file_name().is_none_or(|name| name.to_string_lossy() != Digest::of(algorithm, &content).hex())
    };
    let files = files(&site.registry.data());
    let wrong = files.iter().filter(|path| is_blob(path)).filter(wrong);
    wrong.map(|path| format!("WRONG BYTES IN THE CACHE: {}", path.display())).collect()
}

fn is_blob(path: &Path) -> bool {
    let text = path.display().to_string();
    text.contains("/cache/blobs/") && !text.contains("/.tmp-")
}

/// Returns every file below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let (mut files, mut directories) = (Vec::new(), vec![directory.to_owned()]);
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                directories.push(entry.path())
            } else {
                files.push(entry.path())
            }
        }
    }
    files
}
