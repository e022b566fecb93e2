//! What the tests stand on.

pub mod client;
pub mod fault;
pub mod listing;
pub mod mirror;
pub mod registry;
pub mod upstream;
