//! Wrong, late or missing answers: damaged bytes, 429, 5xx, silence.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{Alone, Scenario};
use crate::contestant::Who;
use crate::lab::{Lab, MIB, REPOSITORY, Stand, deadline};
use crate::pull::{self, End, Pulled, Step};
use crate::recipe::Recipe;
use crate::row::{Requirement, Row, told};
use crate::support::client::Answer;
use crate::support::fault::{Fault, Rule};
use crate::support::mirror::{cache, manifest};

/// Tags are old at once, so the next request for a tag asks the upstream.
const OLD: &str = ", tagttl: 100ms, firstbytetimeout: 3s";

/// After this time a tag is older than twice its TTL, which is counted in whole seconds.
const AGE: Duration = Duration::from_millis(1200);

/// The time limit of each request, in seconds.
const WAIT_LIMIT: u64 = 4;

pub fn all() -> [Scenario; 6] {
    [
        Scenario {
            title: "damaged bytes",
            text: "The CDN damages every body that it sends; a layer of 8 MiB. The right result is `cut`: no client \
                   may take such a layer for whole.",
            alone: Alone::Nobody,
            contestants: &Who::WITHOUT_ARIA2,
            run: damaged,
        },
        Scenario {
            title: "damaged bytes, another endpoint",
            text: "The same, with a second endpoint that sends the right bytes.",
            alone: Alone::Nobody,
            contestants: &Who::WITHOUT_ARIA2,
            run: damaged_beside_good,
        },
        Scenario {
            title: "429 in the middle of a layer",
            text: "The first connection for a layer of 20 MiB is cut after 4 MiB; the next two requests to the CDN are \
                   answered with 429 and `Retry-After: 1`.",
            alone: Alone::Nobody,
            contestants: &Who::WITHOUT_ARIA2,
            run: too_many_in_the_middle,
        },
        Scenario {
            title: "429 for manifests",
            text: "Every manifest is answered with 429 and `Retry-After: 7`: for a tag that was pulled before, and for one \
                   that was not.",
            alone: Alone::Nobody,
            contestants: &Who::WITHOUT_ARIA2,
            run: too_many_manifests,
        },
        Scenario {
            title: "bursts of 503",
            text: "The CDN answers two requests with 503, sends a connection's 8 MiB of a layer of 20 MiB before it cuts it, and \
                   answers two more with 503.",
            alone: Alone::Nobody,
            contestants: &Who::WITHOUT_ARIA2,
            run: bursts,
        },
        Scenario {
            title: "silence",
            text: "The upstream accepts every request and never answers. Each client waits 4 s; Entrepot is set to \
                   3 s for a first byte (`firstbytetimeout`; 2 min by default, and a client waits 15 s).",
            alone: Alone::Nobody,
            contestants: &Who::WITHOUT_ARIA2,
            run: silence,
        },
    ]
}

fn damaged(lab: &Lab, who: Who) -> Vec<Row> {
    let stand = Stand::new(lab, who, &Recipe { size: 8, ..Recipe::default() });
    stand.upstream().fault("GET", "/cdn/", Fault::Corrupt);
    let pulled = stand.pull(15);
    vec![Row::of(&stand, &[pulled], 15).requirement(who, |row| {
        let kept = matches!(pulled.end, End::Cut | End::Status(502));
        Requirement::new("damaged bytes", "never whole: cut, or 502", row.result.clone(), kept)
    })]
}

fn damaged_beside_good(lab: &Lab, who: Who) -> Vec<Row> {
    if who != Who::Entrepot {
        return Vec::new();
    }
    let stand = Stand::new(lab, who, &Recipe { size: 8, endpoints: 2, ..Recipe::default() });
    stand.upstream().fault("GET", "/cdn/", Fault::Corrupt);
    vec![Row::of(&stand, &[stand.pull(15)], 15).requirement(who, |row| {
        Requirement::new("damaged bytes, and a good endpoint", "whole", row.result.clone(), row.is_whole())
    })]
}

fn too_many_in_the_middle(lab: &Lab, who: Who) -> Vec<Row> {
    let stand = Stand::new(lab, who, &Recipe::default());
    stand.upstream().fault("GET", "/cdn/", Fault::Throttle(16 * MIB));
    stand.upstream().fault_once("GET", "/cdn/", Fault::Cut(4 * MIB));
    for fault in [Fault::Status(429), Fault::RetryAfter("1")] {
        stand.upstream().arm(Rule::new("GET", "/cdn/", fault).after(1).times(2));
    }
    vec![Row::of(&stand, &[stand.pull(15)], 15)]
}

