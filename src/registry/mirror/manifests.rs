//! Manifests of a mirrored repository: answered from what is held, asked for, and kept.

use super::Mirror;
use super::absences::Asked;
use super::freshness::Settled;
use crate::oci::{Digest, Manifest, MediaType, Reference, Tag};
use crate::registry::{CacheStatus, Found, HeldManifest, ManifestInfo, RegistryError};
use crate::store::{LinkRecord, Right, StoreError, TagRecord};
use crate::upstream::{FetchedManifest, ManifestHead, UpstreamError};

impl Mirror {
    /// Answers a HEAD. For what is not held nothing is downloaded.
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
        let Some(record) = self.store().tag(self.upstream(), &self.name, tag).await? else {
            return self.head_upstream(reference).await;
        };
        match self.settle(tag, &record).await? {
            Settled::Stands(status) => Ok(Found::mirrored(record.into(), status)),
            Settled::Stale(why) => Ok(self.stale(record.into(), why)),
            Settled::Changed(held) => Ok(Found::mirrored(held.info, CacheStatus::Miss)),
        }
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
        let Some(record) = self.known(tag).await? else {
            return self.fetch(reference).await;
        };
        let settled = self.settle(tag, &record).await?;
        match (self.held(&record.digest).await?, settled) {
            (Some(held), Settled::Stale(why)) => Ok(self.stale(held, why)),
            (Some(held), Settled::Stands(status)) => Ok(Found::mirrored(held, status)),
            (_, Settled::Changed(held)) => Ok(Found::mirrored(held, CacheStatus::Miss)),
            // Known by a HEAD, or evicted.
            (None, _) => match self.fetch(&Reference::Digest(record.digest)).await {
                Err(RegistryError::ManifestUnknown { .. }) => self.fetch(reference).await,
                fetched => fetched,
            },
        }
    }

    /// What is known of a tag; a HEAD that is under way is waited for, since whoever sent it fetches the digest that it names.
    async fn known(&self, tag: &Tag) -> Result<Option<TagRecord>, RegistryError> {
        let look = || self.store().tag(self.upstream(), &self.name, tag);
        if let Some(record) = look().await? {
            return Ok(Some(record));
        }
        if self.registry.flights().heads.is_running(&(self.target(), tag.to_string())) {
            // What it says is written down; an error of it is found out again by the GET.
            let _ = self.ask(&Reference::Tag(tag.clone())).await;
            return Ok(look().await?);
        }
        Ok(None)
    }

    async fn manifest_by_digest(&self, digest: &Digest) -> Result<Found<HeldManifest>, RegistryError> {
        match self.held(digest).await? {
            Some(held) => Ok(Found::mirrored(held, CacheStatus::Hit)),
            None => self.fetch(&Reference::Digest(*digest)).await,
        }
    }

    /// A manifest that is held and that this repository may serve; it is used now.
    pub(super) async fn held(&self, digest: &Digest) -> Result<Option<HeldManifest>, RegistryError> {
        let held = self.look(digest).await?;
        if held.is_some() {
            self.registry.quota().used(digest);
        }
        Ok(held)
    }

    /// One HEAD for all who ask at the same time. What it says is written down whether or not anybody still waits.
    pub(super) async fn ask(&self, reference: &Reference) -> (Result<ManifestHead, UpstreamError>, CacheStatus) {
        let key = (self.target(), reference.to_string());
        let (mirror, reference) = (self.clone(), reference.clone());
        let work = move || async move {
            if let Reference::Tag(tag) = &reference
                && let Ok(Some(record)) = mirror.store().tag(mirror.upstream(), &mirror.name, tag).await
                && mirror.is_fresh(record.seen)
            {
                // Another request has just asked.
                let TagRecord { digest, media_type, size, .. } = record;
                return Ok(ManifestHead { digest: Some(digest), media_type: Some(media_type), size: Some(size) });
            }
            if mirror.is_absent(Asked::Manifest(reference.clone())).await {
                return Err(UpstreamError::NotFound);
            }
            let head = mirror.remote.upstream.head_manifest(&mirror.name, &reference).await;
            mirror.learn(&reference, &head).await;
            head
        };
        self.landed(self.registry.flights().heads.run(key, work).await)
    }

    /// Writes down what a HEAD said.
    async fn learn(&self, reference: &Reference, head: &Result<ManifestHead, UpstreamError>) {
        match head {
            Ok(_) => self.remote.spoke(),
            Err(error) => self.heard(error),
        }
        self.note_absence(Asked::Manifest(reference.clone()), head).await;
        let learnt = match (reference, head) {
            (Reference::Tag(tag), Ok(head)) => self.learn_tag(tag, head).await,
            (Reference::Digest(digest), Ok(head)) => self.learn_digest(digest, head).await,
            (Reference::Tag(tag), Err(UpstreamError::NotFound)) => {
                self.store().untag(self.upstream(), &self.name, tag).await.map(|_| ())
            }
            _ => Ok(()),
        };
        if let Err(error) = learnt {
            tracing::warn!(%error, "what the upstream said was not written down; it will be asked again");
        }
    }

    async fn learn_tag(&self, tag: &Tag, head: &ManifestHead) -> Result<(), StoreError> {
        match self.store().tag(self.upstream(), &self.name, tag).await? {
            Some(known) if head.digest == Some(known.digest) => return self.set_tag(tag, &known.into()).await,
            // Whoever asked fetches the new content first: see `refresh`.
            Some(_) => return Ok(()),
            None => {}
        }
        let Some((digest, info)) = head.digest.zip(info_of(head)) else { return Ok(()) };
        self.learn_digest(&digest, head).await?;
        self.set_tag(tag, &info).await
    }

    /// The upstream has it. How long it is, is recorded when it has arrived: a HEAD may be wrong.
    async fn learn_digest(&self, digest: &Digest, head: &ManifestHead) -> Result<(), StoreError> {
        let Some(info) = info_of(head).filter(|info| info.digest == *digest) else { return Ok(()) };
        self.digest_is_there(*digest).await;
        let known = self.store().link(self.upstream(), &self.name, digest).await?;
        let size = known.filter(|known| known.right.is_proven()).and_then(|known| known.size);
        let link = LinkRecord { right: self.right(), media_type: info.media_type, size };
        self.store().set_links(self.upstream(), &self.name, vec![(*digest, link)]).await
    }

    /// HEAD of what is not known here.
    async fn head_upstream(&self, reference: &Reference) -> Result<Found<ManifestInfo>, RegistryError> {
        if self.registry.flights().manifests.is_running(&(self.target(), reference.to_string())) {
            // It is on its way: whoever asks for its digest next must find it, and not fetch it a second time.
            return Ok(self.fetch(reference).await?.map(|held| held.info));
        }
        let unknown = |error| RegistryError::manifest(&error, &self.source(None).key(), reference);
        if self.is_absent(Asked::Manifest(reference.clone())).await {
            return Err(unknown(UpstreamError::NotFound).remembered());
        }
        let (head, status) = self.ask(reference).await;
        let head = head.map_err(unknown)?;
        match info_of(&head) {
            Some(info) => Ok(Found::mirrored(info, status)),
            // An upstream that does not say what a client needs to know: only the manifest itself tells.
            None => Ok(self.fetch(reference).await?.map(|held| held.info)),
        }
    }

    /// Fetches what a changed tag names now, and lets the tag name it.
    pub(super) async fn renew(&self, tag: &Tag, digest: Option<Digest>) -> Result<HeldManifest, RegistryError> {
        let found = match digest {
            Some(digest) => self.manifest_by_digest(&digest).await?,
            None => self.fetch(&Reference::Tag(tag.clone())).await?,
        };
        self.set_tag(tag, &found.value.info).await?;
        Ok(found.value)
    }

    /// Fetches a manifest: once for all who ask at the same time. Verified, stored and linked before it is answered.
    async fn fetch(&self, reference: &Reference) -> Result<Found<HeldManifest>, RegistryError> {
        let key = (self.target(), reference.to_string());
        let (mirror, asked) = (self.clone(), reference.clone());
        let work = move || async move {
            // Whoever comes just after a flight has ended may have looked before it did.
            if let Ok(Some(held)) = mirror.held_now(&asked).await {
                return Ok(held);
            }
            let unknown = |error| RegistryError::manifest(&error, &mirror.source(None).key(), &asked);
            if mirror.is_absent(Asked::Manifest(asked.clone())).await {
                return Err(unknown(UpstreamError::NotFound).remembered());
            }
            let fetched = mirror.remote.upstream.get_manifest(&mirror.name, &asked).await;
            mirror.note_absence(Asked::Manifest(asked.clone()), &fetched).await;
            match fetched {
                Ok(fetched) => mirror.keep(&asked, fetched).await,
                Err(error) => {
                    mirror.heard(&error);
                    Err(unknown(error))
                }
            }
        };
        let flight = self.registry.flights().manifests.run(key, work).await;
        let flight =
            flight.map_err(|interrupted| RegistryError::upstream(&self.interrupted(interrupted), self.upstream()))?;
        Ok(Found::mirrored(flight.value?, CacheStatus::asked(flight.joined)))
    }

    /// What a reference names, if it is held and fresh.
    async fn held_now(&self, reference: &Reference) -> Result<Option<HeldManifest>, RegistryError> {
        match reference {
            Reference::Digest(digest) => self.held(digest).await,
            Reference::Tag(tag) => match self.store().tag(self.upstream(), &self.name, tag).await? {
                Some(record) if self.is_fresh(record.seen) => self.held(&record.digest).await,
                _ => Ok(None),
            },
        }
    }

    /// Stores a manifest that has arrived, and records what it names.
    async fn keep(&self, reference: &Reference, fetched: FetchedManifest) -> Result<HeldManifest, RegistryError> {
        self.remote.spoke();
        let parsed = Manifest::parse(&fetched.body, fetched.media_type.as_ref());
        let manifest = parsed.and_then(|manifest| manifest.check_kind().map(|()| manifest)).map_err(|error| {
            let message = format!("{} sent something else than a manifest for {reference}: {error}", self.target());
            RegistryError::useless(self.upstream(), message)
        })?;
        let info = ManifestInfo {
            digest: fetched.digest,
            media_type: manifest.media_type().clone(),
            size: fetched.body.len() as u64,
        };
        let held = HeldManifest { info, body: fetched.body };
        self.manifest_is_there(&held, &manifest).await;
        let kept = async {
            self.record(&held, &manifest).await?;
            match reference {
                Reference::Tag(tag) => self.set_tag(tag, &held.info).await,
                Reference::Digest(_) => Ok(()),
            }
        };
        if let Err(error) = kept.await {
            tracing::error!(%error, repository = %self.target(), "a manifest could not be stored; it is served without being kept");
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
        let links = std::iter::once((digest, own)).chain(named).collect();
        // Room first: on a full disk the links too need what is evicted for it.
        let room = self.registry.quota().reserve(size).await;
        self.store().set_links(self.upstream(), &self.name, links).await?;
        if room.is_ok() {
            self.store().put(&digest, held.body.clone()).await?;
            self.registry.quota().stored(digest, size, self.right());
        }
        Ok(())
    }

    async fn set_tag(&self, tag: &Tag, info: &ManifestInfo) -> Result<(), StoreError> {
        self.forget_absence(Asked::Manifest(Reference::Tag(tag.clone()))).await;
        let seen = self.registry.clock().unix_seconds();
        let ManifestInfo { digest, media_type, size } = info.clone();
        let record = TagRecord { digest, media_type, size, seen };
        self.store().set_tag(self.upstream(), &self.name, tag, &record).await
    }

    fn right(&self) -> Right {
        self.source(None).right()
    }
}

/// What a HEAD tells, if it tells all.
fn info_of(head: &ManifestHead) -> Option<ManifestInfo> {
    let media_type: MediaType = head.media_type.clone()?;
    Some(ManifestInfo { digest: head.digest?, media_type, size: head.size? })
}

impl From<TagRecord> for ManifestInfo {
    fn from(record: TagRecord) -> Self {
        Self { digest: record.digest, media_type: record.media_type, size: record.size }
    }
}
