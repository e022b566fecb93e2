//! What replicas will one day share: single-flight, notes, and later leases. In memory today.
//!
//! Floor 2. May import floors 0 and 1. It must not know what a registry is, nor do input or output of its own.

mod notes;
mod single_flight;

pub use notes::Notes;
pub use single_flight::{Flight, Interrupted, SingleFlight};
