//! Tests of the requests that Entrepot makes to upstreams.

mod causes;
mod client;
mod dead_connections;
mod credentials;
mod endpoints;
mod gateways;
mod lost_tokens;
mod hints;
mod proxies;
mod secrets;
mod tls;
mod words;
