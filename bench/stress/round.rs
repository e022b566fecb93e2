//! One round: waves of faults, and after each wave a time without faults in which every client gets everything.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use entrepot::oci::Digest;

use crate::checks::{self, Resources};
use crate::plan::{Event, Plan, Wave};
use crate::random::Random;
use crate::reading::{Limit, Outcome, Reading, Request};
use crate::site::{LOOK, REPOSITORIES, Site};
use crate::support::client::Client;
use crate::support::mirror::{blob, manifest};

/// Every client must have everything this long after the faults have ended.
const HEALING: Duration = Duration::from_secs(60);

/// `/livez` must answer within this time, whatever the disk does.
const ALIVE: Duration = Duration::from_secs(3);

/// The clients that pull everything after a wave.
const CLIENTS: u64 = 3;

/// The results of a round.
#[derive(Default)]
pub struct Report {
    pub outcomes: BTreeMap<&'static str, u64>,
    /// The bytes that clients received in right bodies.
    pub received: u64,
    /// The bytes that upstreams sent.
    pub sent: u64,
    /// The longest time after a wave until a client had everything.
    pub healed: Duration,
    /// The slowest answer of `/livez`.
    pub livez: Duration,
    /// The growth of the server's memory, in bytes.
    pub growth: i64,
    pub problems: Vec<String>,
    /// The server's log.
    pub log: String,
}

/// The parts of a round that its threads share.
struct Round<'a> {
    plan: &'a Plan,
    addr: SocketAddr,
    blobs: Vec<(&'a [u8], Digest)>,
    limit: Limit,
    report: Mutex<Report>,
    /// Clients send no further requests.
    is_over: AtomicBool,
    /// Counts the ends and the starts of the server, so it is odd while the server is down.
    changes: AtomicU64,
}

/// Runs the round of a plan.
pub fn run(plan: &Plan, noise: &[u8], has_disk: bool) -> Report {
    let mut site = Site::start(plan, noise, has_disk);
    let round = Round {
        plan,
        addr: site.addr(),
        blobs: site.blobs.iter().map(|blob| (blob.content, blob.digest)).collect(),
        limit: Limit::default(),
        report: Mutex::default(),
        is_over: AtomicBool::default(),
        changes: AtomicU64::default(),
    };
    let before = Resources::of(&site);
    for wave in &plan.waves {
        round.disturb(&mut site, wave);
        round.everything_arrives();
    }
    let problems = checks::problems(&site, plan, &before);
    let mut report = round.report.into_inner().unwrap();
    report.problems.extend(problems);
    report.sent = site.sent();
    report.growth = Resources::of(&site).memory.cast_signed() - before.memory.cast_signed();
    report.log = site.registry.log();
    report
}

