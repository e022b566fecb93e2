//! The governed link: bodies of responses arrive no faster than `mirror.link` allows.
//!
//! In reading order: the class of a transfer (`traffic`), a token bucket (`bucket`), the order in which transfers get
//! bytes (`queue`), and the limits of all upstreams at the present time (`governor`).

mod traffic;
mod bucket;
mod queue;
mod governor;

pub use governor::{LinkGovernor, LinkShare};
pub use traffic::Traffic;

pub(super) use governor::LinkUse;
