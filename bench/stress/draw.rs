//! Draws a plan at random, part by part.

use std::ops::Range;
use std::time::Duration;

use crate::plan::{Event, LARGEST, Plan, Trouble, Wave};
use crate::random::Random;
use crate::support::fault::Fault;
use crate::support::upstream::Links;

/// The path of every request.
const ALL: &str = "";

/// Returns the plan of a seed. `has_disk` tells whether the disk can have faults here.
pub fn plan(seed: u64, noise: usize, has_disk: bool) -> Plan {
    let mut random = Random::new(seed);
    let blobs = blobs(&mut random, noise);
    let largest = blobs.iter().map(|blob| blob.len() as u64).max().unwrap_or_default();
    let endpoints = random.pick(&[1, 1, 2, 2, 3]);
    let cdn = random.chance(50).then(|| links(&mut random));
    let quota = random.pick(&[None, None, Some(largest * 3 / 5), Some(largest * 3 / 2), Some(1 << 20)]);
    let mut plan = Plan {
        seed,
        quota,
        fill: fill_keys(&mut random),
        tls: random.chance(15),
        login: random.chance(40),
        cdn,
        waves: Vec::new(),
        blobs,
    };
    for _ in 0..random.within(1..=2) {
        let wave = wave(&mut random, &plan, endpoints, has_disk);
        plan.waves.push(wave);
    }
    plan
}

/// Returns the places of the blobs: sizes around the limits of the server's ways to fetch, and random ones.
fn blobs(random: &mut Random, noise: usize) -> Vec<Range<usize>> {
    const EDGES: [u64; 7] = [0, 1, 65_536, 65_537, (1 << 20) - 1, 2 << 20, (2 << 20) + 1];
    let count = random.within(2..=6);
    let mut place = |size: u64| {
        let begin = random.within(0..=noise as u64 - size) as usize;
        begin..begin + size as usize
    };
    let mut blobs = vec![place(LARGEST), place(LARGEST / 3)];
    for _ in 2..count {
        let size = if random.chance(40) { random.pick(&EDGES) } else { random.within(1000..=LARGEST - 1) };
        let begin = random.within(0..=noise as u64 - size) as usize;
        blobs.push(begin..begin + size as usize);
    }
    blobs
}

fn links(random: &mut Random) -> Links {
    match random.within(0..=2) {
        0 => Links::Lasting,
        1 => Links::Once,
        _ => Links::For(milliseconds(random, 300..=1500)),
    }
}

/// Returns the keys of `mirror.fill`.
fn fill_keys(random: &mut Random) -> String {
    let connections = random.pick(&["auto", "auto", "auto", "1", "4", "16"]);
    let per_host = random.pick(&[2, 4, 16, 64]);
    let segment = random.pick(&["256KiB", "1MiB", "8MiB"]);
    let unattended = random.pick(&["finish", "finish", "pause"]);
    format!(
        "connections: {connections}, perhost: {per_host}, segment: {segment}, stall: 1s, unattended: {unattended}, grace: 500ms"
    )
}

/// Returns one wave of a round.
fn wave(random: &mut Random, plan: &Plan, endpoints: usize, has_disk: bool) -> Wave {
    let mut wave = Wave {
        length: milliseconds(random, 2000..=4000),
        faults: vec![Vec::new(); endpoints],
        events: Vec::new(),
        readers: Vec::new(),
        is_gentle: random.chance(35),
    };
    for _ in 0..random.within(2..=10) {
        wave.readers.push(random.child());
    }
    if wave.is_gentle {
        gentle(random, &mut wave, plan);
    } else {
        for troubles in &mut wave.faults {
            for _ in 0..random.within(0..=3) {
                troubles.extend(rough(random, paths(plan)));
            }
        }
        rough_events(random, &mut wave, plan, has_disk);
    }
    // Of two rates, the first counts.
    wave.faults.iter_mut().for_each(|troubles| troubles.push(pace(random)));
    wave
}

fn paths(plan: &Plan) -> &'static [&'static str] {
    if plan.cdn.is_some() { &["/cdn/", "/cdn/", "/v2/", "/blobs/"] } else { &["/blobs/", "/blobs/", "/v2/"] }
}

/// Limits the rate of an endpoint, so that transfers last long enough to be disturbed.
fn pace(random: &mut Random) -> Trouble {
    let rate = random.pick(&[1 << 20, 3 << 20, 8 << 20]);
    let fault = if random.chance(30) { Fault::Bottleneck(rate) } else { Fault::Throttle(rate) };
    Trouble { path: "/blobs/", fault, after: 0, times: None }
}

/// Adds faults that the server must survive without a client's retry.
fn gentle(random: &mut Random, wave: &mut Wave, plan: &Plan) {
    let path = if plan.cdn.is_some() { "/cdn/" } else { "/blobs/" };
    let endpoints = wave.faults.len() as u64;
    // One of several endpoints may be as bad as it likes.
    let bad = (endpoints > 1 && random.chance(60)).then(|| random.within(0..=endpoints - 1) as usize);
    for (number, troubles) in wave.faults.iter_mut().enumerate() {
        if bad == Some(number) {
            // Wrong bytes can be repaired only if the blob is stored.
            let wrong = if plan.quota.is_none() { Fault::Corrupt } else { Fault::Cut(100_000) };
            let fault = random.pick(&[wrong, Fault::Status(500), Fault::Stall(10_000), Fault::Cut(70_000)]);
            troubles.push(Trouble { path, fault, after: random.within(0..=2) as usize, times: None });
            continue;
        }
        let (cut, stall) = (random.within(200_000..=2_000_000), random.within(0..=1_000_000));
        let kinds = [
            (Fault::Cut(cut), 4),
            (Fault::Stall(stall), 2),
            (Fault::Status(503), 1),
            (Fault::Status(500), 1),
            (Fault::Latency(milliseconds(random, 50..=1000)), 30),
            (Fault::IgnoreRange, 2),
            (Fault::UnknownTotal, 2),
            (Fault::Throttle(20_000), 1),
        ];
        for _ in 0..random.within(1..=2) {
            let (fault, times) = random.pick(&kinds);
            troubles.push(Trouble { path, fault, after: random.within(0..=3) as usize, times: Some(times) });
        }
    }
    if let Some(bad) = bad.filter(|_| random.chance(30)) {
        wave.events.push((milliseconds(random, 100..=2000), Event::Gone(bad, milliseconds(random, 300..=1500))));
    }
}

