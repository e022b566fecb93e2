//! Behaviour of the built binary over real sockets.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]
#![allow(clippy::disallowed_methods, reason = "tests stand outside the product, and use the machine as they like")]

mod support;

mod cli;
mod command;
mod credentials;
mod endpoints;
mod fills;
mod freshness;
mod instrument;
mod leaks;
mod link;
mod lists;
mod oddities;
mod protocol;
mod proxies;
mod pull;
mod push;
mod rights;
mod trust;
mod upstream;
mod warm;
