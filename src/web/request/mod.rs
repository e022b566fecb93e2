//! Reading a request: its head, its query, its conditions and its body.

mod framing;
mod limits;
mod query;

mod chunk_range;
mod conditions;

mod body_budget;
mod body;

pub(super) use body::{BodyError, RequestBody};
pub(super) use body_budget::BodyBudget;
pub(super) use chunk_range::ChunkRange;
pub(super) use conditions::{change_condition, is_not_modified, range_applies};
pub(super) use framing::{FramingError, check_framing};
pub(super) use limits::{TooLarge, check_limits};
pub(super) use query::Query;
pub use query::Repeated;
