//! One line of the table.

use std::time::Duration;

use crate::Cell;
use crate::contestant::Who;
use crate::lab::Stand;
use crate::pull::{End, Pulled, Step};
use crate::scenarios::Scenario;

/// What was seen. What does not apply is `None`.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// Which part of the scenario, or which setting, where there are several.
    pub case: &'static str,
    pub result: String,
    /// Bytes of the layer that left the upstreams, by its size.
    pub ratio: Option<f64>,
    pub requests: Option<usize>,
    /// How many times the rate of one connection (or endpoint) the layer arrived at.
    pub rate: Option<f64>,
    /// When the layer was asked for.
    pub asked: Duration,
    pub first: Option<Duration>,
    pub last: Option<Duration>,
    pub note: String,
    pub promises: Vec<Promise>,
}

/// What is promised of Entrepot, and whether it was seen.
#[derive(Clone, Debug)]
pub struct Promise {
    pub what: &'static str,
    pub wanted: &'static str,
    pub measured: String,
    pub kept: bool,
}

impl Row {
    /// Words instead of a measurement.
    pub fn said(words: impl Into<String>) -> Self {
        Self { result: words.into(), ..Self::default() }
    }

    /// What these clients saw, and what it cost upstream in the end. `cap` is what they had, in seconds.
    pub fn of(stand: &Stand, pulls: &[Pulled], cap: u64) -> Self {
        let late = pulls.iter().any(|pulled| pulled.end == End::Late);
        if !late {
            stand.settle();
        }
        Self {
            result: summary(pulls, cap),
            ratio: Some(stand.ratio()),
            requests: Some(stand.requests()),
            asked: pulls.iter().map(|pulled| pulled.asked).min().unwrap_or_default(),
            first: pulls.iter().map(|pulled| pulled.first).max().flatten(),
            last: pulls.iter().map(|pulled| pulled.last).max().filter(|_| !late),
            ..Self::default()
        }
    }

    pub fn case(self, case: &'static str) -> Self {
        Self { case, ..self }
    }

    pub fn note(self, note: impl Into<String>) -> Self {
        Self { note: note.into(), ..self }
    }

    /// The rate that the layer arrived at from when it was asked for, in rates of `rate` bytes a second.
    pub fn rate(self, stand: &Stand, rate: u64) -> Self {
        let whole = self.is_whole().then_some(self.last).flatten().map(|last| last.saturating_sub(self.asked));
        Self { rate: whole.map(|took| stand.size() as f64 / took.as_secs_f64() / rate as f64), ..self }
    }

    /// Adds a promise, if this is the row of who gave it.
    pub fn promise(mut self, who: Who, promise: impl FnOnce(&Self) -> Promise) -> Self {
        if who == Who::Entrepot {
            let promise = promise(&self);
            self.promises.push(promise);
        }
        self
    }

    /// Did every client get it whole?
    pub fn is_whole(&self) -> bool {
        self.result.starts_with("whole") && !self.result.contains(',')
    }

    pub fn seconds(&self) -> f64 {
        self.last.map_or(f64::INFINITY, |last| last.as_secs_f64())
    }

    pub fn name(&self, who: Who) -> String {
        if self.case.is_empty() { who.name().to_owned() } else { format!("{}, {}", who.name(), self.case) }
    }

    /// The measured columns, up to the times: result, bytes, requests, rate.
    pub fn columns(&self) -> [String; 6] {
        let number = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.2}"));
        let seconds = |time: Option<Duration>| number(time.map(|time| time.as_secs_f64()));
        let requests = self.requests.map_or("–".to_owned(), |count| count.to_string());
        [self.result.clone(), number(self.ratio), requests, number(self.rate), seconds(self.first), seconds(self.last)]
    }
}

impl Promise {
    pub fn new(what: &'static str, wanted: &'static str, measured: impl Into<String>, kept: bool) -> Self {
        Self { what, wanted, measured: measured.into(), kept }
    }
}

/// What a client would say.
pub fn told(pulled: &Pulled, cap: u64) -> String {
    let step = if pulled.step == Step::Tag { "tag" } else { "layer" };
    match pulled.end {
        End::Whole => "whole".to_owned(),
        End::Cut => "cut".to_owned(),
        End::Wrong => "wrong bytes".to_owned(),
        End::Status(status) => format!("{status} for the {step}"),
        End::Refused => format!("no answer for the {step}"),
        End::Late => format!("> {cap} s"),
    }
}

/// The same for all of them: `whole at 3 of 4, cut at 1`.
fn summary(pulls: &[Pulled], cap: u64) -> String {
    let mut counts: Vec<(String, usize)> = Vec::new();
    for pulled in pulls {
        let told = told(pulled, cap);
        match counts.iter_mut().find(|(known, _)| *known == told) {
            Some((_, count)) => *count += 1,
            None => counts.push((told, 1)),
        }
    }
    match &counts[..] {
        [(told, 1)] => told.clone(),
        [(told, count)] => format!("{told} at {count} of {count}"),
        several => several.iter().map(|(told, count)| format!("{told} at {count}")).collect::<Vec<_>>().join(", "),
    }
}

pub fn heading() -> String {
    let [result, bytes, requests, rate, first, last] =
        ["result", "bytes÷blob", "requests", "x r", "first, s", "last, s"];
    format!("{:40} {:34} {result:24} {bytes:>10} {requests:>8} {rate:>6} {first:>8} {last:>8}", "scenario", "with")
}

/// The lines of a cell, as they are seen while it runs.
pub fn printed(cell: &Cell, scenario: &Scenario) -> String {
    let nothing = [Row::said("–")];
    let rows = if cell.rows.is_empty() { &nothing[..] } else { &cell.rows };
    let line = |row: &Row| {
        let [result, bytes, requests, rate, first, last] = row.columns();
        let (number, title, name) = (cell.scenario + 1, scenario.title, row.name(cell.who));
        let note = &row.note;
        format!(
            "{number:2} {title:37} {name:34} {result:24} {bytes:>10} {requests:>8} {rate:>6} {first:>8} {last:>8}  {note}\n"
        )
    };
    rows.iter().map(line).collect()
}
