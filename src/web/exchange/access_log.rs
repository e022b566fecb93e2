//! The line about a request in the access log, with the field names of `registry:2`.

use std::time::Duration;

use http::header::{HOST, HeaderName, REFERER, USER_AGENT};
use http::request::Parts;

use super::facts::{AnswerProgress, Facts};
use crate::oci::ErrorCode;
use crate::registry::CacheStatus;
use crate::web::app::AccessLog;

/// The content of the line.
pub(super) struct Line<'a> {
    pub(super) head: &'a Parts,
    pub(super) facts: &'a Facts,
    /// A probe, or a request for the metrics. They come every few seconds and would hide all other requests.
    pub(super) is_probe: bool,
    pub(super) progress: &'a AnswerProgress,
    pub(super) id: &'a str,
    /// The address of the client.
    pub(super) client: String,
    pub(super) status: u16,
    pub(super) content_type: Option<&'a str>,
    pub(super) written: u64,
    pub(super) took: Duration,
}

/// Writes one event. This is a macro because `tracing` needs the level and the fields of an event at compile time.
macro_rules! event {
    ($level:ident, $message:expr, $line:expr) => {{
        let line = $line;
        let error = line.facts.error.as_ref();
        let cut = match line.progress {
            AnswerProgress::Cut(reason) => Some(reason.as_str()),
            _ => None,
        };
        tracing::event!(
            tracing::Level::$level,
            http.request.host = line.host(),
            http.request.id = line.id,
            http.request.method = line.head.method.as_str(),
            http.request.remoteaddr = line.client,
            http.request.uri = line.uri(),
            http.request.useragent = line.header(&USER_AGENT),
            http.request.referer = line.header(&REFERER),
            http.response.contenttype = line.content_type,
            http.response.duration = ?line.took,
            http.response.status = line.status,
            http.response.written = line.written,
            vars.name = line.facts.name,
            vars.reference = line.facts.reference,
            vars.digest = line.facts.digest,
            vars.uuid = line.facts.upload,
            auth.user.name = line.facts.user,
            repository = line.facts.repository,
            cache = line.facts.cache.map(CacheStatus::as_str),
            err.code = error.map(|error| error.code.as_str()),
            err.message = error.map(|error| error.message.as_str()).or(cut),
            err.detail = error.and_then(|error| error.detail.as_deref()),
            "{}",
            $message
        )
    }};
}

impl Line<'_> {
    /// Writes the line, if the access log wants it.
    pub(super) fn write(&self, access: AccessLog) {
        let message = match (self.progress, &self.facts.error) {
            (AnswerProgress::Unanswered, _) => "request abandoned by the client",
            (AnswerProgress::Cut(_), _) => "response cut",
            (_, Some(_)) => "response completed with error",
            (AnswerProgress::Sending, None) => "response abandoned by the client",
            (AnswerProgress::Complete, None) => "response completed",
        };
        if self.status >= 500 || matches!(self.progress, AnswerProgress::Cut(_)) {
            event!(ERROR, message, self);
        } else if self.is_probe {
            event!(DEBUG, message, self);
        } else if access == AccessLog::All || self.is_advice() {
            event!(INFO, message, self);
        }
    }

    /// Returns true for an unknown name, which is always logged: the line names the configuration key that would mirror it.
    fn is_advice(&self) -> bool {
        self.facts.error.as_ref().is_some_and(|error| error.code == ErrorCode::NameUnknown)
    }

    /// Returns the target as in HTTP/1.1, also for HTTP/2, whose target includes the host.
    fn uri(&self) -> &str {
        self.head.uri.path_and_query().map_or("*", |uri| uri.as_str())
    }

    fn host(&self) -> Option<&str> {
        self.header(&HOST).or_else(|| self.head.uri.host())
    }

    fn header(&self, name: &HeaderName) -> Option<&str> {
        self.head.headers.get(name).and_then(|value| value.to_str().ok())
    }
}
