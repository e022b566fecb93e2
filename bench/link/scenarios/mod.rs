//! What goes wrong, one thing at a time.

mod breaks;
mod lies;
mod speed;

use crate::contestant::Who;
use crate::lab::Lab;
use crate::row::Row;

/// One thing that a link does, and how each contestant takes it.
pub struct Scenario {
    /// At most 37 characters.
    pub title: &'static str,
    /// For somebody who does not know the issue: what the upstream does, what the client asks for.
    pub text: &'static str,
    pub alone: Alone,
    /// No rows: this contestant cannot do such a thing.
    pub run: fn(&Lab, Who) -> Vec<Row>,
}

/// Which cells want the machine for themselves.
#[derive(Clone, Copy, Debug)]
pub enum Alone {
    Everybody,
    /// Its speed is what is measured; the others' is what one connection gives, and known.
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
    speed::all().into_iter().chain(breaks::all()).chain(lies::all()).collect()
}
