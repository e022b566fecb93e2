//! The accounting of the cache: which blobs it holds, how much space they take, and which of them are evicted.
//!
//! Floor 4. May import floors 0–3 except `outbound`, `state`, `upstream` and `auth`. Pushed content is never counted or
//! evicted here; the cache only makes space for it ([`Ledger::evict_up_to`]).

mod leftovers;
mod refused;
mod ledger;
mod removal;
mod eviction;
mod reservation;
mod usage;
mod rebuild;

pub use eviction::{CacheFull, EVICTION_STEP};
pub use ledger::Ledger;
pub use removal::RemovedBlob;
pub use reservation::Reservation;
pub use usage::CacheUsage;
