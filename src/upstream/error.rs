//! The errors of an upstream.

use std::time::{Duration, SystemTime};

use super::failed_server::FailedServer;
use super::words::UpstreamWords;
use crate::oci::{Digest, HostName};
use crate::outbound::{self, PLAIN_HTTP, SendError};

/// An error in an upstream's configuration, which makes the upstream unusable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    #[error("mirror.upstreams.{upstream}: {error}")]
    Client { upstream: HostName, error: outbound::ClientError },
    #[error("mirror.upstreams.{upstream}.endpoints: {reason}; write https://HOST or http://HOST:PORT")]
    Endpoint { upstream: HostName, reason: String },
}

/// An error of a request to an upstream. It contains no token, no password and no signed address, so it may be shown.
///
/// `host` is the server that was asked: an endpoint, its token server, or the target of a redirect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    /// 401 or 403, after our own token exchange. `detail` names the server that refused and gives advice.
    #[error("{}: {detail}{}", .ground.statement(.upstream, *.status), quoted(.said.as_ref()))]
    Denied { upstream: HostName, status: u16, ground: DenialGround, detail: String, said: Option<UpstreamWords> },
    /// 404.
    #[error("the upstream does not have it")]
    NotFound,
    /// 429.
    #[error("{host} answered 429, too many requests: {}{}{}", .limited.advice(), wait(*.retry_after), quoted(.said.as_ref()))]
    TooManyRequests {
        host: FailedServer,
        limited: LimitedBy,
        retry_after: Option<Duration>,
        said: Option<UpstreamWords>,
    },
    /// 5xx, or another unexpected status.
    #[error("{host} answered {status}: the fault is there, or in the configured endpoint{}", quoted(.said.as_ref()))]
    Status { host: FailedServer, status: u16, retry_after: Option<Duration>, said: Option<UpstreamWords> },
    /// The answer is not that of this registry: a proxy, a captive portal or another registry gave it. It says nothing about
    /// the content.
    #[error("{host}: {reason}")]
    Foreign { host: FailedServer, reason: String },
    /// The connection was refused or not up in time, the name is unknown, there is no route, or the certificate is not
    /// trusted. `retry_in` is the rest of the pause, if the endpoint's circuit is open.
    #[error("no connection to {host}: {reason}")]
    Connect { host: FailedServer, reason: String, retry_in: Option<Duration> },
    /// 416: the requested range is outside the content. `total` is the size of the content, if the answer states it.
    #[error("{host} has no content in the requested range")]
    Unsatisfiable { host: FailedServer, total: Option<u64> },
    /// The head of the response, or its next byte, did not arrive within the limit.
    #[error("{host} sent nothing for {}: it hangs, or the link does", humantime::format_duration(*.waited))]
    Timeout { host: FailedServer, waited: Duration },
    /// The whole answer did not arrive within the limit. It may still be arriving.
    #[error("{host} has not answered within {}; the request to it goes on, and the next request joins it", humantime::format_duration(*.waited))]
    Slow { host: FailedServer, waited: Duration },
    /// The last requests to this endpoint timed out, so none is sent before `retry_in` has passed; then one request
    /// probes whether it is back. `connected` means that it accepts connections and sends nothing.
    #[error("{host} has not answered since {}, and is asked again {}", humantime::format_rfc3339_seconds(*.since), again(*.retry_in))]
    Silent { host: FailedServer, since: SystemTime, retry_in: Duration, connected: bool },
    /// The content does not match the requested digest.
    #[error("the upstream sent {found} for {expected}: the content is discarded; the next request asks again")]
    Mismatch { expected: Digest, found: Digest },
    /// The content was sent encoded, and is not right when it is decoded either.
    #[error(
        "the upstream sent {digest} with Content-Encoding: {coding}, which {reason}: the content is discarded; the next \
         request asks again"
    )]
    Undecodable { digest: Digest, coding: String, reason: String },
    /// The content has another size than the upstream stated.
    #[error(
        "the upstream sent {found} bytes instead of {expected}: the content is discarded; the next request asks again"
    )]
    Length { expected: u64, found: u64 },
    /// The answer is larger than its limit, in bytes. `answer` names its kind, as in "a manifest".
    #[error("{host} sent {answer} of more than {limit} bytes, which is too large")]
    TooLarge { host: FailedServer, answer: &'static str, limit: usize },
    /// The response was cut or malformed, or redirected to an address that is refused.
    #[error("{host}: {reason}")]
    Protocol { host: FailedServer, reason: String },
}

