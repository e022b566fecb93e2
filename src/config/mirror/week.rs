//! Parts of a week: days, and hours of the day. All times are in UTC.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

/// A set of days of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weekdays {
    /// Bit 0 is Monday.
    bits: u8,
}

/// A time of each day, from the minute `from` up to the minute `to`. If `to` is not after `from`, it is on the next
/// day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DayHours {
    from: u16,
    to: u16,
}

/// A minute of a week in UTC, counted from Monday at 00:00.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeekMinute(u16);

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const DAY: u16 = 24 * 60;
pub const WEEK: u16 = 7 * DAY;

impl WeekMinute {
    /// Returns the minute of the week at a time in seconds since 1970.
    pub fn at(unix_seconds: u64) -> Self {
        // 1970 began on a Thursday.
        let minutes = (unix_seconds / 60 + 3 * u64::from(DAY)) % u64::from(WEEK);
        Self(u16::try_from(minutes).unwrap_or(0))
    }

    /// Returns every minute of a week.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..WEEK).map(Self)
    }
}

impl Weekdays {
    /// Holds every day.
    pub const ALL: Self = Self { bits: 0x7f };

    /// Returns the days that are in either set.
    pub fn with(self, other: Self) -> Self {
        Self { bits: self.bits | other.bits }
    }

    fn has(self, day: u16) -> bool {
        self.bits & (1 << day) != 0
    }
}

impl DayHours {
    /// Holds the whole day.
    pub const ALL: Self = Self { from: 0, to: DAY };
    /// Holds the hours from 01:00 to 06:00.
    pub const NIGHT: Self = Self { from: 60, to: 360 };

    /// Returns true if the minute lies within these hours of one of these days. Hours that go over midnight belong to
    /// the day on which they begin.
    pub fn hold(self, days: Weekdays, minute: WeekMinute) -> bool {
        let (day, time) = (minute.0 / DAY, minute.0 % DAY);
        let before = (day + 6) % 7;
        if self.from < self.to {
            return days.has(day) && (self.from..self.to).contains(&time);
        }
        (days.has(day) && time >= self.from) || (days.has(before) && time < self.to)
    }

    /// Returns the times at which these hours begin and end around a time; `None` outside of them. All times are in
    /// seconds since 1970.
    pub fn span(self, unix_seconds: u64) -> Option<Range<u64>> {
        let time = u16::try_from(unix_seconds / 60 % u64::from(DAY)).unwrap_or(0);
        if !self.hold(Weekdays::ALL, WeekMinute(time)) {
            return None;
        }
        let left = if time < self.to { self.to - time } else { DAY - time + self.to };
        let whole = if self.from < self.to { self.to - self.from } else { DAY - self.from + self.to };
        let end = unix_seconds - unix_seconds % 60 + u64::from(left) * 60;
        Some(end.saturating_sub(u64::from(whole) * 60)..end)
    }
}

impl FromStr for Weekdays {
    type Err = ();

    /// Reads days and ranges, such as `mon-fri` or `sat,sun`. A range may go over the end of the week: `fri-mon`.
    fn from_str(text: &str) -> Result<Self, ()> {
        let day = |name: &str| {
            let name = name.trim();
            let known = |day: &str| name.eq_ignore_ascii_case(day);
            DAYS.iter().position(|day| known(day)).ok_or(())
        };
        let mut bits = 0;
        for part in text.split(',') {
            let (first, last) = match part.split_once('-') {
                Some((first, last)) => (day(first)?, day(last)?),
                None => (day(part)?, day(part)?),
            };
            let count = (last + 7 - first) % 7;
            (first..=first + count).for_each(|day| bits |= 1 << (day % 7));
        }
        Ok(Self { bits })
    }
}

impl fmt::Display for Weekdays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<String> = Vec::new();
        let mut day = 0;
        while day < 7 {
            let end = (day..7).take_while(|day| self.has(*day)).count() as u16 + day;
            match end - day {
                0 => {}
                1 => parts.push(DAYS[usize::from(day)].to_owned()),
                _ => parts.push(format!("{}-{}", DAYS[usize::from(day)], DAYS[usize::from(end) - 1])),
            }
            day = end + 1;
        }
        f.write_str(&parts.join(","))
    }
}

impl FromStr for DayHours {
    type Err = ();

    /// Reads two times of day, such as `8-18`, `8:30-18:00` or `22-6`. The end may be 24. Two equal times are refused,
    /// since they may mean all of a day or none of it.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (from, to) = text.split_once('-').ok_or(())?;
        let (from, to) = (minute(from)?, minute(to)?);
        if from == to || from == DAY || (from, to) == (DAY, 0) {
            return Err(());
        }
        Ok(Self { from, to })
    }
}

