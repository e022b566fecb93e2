//! The scheduler of transfers: which connection fetches which segment, from which endpoint, and how many there are.
//!
//! The scheduler does no input or output and reads no clock: its caller passes in the time and the events. The product
//! drives it over sockets (`transfer/drive.rs`), and a simulator drives it in virtual time (`bench/scheduler`). Times are
//! durations since an origin that the caller chooses. `docs/fills.md` explains the scheduler as a whole.

mod rate;
mod pace;
mod step;
mod measurement;
mod refusal;
mod concurrency;
mod tail;
mod connection;
mod plan;
mod watch;
mod scheduler;
mod choose;

pub use concurrency::Concurrency;
pub use connection::Assignment;
pub use measurement::Load;
pub use pace::EndpointPace;
pub use plan::Delivery;
pub use scheduler::{Needs, Scheduler};
pub use watch::{Fault, LinkState};
