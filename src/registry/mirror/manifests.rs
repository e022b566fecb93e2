//! Manifests of a mirrored repository: served from the cache, or fetched and stored.

use super::freshness::Settled;
use super::negative_cache::Asked;
use super::repository::MirrorRepository;
use crate::oci::{Digest, Manifest, MediaType, Reference, Tag};
use crate::registry::answer::{CacheStatus, Found, HeldManifest, ManifestInfo};
use crate::registry::error::RegistryError;
use crate::store::{LINK_BYTES, LinkRecord, Right, StoreError, TagRecord};
use crate::upstream::{FetchedManifest, ManifestHead, UpstreamError};

impl MirrorRepository {
    /// Answers a HEAD. A manifest that is not cached is not downloaded for it.
    pub(in crate::registry) async fn head_manifest(
        &self,
        reference: &Reference,
    ) -> Result<Found<ManifestInfo>, RegistryError> {
        let tag = match reference {
            Reference::Digest(digest) => match self.held(digest).await? {
                Some(held) => return Ok(Found::mirrored(held.info, CacheStatus::Hit)),
                None => return self.head_upstream(reference).await,
            },
            Reference::Tag(tag) => tag,
        };
        let Some(record) = self.store().tag(self.name(), tag).await? else {
            return self.head_upstream(reference).await;
        };
        match self.settle(tag, &record).await? {
            Settled::Stands(status) => Ok(Found::mirrored(self.tagged_info(record).await?, status)),
            Settled::Stale(why) => Ok(self.stale(self.tagged_info(record).await?, why, tagged(tag))),
            Settled::Changed(held) => Ok(self.relayed(Found::mirrored(held.info, CacheStatus::Miss), tagged(tag))),
        }
    }

    /// Returns the facts about the manifest that a tag names. The size and the media type that a HEAD told count only while the
    /// manifest is not stored.
    async fn tagged_info(&self, record: TagRecord) -> Result<ManifestInfo, RegistryError> {
        let held = self.cached.stored_manifest(&record.digest).await?;
        Ok(held.map_or_else(|| record.into(), |held| held.info))
    }

    /// Answers a GET.
    pub(in crate::registry) async fn manifest(
        &self,
        reference: &Reference,
    ) -> Result<Found<HeldManifest>, RegistryError> {
        let tag = match reference {
            Reference::Digest(digest) => return self.manifest_by_digest(digest).await,
            Reference::Tag(tag) => tag,
        };
        let Some(record) = self.tag_record(tag).await? else {
            return self.fetch(reference).await;
        };
        let settled = self.settle(tag, &record).await?;
        match (self.held(&record.digest).await?, settled) {
            (Some(held), Settled::Stale(why)) => Ok(self.stale(held, why, tagged(tag))),
            (Some(held), Settled::Stands(status)) => Ok(Found::mirrored(held, status)),
            (_, Settled::Changed(held)) => Ok(self.relayed(Found::mirrored(held, CacheStatus::Miss), tagged(tag))),
            // The tag is known from a HEAD only, or its manifest was evicted.
            (None, settled) => match (self.fetch(&Reference::Digest(record.digest)).await, settled) {
                // The digest may come from a HEAD, which is only a hint.
                (Err(_), _) => self.fetch(reference).await,
                (Ok(fetched), Settled::Stale(why)) => Ok(self.stale(fetched.value, why, tagged(tag))),
                (Ok(fetched), _) => Ok(fetched),
            },
        }
    }

    /// Returns a manifest as the upstream has it now. If a tag is older than its TTL, the upstream is asked about it first,
    /// even if that takes long. The cached manifest is served only if no answer comes.
    pub(in crate::registry) async fn current_manifest(
        &self,
        reference: &Reference,
    ) -> Result<Found<HeldManifest>, RegistryError> {
        if let Reference::Tag(tag) = reference
            && let Some(record) = self.store().tag(self.name(), tag).await?
            && self.age(record.seen) > self.remote.tag_ttl
            && !self.remote.is_avoided(&self.question(tagged(tag)))
        {
            // The question records its answer, and the read below finds it. It also decides about a failure.
            self.refresh(tag, record.digest, self.situation(record.seen, tagged(tag))).await;
        }
        self.manifest(reference).await
    }

