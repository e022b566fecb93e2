//! The causes of failures, as messages and metrics name them.

use super::error::{DenialGround, UpstreamError};

/// The cause of a failed request to an upstream: the part that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureCause {
    /// No connection could be made.
    Connection,
    /// No answer, or no further byte of one, came in time.
    Timeout,
    /// The connection was cut, or the answer is malformed.
    Broken,
    /// A 5xx, or another unexpected status.
    Status,
    /// The account or the address has sent too many requests: 429.
    Throttled,
    /// The account was refused: 401 or 403.
    Refused,
    /// The configured login could not be looked up.
    Login,
    /// Another server than the registry answered.
    Foreign,
    /// The content is not what the registry or its digest says.
    Content,
    /// The token server failed.
    Token,
    /// The target of a redirect failed.
    Redirect,
}

impl FailureCause {
    /// Returns the cause of an error: the server that failed, unless it is an endpoint, or the kind of failure. Absent content is
    /// no failure.
    pub fn of(error: &UpstreamError) -> Option<Self> {
        let kind = Self::kind_of(error)?;
        Some(match error.server() {
            Some(server) if server.is_token_server() => Self::Token,
            Some(server) if !server.is_endpoint() => Self::Redirect,
            _ => kind,
        })
    }

    /// Returns a statement about the server that failed, for logs. `upstream` is named if the error names no server.
    pub fn statement_of(error: &UpstreamError, upstream: &str) -> Option<String> {
        let server = error.server().map_or_else(|| upstream.to_owned(), ToString::to_string);
        Some(Self::kind_of(error)?.statement(&server))
    }

    /// Returns the kind of a failure, without regard to the server that failed.
    fn kind_of(error: &UpstreamError) -> Option<Self> {
        Some(match error {
            UpstreamError::NotFound => return None,
            UpstreamError::Connect { .. } | UpstreamError::Silent { connected: false, .. } => Self::Connection,
            UpstreamError::Timeout { .. } | UpstreamError::Slow { .. } | UpstreamError::Silent { .. } => Self::Timeout,
            UpstreamError::Protocol { .. } => Self::Broken,
            UpstreamError::Status { .. } => Self::Status,
            UpstreamError::TooManyRequests { .. } => Self::Throttled,
            UpstreamError::Denied { ground: DenialGround::LostLogin, .. } => Self::Login,
            UpstreamError::Denied { .. } => Self::Refused,
            UpstreamError::Foreign { .. } => Self::Foreign,
            UpstreamError::Unsatisfiable { .. }
            | UpstreamError::Mismatch { .. }
            | UpstreamError::Undecodable { .. }
            | UpstreamError::Length { .. }
            | UpstreamError::TooLarge { .. } => Self::Content,
        })
    }

    /// Returns the name in metrics and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Timeout => "timeout",
            Self::Broken => "broken",
            Self::Status => "status",
            Self::Throttled => "throttled",
            Self::Refused => "refused",
            Self::Login => "login",
            Self::Foreign => "foreign",
            Self::Content => "content",
            Self::Token => "token",
            Self::Redirect => "redirect",
        }
    }

    /// Returns a statement about the server that failed, for logs.
    pub fn statement(self, server: &str) -> String {
        match self {
            Self::Connection => format!("no connection to {server} can be made"),
            Self::Timeout => format!("{server} does not answer"),
            Self::Broken => format!("answers of {server} are cut or malformed"),
            Self::Status => format!("{server} answers with an error"),
            Self::Throttled => format!("{server} limits requests (429)"),
            Self::Refused => format!("{server} refuses the request"),
            Self::Login => format!("the credential helper for {server} fails"),
            Self::Foreign => format!("{server} does not answer as a registry"),
            Self::Content => format!("{server} sends content that cannot be used"),
            Self::Token => format!("the token server of {server} fails"),
            Self::Redirect => format!("a server to which {server} redirects fails"),
        }
    }

    /// Returns a statement about an upstream that has failed in this way for some time, for the `Warning` of an old answer.
    pub fn lasting(self, upstream: &str) -> String {
        match self {
            Self::Throttled => format!("{upstream} has limited requests (429)"),
            Self::Status => format!("{upstream} has answered with errors"),
            Self::Broken => format!("{upstream} has sent broken answers"),
            Self::Foreign => format!("another server has answered in the place of {upstream}"),
            Self::Content => format!("{upstream} has sent content that cannot be used"),
            Self::Refused => format!("{upstream} has refused requests"),
            Self::Login => format!("the credential helper for {upstream} has failed"),
            Self::Connection | Self::Timeout => format!("{upstream} has not answered"),
            Self::Token => format!("the token server of {upstream} has failed"),
            Self::Redirect => format!("a server to which {upstream} redirects has failed"),
        }
    }
}
