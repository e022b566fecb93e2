//! Tests of the requests that Entrepot makes to upstreams.

mod client;
mod credentials;
mod endpoints;
mod proxies;
mod secrets;
mod tls;
