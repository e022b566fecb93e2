//! The guard: what is decided about a request before any route, and what every answer carries because of it.

mod fixed;

pub(super) use fixed::{fix_headers, sandbox};
