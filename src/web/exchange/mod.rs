//! One request and its answer: the facts about it, its line in the access log, and its metrics.

mod facts;
mod access_log;
mod guard;

pub(super) use facts::{Facts, LoggedError, PulledKind};
pub(super) use guard::Exchange;
