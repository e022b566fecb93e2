//! A cached tag: whether it still names the same manifest, and its new content if not.

use std::time::Duration;

use super::flights::Refreshed;
use super::freshness::{EntryAction, Question, Settled, Situation, Unconfirmed};
use super::negative_cache::Asked;
use super::repository::{MirrorRepository, is_answer};
use crate::oci::{Digest, Reference, Tag};
use crate::registry::answer::{CacheStatus, HeldManifest};
use crate::registry::error::RegistryError;
use crate::store::TagRecord;

/// The time for which a changed tag is not asked about again while its new content waits.
const POSTPONED_FOR: Duration = Duration::from_secs(30);

impl MirrorRepository {
    /// Decides about a cached tag.
    pub(super) async fn settle(&self, tag: &Tag, record: &TagRecord) -> Result<Settled<HeldManifest>, RegistryError> {
        if self.trusts_followed(tag, record) {
            return Ok(Settled::Stands(CacheStatus::Hit));
        }
        let asked = Asked::Manifest(Reference::Tag(tag.clone()));
        let situation = self.situation(record.seen, asked.clone());
        let refresh = || self.refresh(tag, record.digest, situation);
        match situation.action(Question::Head) {
            EntryAction::Trust => Ok(Settled::Stands(CacheStatus::Hit)),
            EntryAction::TrustAndAsk => {
                let (mirror, tag, known) = (self.clone(), tag.clone(), record.digest);
                self.cached.context.machine.tasks.spawn(async move {
                    // The question itself records the answer.
                    mirror.refresh(&tag, known, situation).await;
                });
                Ok(Settled::Stands(CacheStatus::Hit))
            }
            EntryAction::Leave(why) => Ok(Settled::Stale(why)),
            EntryAction::Ask => self.settled(tag, refresh().await, situation),
            EntryAction::AskBriefly => {
                let negative = &self.cached.context.negative;
                if situation.sparing && negative.is_postponed(self.name().clone(), tag.clone(), POSTPONED_FOR).await {
                    return Ok(Settled::Stale(Unconfirmed::Sparing));
                }
                match self.briefly(asked, refresh()).await {
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
            Refreshed::Postponed => return Ok(Settled::Stale(Unconfirmed::Sparing)),
            Refreshed::Refused(error) => return Err(error),
            Refreshed::Unconfirmed => {
                let message = format!("{} has only an old copy of {}:{tag}", self.upstream(), self.name());
                RegistryError::bad_answer(self.upstream(), message)
            }
            Refreshed::Failed(error) => {
                let told = self.manifest_error(&error, &Reference::Tag(tag.clone()));
                if is_answer(&error) {
                    return Err(told);
                }
                told
            }
            Refreshed::Unfetched(error) => error,
        };
        if situation.may_be_stale() { Ok(Settled::Stale(Unconfirmed::Silence)) } else { Err(error) }
    }

    /// Asks whether a tag still names `known`, and fetches the new content if not. The question runs once for all waiters, and
    /// to its end without any. Until the new content is stored, the tag names the old content: the link may break at any time.
    pub(super) async fn refresh(&self, tag: &Tag, known: Digest, situation: Situation) -> Refreshed {
        let key = (self.name().clone(), tag.clone());
        let (mirror, tag) = (self.clone(), tag.clone());
        let work = move || async move {
            let head = match mirror.ask(&Reference::Tag(tag.clone()), situation.since).await.0 {
                Err(error) => return Refreshed::Failed(error),
                Ok(head) if head.digest == Some(known) && head.stale.is_some() => return Refreshed::Unconfirmed,
                Ok(head) if head.digest == Some(known) => return Refreshed::Unchanged,
                Ok(head) => head,
            };
            // The HEAD may have told that few pulls are left.
            let mut situation = situation;
            situation.sparing = mirror.remote.upstream.spares_pulls();
            if mirror.postpones(&known, situation).await {
                mirror.cached.context.negative.note_postponed(mirror.name().clone(), tag).await;
                return Refreshed::Postponed;
            }
            match mirror.renew(&tag, head.digest).await {
                // The HEAD of this upstream names no digest.
                Ok(held) if held.info.digest == known => mirror.unchanged(&tag),
                Ok(held) => Refreshed::Changed(held),
                Err(error) if error.is_answer() => Refreshed::Refused(error),
                Err(error) => {
                    let repository = mirror.name();
                    match head.digest {
                        Some(_) => {
                            tracing::warn!(%error, %repository, %tag, "a tag has changed, but its new content could not be fetched")
                        }
                        None => tracing::debug!(%error, %repository, %tag, "a tag could not be confirmed"),
                    }
                    Refreshed::Unfetched(error)
                }
            }
        };
        match self.cached.context.flights.refreshes.run(key, work).await {
            Ok(flight) => flight.value,
            Err(interrupted) => Refreshed::Failed(self.interrupted(interrupted)),
        }
    }

    /// Returns the result of a question that was answered with the known content.
    fn unchanged(&self, tag: &Tag) -> Refreshed {
        let asked = Asked::Manifest(Reference::Tag(tag.clone()));
        if self.remote.upstream_warning(&self.question(asked)).is_some() {
            Refreshed::Unconfirmed
        } else {
            Refreshed::Unchanged
        }
    }

    /// Returns true if new content waits because the upstream allows few more pulls and the old content is stored.
    async fn postpones(&self, known: &Digest, situation: Situation) -> bool {
        let may_wait = situation.sparing && situation.may_be_stale();
        may_wait && self.held(known).await.is_ok_and(|held| held.is_some())
    }
}