    /// Returns the record of a tag. Waits for a HEAD that is running: the client that sent it fetches the digest that it names.
    async fn tag_record(&self, tag: &Tag) -> Result<Option<TagRecord>, RegistryError> {
        let read = || self.store().tag(self.name(), tag);
        if let Some(record) = read().await? {
            return Ok(Some(record));
        }
        let reference = Reference::Tag(tag.clone());
        if self.cached.context.flights.manifest_heads.is_running(&(self.name().clone(), reference.clone())) {
            // The answer is recorded. The GET that follows finds out its error again.
            let _ = self.ask(&reference, 0).await;
            return Ok(read().await?);
        }
        Ok(None)
    }

    async fn manifest_by_digest(&self, digest: &Digest) -> Result<Found<HeldManifest>, RegistryError> {
        match self.held(digest).await? {
            Some(held) => Ok(Found::mirrored(held, CacheStatus::Hit)),
            None => self.fetch(&Reference::Digest(*digest)).await,
        }
    }

    /// Returns a cached manifest that this repository may serve, and counts the use.
    pub(super) async fn held(&self, digest: &Digest) -> Result<Option<HeldManifest>, RegistryError> {
        let held = self.cached.stored_manifest(digest).await?;
        if held.is_some() {
            self.cached.context.ledger.used(digest);
        }
        Ok(held)
    }

    /// Sends one HEAD for all requests that ask at the same time. The answer is recorded even if no request waits any more.
    /// A tag that was confirmed after `since`, in seconds since 1970, and is fresh is not asked about again.
    pub(super) async fn ask(
        &self,
        reference: &Reference,
        since: u64,
    ) -> (Result<ManifestHead, UpstreamError>, CacheStatus) {
        let key = (self.name().clone(), reference.clone());
        let (mirror, reference) = (self.clone(), reference.clone());
        let work = move || async move {
            if let Reference::Tag(tag) = &reference
                && let Ok(Some(record)) = mirror.store().tag(mirror.name(), tag).await
                && record.seen >= since
                && mirror.is_fresh(record.seen)
            {
                // Another request has just asked.
                let TagRecord { digest, media_type, size, .. } = record;
                let (media_type, size) = (Some(media_type), Some(size));
                return Ok(ManifestHead { digest: Some(digest), media_type, size, stale: None });
            }
            if mirror.is_absent(Asked::Manifest(reference.clone())).await {
                return Err(UpstreamError::NotFound);
            }
            let head = mirror.remote.upstream.head_manifest(mirror.name().repository(), &reference).await;
            mirror.learn(&reference, &head).await;
            head
        };
        self.landed(self.cached.context.flights.manifest_heads.run(key, work).await)
    }

    /// Records the answer to a HEAD. An empty answer says nothing; the GET that follows decides.
    async fn learn(&self, reference: &Reference, head: &Result<ManifestHead, UpstreamError>) {
        let asked = Asked::Manifest(reference.clone());
        match head {
            Ok(head) if head.digest.is_some() => self.note_freshness(asked, head.stale.as_deref()),
            Ok(_) => {}
            Err(error) => self.note_error(asked, error).await,
        }
        let learnt = match (reference, head) {
            (Reference::Tag(tag), Ok(head)) => self.learn_tag(tag, head).await,
            (Reference::Digest(digest), Ok(head)) => self.learn_digest(digest, head).await,
            _ => Ok(()),
        };
        if let Err(error) = learnt {
            tracing::warn!(%error, "an answer of the upstream could not be recorded; the upstream will be asked again");
        }
    }

    async fn learn_tag(&self, tag: &Tag, head: &ManifestHead) -> Result<(), StoreError> {
        match self.store().tag(self.name(), tag).await? {
            // An upstream that serves an old copy confirms nothing.
            Some(known) if head.digest == Some(known.digest) && head.stale.is_some() => return Ok(()),
            Some(known) if head.digest == Some(known.digest) => return self.set_tag(tag, &known.into()).await,
            // The caller fetches the new content first: see `refresh`.
            Some(_) => return Ok(()),
            None => {}
        }
        let Some((digest, info)) = head.digest.zip(info_of(head)) else { return Ok(()) };
        self.learn_digest(&digest, head).await?;
        self.set_tag(tag, &info).await
    }

