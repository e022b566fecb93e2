//! The errors of the outgoing client.

use std::error::Error;
use std::time::Duration;

/// An error in the options of a client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The address of the proxy is not repeated, since it may hold a password.
    #[error("its proxy is not an address: write http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT")]
    Proxy,
    #[error("its `ca` holds no certificate: it must be a PEM file with at least one BEGIN CERTIFICATE ({0})")]
    Authority(String),
    #[error(
        "its `clientcert` and `clientkey` cannot be used: {0}; the first must be a PEM file with BEGIN CERTIFICATE, the \
         second one with BEGIN PRIVATE KEY, not encrypted, and they must belong together"
    )]
    Identity(String),
    #[error("its HTTP client cannot be made: {0} (are the system's CA certificates installed?)")]
    Client(String),
}

impl ClientError {
    /// Converts the error of the HTTP library. `identified` means that a client certificate is configured.
    pub(super) fn of(error: &reqwest::Error, identified: bool) -> Self {
        let reason = causes(error);
        let of_identity = identified && (reason.contains("key") || reason.contains("certificate"));
        if of_identity { Self::Identity(reason) } else { Self::Client(reason) }
    }
}

/// The reason of a failed connection: the first bytes of the answer were no TLS.
pub const PLAIN_HTTP: &str = "it answers in plain HTTP, not in TLS";

/// An error of a request, or of the body of its response. It contains no secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    #[error("no connection to {host}: {reason}")]
    Connect { host: String, reason: String },
    /// The head of the response, or its next byte, did not arrive in time.
    #[error("{host} sent nothing for {}", humantime::format_duration(*.waited))]
    Timeout { host: String, waited: Duration },
    /// A redirect led to an address that is refused.
    #[error("{host}: {reason}")]
    Refused { host: String, reason: String },
    /// The connection ended early, or the response is not HTTP.
    #[error("{host}: {reason}")]
    Broken { host: String, reason: String },
    #[error("{host} sent more than {limit} bytes")]
    TooLarge { host: String, limit: usize },
}

impl SendError {
    /// Classifies the failure of a request. `proxy` is the `HOST:PORT` that it went through.
    pub(super) fn of_request(host: String, proxy: Option<&str>, error: &reqwest::Error) -> Self {
        let mut causes = causes(error);
        if causes.contains("proxy authorization required") {
            return Self::refused_by_proxy(host, proxy);
        }
        if causes.contains("InvalidContentType") {
            causes = PLAIN_HTTP.to_owned();
        }
        // With TLS 1.3 a server refuses a certificate only after the client considers the connection established.
        let connect = error.is_connect() || causes.contains("received fatal alert");
        let reason = match proxy {
            Some(proxy) => format!("through the proxy {proxy}: {causes}"),
            None => causes,
        };
        if connect { Self::Connect { host, reason } } else { Self::Broken { host, reason } }
    }

    /// Makes the error for a proxy that answers 407: it requires other credentials.
    pub(super) fn refused_by_proxy(host: String, proxy: Option<&str>) -> Self {
        let proxy = proxy.map(|proxy| format!(" {proxy}")).unwrap_or_default();
        let reason = format!("the proxy{proxy} asks for another user or password (407)");
        Self::Connect { host, reason }
    }
}

/// Returns the innermost causes of an error. reqwest's own text is left out, since it repeats the address, which may be
/// signed.
pub(super) fn causes(error: &reqwest::Error) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // Wrappers repeat the text of their cause, and `client error (…)` adds nothing to it.
        let says_more = !text.is_empty() && !text.starts_with("client error (");
        if says_more && texts.last().is_none_or(|last| !last.contains(&text)) {
            texts.push(text);
        }
        cause = error.source();
    }
    if texts.is_empty() { "the request failed".to_owned() } else { texts.join(": ") }
}
