//! The machine, as a seam that tests can bend: clock, randomness, files and extents, spawning of tasks and of programs.
//!
//! Floor 0. Imports no other module. It is the only place that touches `std::fs`, `Instant::now`, `SystemTime::now`,
//! `tokio::spawn` and `Command` (`clippy.toml` bans them elsewhere). It must not know what a registry is.

mod clock;
pub mod disk;
mod extent;
pub mod process;
mod random;
mod tasks;
mod machine;

pub use clock::{Clock, Moment};
pub use extent::{Extent, ReadAt};
pub use machine::Machine;
pub use random::{jitter, random_id};
pub use tasks::{Tasks, blocking};
