//! Measures a bad link behind Entrepot, behind `registry:2` as a proxy, and without a server: with curl and with aria2c.
//!
//! ```sh
//! cargo bench --bench link                # everything, in some minutes;      writes docs/measured/LINK.md
//! cargo bench --bench link -- cut stall   # only scenarios whose title has one of these words; writes nothing
//! ```
//!
//! The upstream is the misbehaving one of the tests (`tests/support`). Every cell of the table has its own upstream, server and data
//! directory. The cells that measure speed run alone, the others six at a time.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on fails at that line")]
#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark is outside the product, and measures with the machine's clock"
)]

mod aria2;
mod contestant;
mod distribution;
mod lab;
mod pull;
mod recipe;
mod report;
mod row;
mod scenarios;
mod upstream;
#[allow(dead_code, reason = "shared with the tests, which use the rest")]
#[path = "../../tests/support/mod.rs"]
mod support;

use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use contestant::Who;
use lab::Lab;
use row::Row;
use scenarios::Scenario;

/// The number of cells that run at once, if they wait more than they work.
const TOGETHER: usize = 6;

/// The result of one scenario for one contestant.
pub struct Cell {
    pub scenario: usize,
    pub who: Who,
    /// `None` if the contestant does not support the scenario.
    pub rows: Vec<Row>,
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let begun = Instant::now();
    let chosen: Vec<(usize, Scenario)> = scenarios::all()
        .into_iter()
        .enumerate()
        .filter(|(_, scenario)| words.is_empty() || words.iter().any(|word| scenario.title.contains(word.as_str())))
        .collect();
    let lab = Lab::new();
    println!("{}", report::heading());
    let mut cells = run(&lab, &chosen);
    cells.sort_by_key(|cell| (cell.scenario, cell.who));
    println!("\n{}", report::requirements(&chosen, &cells));
    if words.is_empty() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/measured/LINK.md");
        std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/measured")).unwrap();
        std::fs::write(path, report::document(&chosen, &cells)).unwrap();
        println!("written to docs/measured/LINK.md after {:.0} s", begun.elapsed().as_secs_f64());
    }
}

/// Runs every cell: first those that need the whole machine, one after another, then the others.
fn run(lab: &Lab, chosen: &[(usize, Scenario)]) -> Vec<Cell> {
    let every = || chosen.iter().flat_map(|chosen| chosen.1.contestants.iter().map(move |who| (chosen, *who)));
    let (alone, together): (Vec<_>, Vec<_>) = every().partition(|((_, scenario), who)| scenario.alone.wants(*who));
    let cells = Mutex::new(Vec::new());
    let run = |(index, scenario): &(usize, Scenario), who: Who| {
        let is_missing = match who {
            Who::Distribution => lab.distribution.is_none(),
            Who::Aria2 => !lab.has_aria2,
            Who::Entrepot | Who::Curl => false,
        };
        let rows = if is_missing { vec![Row::said("not installed")] } else { (scenario.run)(lab, who) };
        let cell = Cell { scenario: *index, who, rows };
        print!("{}", report::printed(&cell, scenario));
        cells.lock().unwrap().push(cell);
    };
    alone.into_iter().for_each(|(scenario, who)| run(scenario, who));
    let waiting = Mutex::new(together.into_iter());
    let next = || waiting.lock().unwrap().next();
    thread::scope(|scope| {
        for _ in 0..TOGETHER {
            scope.spawn(|| {
                while let Some((scenario, who)) = next() {
                    run(scenario, who);
                }
            });
        }
    });
    cells.into_inner().unwrap()
}
