//! What replicas will one day share: single-flight, and later records with a TTL and leases. In memory today.
//!
//! Floor 2. May import floors 0 and 1. It must not know what a registry is, nor do input or output of its own.

mod single_flight;

pub use single_flight::{Flight, Interrupted, SingleFlight};