    /// Records that the upstream has this digest. Its size is recorded once the content has arrived, since a HEAD may be wrong.
    async fn learn_digest(&self, digest: &Digest, head: &ManifestHead) -> Result<(), StoreError> {
        let Some(info) = info_of(head).filter(|info| info.digest == *digest) else { return Ok(()) };
        self.note_present(*digest).await;
        let known = self.store().link(self.name(), digest).await?;
        let size = known.filter(|known| known.right.is_proven()).and_then(|known| known.size);
        let link = LinkRecord { right: self.right(), media_type: info.media_type, size };
        self.store().set_links(self.name(), vec![(*digest, link)]).await
    }

    /// Answers a HEAD of a manifest about which nothing is recorded.
    async fn head_upstream(&self, reference: &Reference) -> Result<Found<ManifestInfo>, RegistryError> {
        if self.cached.context.flights.manifests.is_running(&(self.name().clone(), reference.clone())) {
            // A GET is running. The client will ask for the digest next and must find it, not fetch it a second time.
            return Ok(self.fetch(reference).await?.map(|held| held.info));
        }
        let failed = |error| self.manifest_error(&error, reference);
        if self.is_absent(Asked::Manifest(reference.clone())).await {
            return Err(failed(UpstreamError::NotFound).remembered());
        }
        let (head, status) = self.ask(reference, 0).await;
        let head = head.map_err(failed)?;
        match info_of(&head) {
            Some(info) => Ok(self.relayed(Found::mirrored(info, status), Asked::Manifest(reference.clone()))),
            // The HEAD lacks facts that a client needs, so the manifest itself is fetched.
            None => Ok(self.fetch(reference).await?.map(|held| held.info)),
        }
    }

    /// Fetches the new content of a changed tag, and then sets the tag to it.
    pub(super) async fn renew(&self, tag: &Tag, digest: Option<Digest>) -> Result<HeldManifest, RegistryError> {
        let by_digest = match digest {
            Some(digest) => self.manifest_by_digest(&digest).await.ok(),
            None => None,
        };
        let found = match by_digest {
            Some(found) => found,
            // No HEAD has named the digest, or it named one that does not exist.
            None => self.fetch(&Reference::Tag(tag.clone())).await?,
        };
        if let Err(error) = self.set_tag(tag, &found.value.info).await {
            tracing::warn!(%error, repository = %self.name(), %tag, "a tag has changed, and this could not be recorded; the new content is served");
        }
        Ok(found.value)
    }

    /// Fetches a manifest once for all requests that ask at the same time. It is verified, stored and linked before it is served.
    async fn fetch(&self, reference: &Reference) -> Result<Found<HeldManifest>, RegistryError> {
        let key = (self.name().clone(), reference.clone());
        let (mirror, asked) = (self.clone(), reference.clone());
        let work = move || async move {
            // A request that comes just after a fetch has ended may have read the store before that.
            if let Ok(Some(held)) = mirror.held_now(&asked).await {
                return Ok(held);
            }
            let failed = |error| mirror.manifest_error(&error, &asked);
            if mirror.is_absent(Asked::Manifest(asked.clone())).await {
                return Err(failed(UpstreamError::NotFound).remembered());
            }
            let fetched = mirror.remote.upstream.get_manifest(mirror.name().repository(), &asked).await;
            mirror.note_absence(Asked::Manifest(asked.clone()), &fetched).await;
            match fetched {
                Ok(fetched) => mirror.keep(&asked, fetched).await,
                Err(error) => {
                    mirror.note_error(Asked::Manifest(asked.clone()), &error).await;
                    mirror.forget_absent_tag(&asked, &error).await;
                    Err(failed(error))
                }
            }
        };
        let flight = self.cached.context.flights.manifests.run(key, work).await;
        let flight =
            flight.map_err(|interrupted| RegistryError::upstream(&self.interrupted(interrupted), self.upstream()))?;
        let found = Found::mirrored(flight.value?, CacheStatus::asked(flight.joined));
        Ok(self.relayed(found, Asked::Manifest(reference.clone())))
    }