/// Reads `H`, `HH` or `HH:MM`, up to 24:00.
fn minute(text: &str) -> Result<u16, ()> {
    let (hours, minutes) = text.trim().split_once(':').unwrap_or((text.trim(), "00"));
    let number = |digits: &str, most: u16| {
        let plain = (1..=2).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        digits.parse().ok().filter(|number: &u16| plain && *number <= most).ok_or(())
    };
    let minute = number(hours, 24)? * 60 + number(minutes, 59)?;
    if minutes.len() == 2 && minute <= DAY { Ok(minute) } else { Err(()) }
}

impl fmt::Display for DayHours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
        write!(f, "{}-{}", show(self.from), show(self.to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3600;

    #[test]
    fn weekdays_are_read_and_written() {
        for (text, bits, shown) in [
            ("mon-fri", 0b001_1111, "mon-fri"),
            ("sat,sun", 0b110_0000, "sat-sun"),
            ("Sat, SUN", 0b110_0000, "sat-sun"),
            ("fri-mon", 0b111_0001, "mon,fri-sun"),
            ("mon,wed-thu", 0b000_1101, "mon,wed-thu"),
            ("sun", 0b100_0000, "sun"),
            ("mon-sun", 0b111_1111, "mon-sun"),
            ("tue-mon", 0b111_1111, "mon-sun"),
        ] {
            let days: Weekdays = text.parse().unwrap();
            assert_eq!((days.bits, days.to_string().as_str()), (bits, shown), "{text}");
            assert_eq!(shown.parse(), Ok(days));
        }
        for bad in ["", "monday", "mon-", "-fri", "mo", "1-5", "mon fri", "mon,", "mon-fri-sat", "*"] {
            assert!(bad.parse::<Weekdays>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn hours_are_read_and_written() {
        for (text, shown) in [
            ("8-18", "08:00-18:00"),
            ("8:30-18:00", "08:30-18:00"),
            ("22-6", "22:00-06:00"),
            ("0-24", "00:00-24:00"),
            ("01:00-06:00", "01:00-06:00"),
            ("18-24", "18:00-24:00"),
            ("18-0", "18:00-00:00"),
        ] {
            let hours: DayHours = text.parse().unwrap();
            assert_eq!(hours.to_string(), shown);
            assert_eq!(shown.parse(), Ok(hours));
        }
        for bad in ["", "8", "8-8", "0-0", "24-8", "24-0", "8-25", "8:3-9", "8:60-9", "24:01-3", "-8-9", "8-", "a-b"] {
            assert!(bad.parse::<DayHours>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn hours_over_midnight_belong_to_the_day_on_which_they_begin() {
        // 2026-11-27 is a Friday.
        let friday = 20_784 * 24 * HOUR;
        let holds = |days: &str, hours: &str, at: u64| {
            let hours: DayHours = hours.parse().unwrap();
            hours.hold(days.parse().unwrap(), WeekMinute::at(friday + at))
        };
        for (days, hours, at, want) in [
            ("mon-fri", "8-18", 8 * HOUR, true),
            ("mon-fri", "8-18", 8 * HOUR - 1, false),
            ("mon-fri", "8-18", 18 * HOUR - 1, true),
            ("mon-fri", "8-18", 18 * HOUR, false),
            ("mon-fri", "8-18", 32 * HOUR, false),
            ("fri", "22-6", 23 * HOUR, true),
            ("fri", "22-6", 29 * HOUR, true),
            ("fri", "22-6", 30 * HOUR, false),
            ("fri", "22-6", 5 * HOUR, false),
            ("sat", "0-24", 47 * HOUR, true),
            ("sun", "22-6", 3 * 24 * HOUR + HOUR, true),
        ] {
            assert_eq!(holds(days, hours, at), want, "{days} {hours} {at}");
        }
    }

    #[test]
    fn hours_begin_and_end_around_a_time() {
        for (hours, at, want) in [
            ("1-6", HOUR, Some((HOUR, 6 * HOUR))),
            ("1-6", 6 * HOUR - 1, Some((HOUR, 6 * HOUR))),
            ("1-6", 6 * HOUR, None),
            ("1-6", 0, None),
            ("22-6", 23 * HOUR, Some((22 * HOUR, 30 * HOUR))),
            ("22-6", 25 * HOUR + 1, Some((22 * HOUR, 30 * HOUR))),
            ("0-24", 23 * HOUR, Some((0, 24 * HOUR))),
            ("18-0", 23 * HOUR, Some((18 * HOUR, 24 * HOUR))),
        ] {
            let (day, hours) = (20_784 * 24 * HOUR, hours.parse::<DayHours>().unwrap());
            let found = hours.span(day + at).map(|span| (span.start - day, span.end - day));
            assert_eq!(found, want, "{hours} {at}");
        }
    }
}
