//! The ways in which a command can end without success.

use std::error::Error;
use std::fmt::Display;

use crate::config::Problems;

/// An error message for people: one or several lines that say what failed, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct ErrorMessage(pub String);

impl ErrorMessage {
    pub(super) fn new(error: impl Display) -> Self {
        Self(error.to_string())
    }
}

impl From<Problems> for ErrorMessage {
    fn from(problems: Problems) -> Self {
        Self(problems.to_string())
    }
}

/// The reason why a command stopped early.
pub(super) enum CommandError {
    /// The command failed. The message is still to be printed.
    Failed(ErrorMessage),
    /// The command failed and has already printed why.
    Reported,
    /// The arguments make no sense together. Nothing was changed. The exit code is 2.
    Usage(String),
    /// The reader of standard output closed the pipe, as `| head -1` does. This counts as success.
    OutputClosed,
}

impl From<ErrorMessage> for CommandError {
    fn from(message: ErrorMessage) -> Self {
        Self::Failed(message)
    }
}

/// Returns the text of the innermost error in a chain of causes. It is the part that a person can act on.
pub(super) fn root_cause(error: &dyn Error) -> String {
    error.source().map_or_else(|| error.to_string(), root_cause)
}