    /// Removes a tag that the upstream does not have any more.
    async fn forget_absent_tag(&self, reference: &Reference, error: &UpstreamError) {
        let (Reference::Tag(tag), UpstreamError::NotFound) = (reference, error) else { return };
        if let Err(error) = self.store().untag(self.name(), tag).await {
            tracing::warn!(%error, repository = %self.name(), %tag, "a tag that the upstream does not have any more could not be removed");
        }
    }

    /// Returns the manifest that a reference names, if it is cached and fresh.
    async fn held_now(&self, reference: &Reference) -> Result<Option<HeldManifest>, RegistryError> {
        match reference {
            Reference::Digest(digest) => self.held(digest).await,
            Reference::Tag(tag) => match self.store().tag(self.name(), tag).await? {
                Some(record) if self.is_fresh(record.seen) => self.held(&record.digest).await,
                _ => Ok(None),
            },
        }
    }

    /// Stores a manifest that has arrived, and records the content that it names.
    async fn keep(&self, reference: &Reference, fetched: FetchedManifest) -> Result<HeldManifest, RegistryError> {
        self.note_freshness(Asked::Manifest(reference.clone()), fetched.stale.as_deref());
        let parsed = Manifest::parse(&fetched.body, fetched.media_type.as_ref());
        let manifest = parsed.and_then(|manifest| manifest.check_kind().map(|()| manifest)).map_err(|error| {
            let message = format!("the answer of {} for {reference} is not a manifest: {error}", self.name());
            RegistryError::bad_answer(self.upstream(), message)
        })?;
        let info = ManifestInfo {
            digest: fetched.digest,
            media_type: manifest.media_type().clone(),
            size: fetched.body.len() as u64,
        };
        let held = HeldManifest { info, body: fetched.body };
        self.note_manifest(&held, &manifest).await;
        let kept = async {
            self.record(&held, &manifest).await?;
            match reference {
                Reference::Tag(tag) => self.set_tag(tag, &held.info).await,
                Reference::Digest(_) => Ok(()),
            }
        };
        if let Err(error) = kept.await {
            tracing::error!(%error, repository = %self.name(), "a manifest could not be stored; it is served without being kept");
        }
        Ok(held)
    }

    async fn record(&self, held: &HeldManifest, manifest: &Manifest) -> Result<(), StoreError> {
        let ManifestInfo { digest, media_type, size } = held.info.clone();
        let own = LinkRecord { right: self.right(), media_type, size: Some(size) };
        let named = manifest.named().map(|descriptor| {
            let link = LinkRecord {
                right: Right::Named,
                media_type: descriptor.media_type.clone(),
                size: Some(descriptor.size),
            };
            (descriptor.digest, link)
        });
        let links: Vec<_> = std::iter::once((digest, own)).chain(named).collect();
        // Links take space too. If there is none, the manifest is served without being kept, and its links are for nothing.
        let space = size + links.len() as u64 * LINK_BYTES;
        let Ok(reservation) = self.cached.context.ledger.reserve(space).await else { return Ok(()) };
        let _alone = self.store().lock_blob(&digest).await;
        self.store().set_links(self.name(), links).await?;
        self.store().put(&digest, held.body.clone()).await?;
        self.cached.context.ledger.stored(digest, size, self.right(), Some(reservation));
        Ok(())
    }

    async fn set_tag(&self, tag: &Tag, info: &ManifestInfo) -> Result<(), StoreError> {
        self.cached.forget_absence(Asked::Manifest(Reference::Tag(tag.clone()))).await;
        let seen = self.confirmed_at(tagged(tag));
        let ManifestInfo { digest, media_type, size } = info.clone();
        let record = TagRecord { digest, media_type, size, seen, followed: false };
        self.store().set_tag(self.name(), tag, &record).await
    }
}

fn tagged(tag: &Tag) -> Asked {
    Asked::Manifest(Reference::Tag(tag.clone()))
}

/// Returns the facts that a HEAD states, if it states all of them.
fn info_of(head: &ManifestHead) -> Option<ManifestInfo> {
    let media_type: MediaType = head.media_type.clone()?;
    Some(ManifestInfo { digest: head.digest?, media_type, size: head.size? })
}

impl From<TagRecord> for ManifestInfo {
    fn from(record: TagRecord) -> Self {
        Self { digest: record.digest, media_type: record.media_type, size: record.size }
    }
}
