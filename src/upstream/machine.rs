//! The parts of the process that an upstream uses.

use std::sync::Arc;

use super::login::Files;
use crate::metrics::Metrics;
use crate::sys::{Clock, Tasks};

/// Holds the parts of the process that an upstream uses.
#[derive(Clone, Debug)]
pub struct Machine {
    pub clock: Clock,
    pub tasks: Tasks,
    pub metrics: Arc<Metrics>,
    /// The content of the files that the upstream's configuration names.
    pub files: Files,
}
