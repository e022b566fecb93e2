//! The scenarios, one fault each.

mod breaks;
mod many;
mod speed;
mod uneven;
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
    /// With aria2c among them, a row of Entrepot without a requirement of its own must be within 5 % of the best contestant's.
    pub contestants: &'static [Who],
    /// No rows: the contestant does not support the scenario.
    pub run: fn(&Lab, Who) -> Vec<Row>,
}

/// Tells which cells need the whole machine.
#[derive(Clone, Copy, Debug)]
pub enum Alone {
    Everybody,
    /// The speed of Entrepot and of aria2c is measured; the speed of the others is that of one connection, which is known.
    Entrepot,
    Nobody,
}

impl Alone {
    pub fn wants(self, who: Who) -> bool {
        match self {
            Self::Everybody => true,
            Self::Entrepot => matches!(who, Who::Entrepot | Who::Aria2),
            Self::Nobody => false,
        }
    }
}

pub fn all() -> Vec<Scenario> {
    let speed = speed::all().chain(uneven::all()).chain(many::all());
    speed.chain(breaks::all()).chain(wrong_answers::all()).collect()
}
