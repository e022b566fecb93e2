//! The tags of a mirrored repository, as its upstream lists them. The whole list is fetched once for all waiters, kept on disk,
//! and ages as tags do.

use super::flights::TagsAnswer;
use super::freshness::{Settled, Unconfirmed};
use super::negative_cache::Asked;
use super::repository::{MirrorRepository, is_answer};
use crate::registry::answer::{CacheStatus, Found, PageRequest};
use crate::registry::error::RegistryError;
use crate::store::{Page, StoreError};
use crate::upstream::{TagList, UpstreamError};

impl MirrorRepository {
    /// Returns a page of the upstream's tags.
    pub(in crate::registry) async fn tags(&self, page: &PageRequest) -> Result<Found<Page<String>>, RegistryError> {
        let kept = self.store().tag_list(self.name(), |_| ()).await?;
        let (answer, status) = match kept {
            None if self.is_absent(Asked::Tags).await => {
                return Err(self.tags_error(&UpstreamError::NotFound).remembered());
            }
            None => self.fetch_tags().await,
            Some((seen, ())) => {
                let mirror = self.clone();
                match self.settle_list(seen, Asked::Tags, async move { mirror.fetch_tags().await.0 }).await {
                    Settled::Stands(status) => (Ok(TagsAnswer::Kept), status),
                    Settled::Stale(why) => match self.cut(page).await? {
                        Some(page) => return Ok(self.stale(page, why, Asked::Tags)),
                        // The list was removed meanwhile: the upstream does not have it any more.
                        None => (Ok(TagsAnswer::Unkept), CacheStatus::Miss),
                    },
                    Settled::Changed(answer) => (answer, CacheStatus::Revalidated),
                }
            }
        };
        let answer = answer.map_err(|error| self.tags_error(&error))?;
        if answer == TagsAnswer::Kept
            && let Some(page) = self.cut(page).await?
        {
            return Ok(Found::mirrored(page, status));
        }
        let listed = self.remote.upstream.tags(self.name().repository(), page.n, page.last.as_deref()).await;
        match listed {
            Ok(listed) => Ok(Found::mirrored(Page { entries: listed.tags, more: listed.more }, CacheStatus::Miss)),
            Err(error) => self.kept_instead(page, &error).await,
        }
    }

    /// Returns a page of the kept list after the upstream's own page could not be used, for instance because it is too large.
    async fn kept_instead(
        &self,
        page: &PageRequest,
        error: &UpstreamError,
    ) -> Result<Found<Page<String>>, RegistryError> {
        if !is_answer(error)
            && let Some((seen, ())) = self.store().tag_list(self.name(), |_| ()).await?
            && self.situation(seen, Asked::Tags).may_be_stale()
            && let Some(page) = self.cut(page).await?
        {
            self.note_error(Asked::Tags, error).await;
            return Ok(self.stale(page, Unconfirmed::Silence, Asked::Tags));
        }
        Err(self.tags_error(error))
    }

    /// Asks the upstream for all tags, once for all waiters.
    async fn fetch_tags(&self) -> (Result<TagsAnswer, UpstreamError>, CacheStatus) {
        let mirror = self.clone();
        let work = move || async move {
            match mirror.recent_tags().await {
                Some(known) => known,
                None => {
                    let answer = mirror.ask_for_tags().await;
                    mirror.note_list(Asked::Tags, answer).await
                }
            }
        };
        self.landed(self.cached.context.flights.tags.run(self.name().clone(), work).await)
    }

    /// Returns the latest answer if it is recent. Another request may just have asked.
    async fn recent_tags(&self) -> Option<Result<TagsAnswer, UpstreamError>> {
        if self.is_absent(Asked::Tags).await {
            return Some(Err(UpstreamError::NotFound));
        }
        if self.is_unkept(Asked::Tags).await {
            return Some(Ok(TagsAnswer::Unkept));
        }
        let kept = self.store().tag_list(self.name(), |_| ()).await;
        let (seen, ()) = kept.ok().flatten()?;
        self.is_fresh(seen).then_some(Ok(TagsAnswer::Kept))
    }

    async fn ask_for_tags(&self) -> Result<TagsAnswer, UpstreamError> {
        // The list is as old as the question.
        let seen = self.cached.context.machine.clock.unix_seconds();
        let store = self.store();
        let kept =
            match self.remote.upstream.tag_list(self.name().repository(), &|| self.note_answer(Asked::Tags)).await {
                Ok(TagList::Whole(tags)) => {
                    self.cached.context.negative.forget_absent_tags(self.name(), &tags).await;
                    let kept = store.set_tag_list(self.name(), tags, seen).await;
                    self.is_written(kept)
                }
                Ok(TagList::TooLarge) => false,
                Err(UpstreamError::NotFound) => {
                    self.is_written(store.remove_tag_list(self.name()).await);
                    return Err(UpstreamError::NotFound);
                }
                Err(error) => return Err(error),
            };
        if kept {
            return Ok(TagsAnswer::Kept);
        }
        self.note_unkept(Asked::Tags).await;
        Ok(TagsAnswer::Unkept)
    }

    /// Cuts a page out of the list on disk.
    async fn cut(&self, page: &PageRequest) -> Result<Option<Page<String>>, RegistryError> {
        let page = page.clone();
        let kept = self.store().tag_list(self.name(), move |tags| page.cut(tags)).await?;
        Ok(kept.map(|(_, page)| page))
    }

    /// Notes how the upstream answered a question for a list.
    pub(super) async fn note_list<T>(
        &self,
        asked: Asked,
        answer: Result<T, UpstreamError>,
    ) -> Result<T, UpstreamError> {
        match &answer {
            Ok(_) => self.note_answer(asked.clone()),
            Err(error) => self.note_error(asked.clone(), error).await,
        }
        self.note_absence(asked, &answer).await;
        answer
    }

    /// Returns true if a list was written. Logs the failure otherwise.
    pub(super) fn is_written(&self, written: Result<(), StoreError>) -> bool {
        if let Err(error) = &written {
            tracing::warn!(%error, repository = %self.name(), "a list could not be written; the upstream will be asked again");
        }
        written.is_ok()
    }
}
