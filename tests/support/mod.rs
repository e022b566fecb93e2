//! The surroundings of the tests: client, server, upstream, proxy, certificates.

pub mod client;
pub mod fault;
pub mod line;
pub mod listing;
pub mod mirror;
pub mod proxy;
pub mod registry;
pub mod scripted;
pub mod slow_disk;
pub mod tls;
pub mod upstream;
pub mod volume;
