//! `mirror.follow`: the quiet hours in which the tags that clients pull are confirmed and fetched.

use std::time::Duration;

use super::link::HOURS;
use super::week::DayHours;
use crate::config::scalar_type::TIMEOUT;
use crate::config::section::{Keys, Section};

/// The values of `mirror.follow`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Follow {
    /// A tag is followed if a client has pulled it within this time (`pulled_within`, 14 days).
    pub pulled_within: Duration,
    /// The hours of each day in which tags are followed (`window`, 01:00-06:00 UTC).
    pub window: DayHours,
}

const DAY: Duration = Duration::from_secs(86_400);

impl Default for Follow {
    fn default() -> Self {
        Self { pulled_within: 14 * DAY, window: DayHours::NIGHT }
    }
}

impl Section for Follow {
    fn keys(&mut self, keys: &mut Keys<'_, '_>) {
        keys.scalar("pulled_within", &TIMEOUT, &mut self.pulled_within);
        keys.scalar("window", &HOURS, &mut self.window);
        if self.pulled_within < DAY {
            let message = "is shorter than 24h, so that tags are not followed that clients pull each day; write 14d";
            keys.warn("pulled_within", message);
        }
    }
}
