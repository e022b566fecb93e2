//! The background work of the registry. Each job runs in a task of its own until the server stops.

mod repeat;
mod health;
mod purge;
mod index;
mod link;
mod warm;
mod prefetch;
mod follow;
mod schedule;

pub use schedule::start_jobs;
pub use warm::{Presence, WarmEvent, WarmImage, WarmStep, Warmed, warm};
