//! The one outgoing HTTP client: proxies, authorities, redirects by hand, where a request may go, and limits on waiting.
//!
//! Floor 2. May import floors 0 and 1. It sends what it is given and adds no credentials; it must never carry them
//! to another origin, go anywhere but to `http` and `https`, decode a body, or limit how long a whole transfer takes.
//! It does not know what a registry is.

mod body;
mod client;
mod error;
pub mod pem;
mod proxy;
mod redirect;

pub use body::Body;
pub use client::{Answer, Client, Form, Hop, Limits, Options, Request};
pub use error::{BuildError, SendError};
pub use reqwest::Url;

/// `HOST` or `HOST:PORT` of an address: what an error or a log line may say of it. The path and the query of a signed
/// address are secrets.
pub fn authority(url: &Url) -> String {
    match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.to_owned(),
        (None, _) => String::new(),
    }
}
