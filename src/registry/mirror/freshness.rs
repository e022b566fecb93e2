//! How old may be what is held of an upstream's tags and lists, and when is the upstream asked?
//!
//! The table is PRODUCT.md's: what is younger than the TTL costs no request; up to twice that it is answered at once and asked
//! about behind the answer; older, one question for all who wait, for at most [`PATIENCE`]; and what is held when no answer comes.

use std::future::Future;
use std::time::Duration;

use super::Mirror;
use crate::config::Stale;
use crate::oci::{Digest, Reference, Tag};
use crate::registry::{CacheStatus, Found, HeldManifest, RegistryError};
use crate::store::TagRecord;
use crate::upstream::UpstreamError;

/// The longest that a request waits for something that is held to be confirmed.
const PATIENCE: Duration = Duration::from_secs(2);
/// A tag that has changed, and whose new content waits for better times, is not asked about again for this long.
const SPARED: Duration = Duration::from_secs(30);

/// What asking costs where pulls are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// A HEAD: nothing.
    Head,
    /// It may be counted.
    Get,
}

/// What is to be done about something that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    /// It is answered as it is.
    Trust,
    /// It is answered as it is, and asked about behind the answer.
    TrustAndAsk,
    /// The upstream is asked; if it says nothing soon, what is held is the answer.
    AskBriefly,
    /// The upstream is asked, for as long as it takes: what is held is too old to be an answer.
    Ask,
    /// The upstream is left alone.
    Leave(Unconfirmed),
}

/// Why something old is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unconfirmed {
    /// The upstream does not answer.
    Silence,
    /// It has few pulls left for us.
    Sparing,
}

/// What is known when something that is held is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Situation {
    /// Since it was last confirmed.
    age: Duration,
    ttl: Duration,
    stale: Stale,
    /// It is too soon to wait for the upstream again.
    avoided: bool,
    /// What only makes newer what is held waits.
    sparing: bool,
}

impl Situation {
    fn course(self, question: Question) -> Course {
        if self.age <= self.ttl {
            return Course::Trust;
        }
        if self.age <= self.ttl * 2 {
            // One that said that it has enough is not asked behind an answer either.
            return if self.avoided || self.sparing { Course::Trust } else { Course::TrustAndAsk };
        }
        if !self.stale.allows(self.age) {
            return Course::Ask;
        }
        match question {
            _ if self.avoided => Course::Leave(Unconfirmed::Silence),
            Question::Get if self.sparing => Course::Leave(Unconfirmed::Sparing),
            _ => Course::AskBriefly,
        }
    }
}

/// What became of something that is held.
pub(super) enum Settled<T> {
    /// It stands as recorded.
    Stands(CacheStatus),
    /// It was not confirmed; what is held must do.
    Stale(Unconfirmed),
    /// The upstream says this now.
    Changed(T),
}

/// What a question about a known tag brought, for all who wait for it.
#[derive(Clone)]
pub(in crate::registry) enum Refreshed {
    Unchanged,
    Changed(HeldManifest),
    /// It has changed; what it names now is fetched when there are pulls to spare.
    Spared,
    /// It has changed, but what it names now could not be fetched.
    Unfetched(RegistryError),
    Failed(UpstreamError),
}

impl Mirror {
    /// Decides about a tag that is known.
    pub(super) async fn settle(&self, tag: &Tag, record: &TagRecord) -> Result<Settled<HeldManifest>, RegistryError> {
        let situation = self.situation(record.seen);
        let refresh = || self.refresh(tag, record.digest, situation);
        match situation.course(Question::Head) {
            Course::Trust => Ok(Settled::Stands(CacheStatus::Hit)),
            Course::TrustAndAsk => {
                let (mirror, tag, known) = (self.clone(), tag.clone(), record.digest);
                self.registry.tasks().spawn(async move {
                    // What it brings is written down by the question itself; nobody waits for it here.
                    mirror.refresh(&tag, known, situation).await;
                });
                Ok(Settled::Stands(CacheStatus::Hit))
            }
            Course::Leave(why) => Ok(Settled::Stale(why)),
            Course::Ask => self.settled(tag, refresh().await, situation),
            Course::AskBriefly => {
                let spared = &self.registry.memory().spared;
                if situation.sparing && spared.holds(&(self.target(), tag.clone()), SPARED).await {
                    return Ok(Settled::Stale(Unconfirmed::Sparing));
                }
                match self.briefly(refresh()).await {
                    Some(refreshed) => self.settled(tag, refreshed, situation),
                    None => Ok(Settled::Stale(Unconfirmed::Silence)),
                }
            }
        }
    }

