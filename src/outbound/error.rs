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
    #[error(
        "its `clientcert` and `clientkey` cannot be used: {0}; the one must be a PEM file with BEGIN CERTIFICATE, the other \
         one with BEGIN PRIVATE KEY, not encrypted, and they must belong together"
    )]
    Identity(String),
    #[error("its HTTP client cannot be made: {0} (are the system's CA certificates installed?)")]
    Client(String),
}

impl BuildError {
    /// Why the HTTP library refused.
    pub(super) fn of(error: &reqwest::Error, identified: bool) -> Self {
        let reason = causes(error);
        let of_identity = identified && (reason.contains("key") || reason.contains("certificate"));
        if of_identity { Self::Identity(reason) } else { Self::Client(reason) }
    }
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
    /// What a request's failure means; `proxy` is the `HOST:PORT` that it went through.
    pub(super) fn of_request(host: String, proxy: Option<&str>, error: &reqwest::Error) -> Self {
        let causes = causes(error);
        if causes.contains("proxy authorization required") {
            return Self::refused_by_proxy(host, proxy);
        }
        // With TLS 1.3 the refusal of a certificate comes when the connection seems to stand already.
        let connect = error.is_connect() || causes.contains("received fatal alert");
        let reason = match proxy {
            Some(proxy) => format!("through the proxy {proxy}: {causes}"),
            None => causes,
        };
        if connect { Self::Connect { host, reason } } else { Self::Broken { host, reason } }
    }

    /// The proxy wants to know who we are, or does not believe us.
    pub(super) fn refused_by_proxy(host: String, proxy: Option<&str>) -> Self {
        let proxy = proxy.map(|proxy| format!(" {proxy}")).unwrap_or_default();
        let reason = format!("the proxy{proxy} asks for another user or password (407)");
        Self::Connect { host, reason }
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
