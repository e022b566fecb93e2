//! The log: lines as `registry:2` writes them, in logfmt or JSON, on standard error. One event is always one line.
//!
//! Logging must never fail a request: a line that cannot be written is lost.

mod line;
mod layer;

pub(super) use layer::{NOTICE, start};
