//! The referrers of the manifests of a mirrored repository: fetched from the upstream, kept, and aged as tags are.

use std::sync::Arc;

use super::freshness::Settled;
use super::negative_cache::Asked;
use super::repository::{MirrorRepository, is_answer};
use crate::oci::{Digest, Reference, Referrers, Tag};
use crate::registry::answer::{CacheStatus, Found};
use crate::registry::error::RegistryError;
use crate::store::ReferrersRecord;
use crate::upstream::{ReferrersAnswer, UpstreamError};

impl MirrorRepository {
    /// Returns the referrers of a manifest. An empty list is an answer too.
    pub(in crate::registry) async fn referrers(
        &self,
        subject: &Digest,
    ) -> Result<Found<Arc<Referrers>>, RegistryError> {
        let (answer, status) = match self.store().referrers(self.name(), subject).await? {
            None => self.fetch_referrers(subject).await,
            Some(record) => {
                let (mirror, asked) = (self.clone(), *subject);
                match self
                    .settle_list(record.seen, Asked::Referrers(*subject), async move {
                        mirror.fetch_referrers(&asked).await.0
                    })
                    .await
                {
                    Settled::Stands(status) => return Ok(Found::mirrored(Arc::new(record.referrers), status)),
                    Settled::Stale(why) => {
                        return Ok(self.stale(Arc::new(record.referrers), why, Asked::Referrers(*subject)));
                    }
                    Settled::Changed(answer) => (answer, CacheStatus::Revalidated),
                }
            }
        };
        let error = match answer {
            Ok(referrers) => return Ok(Found::mirrored(referrers, status)),
            Err(error) => error,
        };
        let tag = Tag::of_referrers(subject);
        let known = || self.store().tag(self.name(), &tag);
        if error == UpstreamError::NotFound || (!is_answer(&error) && known().await?.is_some()) {
            let found = self.referrers_by_tag(tag).await?;
            if found.value.is_empty() && error == UpstreamError::NotFound {
                self.keep_empty(subject).await;
            }
            return Ok(found);
        }
        Err(RegistryError::upstream(&error, self.upstream()))
    }

    /// Records that nothing refers to a stored manifest, for an upstream without referrers lists. The record serves while the
    /// upstream is gone.
    async fn keep_empty(&self, subject: &Digest) {
        let linked = self.store().link(self.name(), subject).await;
        if linked.is_ok_and(|link| link.is_some()) {
            let seen = self.cached.context.machine.clock.unix_seconds();
            let record = ReferrersRecord { referrers: Referrers::default(), seen };
            self.is_written(self.store().set_referrers(self.name(), subject, &record).await);
        }
    }

    /// Returns the index that replaces the list where an upstream has no referrers API (OCI distribution-spec 1.1, "Referrers
    /// Tag Schema").
    async fn referrers_by_tag(&self, tag: Tag) -> Result<Found<Arc<Referrers>>, RegistryError> {
        match self.manifest(&Reference::Tag(tag)).await {
            Ok(found) => Ok(found.map(|held| {
                let index = Referrers::parse(&held.body, Some(&held.info.media_type));
                Arc::new(index.unwrap_or_default())
            })),
            Err(RegistryError::ManifestUnknown { .. }) => Ok(Found::mirrored(Arc::default(), CacheStatus::Miss)),
            Err(other) => Err(other),
        }
    }

    /// Asks the upstream for the list, once for all waiters. `NotFound` means that the upstream has no referrers API.
    async fn fetch_referrers(&self, subject: &Digest) -> (Result<Arc<Referrers>, UpstreamError>, CacheStatus) {
        let (key, mirror, subject) = ((self.name().clone(), *subject), self.clone(), *subject);
        let work = move || async move {
            match mirror.recent_referrers(&subject).await {
                Some(known) => known,
                None => {
                    let answer = mirror.ask_for_referrers(&subject).await;
                    mirror.note_list(Asked::Referrers(subject), answer).await
                }
            }
        };
        self.landed(self.cached.context.flights.referrers.run(key, work).await)
    }

    /// Returns the latest answer if it is recent. Another request may just have asked.
    async fn recent_referrers(&self, subject: &Digest) -> Option<Result<Arc<Referrers>, UpstreamError>> {
        if self.is_absent(Asked::Referrers(*subject)).await {
            return Some(Err(UpstreamError::NotFound));
        }
        if self.is_unkept(Asked::Referrers(*subject)).await {
            return Some(Ok(Arc::default()));
        }
        let kept = self.store().referrers(self.name(), subject).await.ok().flatten()?;
        self.is_fresh(kept.seen).then(|| Ok(Arc::new(kept.referrers)))
    }

    /// Returns true if a list is kept that is not empty.
    async fn has_referrers(&self, subject: &Digest) -> bool {
        let kept = self.store().referrers(self.name(), subject).await;
        kept.is_ok_and(|kept| kept.is_some_and(|record| !record.referrers.is_empty()))
    }

    async fn ask_for_referrers(&self, subject: &Digest) -> Result<Arc<Referrers>, UpstreamError> {
        // The list is as old as the question.
        let seen = self.cached.context.machine.clock.unix_seconds();
        let store = self.store();
        let answered = || self.note_answer(Asked::Referrers(*subject));
        let referrers = match self.remote.upstream.referrers(self.name().repository(), subject, &answered).await? {
            ReferrersAnswer::List(referrers) => referrers,
            // The upstream has had the list, so the page in its place is a failure.
            ReferrersAnswer::NotAList(error) if self.has_referrers(subject).await => return Err(error),
            ReferrersAnswer::Unsupported | ReferrersAnswer::NotAList(_) => {
                self.is_written(store.remove_referrers(self.name(), subject).await);
                return Err(UpstreamError::NotFound);
            }
        };
        // Clients may ask about any digest, and upstreams have an empty list for each of them. An empty list is kept only for a
        // manifest that this repository has.
        let linked = store.link(self.name(), subject).await;
        if referrers.is_empty() && !linked.is_ok_and(|link| link.is_some()) {
            self.note_unkept(Asked::Referrers(*subject)).await;
            return Ok(Arc::default());
        }
        let record = ReferrersRecord { referrers, seen };
        self.is_written(store.set_referrers(self.name(), subject, &record).await);
        Ok(Arc::new(record.referrers))
    }
}
