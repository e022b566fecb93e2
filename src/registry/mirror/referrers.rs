//! What refers to the manifests of a mirrored repository: asked of the upstream, kept, and aged as tags are.

use std::sync::Arc;

use super::Mirror;
use super::absences::Asked;
use super::freshness::{Settled, is_answer};
use crate::oci::{Digest, Reference, Referrers, Tag};
use crate::registry::{CacheStatus, Found, RegistryError};
use crate::store::ReferrersRecord;
use crate::upstream::UpstreamError;

impl Mirror {
    /// What refers to a manifest. Nothing is an answer too.
    pub(in crate::registry) async fn referrers(
        &self,
        subject: &Digest,
    ) -> Result<Found<Arc<Referrers>>, RegistryError> {
        let (brought, status) = match self.store().referrers(self.upstream(), &self.name, subject).await? {
            None => self.bring_referrers(subject).await,
            Some(record) => {
                let (mirror, asked) = (self.clone(), *subject);
                match self.settle_list(record.seen, async move { mirror.bring_referrers(&asked).await.0 }).await {
                    Settled::Stands(status) => return Ok(Found::mirrored(Arc::new(record.referrers), status)),
                    Settled::Stale(why) => return Ok(self.stale(Arc::new(record.referrers), why)),
                    Settled::Changed(brought) => (brought, CacheStatus::Revalidated),
                }
            }
        };
        let error = match brought {
            Ok(referrers) => return Ok(Found::mirrored(referrers, status)),
            Err(error) => error,
        };
        let tag = Tag::of_referrers(subject);
        let known = || self.store().tag(self.upstream(), &self.name, &tag);
        if error == UpstreamError::NotFound || (!is_answer(&error) && known().await?.is_some()) {
            let found = self.referrers_by_tag(tag).await?;
            if found.value.is_empty() && error == UpstreamError::NotFound {
                self.keep_none(subject).await;
            }
            return Ok(found);
        }
        Err(RegistryError::upstream(&error, self.upstream()))
    }

    /// Nothing refers to a manifest of ours, as far as an upstream without such lists can tell: that too is served when it is gone.
    async fn keep_none(&self, subject: &Digest) {
        let linked = self.store().link(self.upstream(), &self.name, subject).await;
        if linked.is_ok_and(|link| link.is_some()) {
            let record =
                ReferrersRecord { referrers: Referrers::default(), seen: self.registry.clock().unix_seconds() };
            self.is_written(self.store().set_referrers(self.upstream(), &self.name, subject, &record).await);
        }
    }

    /// The index that stands in for the list where an upstream does not know such lists (distribution-spec, "Referrers Tag
    /// Schema").
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

    /// The list, asked of the upstream once for all who wait. `NotFound`: it does not know such lists.
    async fn bring_referrers(&self, subject: &Digest) -> (Result<Arc<Referrers>, UpstreamError>, CacheStatus) {
        let (key, mirror, subject) = ((self.target(), *subject), self.clone(), *subject);
        let work = move || async move {
            match mirror.known_referrers(&subject).await {
                Some(known) => known,
                None => {
                    let brought = mirror.ask_for_referrers(&subject).await;
                    mirror.brought(Asked::Referrers(subject), brought).await
                }
            }
        };
        self.landed(self.registry.flights().referrers.run(key, work).await)
    }

    /// What was said of them lately: another request may just have asked.
    async fn known_referrers(&self, subject: &Digest) -> Option<Result<Arc<Referrers>, UpstreamError>> {
        if self.is_absent(Asked::Referrers(*subject)).await {
            return Some(Err(UpstreamError::NotFound));
        }
        if self.is_unkept(Asked::Referrers(*subject)).await {
            return Some(Ok(Arc::default()));
        }
        let kept = self.store().referrers(self.upstream(), &self.name, subject).await.ok().flatten()?;
        self.is_fresh(kept.seen).then(|| Ok(Arc::new(kept.referrers)))
    }

    async fn ask_for_referrers(&self, subject: &Digest) -> Result<Arc<Referrers>, UpstreamError> {
        // They are as old as the question.
        let seen = self.registry.clock().unix_seconds();
        let store = self.store();
        let spoke = || self.remote.spoke();
        let Some(referrers) = self.remote.upstream.referrers(&self.name, subject, &spoke).await? else {
            self.is_written(store.remove_referrers(self.upstream(), &self.name, subject).await);
            return Err(UpstreamError::NotFound);
        };
        // Anybody may ask about any digest, and upstreams have an empty list for each: those that nobody needs are not kept.
        let linked = store.link(self.upstream(), &self.name, subject).await;
        if referrers.is_empty() && !linked.is_ok_and(|link| link.is_some()) {
            self.note_unkept(Asked::Referrers(*subject)).await;
            return Ok(Arc::default());
        }
        let record = ReferrersRecord { referrers, seen };
        self.is_written(store.set_referrers(self.upstream(), &self.name, subject, &record).await);
        Ok(Arc::new(record.referrers))
    }
}