/// The reason for a 401 or 403.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DenialGround {
    /// The registry, or its token server, refuses the account or a client without one.
    Registry,
    /// A server in front of the registry wants a login. Its page says nothing about the content.
    LoginPage,
    /// The configured login could not be looked up, so the request carried none, or an old one.
    LostLogin,
}

impl DenialGround {
    fn statement(self, upstream: &HostName, status: u16) -> String {
        match self {
            Self::Registry => format!("upstream {upstream} refused with {status}"),
            Self::LoginPage => format!("a server in front of upstream {upstream} wants a login ({status})"),
            Self::LostLogin => {
                format!("the credential helper for upstream {upstream} has failed, and {upstream} answered {status}")
            }
        }
    }
}

/// The server that limits requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitedBy {
    /// The registry, which may allow more to another account.
    Registry,
    /// Its token server, or the target of a redirect.
    Other,
}

impl LimitedBy {
    fn advice(self) -> &'static str {
        match self {
            Self::Registry => "log in with an account that may do more, or wait",
            Self::Other => "it is not the registry itself, so the account does not matter; wait",
        }
    }
}

/// Evaluates to the server that failed, where the error names one. The result is borrowed as the error is: shared, or mutable.
macro_rules! server_of {
    ($error:expr) => {
        match $error {
            Self::TooManyRequests { host, .. }
            | Self::Status { host, .. }
            | Self::Foreign { host, .. }
            | Self::Connect { host, .. }
            | Self::Unsatisfiable { host, .. }
            | Self::Timeout { host, .. }
            | Self::Slow { host, .. }
            | Self::Silent { host, .. }
            | Self::TooLarge { host, .. }
            | Self::Protocol { host, .. } => Some(host),
            Self::Denied { .. }
            | Self::NotFound
            | Self::Mismatch { .. }
            | Self::Undecodable { .. }
            | Self::Length { .. } => None,
        }
    };
}

impl UpstreamError {
    /// Returns true if the same request may succeed later, or at another endpoint.
    pub fn is_passing(&self) -> bool {
        !matches!(
            self,
            Self::NotFound
                | Self::Denied { .. }
                | Self::Length { .. }
                | Self::Mismatch { .. }
                | Self::Undecodable { .. }
                | Self::TooLarge { .. }
                | Self::Unsatisfiable { .. }
        )
    }

    /// Returns true if a registry states a fact about the content: it is absent, or not for this account.
    pub fn is_answer(&self) -> bool {
        matches!(self, Self::NotFound | Self::Denied { ground: DenialGround::Registry, .. })
    }

    /// Returns true if the page of a server in front of the registry wants a login.
    pub(in crate::upstream) fn is_login_page(&self) -> bool {
        matches!(self, Self::Denied { ground: DenialGround::LoginPage, .. })
    }

    /// Returns the same refusal for the page of a server in front of the registry.
    pub(in crate::upstream) fn of_login_page(mut self) -> Self {
        if let Self::Denied { ground: ground @ DenialGround::Registry, .. } = &mut self {
            *ground = DenialGround::LoginPage;
        }
        self
    }

    /// Returns the server that failed, where the error names one.
    pub fn server(&self) -> Option<&FailedServer> {
        server_of!(self)
    }

    /// Returns the error with the part of its server in a request to `endpoint` (`HOST:PORT`): another server than the
    /// endpoint is the target of a redirect, unless it is known to be a token server.
    pub(in crate::upstream) fn reached_from(self, endpoint: &str) -> Self {
        self.with_server(|server| server.reached_from(endpoint))
    }

