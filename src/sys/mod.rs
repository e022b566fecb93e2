//! The machine, behind an interface that tests can control: clock, randomness, files and extents, tasks and programs.
//!
//! Floor 0. Imports no other module. Only this module uses `std::fs`, `Instant::now`, `SystemTime::now`, `tokio::spawn`
//! and `Command`; `clippy.toml` bans them elsewhere. It must not know what a registry is.

mod client_address;
mod clock;
mod random;
mod tasks;
mod blocking_limit;
mod machine;
mod descriptors;
pub mod disk;
mod extent;
pub mod process;

pub use blocking_limit::BlockingLimit;
pub use client_address::ClientAddress;
pub use clock::{Clock, Moment, age_at};
pub use descriptors::raise_descriptor_limit;
pub use extent::{Extent, ReadAt};
pub use machine::Machine;
pub use random::{jitter, random_id};
pub use tasks::{Tasks, blocking};
