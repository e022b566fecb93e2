//! Breaks: cuts, stalls, an upstream that goes and comes back, expired links, a power cut.

use std::time::Duration;

use super::{Alone, Scenario};
use crate::contestant::Who;
use crate::lab::{Lab, MIB, Stand};
use crate::pull::{End, Pulled};
use crate::recipe::Recipe;
use crate::row::{Requirement, Row, told};
use crate::support::fault::Fault;
use crate::support::upstream::Links;

pub fn all() -> [Scenario; 6] {
    [
        Scenario {
            title: "cut after every 3 MiB",
            text: "Every connection to the CDN is cut after 3 MiB. Four clients pull a layer of 20 MiB at once; r = 16 MiB/s \
                   for each connection.",
            alone: Alone::Nobody,
            contestants: &Who::WITHOUT_ARIA2,
            run: |lab, who| cut(lab, who, false),
        },
        Scenario {
            title: "cut after every 3 MiB, TLS",
            text: "The same over TLS, with HTTP/2 on offer.",
            alone: Alone::Nobody,
            contestants: &Who::WITHOUT_ARIA2,
            run: |lab, who| cut(lab, who, true),
        },
        Scenario {
            title: "stalled",
            text: "The first connection for a layer of 20 MiB sends 4 MiB and then nothing more, without closing. Entrepot is \
                   set to wait 2 s for a byte (`fill.stall`; 15 s by default).",
            alone: Alone::Nobody,
            contestants: &Who::WITHOUT_ARIA2,
            run: stalled,
        },
        Scenario {
            title: "gone for 2 s",
            text: "In the middle of a layer of 20 MiB every connection is closed, and for 2 s connections are \
                   refused; r = 8 MiB/s.",
            alone: Alone::Nobody,
            contestants: &Who::WITHOUT_ARIA2,
            run: gone,
        },
        Scenario {
            title: "signed links run out",
            text: "The CDN cuts every connection after 9 MiB, and its signed links are good for 1 s after they were given out; a \
                   layer of 40 MiB, r = 8 MiB/s for each connection.",
            alone: Alone::Nobody,
            contestants: &Who::WITHOUT_ARIA2,
            run: expired,
        },
        Scenario {
            title: "killed at 60 %",
            text: "The server is killed (`kill -9`) when 60 % of a layer of 40 MiB have left the upstream. It \
                   starts again on its data, and the client pulls again. Bytes: those that leave the upstream after \
                   the restart. r = 8 MiB/s for each connection.",
            alone: Alone::Nobody,
            contestants: &Who::WITHOUT_ARIA2,
            run: killed,
        },
    ]
}

fn cut(lab: &Lab, who: Who, tls: bool) -> Vec<Row> {
    let stand = Stand::new(lab, who, &Recipe { tls, ..Recipe::default() });
    stand.upstream().fault("GET", "/cdn/", Fault::CutConnection(3 * MIB));
    stand.upstream().fault("GET", "/cdn/", Fault::Throttle(16 * MIB));
    let row = Row::of(&stand, &stand.pulls(4, 15), 15);
    let what = if tls { "every connection cut after 3 MiB, over TLS" } else { "every connection cut after 3 MiB" };
    vec![row.requirement(who, |row| once(what, row))]
}

fn stalled(lab: &Lab, who: Who) -> Vec<Row> {
    let stand = Stand::new(lab, who, &Recipe { fill: "stall: 2s", ..Recipe::default() });
    stand.upstream().fault("GET", "/cdn/", Fault::Throttle(16 * MIB));
    stand.upstream().fault_once("GET", "/cdn/", Fault::Stall(4 * MIB));
    vec![Row::of(&stand, &[stand.pull(8)], 8)]
}

fn gone(lab: &Lab, who: Who) -> Vec<Row> {
    let stand = Stand::new(lab, who, &Recipe::default());
    stand.upstream().fault("GET", "/cdn/", Fault::Throttle(8 * MIB));
    let pulled = stand.pull_while(15, |stand| {
        stand.wait_for(0.5, Duration::from_secs(8));
        stand.upstream().gone();
        std::thread::sleep(Duration::from_secs(2));
        stand.upstream().back();
    });
    vec![Row::of(&stand, &[pulled], 15)]
}

fn expired(lab: &Lab, who: Who) -> Vec<Row> {
    let stand = Stand::new(lab, who, &Recipe { size: 40, ..Recipe::default() });
    stand.upstream().set_links(Links::For(Duration::from_secs(1)));
    stand.upstream().fault("GET", "/cdn/", Fault::Throttle(8 * MIB));
    stand.upstream().fault("GET", "/cdn/", Fault::CutConnection(9 * MIB));
    vec![Row::of(&stand, &[stand.pull(20)], 20)]
}

fn killed(lab: &Lab, who: Who) -> Vec<Row> {
    if who == Who::Curl {
        return Vec::new();
    }
    let mut stand = Stand::new(lab, who, &Recipe { size: 40, ..Recipe::default() });
    stand.upstream().fault("GET", "/cdn/", Fault::Throttle(8 * MIB));
    let pulled = die(&mut stand);
    let before = stand.ratio();
    stand.contestant.restart();
    let again = stand.pull(12);
    let row = Row::of(&stand, &[again], 12);
    let row = Row { ratio: row.ratio.map(|ratio| ratio - before), ..row };
    let note = format!("{} at {:.0} % before", told(&pulled, 12), before * 100.0);
    vec![row.note(note).requirement(who, |row| {
        let kept = row.is_whole() && row.ratio.is_some_and(|ratio| ratio <= 0.45);
        let measured = format!("{}, {:.2}", row.result, row.ratio.unwrap_or_default());
        Requirement::new("killed at 60 %, fetched after the restart", "whole, ≤ 0.45 of the layer", measured, kept)
    })]
}

/// Pulls, and kills the contestant at 60 % of the layer.
fn die(stand: &mut Stand) -> Pulled {
    let (wanted, deadline) = (stand.wanted(), crate::lab::deadline(12));
    let addr = stand.contestant.addr().expect("only servers are killed");
    let (image, content) = (wanted.image.clone(), wanted.content.to_vec());
    let pull = std::thread::spawn(move || {
        let wanted = crate::pull::Wanted {
            repository: crate::lab::REPOSITORY,
            tag: "1",
            image: &image,
            content: &content,
            range: None,
        };
        crate::pull::pull(addr, &wanted, deadline)
    });
    stand.wait_for(0.6, Duration::from_secs(8));
    stand.contestant.kill();
    pull.join().unwrap_or(Pulled {
        end: End::Refused,
        step: crate::pull::Step::Tag,
        asked: Duration::ZERO,
        first: None,
        last: Duration::ZERO,
    })
}

/// Requirements that every client got the whole layer, and that it crossed the link once.
fn once(what: &'static str, row: &Row) -> Requirement {
    let ratio = row.ratio.unwrap_or_default();
    let kept = row.is_whole() && ratio <= 1.05;
    Requirement::new(what, "whole at every client, ≤ 1.05 of its bytes", format!("{}, {ratio:.2}", row.result), kept)
}
