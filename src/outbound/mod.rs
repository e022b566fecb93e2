//! The one outgoing HTTP client. It applies proxies, certificate authorities, rules for redirects, limits on waiting, and
//! the limit of the link.
//!
//! Floor 2. May import floors 0 and 1. It adds no credentials of its own. It must never carry credentials to another
//! origin, use other schemes than `http` and `https`, decode a body, or limit the duration of a whole transfer. It does
//! not know what a registry is.

mod address;
mod error;
pub mod pem;
mod proxy;
mod redirect;
mod dial;
mod resolver;
mod pool;
mod link;
mod body;
mod client;

pub use address::authority;
pub use body::ResponseBody;
pub use client::{Client, FormRequest, Hop, HopOutcome, Limits, Observer, Options, Request, Response};
pub use error::{ClientError, PLAIN_HTTP, SendError};
pub use link::{LinkGovernor, LinkShare, Traffic};
pub use reqwest::Url;
