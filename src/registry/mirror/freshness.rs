//! The age of cached tags and lists, and when the upstream is asked about them (docs/reference/freshness.md).
//!
//! An entry that is at most as old as the TTL is served without a request to the upstream. Up to twice the TTL, the entry is
//! served at once, and the upstream is asked in the background. For an older entry, the upstream is asked once for all
//! waiters, and each waits at most [`CONFIRMED_WITHIN`]. If no answer comes, the old entry is served.

use std::future::Future;
use std::time::Duration;

use super::negative_cache::Asked;
use super::repository::{MirrorRepository, is_answer};
use crate::config::Stale;
use crate::registry::answer::{CacheStatus, Found};
use crate::upstream::UpstreamError;

/// The longest time that a request waits for the confirmation of a cached entry.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(2);

/// The kind of request that a question needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// A HEAD, which upstreams do not count as a pull.
    Head,
    /// A GET, which they may count.
    Get,
}

/// The action for a cached entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EntryAction {
    /// Serve the entry.
    Trust,
    /// Serve the entry, and ask the upstream in the background.
    TrustAndAsk,
    /// Ask the upstream. Serve the entry if no answer comes soon.
    AskBriefly,
    /// Ask the upstream and wait, because the entry is too old to be served.
    Ask,
    /// Serve the entry and do not ask the upstream.
    Leave(Unconfirmed),
}

/// The reason why an old entry is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unconfirmed {
    /// The upstream does not answer.
    Silence,
    /// The upstream allows few more pulls.
    Sparing,
}

/// The facts that decide about a cached entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Situation {
    /// The time since the upstream last confirmed the entry.
    age: Duration,
    ttl: Duration,
    stale: Stale,
    /// True while it is too early to wait for the upstream again.
    avoided: bool,
    /// True while requests that only renew cached content are postponed.
    pub(super) sparing: bool,
    /// An answer that another request has got counts if it came after this time, in seconds since 1970.
    pub(super) since: u64,
}

impl Situation {
    pub(super) fn action(self, question: Question) -> EntryAction {
        if self.age <= self.ttl {
            return EntryAction::Trust;
        }
        if self.age <= self.ttl * 2 {
            // An upstream that limits requests is not asked in the background either.
            return if self.avoided || self.sparing { EntryAction::Trust } else { EntryAction::TrustAndAsk };
        }
        if !self.may_be_stale() {
            return EntryAction::Ask;
        }
        match question {
            _ if self.avoided => EntryAction::Leave(Unconfirmed::Silence),
            Question::Get if self.sparing => EntryAction::Leave(Unconfirmed::Sparing),
            _ => EntryAction::AskBriefly,
        }
    }

    /// Returns true if the configuration allows an entry of this age without confirmation.
    pub(super) fn may_be_stale(self) -> bool {
        self.stale.allows(self.age)
    }
}

/// The decision about a cached entry.
pub(super) enum Settled<T> {
    /// The entry is valid as recorded.
    Stands(CacheStatus),
    /// The entry was not confirmed and is served all the same.
    Stale(Unconfirmed),
    /// The upstream has answered with this instead.
    Changed(T),
}

impl MirrorRepository {
    /// Decides about a cached list. `ask` asks the upstream for it.
    pub(super) async fn settle_list<T, F>(&self, seen: u64, asked: Asked, ask: F) -> Settled<Result<T, UpstreamError>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, UpstreamError>> + Send + 'static,
    {
        let situation = self.situation(seen, asked.clone());
        let answer = match situation.action(Question::Get) {
            EntryAction::Trust => return Settled::Stands(CacheStatus::Hit),
            EntryAction::TrustAndAsk => {
                self.cached.context.machine.tasks.spawn(async move {
                    // The question itself keeps the answer.
                    let _ = ask.await;
                });
                return Settled::Stands(CacheStatus::Hit);
            }
            EntryAction::Leave(why) => return Settled::Stale(why),
            EntryAction::Ask => Some(ask.await),
            EntryAction::AskBriefly => self.briefly(asked, ask).await,
        };
        match answer {
            None => Settled::Stale(Unconfirmed::Silence),
            Some(Err(error)) if !is_answer(&error) && situation.may_be_stale() => Settled::Stale(Unconfirmed::Silence),
            Some(answer) => Settled::Changed(answer),
        }
    }

