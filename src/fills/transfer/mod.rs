//! The transfer of a blob to the disk, over several connections and from several endpoints, until it is complete.
//!
//! Three activities run concurrently in the one task of a fill: connections fetch the segments that the scheduler assigns to
//! them, the hash follows the bytes that have arrived without a gap, and the journal records which bytes have arrived.
//! A transfer does not decide whether the content is right; the fill's task compares the hash. If it is wrong, `repair`
//! finds out which endpoint sent wrong bytes.

mod error;
mod provenance;
mod endpoints;
mod state;
mod hosts;
mod writer;
mod connection;
mod journal;
mod queue;
mod drive;
mod repair;
mod decode;

pub(super) use error::TransferError;
pub(super) use state::Transfer;
