//! The tags that an upstream has of a repository: brought whole, once for all who wait, kept on disk, and aged as tags are.

use super::Mirror;
use super::absences::Asked;
use super::freshness::Settled;
use crate::registry::{CacheStatus, Found, Page, PageRequest, RegistryError};
use crate::state::{Flight, Interrupted};
use crate::store::StoreError;
use crate::upstream::{TagList, UpstreamError};

/// What asking for all tags brought, for all who wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::registry) enum Tags {
    /// They are on disk now.
    Kept,
    /// They are too many, or there is no room: pages of them can be had of the upstream.
    Unkept,
}

impl Mirror {
    pub(in crate::registry) async fn tags(&self, page: &PageRequest) -> Result<Found<Page>, RegistryError> {
        let kept = self.store().tag_list(self.upstream(), &self.name, |_| ()).await?;
        let (brought, status) = match kept {
            None if self.is_absent(Asked::Tags).await => {
                return Err(RegistryError::tags(&UpstreamError::NotFound, &self.source(None).key()).remembered());
            }
            None => self.bring_tags().await,
            Some((seen, ())) => {
                let mirror = self.clone();
                match self.settle_list(seen, async move { mirror.bring_tags().await.0 }).await {
                    Settled::Stands(status) => (Ok(Tags::Kept), status),
                    Settled::Stale(why) => match self.cut(page).await? {
                        Some(page) => return Ok(self.stale(page, why)),
                        // Forgotten meanwhile: the upstream does not have it any more.
                        None => (Ok(Tags::Unkept), CacheStatus::Miss),
                    },
                    Settled::Changed(brought) => (brought, CacheStatus::Revalidated),
                }
            }
        };
        let failed = |error| RegistryError::tags(&error, &self.source(None).key());
        let brought = brought.map_err(failed)?;
        if brought == Tags::Kept
            && let Some(page) = self.cut(page).await?
        {
            return Ok(Found::mirrored(page, status));
        }
        let listed = self.remote.upstream.tags(&self.name, page.n, page.last.as_deref()).await;
        let listed = listed.map_err(failed)?;
        Ok(Found::mirrored(Page { entries: listed.tags, more: listed.more }, CacheStatus::Miss))
    }

    /// All tags, asked of the upstream once for all who wait.
    async fn bring_tags(&self) -> (Result<Tags, UpstreamError>, CacheStatus) {
        let mirror = self.clone();
        let work = move || async move {
            match mirror.known_tags().await {
                Some(known) => known,
                None => {
                    let brought = mirror.ask_for_tags().await;
                    mirror.brought(Asked::Tags, brought).await
                }
            }
        };
        self.landed(self.registry.flights().tags.run(self.target(), work).await)
    }

    /// What was said of them lately: another request may just have asked.
    async fn known_tags(&self) -> Option<Result<Tags, UpstreamError>> {
        if self.is_absent(Asked::Tags).await {
            return Some(Err(UpstreamError::NotFound));
        }
        if self.is_unkept(Asked::Tags).await {
            return Some(Ok(Tags::Unkept));
        }
        let kept = self.store().tag_list(self.upstream(), &self.name, |_| ()).await;
        let (seen, ()) = kept.ok().flatten()?;
        self.is_fresh(seen).then_some(Ok(Tags::Kept))
    }

    async fn ask_for_tags(&self) -> Result<Tags, UpstreamError> {
        // They are as old as the question.
        let seen = self.registry.clock().unix_seconds();
        let store = self.store();
        let kept = match self.remote.upstream.tag_list(&self.name, &|| self.remote.spoke()).await {
            Ok(TagList::Whole(tags)) => {
                self.tags_are_there(&tags).await;
                let kept = store.set_tag_list(self.upstream(), &self.name, tags, seen).await;
                self.is_written(kept)
            }
            Ok(TagList::TooLarge) => false,
            Err(UpstreamError::NotFound) => {
                self.is_written(store.remove_tag_list(self.upstream(), &self.name).await);
                return Err(UpstreamError::NotFound);
            }
            Err(error) => return Err(error),
        };
        if kept {
            return Ok(Tags::Kept);
        }
        self.note_unkept(Asked::Tags).await;
        Ok(Tags::Unkept)
    }

    /// A part of the list that is on disk.
    async fn cut(&self, page: &PageRequest) -> Result<Option<Page>, RegistryError> {
        let page = page.clone();
        let kept = self.store().tag_list(self.upstream(), &self.name, move |tags| page.cut(tags)).await?;
        Ok(kept.map(|(_, page)| page))
    }

    /// Takes note of what the upstream answered when it was asked for a list.
    pub(super) async fn brought<T>(&self, asked: Asked, answer: Result<T, UpstreamError>) -> Result<T, UpstreamError> {
        match &answer {
            Ok(_) => self.remote.spoke(),
            // A list that cannot be used says nothing of how all else is answered.
            Err(UpstreamError::TooLarge | UpstreamError::Protocol { .. }) => {}
            Err(error) => self.heard(error),
        }
        self.note_absence(asked, &answer).await;
        answer
    }

    /// What a question brought, and whether this request asked it.
    pub(super) fn landed<T>(
        &self,
        flight: Result<Flight<Result<T, UpstreamError>>, Interrupted>,
    ) -> (Result<T, UpstreamError>, CacheStatus) {
        match flight {
            Ok(flight) => (flight.value, CacheStatus::asked(flight.joined)),
            Err(interrupted) => (Err(self.interrupted(interrupted)), CacheStatus::Miss),
        }
    }

    /// Was a list written down? If not, the log says so.
    pub(super) fn is_written(&self, written: Result<(), StoreError>) -> bool {
        if let Err(error) = &written {
            tracing::warn!(%error, repository = %self.target(), "a list was not written down; it will be asked for again");
        }
        written.is_ok()
    }
}