    /// Returns the upstream's answer if it comes within [`CONFIRMED_WITHIN`].
    pub(super) async fn briefly<T>(&self, asked: Asked, answer: impl Future<Output = T>) -> Option<T> {
        let (question, began) = (self.question(asked.clone()), self.cached.context.machine.clock.moment());
        let answer = tokio::time::timeout(CONFIRMED_WITHIN, answer).await.ok();
        // A question that was answered meanwhile is not silent: the link may be slow to bring the changed content.
        if answer.is_none()
            && !self.remote.has_answered_since(&question, began)
            && let Some(statement) = self.remote.silent(&question)
        {
            let error = format!("no answer within {}", humantime::format_duration(CONFIRMED_WITHIN));
            self.warn_of_silence(asked, &statement, &error).await;
        }
        answer
    }

    pub(super) fn situation(&self, seen: u64, asked: Asked) -> Situation {
        let remote = &self.remote;
        Situation {
            age: self.age(seen),
            ttl: remote.tag_ttl,
            stale: remote.stale,
            avoided: remote.is_avoided(&self.question(asked)),
            sparing: remote.upstream.spares_pulls(),
            since: 0,
        }
    }

    /// Returns true if the upstream confirmed the entry within the TTL.
    pub(super) fn is_fresh(&self, seen: u64) -> bool {
        self.age(seen) <= self.remote.tag_ttl
    }

    pub(super) fn age(&self, seen: u64) -> Duration {
        self.cached.context.machine.clock.age_of_record(seen)
    }

    /// Wraps an old entry, with a warning that says why it was not confirmed.
    pub(super) fn stale<T>(&self, value: T, why: Unconfirmed, asked: Asked) -> Found<T> {
        let upstream = self.upstream();
        self.cached.context.metrics.stale_answers.with_label_values(&[upstream.as_str()]).inc();
        let warning = match why {
            Unconfirmed::Silence => self.remote.warning(&self.question(asked.clone())),
            Unconfirmed::Sparing => format!(
                "{upstream} allows few more pulls; they are reserved for content that is not cached, and this is renewed later"
            ),
        };
        let question = self.question(asked);
        tracing::info!(%upstream, %question, reason = warning, "served an old copy, which the upstream has not confirmed");
        Found { value, cache: Some(CacheStatus::Stale), warning: Some(warning) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(600);
    const HOUR: Duration = Duration::from_secs(3600);

    fn situation(age: u64) -> Situation {
        Situation {
            age: Duration::from_secs(age),
            ttl: TTL,
            stale: Stale::Always,
            avoided: false,
            sparing: false,
            since: 0,
        }
    }

    #[test]
    fn course_follows_the_age() {
        for (age, want) in [
            (0, EntryAction::Trust),
            (600, EntryAction::Trust),
            (601, EntryAction::TrustAndAsk),
            (1200, EntryAction::TrustAndAsk),
            (1201, EntryAction::AskBriefly),
            (u64::from(u32::MAX), EntryAction::AskBriefly),
        ] {
            for question in [Question::Head, Question::Get] {
                assert_eq!(situation(age).action(question), want, "{age} {question:?}");
            }
        }
    }

    #[test]
    fn silent_upstream_is_not_asked() {
        for (age, want) in
            [(600, EntryAction::Trust), (601, EntryAction::Trust), (1201, EntryAction::Leave(Unconfirmed::Silence))]
        {
            for question in [Question::Head, Question::Get] {
                assert_eq!(Situation { avoided: true, ..situation(age) }.action(question), want, "{age} {question:?}");
            }
        }
    }

    #[test]
    fn entry_that_may_not_be_stale_is_asked_about() {
        for (age, stale, want) in [
            (600, Stale::Never, EntryAction::Trust),
            (1200, Stale::Never, EntryAction::TrustAndAsk),
            (1201, Stale::Never, EntryAction::Ask),
            (3600, Stale::UpTo(HOUR), EntryAction::AskBriefly),
            (3601, Stale::UpTo(HOUR), EntryAction::Ask),
        ] {
            assert_eq!(Situation { stale, ..situation(age) }.action(Question::Head), want, "{age} {stale:?}");
        }
        for (avoided, sparing) in [(true, false), (false, true)] {
            let situation = Situation { stale: Stale::Never, avoided, sparing, ..situation(1201) };
            assert_eq!(situation.action(Question::Get), EntryAction::Ask, "{situation:?}");
        }
    }

    #[test]
    fn few_remaining_pulls_allow_a_head_only() {
        for (age, question, want) in [
            (601, Question::Head, EntryAction::Trust),
            (601, Question::Get, EntryAction::Trust),
            (1201, Question::Head, EntryAction::AskBriefly),
            (1201, Question::Get, EntryAction::Leave(Unconfirmed::Sparing)),
        ] {
            assert_eq!(Situation { sparing: true, ..situation(age) }.action(question), want, "{age} {question:?}");
        }
    }
}
