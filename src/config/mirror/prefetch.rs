//! `mirror.prefetch`: images that are fetched before any request, and their schedule.

use std::time::Duration;

use serde_json::{Value, json};

use super::time_of_day::TimeOfDay;
use crate::config::cursor::{Cursor, ReadContext};
use crate::config::keys::{KeyShape, Notation};
use crate::config::scalar_type::{ScalarType, TIMEOUT};
use crate::config::section::{self, Keys, Section};
use crate::oci::{ImagePattern, Platform, Platforms};

/// An element of `mirror.prefetch`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefetch {
    pub image: ImagePattern,
    pub platforms: Platforms,
    /// The time between two runs.
    pub every: Duration,
    /// A time of day at which one of the runs is; `None` if the first run is soon after the start.
    pub at: Option<TimeOfDay>,
}

/// An element whose image may be missing or wrong.
struct Item {
    image: Option<ImagePattern>,
    platforms: Option<Platforms>,
    every: Duration,
    at: Option<TimeOfDay>,
}

const DAY: u64 = 86_400;
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

const TIME_OF_DAY: ScalarType<TimeOfDay> = ScalarType {
    notation: Notation::Pattern("^[0-9]{1,2}:[0-9]{2}$"),
    write: "write a time of day (UTC), such as \"02:30\"",
    parse: |text| text.parse().ok(),
    show: |time| json!(time.to_string()),
};

/// Declares `prefetch`.
pub(super) fn keys(prefetch: &mut Vec<Prefetch>, keys: &mut Keys<'_, '_>) {
    let mut sample = Item { image: None, platforms: None, every: Duration::from_secs(DAY), at: None };
    let shape = KeyShape::Sections(section::declare(&mut sample));
    let print = |prefetch: &Prefetch| Value::Object(section::print(&mut Item::from(prefetch.clone())));
    let shown = (!prefetch.is_empty()).then(|| prefetch.iter().map(print).collect());
    if let Some((cursor, reading)) = keys.key("prefetch", shape, shown) {
        *prefetch = cursor.items().filter_map(|cursor| read(&cursor, reading)).collect();
        warn(&cursor, prefetch, reading);
    }
}

impl From<Prefetch> for Item {
    fn from(Prefetch { image, platforms, every, at }: Prefetch) -> Self {
        Self { image: Some(image), platforms: Some(platforms), every, at }
    }
}

impl Section for Item {
    fn keys(&mut self, keys: &mut Keys<'_, '_>) {
        image(&mut self.image, keys);
        platforms(&mut self.platforms, keys);
        keys.scalar("every", &TIMEOUT, &mut self.every);
        keys.scalar("at", &TIME_OF_DAY, &mut self.at);
        if self.every < SECOND {
            keys.error("every", "is shorter than 1s, so that requests never end; write 24h, or at least 10m");
        }
        let seconds = self.every.as_secs();
        let whole = self.every.subsec_nanos() == 0 && seconds > 0;
        if self.at.is_some() && !(whole && (DAY.is_multiple_of(seconds) || seconds.is_multiple_of(DAY))) {
            let message =
                "does not fit `at`; write a part of a day or a number of days, such as 6h or 24h, or remove `at`";
            keys.error("every", message);
        }
    }
}

fn read(cursor: &Cursor<'_>, reading: &mut ReadContext<'_>) -> Option<Prefetch> {
    let mut item = Item { image: None, platforms: None, every: Duration::from_secs(DAY), at: None };
    section::read(&mut item, cursor, reading);
    let platforms = item.platforms.unwrap_or_else(|| Platforms::These(vec![Platform::native()]));
    Some(Prefetch { image: item.image?, platforms, every: item.every, at: item.at })
}

fn image(image: &mut Option<ImagePattern>, keys: &mut Keys<'_, '_>) {
    let shown = image.as_ref().map(|image| json!(image.as_str()));
    let Some((cursor, reading)) = keys.key("image", KeyShape::Scalar(Notation::Text), shown) else { return };
    let Some(text) = cursor.text(reading) else {
        let message = "is missing; write an image, such as docker.io/library/alpine:latest or library/alpine:3.*";
        return cursor.error(reading, message);
    };
    match text.parse() {
        Ok(parsed) => *image = Some(parsed),
        Err(error) => cursor.error(reading, &format!("cannot be used: {error}")),
    }
}

fn platforms(platforms: &mut Option<Platforms>, keys: &mut Keys<'_, '_>) {
    let shown = platforms.as_ref().map(|platforms| json!(platforms.texts()));
    let Some((cursor, reading)) = keys.key("platforms", KeyShape::List, shown) else { return };
    let texts = cursor.texts(reading);
    if !cursor.is_written() {
        return;
    }
    match Platforms::parse(texts.iter().map(|(text, _)| *text)) {
        Ok(parsed) => *platforms = Some(parsed),
        Err(error) => {
            let wrong = texts.iter().find(|(text, _)| *text != "all" && text.parse::<Platform>().is_err());
            let location = wrong.map_or(cursor.location(), |(_, location)| location);
            reading.report.error(location, format!("{}: {error}", cursor.path));
        }
    }
}

/// Warns of values that are valid and surely not meant.
fn warn(cursor: &Cursor<'_>, prefetch: &[Prefetch], reading: &mut ReadContext<'_>) {
    let mut seen: Vec<&str> = Vec::new();
    for cursor in cursor.items() {
        let image = cursor.get("image");
        let Some(one) = prefetch.iter().find(|one| image.raw() == Some(one.image.as_str())) else { continue };
        if seen.contains(&one.image.as_str()) {
            image.warn(reading, "is written a second time; write it once, with all its platforms");
        }
        seen.push(one.image.as_str());
        let every = cursor.get("every");
        let is_short = |text| crate::config::document::duration(text).is_some_and(|d| (SECOND..MINUTE).contains(&d));
        if every.raw().is_some_and(is_short) {
            every.warn(
                reading,
                "is shorter than 1m, so that the upstream is asked all the time; write 24h, or at least 10m",
            );
        }
    }
}
