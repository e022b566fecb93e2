//! Answers: their headers and their bodies.

pub(super) mod headers;

mod source;
mod multipart;
mod body;
mod answers;

pub(super) use answers::{bare, object};
pub use body::Body;
pub(super) use multipart::{Multipart, content_range};
pub use source::Cut;
