//! State in memory that several servers may share in a later version: single-flight, notes and late answers.
//!
//! Floor 2. May import floors 0 and 1. It must not know what a registry is, and must do no input or output of its own.

mod late;
mod notes;
mod single_flight;

pub use late::LateAnswers;
pub use notes::Notes;
pub use single_flight::{Flight, Interrupted, SingleFlight};
