//! The confirmation of a tag that clients pull (`mirror.follow`), before they pull it again.

use super::flights::Refreshed;
use super::negative_cache::Asked;
use super::repository::MirrorRepository;
use crate::oci::{Digest, Manifest, Platform, Platforms, Reference, Tag};
use crate::registry::error::RegistryError;
use crate::store::TagPulls;

/// The result of a confirmation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmed {
    /// The tag names this manifest now.
    Names(Digest),
    /// The tag is not cached any more, or the upstream does not have it.
    Gone,
    /// The upstream allows few more pulls, so the new content waits.
    Postponed,
}

impl MirrorRepository {
    /// Returns true if requests that only renew cached content should wait, because the upstream allows few more pulls or
    /// does not answer.
    pub(in crate::registry) fn renewal_waits(&self, tag: &Tag) -> bool {
        let question = self.question(Asked::Manifest(Reference::Tag(tag.clone())));
        self.remote.upstream.spares_pulls() || self.remote.is_avoided(&question)
    }

    /// Returns an error if a manifest would have to be fetched although the upstream allows few more pulls.
    pub(in crate::registry) async fn check_reserve(&self, manifest: &Digest) -> Result<(), RegistryError> {
        if !self.remote.upstream.spares_pulls() || self.held(manifest).await?.is_some() {
            return Ok(());
        }
        let upstream = self.upstream();
        let message = format!("{upstream} allows few more pulls, so the manifest {manifest} is fetched later");
        Err(RegistryError::bad_answer(upstream, message))
    }

    /// Asks the upstream whether a tag has moved, unless the tag is fresh and was confirmed since the window opened, and
    /// fetches its new manifest. From then on the tag counts as followed. `opened` is in seconds since 1970.
    pub(in crate::registry) async fn confirm(&self, tag: &Tag, opened: u64) -> Result<Confirmed, RegistryError> {
        let Some(record) = self.store().tag(self.name(), tag).await? else { return Ok(Confirmed::Gone) };
        if record.seen < opened || !self.is_fresh(record.seen) {
            let asked = Asked::Manifest(Reference::Tag(tag.clone()));
            let mut situation = self.situation(record.seen, asked);
            situation.since = opened;
            match self.refresh(tag, record.digest, situation).await {
                Refreshed::Unchanged | Refreshed::Changed(_) => {}
                Refreshed::Postponed | Refreshed::Unconfirmed => return Ok(Confirmed::Postponed),
                Refreshed::Failed(error) => return Err(self.manifest_error(&error, &Reference::Tag(tag.clone()))),
                Refreshed::Refused(error) | Refreshed::Unfetched(error) => return Err(error),
            }
        }
        let Some(mut record) = self.store().tag(self.name(), tag).await? else { return Ok(Confirmed::Gone) };
        record.followed = true;
        self.store().set_tag(self.name(), tag, &record).await?;
        Ok(Confirmed::Names(record.digest))
    }

    /// Adds the platforms of a tag's index whose images clients pulled since a time, and removes older ones. Returns the
    /// platforms to fetch. An image without an index has one platform, which is not recorded.
    pub(in crate::registry) async fn pulled_platforms(
        &self,
        digest: &Digest,
        pulls: &mut TagPulls,
        since: u64,
    ) -> Result<Platforms, RegistryError> {
        let held = self.cached.stored_manifest(digest).await?;
        let manifest = held.and_then(|held| Manifest::parse(&held.body, Some(&held.info.media_type)).ok());
        let children: Vec<_> = manifest.iter().flat_map(Manifest::children).collect();
        let digests = children.iter().map(|child| child.digest).collect();
        let pulled = self.store().manifest_pulls(self.name(), digests).await?;
        for (child, at) in children.iter().zip(pulled) {
            if let Some((platform, at)) = child.platform.as_ref().filter(|platform| !platform.is_unknown()).zip(at) {
                let known = pulls.platforms.entry(platform.to_string()).or_default();
                *known = at.max(*known);
            }
        }
        pulls.platforms.retain(|_, at| *at >= since);
        let platforms: Vec<Platform> = pulls.platforms.keys().filter_map(|platform| platform.parse().ok()).collect();
        let is_image = manifest.is_some_and(|manifest| manifest.children().is_empty());
        // If the tag of an image becomes an index, this machine's platform is the best guess.
        Ok(Platforms::These(if platforms.is_empty() && is_image { vec![Platform::native()] } else { platforms }))
    }
}
