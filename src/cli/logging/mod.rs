//! The log: lines as `registry:2` writes them, in logfmt or JSON, on standard error. One event is always one line.
//!
//! Logging must never fail or delay a request: a thread of its own writes the lines, and a line that cannot be queued or written
//! is lost. The next line says how many were lost.

mod line;
mod request_line;
mod writer;
mod layer;

pub(super) use layer::{NOTICE, RunningLevel, start};
