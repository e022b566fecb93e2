//! An upstream as the registry sees it: the time for which its answers are trusted, and whether it answers at all.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::unanswered::{UnansweredQuestions, UpstreamQuestion};
use crate::config;
use crate::sys::{Clock, Moment};
use crate::upstream::{FailureCause, Upstream, UpstreamError};

/// An upstream, and whether it has answered lately.
pub struct Remote {
    pub upstream: Arc<Upstream>,
    pub tag_ttl: Duration,
    pub negative_ttl: Duration,
    pub stale: config::Stale,
    /// The longest time that a client waits for a manifest or a list, or for the beginning of a blob.
    pub client_wait: Duration,
    unanswered: UnansweredQuestions,
}

impl Remote {
    pub fn new(upstream: Upstream, spec: &config::Upstream, clock: Clock) -> Self {
        Self {
            upstream: Arc::new(upstream),
            tag_ttl: spec.tag_ttl,
            negative_ttl: spec.negative_ttl,
            stale: spec.stale,
            client_wait: spec.client_wait,
            unanswered: UnansweredQuestions::new(clock),
        }
    }

    /// Notes that the upstream answered a question.
    pub fn answered(&self, question: &UpstreamQuestion) {
        if self.unanswered.answered(question) {
            tracing::info!(upstream = %self.upstream.name(), "the upstream answers questions again");
        }
    }

    /// Notes that a question failed: it was not answered, or with 429 or 5xx, or with content that cannot be used. Returns a
    /// statement about the failure if the upstream was not silent before, and may be now.
    pub fn failed(&self, question: &UpstreamQuestion, error: &UpstreamError) -> Option<String> {
        let begins = self.unanswered.failed(question, error);
        begins.then(|| FailureCause::statement_of(error, self.upstream.name().as_str())).flatten()
    }

    /// Notes that no answer to a question came in time. Returns a statement as [`Self::failed`] does.
    pub fn silent(&self, question: &UpstreamQuestion) -> Option<String> {
        let begins = self.unanswered.silent(question);
        begins.then(|| FailureCause::Timeout.statement(self.upstream.name().as_str()))
    }

    /// Returns true if the upstream has answered this question at or after `moment`.
    pub fn has_answered_since(&self, question: &UpstreamQuestion, moment: Moment) -> bool {
        self.unanswered.has_answered_since(question, moment)
    }

    /// Returns true while it is too early to wait for an answer to this question again.
    pub fn is_avoided(&self, question: &UpstreamQuestion) -> bool {
        self.unanswered.is_avoided(question) || self.upstream.refuses(&question.repository)
    }

    /// Returns the time since when the upstream has not answered as it should, and the cause.
    pub fn silent_since(&self) -> Option<(SystemTime, FailureCause)> {
        self.unanswered.since()
    }

    /// Notes that the upstream is a mirror and answered a question with an old copy.
    pub fn warned(&self, question: &UpstreamQuestion, warning: &str) {
        self.unanswered.warned(question, warning);
    }

    /// Returns the warning of an upstream that answered this question with an old copy last.
    pub fn upstream_warning(&self, question: &UpstreamQuestion) -> Option<String> {
        self.unanswered.warning(question)
    }

    /// Returns the text of a `Warning` field for a stale answer.
    pub fn warning(&self, question: &UpstreamQuestion) -> String {
        let name = self.upstream.name();
        if let Some(warning) = self.upstream_warning(question) {
            return warning;
        }
        match self.unanswered.question_since(question) {
            Some((since, cause)) => {
                format!("{} since {}", cause.lasting(name.as_str()), humantime::format_rfc3339_seconds(since))
            }
            None => self.reason_not_to_ask(question).unwrap_or_else(|| format!("{name} is slow to answer")),
        }
    }

    /// Returns the reason why this question is not sent, although it has not failed itself.
    fn reason_not_to_ask(&self, question: &UpstreamQuestion) -> Option<String> {
        let (upstream, name) = (&self.upstream, self.upstream.name().as_str());
        let refusal = upstream.refusal(&question.repository);
        let statement = refusal.and_then(|error| FailureCause::statement_of(&error, name));
        let paused = || format!("{name} has failed several times in a row, and is asked again soon");
        let reason = statement.unwrap_or_else(paused);
        upstream.refuses(&question.repository).then_some(reason)
    }
}
