//! Warming: fetching images into the cache before clients pull them, with a lower priority than clients.
//!
//! In reading order: the events of a job (`event`), the receiver of the events (`listener`), one image (`image`), and a job of
//! several images (`job`).

mod event;
mod listener;
mod image;
mod job;

pub use event::{Presence, WarmEvent, WarmImage, WarmStep, Warmed};
pub use job::warm;

pub(super) use image::{ImageJob, PullReserve};
pub(super) use job::{note_outcome, warm_all};
pub(super) use listener::WarmListener;
