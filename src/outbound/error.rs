//! What goes wrong on the way out.

use std::error::Error;
use std::time::Duration;

/// Why a client cannot be built from its options.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// The address of the proxy is not repeated: it may hold a password.
    #[error("its proxy is not an address: write http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT")]
    Proxy,
    #[error("its `ca` holds no certificate: it must be a PEM file with at least one BEGIN CERTIFICATE ({0})")]
    Authority(String),
    #[error("its HTTP client cannot be made: {0} (are the system's CA certificates installed?)")]
    Client(String),
}

/// Why a request brought no answer, or its body no end. Nothing in it is secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    #[error("no connection to {host}: {reason}")]
    Connect { host: String, reason: String },
    /// No first byte, or no further one.
    #[error("{host} sent nothing for {}", humantime::format_duration(*.waited))]
    Timeout { host: String, waited: Duration },
    /// It would have gone where it must not.
    #[error("{host}: {reason}")]
    Refused { host: String, reason: String },
    /// The connection ended early, or what came is not HTTP.
    #[error("{host}: {reason}")]
    Broken { host: String, reason: String },
    #[error("{host} sent more than {limit} bytes")]
    TooLarge { host: String, limit: usize },
}

impl SendError {
    /// What a request's failure means.
    pub(super) fn of_request(host: String, error: &reqwest::Error) -> Self {
        let reason = causes(error);
        if error.is_connect() { Self::Connect { host, reason } } else { Self::Broken { host, reason } }
    }
}

/// The innermost causes of an error. reqwest's own text is left out: it repeats the address, and that may be signed.
pub(super) fn causes(error: &reqwest::Error) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // Wrappers repeat what they wrap, and one says no more than that there was an error.
        let says_more = !text.is_empty() && !text.starts_with("client error (");
        if says_more && texts.last().is_none_or(|last| !last.contains(&text)) {
            texts.push(text);
        }
        cause = error.source();
    }
    if texts.is_empty() { "the request failed".to_owned() } else { texts.join(": ") }
}
