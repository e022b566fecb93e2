//! One row of the table.

use std::time::Duration;

use crate::contestant::Who;
use crate::lab::Stand;
use crate::pull::{End, Pulled, Step};

/// The measurements of a row. A value that does not apply is `None`.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// The part of the scenario, or the setting, if there are several.
    pub case: &'static str,
    pub result: String,
    /// The bytes of the layer that the upstreams sent, divided by its size.
    pub ratio: Option<f64>,
    pub requests: Option<usize>,
    /// The rate at which the layer arrived, divided by the rate of one connection (or endpoint).
    pub rate: Option<f64>,
    /// The time of the request for the layer.
    pub asked: Duration,
    pub first: Option<Duration>,
    pub last: Option<Duration>,
    pub note: String,
    pub requirements: Vec<Requirement>,
}

/// A requirement that Entrepot must meet, and whether it did.
#[derive(Clone, Debug)]
pub struct Requirement {
    pub what: &'static str,
    pub wanted: &'static str,
    pub measured: String,
    pub met: bool,
}

impl Row {
    /// Words instead of a measurement.
    pub fn said(words: impl Into<String>) -> Self {
        Self { result: words.into(), ..Self::default() }
    }

    /// Returns the row of these pulls and their cost at the upstreams. `cap` is the time limit, in seconds.
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

    /// Returns the rate of the layer's arrival since its request, divided by `rate` bytes per second.
    pub fn rate(self, stand: &Stand, rate: u64) -> Self {
        let whole = self.is_whole().then_some(self.last).flatten().map(|last| last.saturating_sub(self.asked));
        Self { rate: whole.map(|took| stand.size() as f64 / took.as_secs_f64() / rate as f64), ..self }
    }

    /// Adds a requirement if the row is Entrepot's.
    pub fn requirement(mut self, who: Who, requirement: impl FnOnce(&Self) -> Requirement) -> Self {
        if who == Who::Entrepot {
            let requirement = requirement(&self);
            self.requirements.push(requirement);
        }
        self
    }

    /// Returns true if every client got the whole layer.
    pub fn is_whole(&self) -> bool {
        self.result.starts_with("whole") && !self.result.contains(',')
    }

    pub fn seconds(&self) -> f64 {
        self.last.map_or(f64::INFINITY, |last| last.as_secs_f64())
    }

    pub fn name(&self, who: Who) -> String {
        if self.case.is_empty() { who.name().to_owned() } else { format!("{}, {}", who.name(), self.case) }
    }

    /// Returns the measured columns up to the times: result, bytes, requests, rate.
    pub fn columns(&self) -> [String; 6] {
        let number = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.2}"));
        let seconds = |time: Option<Duration>| number(time.map(|time| time.as_secs_f64()));
        let requests = self.requests.map_or("–".to_owned(), |count| count.to_string());
        [self.result.clone(), number(self.ratio), requests, number(self.rate), seconds(self.first), seconds(self.last)]
    }
}

impl Requirement {
    pub fn new(what: &'static str, wanted: &'static str, measured: impl Into<String>, met: bool) -> Self {
        Self { what, wanted, measured: measured.into(), met }
    }
}

/// Returns the outcome as a client sees it.
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

/// Returns the outcomes of all clients: `whole at 3 of 4, cut at 1`.
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
