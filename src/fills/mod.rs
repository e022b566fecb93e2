//! Transfers of blobs from upstreams: one fill for each digest, with any number of readers.
//!
//! Floor 5. May import floors 0–4 except `auth`. A fill knows its sources, not the repositories of the registry. It
//! runs in a task of its own and outlives its clients. No reader gets the end of a blob before the digest is verified.

pub mod schedule;

mod source;
mod error;
mod waiting;
mod kind;
mod host_report;
mod places;
mod host_limits;
mod shared;
mod candidates;
mod progress;
mod passing;
mod content;
mod fill;
mod pass_through;
mod report;
mod follower;
mod transfer;
mod storing;
mod outcome;
mod task;
mod verdict;
mod running;

pub use error::FillError;
pub use fill::Fill;
pub use follower::{ArrivingBlob, Follower};
pub use passing::PassReader;
pub use progress::{FillProgress, Phase};
pub use report::FillReport;
pub use running::{Fills, Joined};
pub use shared::Shared;
pub use source::{BlobSource, Proof};
pub use waiting::{Interest, Waiter};
