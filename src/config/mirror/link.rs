//! `mirror.link` and `mirror.upstreams.NAME.link`: the rate at which bodies arrive from upstreams.

use serde_json::{Value, json};

use super::rate::{LIMIT, LinkLimit, Rate};
use super::week::{DayHours, WeekMinute, Weekdays};
use crate::config::cursor::{Cursor, ReadContext};
use crate::config::keys::{KeyShape, Notation};
use crate::config::scalar_type::ScalarType;
use crate::config::section::{self, Keys, Section};

/// The limit of a link, which may depend on the time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// The limit at times that no element of `schedule` names.
    pub limit: LinkLimit,
    /// The first element that holds a time decides.
    pub schedule: Vec<LinkHours>,
}

/// An element of `schedule`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkHours {
    pub days: Weekdays,
    pub hours: DayHours,
    pub limit: LinkLimit,
}

/// An element whose limit may be missing or wrong.
struct Item {
    days: Weekdays,
    hours: DayHours,
    limit: Option<LinkLimit>,
}

/// Below this rate, upstreams may cut connections that are read too slowly: 16 connections get 2 KiB a second each.
const SMALL: u64 = 32_000;

pub(super) const HOURS: ScalarType<DayHours> = ScalarType {
    notation: Notation::Pattern("^ *[0-9]{1,2}(?::[0-9]{2})? *- *[0-9]{1,2}(?::[0-9]{2})? *$"),
    write: "write two different times of day (UTC) up to 24:00, such as 8-18, \"8:30-18:00\" or 22-6",
    parse: |text| text.parse().ok(),
    show: |hours| json!(hours.to_string()),
};

impl Link {
    /// Returns the limit at a time in seconds since 1970.
    pub fn at(&self, unix_seconds: u64) -> LinkLimit {
        let minute = WeekMinute::at(unix_seconds);
        let now = self.schedule.iter().find(|part| part.hold(minute));
        now.map_or(self.limit, |part| part.limit)
    }

    /// Returns true if there is a limit at some time.
    pub fn is_limited(&self) -> bool {
        self.limits().any(|limit| limit != LinkLimit::Unlimited)
    }

    /// Returns the highest limit of all times.
    fn highest(&self) -> Option<Rate> {
        self.limits().map(LinkLimit::rate).try_fold(None, |most, rate| Some(most.max(Some(rate?)))).flatten()
    }

    /// Returns the limits of all times.
    fn limits(&self) -> impl Iterator<Item = LinkLimit> {
        std::iter::once(self.limit).chain(self.schedule.iter().map(|part| part.limit))
    }
}

impl LinkHours {
    fn hold(&self, minute: WeekMinute) -> bool {
        self.hours.hold(self.days, minute)
    }
}

impl Section for Link {
    fn keys(&mut self, keys: &mut Keys<'_, '_>) {
        keys.scalar("limit", &LIMIT, &mut self.limit);
        schedule(&mut self.schedule, keys);
        if is_small(self.limit) {
            keys.warn("limit", &too_small(self.limit));
        }
    }
}

fn schedule(schedule: &mut Vec<LinkHours>, keys: &mut Keys<'_, '_>) {
    let shape = KeyShape::Sections(section::declare(&mut Item::new()));
    let print = |part: &LinkHours| Value::Object(section::print(&mut Item::from(part.clone())));
    let shown = (!schedule.is_empty()).then(|| schedule.iter().map(print).collect());
    if let Some((cursor, reading)) = keys.key("schedule", shape, shown) {
        let read: Vec<_> = cursor.items().filter_map(|item| Some((read(&item, reading)?, item))).collect();
        warn(&read, reading);
        *schedule = read.into_iter().map(|(part, _)| part).collect();
    }
}

impl Item {
    fn new() -> Self {
        Self { days: Weekdays::ALL, hours: DayHours::ALL, limit: None }
    }
}

impl From<LinkHours> for Item {
    fn from(LinkHours { days, hours, limit }: LinkHours) -> Self {
        Self { days, hours, limit: Some(limit) }
    }
}

