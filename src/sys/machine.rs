//! The parts of the machine's interface that most of the program needs.

use super::clock::Clock;
use super::tasks::Tasks;

/// The clock and the tasks of the process. Clones share both.
#[derive(Clone, Debug)]
pub struct Machine {
    pub clock: Clock,
    pub tasks: Tasks,
}

impl Machine {
    /// Returns the real clock, and tasks of their own.
    pub fn system() -> Self {
        Self { clock: Clock::system(), tasks: Tasks::new() }
    }
}
