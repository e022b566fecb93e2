//! Behaviour of the built binary over real sockets.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails at that line")]
#![allow(clippy::disallowed_methods, reason = "tests are outside the product, so the seams of sys do not apply")]

/// Starts the binary and its surroundings: a client, a misbehaving upstream, a proxy, certificates.
mod support;

/// Checks the misbehaving upstream of `support` itself.
mod test_upstream;

/// Commands other than requests to a running server: `serve`, `check`, `ls`, `rm`, `du`, `user`, `client`.
mod cli;
/// The private registry: pushing, tagging, deleting, listing.
mod hosted;
/// HTTP itself: protocol, errors, bad requests, load.
mod http;
/// The pull-through mirror: pulls, fills, freshness, rights, warming.
mod mirror;
/// The scheduler of transfers, over simulated links.
mod scheduler;
/// Requests to upstreams: endpoints, logins, proxies, TLS, and what stays secret.
mod upstream;
