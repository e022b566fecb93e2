//! A configuration as text: reading YAML into a tree with locations, writing values as YAML, and collecting mistakes.
//!
//! No other folder parses or writes YAML.

mod problem;
mod scalar;
mod tree;
mod parse;
mod write;

pub(super) use parse::parse;
pub(super) use problem::{Location, Report};
pub use problem::{Problem, Problems};
pub(super) use scalar::{boolean, duration, nanoseconds, number, show_duration, show_size, size};
pub(super) use tree::{Member, Node, NodeContent, Scalar, TextOrigin};
pub(super) use write::write;
