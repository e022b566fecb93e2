//! Behaviour of the built binary over real sockets.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]
#![allow(clippy::disallowed_methods, reason = "tests stand outside the product, and use the machine as they like")]

mod support;

mod bad_requests;
mod changes;
mod cli;
mod command;
mod conformance;
mod credentials;
mod damage;
mod endpoints;
mod errors;
mod fills;
mod freshness;
mod instrument;
mod leaks;
mod link;
mod lists;
mod load;
mod oddities;
mod protocol;
mod proxies;
mod pull;
mod push;
mod ranges;
mod referrers;
mod rights;
mod tagging;
mod trust;
mod uploads;
mod upstream;
mod warm;
