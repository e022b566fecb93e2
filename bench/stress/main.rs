//! Puts random faults under and behind the server, and checks that no client ever gets wrong bytes, and that everything heals.
//!
//! ```sh
//! cargo bench --bench stress -- --seconds 60            # rounds for a minute, from a random seed
//! cargo bench --bench stress -- --seconds 60 --seed 1   # the same rounds each time
//! cargo bench --bench stress -- --round 0x1234          # one round, as a failure prints it
//! ```
//!
//! The upstream is the misbehaving one of the tests (`tests/support`), and so is the disk that is slow, hangs or fails. Every round
//! has its own upstreams, server and store, and its seed decides everything except the order in which threads run.
#![expect(clippy::unwrap_used, reason = "a program that cannot go on fails at that line")]
#![expect(
    clippy::disallowed_methods,
    reason = "the program is outside the product, and needs the machine's clock and threads"
)]

mod checks;
mod draw;
mod plan;
mod random;
mod reading;
mod round;
mod site;
#[allow(dead_code, reason = "shared with the tests, which use the rest")]
#[path = "../../tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use plan::{LARGEST, Plan};
use random::Random;
use round::Report;
use support::client::noise;
use support::slow_disk::SlowDisk;

/// The number of rounds that run at once. They wait more than they work.
const TOGETHER: u64 = 3;

struct Arguments {
    seconds: u64,
    seed: u64,
    /// Only the round of this seed.
    round: Option<u64>,
    together: u64,
}

/// The sums of all rounds.
#[derive(Default)]
struct Totals {
    rounds: u64,
    failed: Vec<u64>,
    outcomes: BTreeMap<&'static str, u64>,
    received: u64,
    sent: u64,
    healed: Duration,
    livez: Duration,
    growth: i64,
}

fn main() -> ExitCode {
    let arguments = match Arguments::read(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(wrong) => {
            eprintln!("{wrong}; the arguments are --seconds N, --seed S, --round S, --together N");
            return ExitCode::from(2);
        }
    };
    let has_disk = SlowDisk::new().is_some();
    let noise = noise(1, 2 * LARGEST as usize);
    let totals = Mutex::new(Totals::default());
    println!("seed {:#x}", arguments.seed);
    match arguments.round {
        Some(seed) => run(seed, &noise, has_disk, &totals),
        None => rounds(&arguments, &noise, has_disk, &totals),
    }
    let totals = totals.into_inner().unwrap();
    print!("{}", totals.text());
    if totals.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs rounds, some at once, until the time is over.
fn rounds(arguments: &Arguments, noise: &[u8], has_disk: bool, totals: &Mutex<Totals>) {
    let (begun, next) = (Instant::now(), AtomicU64::new(0));
    let time = Duration::from_secs(arguments.seconds);
    thread::scope(|scope| {
        for _ in 0..arguments.together {
            scope.spawn(|| {
                while begun.elapsed() < time {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    run(Random::new(arguments.seed.wrapping_add(number)).next(), noise, has_disk, totals);
                }
            });
        }
    });
}

/// Runs one round, prints its line, and adds it to the totals.
fn run(seed: u64, noise: &[u8], has_disk: bool, totals: &Mutex<Totals>) {
    let (plan, begun) = (draw::plan(seed, noise.len(), has_disk), Instant::now());
    let report = panic::catch_unwind(AssertUnwindSafe(|| round::run(&plan, noise, has_disk)));
    let report = report.unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Report { problems: vec![format!("the round ended early: {}", text.unwrap_or_default())], ..Report::default() }
    });
    let mut totals = totals.lock().unwrap();
    totals.add(seed, &report);
    let (number, took) = (totals.rounds, begun.elapsed().as_secs_f64());
    println!(
        "round {number:4}  {seed:#018x}  {took:5.1} s  {}",
        figures(&report.outcomes, report.healed, report.livez, report.growth)
    );
    if !report.problems.is_empty() {
        fail(&plan, &report);
    }
}

/// Prints the problems of a round, its plan, and how to repeat it, and keeps the server's log.
fn fail(plan: &Plan, report: &Report) {
    println!("FAILED: round {:#x}", plan.seed);
    let mut problems: BTreeMap<&str, usize> = BTreeMap::new();
    report.problems.iter().for_each(|problem| *problems.entry(problem).or_default() += 1);
    for (problem, count) in problems {
        println!("  {problem}{}", if count > 1 { format!(" ({count} times)") } else { String::new() });
    }
    print!("{plan}");
    let log = std::env::temp_dir().join(format!("entrepot-stress-{:x}.log", plan.seed));
    if !report.log.is_empty() && std::fs::write(&log, &report.log).is_ok() {
        println!("  the server's log is in {}", log.display());
    }
    println!("  repeat it with: cargo bench --bench stress -- --round {:#x}", plan.seed);
}

fn figures(outcomes: &BTreeMap<&str, u64>, healed: Duration, livez: Duration, growth: i64) -> String {
    let outcomes: Vec<String> = outcomes.iter().map(|(name, count)| format!("{count} {name}")).collect();
    let (healed, livez) = (healed.as_secs_f64(), livez.as_millis());
    format!("healed after {healed:.1} s, /livez {livez} ms, memory {:+} MiB: {}", growth >> 20, outcomes.join(", "))
}

impl Totals {
    fn add(&mut self, seed: u64, report: &Report) {
        self.rounds += 1;
        if !report.problems.is_empty() {
            self.failed.push(seed);
        }
        for (name, count) in &report.outcomes {
            *self.outcomes.entry(name).or_default() += count;
        }
        self.received += report.received;
        self.sent += report.sent;
        self.healed = self.healed.max(report.healed);
        self.livez = self.livez.max(report.livez);
        self.growth = self.growth.max(report.growth);
    }

    fn text(&self) -> String {
        let (received, sent) = (self.received >> 20, self.sent >> 20);
        let figures = figures(&self.outcomes, self.healed, self.livez, self.growth);
        let failed: Vec<String> = self.failed.iter().map(|seed| format!("{seed:#x}")).collect();
        format!(
            "{} rounds, {} failed; clients received {received} MiB in right bodies, upstreams sent {sent} MiB\nat most {figures}\n{}",
            self.rounds,
            failed.len(),
            if failed.is_empty() { String::new() } else { format!("failed rounds: {}\n", failed.join(" ")) }
        )
    }
}

impl Arguments {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let random = uuid::Uuid::new_v4().as_u64_pair().0;
        let mut arguments = Self { seconds: 60, seed: random, round: None, together: TOGETHER };
        while let Some(word) = words.next() {
            // Cargo adds it.
            if word == "--bench" {
                continue;
            }
            let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
            let number = match value.strip_prefix("0x") {
                Some(digits) => u64::from_str_radix(digits, 16),
                None => value.parse(),
            };
            let number = number.map_err(|_| format!("{value} is not a number"))?;
            match word.as_str() {
                "--seconds" => arguments.seconds = number,
                "--seed" => arguments.seed = number,
                "--round" => arguments.round = Some(number),
                "--together" => arguments.together = number,
                _ => return Err(format!("{word} is unknown")),
            }
        }
        Ok(arguments)
    }
}