fn bursts(lab: &Lab, who: Who) -> Vec<Row> {
    let stand = Stand::new(lab, who, &Recipe::default());
    let cdn = |fault| Rule::new("GET", "/cdn/", fault);
    stand.upstream().arm(cdn(Fault::Throttle(16 * MIB)));
    stand.upstream().arm(cdn(Fault::Status(503)).times(2));
    stand.upstream().arm(cdn(Fault::Cut(8 * MIB)).after(2).times(1));
    stand.upstream().arm(cdn(Fault::Status(503)).after(3).times(2));
    vec![Row::of(&stand, &[stand.pull(15)], 15)]
}

fn too_many_manifests(lab: &Lab, who: Who) -> Vec<Row> {
    let (stand, addr) = pulled_once(lab, who);
    stand.upstream().fault("*", "/manifests/", Fault::Status(429));
    stand.upstream().fault("*", "/manifests/", Fault::RetryAfter("7"));
    let Some(addr) = addr else {
        return vec![Row::of(&stand, &[stand.pull(WAIT_LIMIT)], WAIT_LIMIT)];
    };
    let held = Question::ask(addr, &stand.wanted().manifest());
    let new = Question::ask(addr, &manifest(REPOSITORY, "2"));
    let after = new.answer.as_ref().ok().and_then(|answer| answer.header("retry-after")).unwrap_or("none");
    let after = format!("Retry-After: {after}");
    vec![held.row("a tag it holds").note(held.cache()), new.row("a tag it does not hold").note(after)]
}

fn silence(lab: &Lab, who: Who) -> Vec<Row> {
    let (stand, addr) = pulled_once(lab, who);
    stand.upstream().fault("*", "", Fault::Hang);
    let Some(addr) = addr else {
        return vec![Row::of(&stand, &[stand.pull(WAIT_LIMIT)], WAIT_LIMIT)];
    };
    let held = stand.wanted().manifest();
    let root = Question::ask(addr, "/v2/");
    let (first, again) = (Question::ask(addr, &held), Question::ask(addr, &held));
    let new = Question::ask(addr, &manifest(REPOSITORY, "2"));
    let requirement = |what, wanted, question: &Question, status: u16, seconds: f64| {
        let measured = format!("{} in {:.2} s", question.told(), question.took.as_secs_f64());
        Requirement::new(what, wanted, measured, question.is(status) && question.took.as_secs_f64() < seconds)
    };
    vec![
        root.row("`/v2/`")
            .requirement(who, |_| requirement("silence: `/v2/`", "200 at once (< 0.2 s)", &root, 200, 0.2)),
        first
            .row("a tag it holds")
            .note(first.cache())
            .requirement(who, |_| requirement("silence: a tag that it holds", "200 in < 2.5 s", &first, 200, 2.5)),
        again
            .row("the same again")
            .note(again.cache())
            .requirement(who, |_| requirement("silence: the same again", "200 at once (< 0.2 s)", &again, 200, 0.2)),
        new.row("a tag it does not hold").requirement(who, |_| {
            requirement("silence: a tag that it does not hold", "504 within the limit of 3 s (< 3.5 s)", &new, 504, 3.5)
        }),
    ]
}

/// Starts a contestant that holds the tag, which is no longer fresh.
fn pulled_once(lab: &Lab, who: Who) -> (Stand<'_>, Option<SocketAddr>) {
    let stand = Stand::new(lab, who, &Recipe { size: 8, keys: OLD, ..Recipe::default() });
    let addr = stand.contestant.addr();
    if addr.is_some() {
        stand.pull(10);
        std::thread::sleep(AGE);
        stand.upstream().forget_log();
    }
    (stand, addr)
}

/// Sends one request and returns its result.
struct Question {
    answer: Result<Answer, End>,
    took: Duration,
}

impl Question {
    fn ask(addr: SocketAddr, target: &str) -> Self {
        let begun = Instant::now();
        Self { answer: pull::ask(addr, target, deadline(WAIT_LIMIT)), took: begun.elapsed() }
    }

    fn is(&self, status: u16) -> bool {
        self.answer.as_ref().is_ok_and(|answer| answer.status == status)
    }

    fn told(&self) -> String {
        let told_of = |end| {
            told(&Pulled { end, step: Step::Tag, asked: Duration::ZERO, first: None, last: self.took }, WAIT_LIMIT)
        };
        match &self.answer {
            Ok(answer) => answer.status.to_string(),
            Err(end) => told_of(*end),
        }
    }

    fn cache(&self) -> String {
        match &self.answer {
            Ok(answer) if cache(answer) != "none" => format!("X-Cache: {}", cache(answer)),
            _ => String::new(),
        }
    }

    fn row(&self, case: &'static str) -> Row {
        let last = self.answer.is_ok().then_some(self.took);
        Row { last, ..Row::said(self.told()).case(case) }
    }
}