/// Returns a fault of any kind. Some kinds need two faults.
fn rough(random: &mut Random, paths: &[&'static str]) -> Vec<Trouble> {
    let at = random.within(1..=3_000_000);
    let size = random.within(0..=LARGEST);
    let faults = match random.within(0..=19) {
        0 => vec![Fault::Cut(at)],
        1 => vec![Fault::CutConnection(at)],
        2 => vec![Fault::Stall(at)],
        3 => vec![Fault::Latency(milliseconds(random, 100..=4000))],
        4 => vec![Fault::Hang],
        5 | 6 => vec![Fault::Corrupt],
        7 => vec![Fault::Length(size)],
        8 => vec![Fault::NoLength],
        9 => vec![Fault::UnknownTotal],
        10 => vec![Fault::WrongRange],
        11 => vec![Fault::Overlong],
        12 => vec![Fault::IgnoreRange],
        13 => vec![Fault::Status(429), Fault::RetryAfter("1")],
        14 => vec![Fault::Status(503), Fault::RetryAfter("1")],
        15 => vec![Fault::Status(random.pick(&[500, 502, 503, 504]))],
        16 => vec![Fault::Status(random.pick(&[401, 403, 404, 416]))],
        17 if random.chance(50) => vec![Fault::SlowConnection(5, 20_000)],
        17 => vec![Fault::Throttle(random.within(1000..=40_000))],
        18 => vec![Fault::Encoded],
        _ => vec![Fault::NoDigest],
    };
    let path = if random.chance(5) { ALL } else { random.pick(paths) };
    let after = random.within(0..=4) as usize;
    let times = random.chance(70).then(|| random.within(1..=6) as usize);
    faults.into_iter().map(|fault| Trouble { path, fault, after, times }).collect()
}

fn rough_events(random: &mut Random, wave: &mut Wave, plan: &Plan, has_disk: bool) {
    let blobs = plan.blobs.len() as u64;
    let endpoints = wave.faults.len() as u64;
    let mut events = Vec::new();
    if random.chance(40) {
        events.push(Event::Kill(milliseconds(random, 0..=300)));
    }
    if random.chance(30) {
        let endpoint = random.within(0..=endpoints - 1) as usize;
        events.push(Event::Gone(endpoint, milliseconds(random, 200..=2000)));
    }
    if random.chance(30) {
        events.push(Event::DieSilently(random.within(0..=endpoints - 1) as usize));
    }
    if plan.login && random.chance(30) {
        events.push(Event::RevokeTokens);
    }
    if random.chance(25) {
        events.push(Event::Cancel(random.within(0..=blobs - 1) as usize));
    }
    if random.chance(25) {
        events.push(Event::Evict(random.within(0..=blobs - 1) as usize));
    }
    if has_disk && random.chance(40) {
        let rules = (0..random.within(1..=2)).map(|_| disk(random)).collect();
        wave.length += Duration::from_secs(3);
        wave.events.push((Duration::ZERO, Event::Disk(rules)));
    }
    let length = wave.length.as_millis() as u64;
    wave.events.extend(events.into_iter().map(|event| (milliseconds(random, 0..=length), event)));
    wave.events.sort_by_key(|(at, _)| *at);
}

/// Returns a rule of `tests/support/slow_disk.c`.
fn disk(random: &mut Random) -> String {
    let (delay, chance, times) = (random.within(20..=3000), random.pick(&[5, 20, 100]), random.within(1..=4));
    let error = random.pick(&[5, 28]);
    match random.within(0..=13) {
        0 => format!("write delay={delay} path=/partial/ chance={chance}"),
        1 | 2 => format!("write hold path=/partial/ times={times}"),
        3 => format!("write fail={error} path=/partial/ chance={chance}"),
        4 => format!("sync delay={delay} path=/cache/ chance={chance}"),
        5 => format!("sync hold path=/cache/ times={times}"),
        6 => format!("sync fail=5 path=/cache/ chance={chance}"),
        7 => format!("rename delay={delay} path=/cache/ chance={chance}"),
        8 => format!("rename fail={error} path=/cache/ times={times}"),
        9 => format!("write delay={delay} path=/extents chance={chance}"),
        10 => format!("open fail=24 path=/cache/ chance={chance}"),
        11 => format!("make fail=28 path=/cache/ times={times}"),
        12 => format!("read fail=5 path=/cache/ times={times}"),
        _ => format!("remove fail=5 path=/cache/ times={times}"),
    }
}

fn milliseconds(random: &mut Random, range: std::ops::RangeInclusive<u64>) -> Duration {
    Duration::from_millis(random.within(range))
}
