//! Mirrored repositories: copies of repositories of an upstream.
//!
//! In reading order: the memory of absent content (`negative_cache`), the questions without an answer (`unanswered`), an
//! upstream and whether it answers (`remote`), questions that run once for all waiters (`flights`), the parts that all
//! mirrored repositories share (`context`), stored content, which needs no upstream (`cached`), a repository with its
//! upstream (`repository`), the copy that may be served instead of an answer (`fallback`), the age of content
//! (`freshness`), and then its blobs, manifests, tags and referrers.

mod negative_cache;
mod unanswered;
mod remote;
mod flights;
mod pull_log;
mod context;
mod cached;
mod repository;
mod fallback;
mod freshness;
mod tags;
mod pulls;
mod manifests;
mod following;
mod blobs;
mod tag_lists;
mod referrers;

pub use cached::CachedRepository;
pub use repository::MirrorRepository;

pub(super) use blobs::JoinedFill;
pub(super) use context::MirrorContext;
pub(super) use flights::Flights;
pub(super) use following::Confirmed;
pub(super) use negative_cache::{Asked, NegativeCache};
pub(super) use pull_log::PullLog;
pub(super) use remote::Remote;
