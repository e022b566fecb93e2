//! What goes wrong with an upstream.

use std::time::{Duration, SystemTime};

use crate::oci::{Digest, HostName, MAX_MANIFEST_BYTES};
use crate::outbound::{self, SendError};

/// Why an upstream cannot be asked at all: its configuration cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    #[error("mirror.upstreams.{upstream}: {error}")]
    Client { upstream: HostName, error: outbound::BuildError },
    #[error("mirror.upstreams.{upstream}.endpoints: {reason}; write https://HOST or http://HOST:PORT")]
    Endpoint { upstream: HostName, reason: String },
}

/// Why an upstream did not bring what was asked. It holds no token, no password and no signed address, so it may be shown.
///
/// `host` is the `HOST:PORT` that was asked: an endpoint, its token server, or where it redirected to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    /// 401 or 403, after our own token exchange. `detail` says who refused and what can be done.
    #[error("upstream {upstream} refused with {status}: {detail}")]
    Denied { upstream: HostName, status: u16, detail: String },
    /// 404.
    #[error("the upstream does not have it")]
    NotFound,
    /// 429.
    #[error("{host} answered 429, too many requests: log in with an account that may do more, or wait{}", wait(*.retry_after))]
    TooManyRequests { host: String, retry_after: Option<Duration> },
    /// 5xx, and whatever else was not to be expected.
    #[error("{host} answered {status}: the fault is there, or in the configured endpoint")]
    Status { host: String, status: u16 },
    /// Refused, no such name, no route, no trust, or no connection within the limit. `retry_in`: it has failed so often that it
    /// rests for so long.
    #[error("no connection to {host}: {reason}")]
    Connect { host: String, reason: String, retry_in: Option<Duration> },
    /// 416: nothing lies where it was asked for. How long the whole is, if that was said.
    #[error("{host} has nothing in the range that was asked for")]
    Unsatisfiable { host: String, total: Option<u64> },
    /// No first byte, or no further one, within the limit.
    #[error("{host} sent nothing for {}: it hangs, or the link does", humantime::format_duration(*.waited))]
    Timeout { host: String, waited: Duration },
    /// It let the last who asked wait in vain, so nobody waits for it before `retry_in` has passed, but one request at a time
    /// that finds out whether it is back. `connected`: it accepts connections and says nothing.
    #[error("{host} has not answered since {}, and is asked again {}", humantime::format_rfc3339_seconds(*.since), again(*.retry_in))]
    Silent { host: String, since: SystemTime, retry_in: Duration, connected: bool },
    /// What came is not what was asked for.
    #[error(
        "the upstream sent {found} where {expected} was asked for: nothing of it is kept; the next request asks again"
    )]
    Mismatch { expected: Digest, found: Digest },
    /// What came has another size than was said.
    #[error(
        "the upstream sent {found} bytes where {expected} were to come: nothing of it is kept; the next request asks again"
    )]
    Length { expected: u64, found: u64 },
    /// A manifest over 4 MiB, or another answer larger than any sound one.
    #[error("the upstream's answer is too large (a manifest has at most {MAX_MANIFEST_BYTES} bytes)")]
    TooLarge,
    /// Cut, malformed, or leading where we do not go.
    #[error("{host}: {reason}")]
    Protocol { host: String, reason: String },
}

impl UpstreamError {
    /// Might the same question be answered better a little later, or by another endpoint?
    pub fn is_passing(&self) -> bool {
        !matches!(
            self,
            Self::NotFound
                | Self::Denied { .. }
                | Self::Length { .. }
                | Self::Mismatch { .. }
                | Self::TooLarge
                | Self::Unsatisfiable { .. }
        )
    }

    /// Might another endpoint do better? (Anything else is an answer, and would be the same there.)
    pub(super) fn is_of_endpoint(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Timeout { .. } | Self::Silent { .. } | Self::Protocol { .. } => true,
            Self::Status { status, .. } => *status >= 500,
            _ => false,
        }
    }

    /// What came was broken off, or not what it should be; another endpoint may have it whole.
    pub(super) fn is_of_content(&self) -> bool {
        matches!(self, Self::Timeout { .. } | Self::Protocol { .. } | Self::Mismatch { .. })
    }
}

impl From<SendError> for UpstreamError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Connect { host, mut reason } => {
                if reason.contains("received fatal alert") {
                    reason.push_str(
                        " (it may want another certificate of ours: see this upstream's `clientcert` and `clientkey`)",
                    );
                } else if reason.contains("(407)") {
                    reason.push_str(" (write USER:PASSWORD@ before the host of this upstream's `proxy`)");
                } else if reason.contains("certificate") {
                    reason.push_str(
                        " (name the file of its authority in this upstream's `ca`; \
                         a certificate that is its own authority needs `insecure: true`)",
                    );
                }
                Self::Connect { host, reason, retry_in: None }
            }
            SendError::Timeout { host, waited } => Self::Timeout { host, waited },
            SendError::Refused { host, reason } | SendError::Broken { host, reason } => Self::Protocol { host, reason },
            SendError::TooLarge { .. } => Self::TooLarge,
        }
    }
}

fn again(retry_in: Duration) -> String {
    match retry_in {
        Duration::ZERO => "by one request now".to_owned(),
        left => format!("in {}", humantime::format_duration(Duration::from_secs(left.as_secs().max(1)))),
    }
}

fn wait(retry_after: Option<Duration>) -> String {
    let seconds = retry_after.map(|wait| Duration::from_secs(wait.as_secs()));
    seconds.map(|wait| format!(" {}", humantime::format_duration(wait))).unwrap_or_default()
}