    fn settled(
        &self,
        tag: &Tag,
        refreshed: Refreshed,
        situation: Situation,
    ) -> Result<Settled<HeldManifest>, RegistryError> {
        let error = match refreshed {
            Refreshed::Unchanged => return Ok(Settled::Stands(CacheStatus::Revalidated)),
            Refreshed::Changed(held) => return Ok(Settled::Changed(held)),
            Refreshed::Spared => return Ok(Settled::Stale(Unconfirmed::Sparing)),
            Refreshed::Failed(error) => {
                let told = RegistryError::manifest(&error, &self.source(None).key(), &Reference::Tag(tag.clone()));
                if is_answer(&error) {
                    return Err(told);
                }
                told
            }
            Refreshed::Unfetched(error) => error,
        };
        if situation.stale.allows(situation.age) { Ok(Settled::Stale(Unconfirmed::Silence)) } else { Err(error) }
    }

    /// Asks whether a tag still names `known`, and fetches what it names if not: once for all who wait, and to the end though
    /// nobody does. Until the new content is held the tag names the old: the link may be gone a moment later.
    pub(super) async fn refresh(&self, tag: &Tag, known: Digest, situation: Situation) -> Refreshed {
        let key = (self.target(), tag.to_string());
        let (mirror, tag) = (self.clone(), tag.clone());
        let work = move || async move {
            let head = match mirror.ask(&Reference::Tag(tag.clone())).await.0 {
                Err(error) => return Refreshed::Failed(error),
                Ok(head) if head.digest == Some(known) => return Refreshed::Unchanged,
                Ok(head) => head,
            };
            if mirror.waits(&known, situation).await {
                mirror.registry.memory().spared.note((mirror.target(), tag)).await;
                return Refreshed::Spared;
            }
            match mirror.renew(&tag, head.digest).await {
                // An upstream whose HEAD says no digest.
                Ok(held) if held.info.digest == known => Refreshed::Unchanged,
                Ok(held) => Refreshed::Changed(held),
                Err(error) => {
                    tracing::warn!(%error, repository = %mirror.target(), %tag, "a changed tag could not be fetched");
                    Refreshed::Unfetched(error)
                }
            }
        };
        match self.registry.flights().refreshes.run(key, work).await {
            Ok(flight) => flight.value,
            Err(interrupted) => Refreshed::Failed(self.interrupted(interrupted)),
        }
    }

    /// Does new content wait, since what is held will do? What is not held is fetched, however few pulls are left.
    async fn waits(&self, known: &Digest, situation: Situation) -> bool {
        let may_wait = situation.sparing && situation.stale.allows(situation.age);
        may_wait && self.held(known).await.is_ok_and(|held| held.is_some())
    }

    /// Decides about a list that is known; `bring` asks the upstream for it.
    pub(super) async fn settle_list<T, F>(&self, seen: u64, bring: F) -> Settled<Result<T, UpstreamError>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, UpstreamError>> + Send + 'static,
    {
        let situation = self.situation(seen);
        let brought = match situation.course(Question::Get) {
            Course::Trust => return Settled::Stands(CacheStatus::Hit),
            Course::TrustAndAsk => {
                self.registry.tasks().spawn(async move {
                    // What it brings is kept by the question itself.
                    let _ = bring.await;
                });
                return Settled::Stands(CacheStatus::Hit);
            }
            Course::Leave(why) => return Settled::Stale(why),
            Course::Ask => Some(bring.await),
            Course::AskBriefly => self.briefly(bring).await,
        };
        match brought {
            None => Settled::Stale(Unconfirmed::Silence),
            Some(Err(error)) if !is_answer(&error) && situation.stale.allows(situation.age) => {
                Settled::Stale(Unconfirmed::Silence)
            }
            Some(brought) => Settled::Changed(brought),
        }
    }

    /// What the upstream says, if it does so soon.
    async fn briefly<T>(&self, answer: impl Future<Output = T>) -> Option<T> {
        let asked = self.registry.clock().moment();
        let answer = tokio::time::timeout(PATIENCE, answer).await.ok();
        // A link that is slow to bring what has changed is no upstream that does not answer.
        if answer.is_none() && !self.remote.has_spoken_since(asked) {
            self.remote.kept_silent(&"no answer within 2 s");
        }
        answer
    }

