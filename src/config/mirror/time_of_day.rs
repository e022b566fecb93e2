//! A time of day.

use std::fmt;
use std::str::FromStr;

/// A time of day in UTC: `HH:MM`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeOfDay {
    minutes: u16,
}

impl TimeOfDay {
    /// Returns the seconds since midnight.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_day_are_parsed_and_shown() {
        for (text, seconds, shown) in
            [("02:30", 9000, "02:30"), ("2:30", 9000, "02:30"), ("00:00", 0, "00:00"), ("23:59", 86_340, "23:59")]
        {
            let time: TimeOfDay = text.parse().unwrap();
            assert_eq!((time.seconds(), time.to_string().as_str()), (seconds, shown));
        }
        for bad in ["", ":", "2", "24:00", "02:60", "02:3", "02:300", "+2:30", "02:30:00", "-1:00", "at noon", "150"] {
            assert!(bad.parse::<TimeOfDay>().is_err(), "{bad:?} was parsed as a time");
        }
    }
}