impl Section for Item {
    fn keys(&mut self, keys: &mut Keys<'_, '_>) {
        days(&mut self.days, keys);
        keys.scalar("hours", &HOURS, &mut self.hours);
        keys.scalar("limit", &LIMIT, &mut self.limit);
        if keys.is_reading() && !keys.is_written("limit") {
            keys.error("limit", "is missing; write a rate, such as 5Mbit/s, or unlimited");
        }
    }
}

/// Reads a list of days. A single element may name several: `mon-fri`, `sat,sun`.
fn days(days: &mut Weekdays, keys: &mut Keys<'_, '_>) {
    let Some((cursor, reading)) = keys.key("days", KeyShape::List, Some(json!([days.to_string()]))) else { return };
    let mut found: Option<Weekdays> = None;
    for (text, location) in cursor.texts(reading) {
        match text.parse::<Weekdays>() {
            Ok(parsed) => found = Some(found.map_or(parsed, |found| found.with(parsed))),
            Err(()) => {
                let message = format!("{} holds {text:?}; write days such as mon-fri or sat,sun", cursor.path);
                reading.report.error(location, message);
            }
        }
    }
    *days = found.unwrap_or(*days);
}

fn read(cursor: &Cursor<'_>, reading: &mut ReadContext<'_>) -> Option<LinkHours> {
    let mut item = Item::new();
    section::read(&mut item, cursor, reading);
    Some(LinkHours { days: item.days, hours: item.hours, limit: item.limit? })
}

fn is_small(limit: LinkLimit) -> bool {
    limit.rate().is_some_and(|rate| rate.bytes() < SMALL)
}

fn too_small(limit: LinkLimit) -> String {
    format!("is {limit}, so slow that upstreams may cut connections as idle; write at least 256kbit/s")
}

/// Warns of elements that never decide, and of limits that are too small.
fn warn(schedule: &[(LinkHours, Cursor<'_>)], reading: &mut ReadContext<'_>) {
    for (at, (part, cursor)) in schedule.iter().enumerate() {
        let is_new = |minute| part.hold(minute) && !schedule[..at].iter().any(|(earlier, _)| earlier.hold(minute));
        if !WeekMinute::all().any(is_new) {
            cursor
                .warn(reading, "never decides, since earlier elements hold all of its hours; move it up, or remove it");
        }
        if is_small(part.limit) {
            cursor.get("limit").warn(reading, &too_small(part.limit));
        }
    }
}

/// Warns of an upstream whose limit is never reached, because the limit of all upstreams is lower at any time.
pub(super) fn warn_of_upstream(all: &Link, one: &Link, cursor: &Cursor<'_>, reading: &mut ReadContext<'_>) {
    let lowest = one.limits().filter_map(LinkLimit::rate).min();
    if let Some((all, lowest)) = all.highest().zip(lowest)
        && lowest >= all
        && one.schedule.is_empty()
    {
        let message = format!("is {lowest}, but `mirror.link` allows {all} at most; write less here, or remove it");
        cursor.get("link").get("limit").warn(reading, &message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_element_that_holds_the_time_decides() {
        let part = |days: &str, hours: &str, limit: &str| LinkHours {
            days: days.parse().unwrap(),
            hours: hours.parse().unwrap(),
            limit: (LIMIT.parse)(limit).unwrap(),
        };
        let link = Link {
            limit: (LIMIT.parse)("20Mbit/s").unwrap(),
            schedule: vec![part("fri", "12-13", "unlimited"), part("mon-fri", "8-18", "5Mbit/s")],
        };
        // 2026-11-27 is a Friday.
        let friday = 20_784 * 86_400;
        for (hour, want) in [(7, "20Mbit/s"), (8, "5Mbit/s"), (12, "unlimited"), (13, "5Mbit/s"), (18, "20Mbit/s")] {
            assert_eq!(link.at(friday + hour * 3600).to_string(), want, "{hour}");
            let saturday = link.at(friday + (24 + hour) * 3600);
            assert_eq!(saturday.to_string(), "20Mbit/s", "{hour}");
        }
        assert!(link.is_limited() && !Link::default().is_limited());
    }
}