    /// Returns the error with its server marked as a token server.
    pub(in crate::upstream) fn of_token_server(self) -> Self {
        self.with_server(FailedServer::gives_tokens)
    }

    /// Returns the error with the words of the answer that it comes from.
    pub(in crate::upstream) fn saying(mut self, words: Option<UpstreamWords>) -> Self {
        match (&mut self, words) {
            (Self::Denied { said, .. } | Self::TooManyRequests { said, .. } | Self::Status { said, .. }, words) => {
                *said = words;
            }
            (Self::Foreign { reason, .. }, Some(words)) => reason.push_str(&quoted(Some(&words))),
            _ => {}
        }
        self
    }

    /// Returns the error with the kind of the answer that is too large, as in "a manifest".
    pub(in crate::upstream) fn naming_answer(mut self, kind: &'static str) -> Self {
        if let Self::TooLarge { answer, .. } = &mut self {
            *answer = kind;
        }
        self
    }

    fn with_server(mut self, change: impl FnOnce(&mut FailedServer)) -> Self {
        if let Some(server) = server_of!(&mut self) {
            change(server);
        }
        self
    }

    /// Returns true if the error concerns this endpoint alone, so that another one may succeed. Any other error is an
    /// answer, which other endpoints would give too.
    pub fn is_of_endpoint(&self) -> bool {
        match self {
            Self::Connect { .. }
            | Self::Timeout { .. }
            | Self::Silent { .. }
            | Self::Protocol { .. }
            | Self::Foreign { .. } => true,
            Self::Status { status, .. } => *status >= 500,
            _ => false,
        }
    }

    /// Returns true if the body was cut, or was not the expected content. Another endpoint may have it whole.
    pub(in crate::upstream) fn is_of_content(&self) -> bool {
        matches!(
            self,
            Self::Timeout { .. }
                | Self::Protocol { .. }
                | Self::Mismatch { .. }
                | Self::Foreign { .. }
                | Self::TooLarge { .. }
        )
    }
}

impl From<SendError> for UpstreamError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Connect { host, mut reason } => {
                if reason.contains(PLAIN_HTTP) {
                    reason.push_str(&format!(
                        " (if {host} is an endpoint of this upstream, write http://{host} in `endpoints`)"
                    ));
                } else if reason.contains("received fatal alert") {
                    reason.push_str(
                        " (it may require another client certificate: see this upstream's `clientcert` and `clientkey`)",
                    );
                } else if reason.contains("(407)") {
                    reason.push_str(" (write USER:PASSWORD@ before the host of this upstream's `proxy`)");
                } else if reason.contains("certificate") {
                    reason.push_str(
                        " (name the file of its authority in this upstream's `ca`; \
                         a certificate that is its own authority needs `insecure: true`)",
                    );
                }
                Self::Connect { host: host.into(), reason, retry_in: None }
            }
            SendError::Timeout { host, waited } => Self::Timeout { host: host.into(), waited },
            SendError::Refused { host, reason } | SendError::Broken { host, reason } => {
                Self::Protocol { host: host.into(), reason }
            }
            SendError::TooLarge { host, limit } => Self::TooLarge { host: host.into(), answer: "an answer", limit },
        }
    }
}

fn again(retry_in: Duration) -> String {
    match retry_in {
        Duration::ZERO => "by one request now".to_owned(),
        left => format!("in {}", humantime::format_duration(Duration::from_secs(left.as_secs().max(1)))),
    }
}

fn quoted(words: Option<&UpstreamWords>) -> String {
    words.map(|words| format!("; {words}")).unwrap_or_default()
}

fn wait(retry_after: Option<Duration>) -> String {
    let seconds = retry_after.map(|wait| Duration::from_secs(wait.as_secs()));
    seconds.map(|wait| format!(" {}", humantime::format_duration(wait))).unwrap_or_default()
}