    pub(super) fn situation(&self, seen: u64) -> Situation {
        let remote = &self.remote;
        Situation {
            age: self.age(seen),
            ttl: remote.tag_ttl,
            stale: remote.stale,
            avoided: remote.is_avoided(),
            sparing: remote.upstream.spares_pulls(),
        }
    }

    /// Was this confirmed within the TTL?
    pub(super) fn is_fresh(&self, seen: u64) -> bool {
        self.age(seen) <= self.remote.tag_ttl
    }

    pub(super) fn age(&self, seen: u64) -> Duration {
        Duration::from_secs(self.registry.clock().unix_seconds().saturating_sub(seen))
    }

    /// What is held, said to be old.
    pub(super) fn stale<T>(&self, value: T, why: Unconfirmed) -> Found<T> {
        let upstream = self.upstream();
        self.registry.metrics().stale_answers.with_label_values(&[upstream.as_str()]).inc();
        let warning = match why {
            Unconfirmed::Silence => self.remote.warning(),
            Unconfirmed::Sparing => {
                format!(
                    "{upstream} allows few more pulls; they are kept for what is not held here, and this is renewed later"
                )
            }
        };
        Found { value, cache: Some(CacheStatus::Stale), warning: Some(warning) }
    }

    /// An error is an answer, or the want of one.
    pub(super) fn heard(&self, error: &UpstreamError) {
        if is_answer(error) {
            self.remote.spoke();
        } else {
            self.remote.kept_silent(error);
        }
    }
}

/// Says it something of what was asked for?
pub(super) fn is_answer(error: &UpstreamError) -> bool {
    matches!(error, UpstreamError::NotFound | UpstreamError::Denied { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(600);
    const HOUR: Duration = Duration::from_secs(3600);

    fn situation(age: u64) -> Situation {
        Situation { age: Duration::from_secs(age), ttl: TTL, stale: Stale::Always, avoided: false, sparing: false }
    }

    #[test]
    fn by_age() {
        for (age, want) in [
            (0, Course::Trust),
            (600, Course::Trust),
            (601, Course::TrustAndAsk),
            (1200, Course::TrustAndAsk),
            (1201, Course::AskBriefly),
            (u64::from(u32::MAX), Course::AskBriefly),
        ] {
            for question in [Question::Head, Question::Get] {
                assert_eq!(situation(age).course(question), want, "{age} {question:?}");
            }
        }
    }

    #[test]
    fn an_upstream_that_does_not_answer_is_left_alone() {
        for (age, want) in [(600, Course::Trust), (601, Course::Trust), (1201, Course::Leave(Unconfirmed::Silence))] {
            for question in [Question::Head, Question::Get] {
                assert_eq!(Situation { avoided: true, ..situation(age) }.course(question), want, "{age} {question:?}");
            }
        }
    }

    #[test]
    fn what_may_not_be_stale_is_asked_for_whatever_it_takes() {
        for (age, stale, want) in [
            (600, Stale::Never, Course::Trust),
            (1200, Stale::Never, Course::TrustAndAsk),
            (1201, Stale::Never, Course::Ask),
            (3600, Stale::UpTo(HOUR), Course::AskBriefly),
            (3601, Stale::UpTo(HOUR), Course::Ask),
        ] {
            assert_eq!(Situation { stale, ..situation(age) }.course(Question::Head), want, "{age} {stale:?}");
        }
        for (avoided, sparing) in [(true, false), (false, true)] {
            let situation = Situation { stale: Stale::Never, avoided, sparing, ..situation(1201) };
            assert_eq!(situation.course(Question::Get), Course::Ask, "{situation:?}");
        }
    }

    #[test]
    fn where_pulls_are_spared_a_head_is_asked_and_nothing_else() {
        for (age, question, want) in [
            (601, Question::Head, Course::Trust),
            (601, Question::Get, Course::Trust),
            (1201, Question::Head, Course::AskBriefly),
            (1201, Question::Get, Course::Leave(Unconfirmed::Sparing)),
        ] {
            assert_eq!(Situation { sparing: true, ..situation(age) }.course(question), want, "{age} {question:?}");
        }
    }
}
