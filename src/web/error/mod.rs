//! Errors as answers: the status, the code, the message and the detail.

mod detail;
mod answer;
mod failure;

pub use answer::{ErrorAnswer, ErrorEntry};
pub(super) use failure::Failure;
