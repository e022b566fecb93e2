//! Passes a blob through that the cache cannot store: its readers share streams from upstreams.
//!
//! A stream fills a window, a bounded piece of memory that its readers follow. A reader that is too slow for the window,
//! or that wants another part of the blob, gets another stream. Each stream counts as a connection of its host. Readers
//! that read up to the end of the blob get its last bytes only when the whole blob is verified (`docs/fills.md`).

mod prefix;
mod reach;
mod window;
mod wait_budget;
mod slow;
mod connection;
mod stream;
mod pass;
mod waits;
mod passes;
mod reader;

pub use passes::Passes;
pub use prefix::Prefix;
pub use reach::{Reach, WITHHELD};
pub use reader::PassReader;