impl Round<'_> {
    /// Lets the faults and events of a wave happen while clients read, and then ends the faults.
    fn disturb(&self, site: &mut Site, wave: &Wave) {
        self.is_over.store(false, Ordering::SeqCst);
        self.limit.suspend();
        site.arm(wave);
        let begun = Instant::now();
        thread::scope(|scope| {
            for random in &wave.readers {
                scope.spawn(|| self.read(random.clone(), wave.is_gentle));
            }
            scope.spawn(|| self.stays_alive());
            for (at, event) in &wave.events {
                thread::sleep(at.saturating_sub(begun.elapsed()));
                self.happen(site, event);
            }
            thread::sleep(wave.length.saturating_sub(begun.elapsed()));
            site.heal();
            self.limit.begin();
            self.is_over.store(true, Ordering::SeqCst);
        });
    }

    fn happen(&self, site: &mut Site, event: &Event) {
        if !matches!(event, Event::Kill(_)) {
            return site.happen(event);
        }
        self.changes.fetch_add(1, Ordering::SeqCst);
        site.happen(event);
        self.changes.fetch_add(1, Ordering::SeqCst);
        self.report.lock().unwrap().problems.extend(checks::rehash(site));
    }

    /// Sends the requests of one client until the wave is over.
    fn read(&self, mut random: Random, is_gentle: bool) {
        while !self.is_over.load(Ordering::SeqCst) {
            if random.chance(10) {
                Client::new(self.addr).try_get(&manifest(random.pick(&REPOSITORIES), "1"));
            }
            let (content, digest) = random.pick(&self.blobs);
            let reading = Reading::draw(&mut random, content.len() as u64);
            let outcome = self.request(content, &blob(random.pick(&REPOSITORIES), digest), &reading);
            let is_good = matches!(outcome, Outcome::Right(_) | Outcome::Left | Outcome::Unverified);
            if is_gentle && !is_good {
                self.problem(format!(
                    "{reading:?} of {digest} failed although the server must survive these faults: {outcome:?}"
                ));
            }
            if !is_good {
                thread::sleep(Duration::from_millis(random.within(0..=100)));
            }
        }
    }

    /// Sends a request, and counts its outcome.
    fn request(&self, content: &[u8], target: &str, reading: &Reading) -> Outcome {
        let is_damaged = self.plan.damages();
        let outcome = Request { addr: self.addr, target, content, limit: &self.limit, is_damaged }.send(reading);
        let mut report = self.report.lock().unwrap();
        *report.outcomes.entry(outcome.name()).or_default() += 1;
        match &outcome {
            Outcome::Right(bytes) => report.received += bytes,
            Outcome::Wrong(what) => report.problems.push(format!("WRONG BYTES: {what}")),
            Outcome::Hang => report.problems.push(format!("{reading:?} of {target} hangs")),
            _ => {}
        }
        outcome
    }

    fn problem(&self, problem: String) {
        self.report.lock().unwrap().problems.push(problem);
    }

    /// Asks `/livez` all the time, until the wave is over.
    fn stays_alive(&self) {
        while !self.is_over.load(Ordering::SeqCst) {
            let (before, begun) = (self.changes.load(Ordering::SeqCst), Instant::now());
            let answer = Client::new(self.addr).try_get("/livez");
            let took = begun.elapsed();
            if before % 2 == 0 && before == self.changes.load(Ordering::SeqCst) {
                let mut report = self.report.lock().unwrap();
                report.livez = report.livez.max(took);
                if took > ALIVE || answer.is_none_or(|answer| answer.status != 200) {
                    report.problems.push(format!("/livez gave no good answer in {took:.1?}"));
                }
            }
            thread::sleep(LOOK);
        }
    }

    /// Checks that every client gets everything now: at first with retries, and then once more without.
    fn everything_arrives(&self) {
        let healed = Instant::now();
        for retries in [true, false] {
            thread::scope(|scope| {
                for client in 0..CLIENTS {
                    scope.spawn(move || self.get_everything(client as usize, retries, healed));
                }
            });
            let mut report = self.report.lock().unwrap();
            if retries {
                report.healed = report.healed.max(healed.elapsed());
            }
        }
    }

    fn get_everything(&self, client: usize, retries: bool, healed: Instant) {
        let mut failed = BTreeMap::<&str, u64>::new();
        let repository = REPOSITORIES[client % REPOSITORIES.len()];
        for number in 0..self.blobs.len() {
            // Each client has an order of its own.
            let (content, digest) = self.blobs[(number + client) % self.blobs.len()];
            loop {
                let outcome = self.request(content, &blob(repository, digest), &Reading::Whole);
                match outcome {
                    Outcome::Right(_) => break,
                    Outcome::Wrong(_) | Outcome::Hang => return,
                    _ if !retries => {
                        return self.problem(format!(
                            "{digest} of {} bytes fails long after the faults: {outcome:?}",
                            content.len()
                        ));
                    }
                    _ => *failed.entry(outcome.name()).or_default() += 1,
                }
                if healed.elapsed() > HEALING {
                    return self.problem(format!(
                        "{digest} of {} bytes does not heal: {failed:?}, at last {outcome:?}",
                        content.len()
                    ));
                }
                thread::sleep(Duration::from_millis(300));
            }
        }
    }
}
