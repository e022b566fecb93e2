//! The scenarios, one fault each.

mod breaks;
mod speed;
mod wrong_answers;

use crate::contestant::Who;
use crate::lab::Lab;
use crate::row::Row;

/// One behaviour of a link, and the measurement of each contestant.
pub struct Scenario {
    /// At most 37 characters.
    pub title: &'static str,
    /// Describes, for a reader who does not know the project, what the upstream does and what the client requests.
    pub text: &'static str,
    pub alone: Alone,
    /// No rows: the contestant does not support the scenario.
    pub run: fn(&Lab, Who) -> Vec<Row>,
}

/// Tells which cells need the whole machine.
#[derive(Clone, Copy, Debug)]
pub enum Alone {
    Everybody,
    /// Entrepot's speed is measured; the speed of the others is that of one connection, which is known.
    Entrepot,
    Nobody,
}

impl Alone {
    pub fn wants(self, who: Who) -> bool {
        match self {
            Self::Everybody => true,
            Self::Entrepot => who == Who::Entrepot,
            Self::Nobody => false,
        }
    }
}

pub fn all() -> Vec<Scenario> {
    speed::all().into_iter().chain(breaks::all()).chain(wrong_answers::all()).collect()
}
