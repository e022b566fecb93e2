//! What the tests stand on.

pub mod client;
pub mod fault;
pub mod line;
pub mod mirror;
pub mod registry;
pub mod tls;
pub mod upstream;
