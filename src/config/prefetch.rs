//! `mirror.prefetch`: which images, and when.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::Prefetch;
use super::at::{At, Reading};
use super::mirror::Entry;
use super::problem::Place;
use crate::oci::{HostName, ImagePattern, Pattern, Platform, Platforms};

const EVERY: Duration = Duration::from_secs(DAY);
/// Below it a loop would do nothing else.
const SHORTEST: Duration = Duration::from_secs(1);
const DAY: u64 = 86_400;

/// A time of day, UTC: `HH:MM`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeOfDay {
    minutes: u16,
}

impl TimeOfDay {
    /// Since midnight.
    pub fn seconds(self) -> u64 {
        u64::from(self.minutes) * 60
    }
}

impl FromStr for TimeOfDay {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (hours, minutes) = text.split_once(':').ok_or(())?;
        let number = |digits: &str, most: u16| {
            let plain = (1..=2).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
            digits.parse().ok().filter(|number: &u16| plain && *number <= most)
        };
        if minutes.len() != 2 {
            return Err(());
        }
        let (hours, minutes) = number(hours, 23).zip(number(minutes, 59)).ok_or(())?;
        Ok(Self { minutes: hours * 60 + minutes })
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.minutes / 60, self.minutes % 60)
    }
}

/// By what it is decided whose an image is.
pub(super) struct Owners<'m, 't> {
    pub(super) local: &'m [(Pattern, &'t Place)],
    pub(super) entries: &'m [Entry<'t>],
    pub(super) default: Option<&'m HostName>,
    pub(super) names: &'m [(HostName, &'t Place)],
}

pub(super) fn prefetch(at: &At<'_>, owners: &Owners<'_, '_>, reading: &mut Reading<'_>) -> Vec<Prefetch> {
    at.items().filter_map(|at| one(&at, owners, reading)).collect()
}

fn one(at: &At<'_>, owners: &Owners<'_, '_>, reading: &mut Reading<'_>) -> Option<Prefetch> {
    let every_at = at.get("every");
    let every = every_at.timeout(reading).unwrap_or(EVERY);
    if every < SHORTEST {
        every_at.error(reading, "is shorter than 1s, and would ask without end; write 24h, or 10m at least");
    }
    let time = at.get("at").parsed(reading, |text| text.parse().ok(), "write a time of day (UTC), such as \"02:30\"");
    let seconds = every.as_secs();
    let fits = every.subsec_nanos() == 0 && seconds > 0 && (DAY.is_multiple_of(seconds) || seconds.is_multiple_of(DAY));
    if time.is_some() && !fits {
        every_at.error(
            reading,
            "does not fit `at`: write a part of a day or a number of days, such as 6h or 24h, or no `at`",
        );
    }
    let platforms = platforms(&at.get("platforms"), reading);
    let image = image(&at.get("image"), owners, reading)?;
    Some(Prefetch { image, platforms, every, at: time })
}

fn image(at: &At<'_>, owners: &Owners<'_, '_>, reading: &mut Reading<'_>) -> Option<ImagePattern> {
    let Some(text) = at.text(reading) else {
        at.error(reading, "is missing; write an image, such as docker.io/library/alpine:latest or library/alpine:3.*");
        return None;
    };
    let image = match text.parse::<ImagePattern>() {
        Ok(image) => image,
        Err(error) => {
            at.error(reading, &format!("cannot be used: {error}"));
            return None;
        }
    };
    if let Some(wrong) = owners.wrong(&image) {
        at.error(reading, &format!("is {text:?}, {wrong}"));
    }
    Some(image)
}

fn platforms(at: &At<'_>, reading: &mut Reading<'_>) -> Platforms {
    let texts = at.texts(reading);
    if !at.is_written() {
        return Platforms::These(vec![Platform::native()]);
    }
    match Platforms::parse(texts.iter().map(|(text, _)| *text)) {
        Ok(platforms) => platforms,
        Err(error) => {
            let wrong = texts.iter().find(|(text, _)| *text != "all" && text.parse::<Platform>().is_err());
            let place = wrong.map_or(at.place(), |(_, place)| place);
            reading.report.error(place, format!("{}: {error}", at.path));
            Platforms::All
        }
    }
}

impl Owners<'_, '_> {
    /// Why no upstream has this image, if so. The rules are those by which `registry` resolves it.
    fn wrong(&self, image: &ImagePattern) -> Option<String> {
        let repository = image.repository();
        let whole = repository.to_string();
        let name = repository.name().as_str();
        if self.is_local(&whole) {
            return Some("which lives here; only images of an upstream can be fetched".to_owned());
        }
        match repository.registry() {
            Some(host) if self.is_upstream(host) => None,
            Some(host) if self.names.iter().any(|(ours, _)| ours == host) => self.unowned(name),
            Some(host) => Some(format!("of no upstream; add {host} to mirror.upstreams")),
            None => self.unowned(name),
        }
    }

    fn unowned(&self, name: &str) -> Option<String> {
        let first = name.split_once('/').and_then(|(first, _)| first.parse().ok());
        if first.is_some_and(|host| self.is_upstream(&host)) {
            return None;
        }
        if self.is_local(name) {
            return Some("which lives here; only images of an upstream can be fetched".to_owned());
        }
        let none = "of no upstream, since none is the default; write its registry before it, such as docker.io/…";
        self.default.is_none().then(|| none.to_owned())
    }

    fn is_local(&self, name: &str) -> bool {
        self.local.iter().any(|(pattern, _)| pattern.matches(name))
    }

    fn is_upstream(&self, host: &HostName) -> bool {
        self.entries.iter().any(|entry| entry.upstream.name == *host || entry.upstream.aliases.contains(host))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_day() {
        for (text, seconds, shown) in
            [("02:30", 9000, "02:30"), ("2:30", 9000, "02:30"), ("00:00", 0, "00:00"), ("23:59", 86_340, "23:59")]
        {
            let time: TimeOfDay = text.parse().unwrap();
            assert_eq!((time.seconds(), time.to_string().as_str()), (seconds, shown));
        }
        for bad in ["", ":", "2", "24:00", "02:60", "02:3", "02:300", "+2:30", "02:30:00", "-1:00", "at noon", "150"] {
            assert!(bad.parse::<TimeOfDay>().is_err(), "{bad:?} was taken for a time");
        }
    }
}
