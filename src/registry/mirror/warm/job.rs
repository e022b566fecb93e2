//! One image: its manifests, then the blobs of the platforms that are wanted.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::stream::{self, StreamExt};

use super::super::{Joint, is_manifest};
use super::{Audience, BLOBS, Presence, WarmStep, Warmed};
use crate::fills::{Interest, State};
use crate::oci::{Descriptor, Digest, Manifest, Platform, Platforms, Reference};
use crate::registry::{CacheStatus, Found, HeldManifest, Mirror, RegistryError};

/// A blob's progress is told this often: with as many blobs as are fetched at once, four times a second in all.
const TELL_EVERY: Duration = Duration::from_millis(750);
/// More manifests than any image has.
const MOST_MANIFESTS: usize = 1000;

/// An image that is being warmed.
pub(super) struct Job {
    pub(super) mirror: Mirror,
    pub(super) name: Arc<str>,
    pub(super) reference: Reference,
    pub(super) platforms: Arc<Platforms>,
    pub(super) audience: Arc<Audience>,
}

/// What the manifests say.
#[derive(Default)]
struct Plan {
    warmed: Warmed,
    blobs: Vec<Descriptor>,
    /// Manifests and blobs that are in it already.
    seen: HashSet<Digest>,
    /// Manifests that are still to be read.
    open: Vec<Descriptor>,
    /// What the indexes hold images for.
    offered: Vec<Platform>,
}

impl Job {
    pub(super) async fn run(&self) -> Result<Warmed, RegistryError> {
        let plan = self.plan().await?;
        let bytes = plan.blobs.iter().map(|blob| blob.size).sum();
        self.tell(WarmStep::Planned { blobs: plan.blobs.len(), bytes }).await;
        let absent = self.absent(&plan.offered);
        let mut warmed = plan.warmed;
        let mut failure = None;
        // After a failure nothing more begins, and what has begun is waited for.
        let failed = AtomicBool::new(false);
        let bring = |blob: Descriptor| self.unless(&failed, blob);
        let mut bringing = stream::iter(plan.blobs.into_iter().map(bring)).buffer_unordered(BLOBS);
        while let Some(brought) = bringing.next().await {
            match brought {
                Ok(cost) => warmed.add(cost),
                Err(error) => {
                    failed.store(true, Ordering::Relaxed);
                    failure.get_or_insert(error);
                }
            }
        }
        failure.or(absent).map_or(Ok(warmed), Err)
    }

    async fn unless(&self, failed: &AtomicBool, blob: Descriptor) -> Result<Warmed, RegistryError> {
        if failed.load(Ordering::Relaxed) { Ok(Warmed::default()) } else { self.bring(blob).await }
    }

    /// Reads the manifests, from the top one down to those of the platforms that are wanted.
    async fn plan(&self) -> Result<Plan, RegistryError> {
        let mut plan = Plan::default();
        let top = self.mirror.current_manifest(&self.reference).await?;
        self.take_in(top, None, &mut plan).await?;
        while let Some(child) = plan.open.pop() {
            if plan.seen.len() > MOST_MANIFESTS {
                let message = format!("{} names more than {MOST_MANIFESTS} manifests", self.image());
                return Err(RegistryError::useless(self.mirror.upstream(), message));
            }
            let found = self.mirror.manifest(&Reference::Digest(child.digest)).await?;
            self.take_in(found, child.platform, &mut plan).await?;
        }
        Ok(plan)
    }

    async fn take_in(
        &self,
        found: Found<HeldManifest>,
        platform: Option<Platform>,
        plan: &mut Plan,
    ) -> Result<(), RegistryError> {
        let Found { value: HeldManifest { info, body }, cache, warning } = found;
        let cache = cache.unwrap_or(CacheStatus::Hit);
        let manifest = Manifest::parse(&body, Some(&info.media_type))?;
        plan.seen.insert(info.digest);
        match cache {
            CacheStatus::Miss => plan.warmed.fetched += info.size,
            _ => plan.warmed.shared += info.size,
        }
        self.tell(WarmStep::Manifest { info, platform, cache, warning }).await;
        let children = chosen(&self.platforms, manifest.children());
        let (manifests, blobs): (Vec<_>, Vec<_>) =
            children.into_iter().partition(|child| is_manifest(&child.media_type));
        plan.offered.extend(manifest.children().iter().filter_map(|child| child.platform.clone()));
        let blobs = manifest.config().into_iter().chain(manifest.layers()).chain(blobs);
        for blob in blobs.filter(|blob| !blob.foreign) {
            if plan.seen.insert(blob.digest) {
                plan.blobs.push(blob.clone());
            }
        }
        for child in manifests {
            if plan.seen.insert(child.digest) {
                plan.open.push(child.clone());
            }
        }
        Ok(())
    }

    /// Platforms that are wanted and that an index does not hold. An image without an index is taken as it is.
    fn absent(&self, offered: &[Platform]) -> Option<RegistryError> {
        let Platforms::These(wanted) = &*self.platforms else { return None };
        let mut known: Vec<String> = offered.iter().filter(|p| !p.is_unknown()).map(ToString::to_string).collect();
        known.sort_unstable();
        known.dedup();
        let lacks = |wanted: &&Platform| !offered.iter().any(|offered| wanted.takes(offered));
        let absent: Vec<String> = wanted.iter().filter(lacks).map(ToString::to_string).collect();
        (!known.is_empty() && !absent.is_empty()).then(|| RegistryError::NoPlatform {
            image: self.image(),
            wanted: absent.join(", "),
            offered: known.join(", "),
        })
    }

    /// Makes sure that a blob is held.
    async fn bring(&self, blob: Descriptor) -> Result<Warmed, RegistryError> {
        let Descriptor { digest, size, .. } = blob;
        if self.mirror.has_blob(&digest).await? {
            return Ok(self.shared(digest, size).await);
        }
        let registry = &self.mirror.registry;
        let permit = match registry.fills().running(&digest) {
            Some(_) => None,
            None => Some(registry.warming.blobs.acquire().await),
        };
        // Somebody else may have brought it meanwhile.
        if self.mirror.has_blob(&digest).await? {
            return Ok(self.shared(digest, size).await);
        }
        // Here, and nowhere else, a fill is joined in the background: it shall give way to those that clients wait for.
        let joint = self.mirror.join(&digest, self.mirror.link(&digest).await?, Interest::Beforehand).await?;
        let cost = match joint.status {
            CacheStatus::Miss => Warmed { fetched: size, ..Warmed::default() },
            _ => Warmed { shared: size, ..Warmed::default() },
        };
        let presence = if joint.status == CacheStatus::Miss { Presence::Fetching } else { Presence::Joined };
        self.tell(WarmStep::Blob { digest, size, presence }).await;
        self.attend(joint, size).await?;
        drop(permit);
        self.tell(WarmStep::Arrived { digest, size }).await;
        Ok(cost)
    }

    async fn shared(&self, digest: Digest, size: u64) -> Warmed {
        self.tell(WarmStep::Blob { digest, size, presence: Presence::Shared }).await;
        Warmed { shared: size, ..Warmed::default() }
    }

    /// Waits until a fill has ended, and reads nothing of it.
    async fn attend(&self, joint: Joint, size: u64) -> Result<(), RegistryError> {
        // Somebody waits for it, though nobody reads it.
        let Joint { fill, source, attention: _attention, .. } = joint;
        let (key, clock) = (source.key(), self.mirror.registry.clock());
        let mut watch = fill.watch();
        let mut told = clock.moment();
        loop {
            let progress = *watch.borrow_and_update();
            match progress.state {
                State::Complete if fill.verdict(&key)? => return Ok(()),
                State::Complete | State::Failed => return Err(fill.failure(&key).into()),
                State::Unstorable | State::Unkept => return Err(RegistryError::NoRoom(fill.digest)),
                State::Asking | State::Arriving | State::Doubted => {}
            }
            if clock.since(told) >= TELL_EVERY {
                told = clock.moment();
                let step = WarmStep::Progress { digest: fill.digest, size, arrived: progress.arrived };
                self.audience.mention(&self.name, step);
            }
            if watch.changed().await.is_err() {
                return Err(fill.failure(&key).into());
            }
        }
    }

    async fn tell(&self, step: WarmStep) {
        self.audience.tell(&self.name, step).await;
    }

    fn image(&self) -> String {
        let separator = if matches!(self.reference, Reference::Tag(_)) { ':' } else { '@' };
        format!("{}{separator}{}", self.mirror.target(), self.reference)
    }
}

impl Warmed {
    fn add(&mut self, other: Self) {
        self.fetched += other.fetched;
        self.shared += other.shared;
    }
}

/// The children of an index that are wanted: those of the platforms, those that name none, and what attests something of these.
fn chosen<'m>(platforms: &Platforms, children: &'m [Descriptor]) -> Vec<&'m Descriptor> {
    if *platforms == Platforms::All {
        return children.iter().collect();
    }
    let taken = |child: &&Descriptor| child.platform.as_ref().is_none_or(|platform| platforms.take(platform));
    let (attestations, images): (Vec<_>, Vec<_>) = children.iter().partition(|child| child.attests.is_some());
    let mut chosen: Vec<&Descriptor> = images.into_iter().filter(taken).collect();
    let digests: HashSet<Digest> = chosen.iter().map(|child| child.digest).collect();
    let about = |child: &&Descriptor| child.attests.is_some_and(|subject| digests.contains(&subject));
    chosen.extend(attestations.into_iter().filter(about));
    chosen
}

impl Mirror {
    /// A manifest, as the upstream has it now: a tag that is older than its TTL is asked about first, for as long as that
    /// takes. What is held does only where no answer comes.
    async fn current_manifest(&self, reference: &Reference) -> Result<Found<HeldManifest>, RegistryError> {
        if let Reference::Tag(tag) = reference
            && let Some(record) = self.store().tag(self.upstream(), &self.name, tag).await?
            && self.age(record.seen) > self.remote.tag_ttl
            && !self.remote.is_avoided()
        {
            // What it brings is written down; the look below finds it, or decides about what went wrong.
            self.refresh(tag, record.digest, self.situation(record.seen)).await;
        }
        self.manifest(reference).await
    }

    /// Is a blob held, and may this repository serve it? Asks the upstream where only it can tell.
    async fn has_blob(&self, digest: &Digest) -> Result<bool, RegistryError> {
        let mut link = self.link(digest).await?;
        let proven = link.as_ref().is_some_and(|link| link.right.is_proven());
        let mut held = self.open(digest, link.as_ref()).await?;
        if held.is_none() && !proven && self.store().blob(digest).await?.is_some() {
            self.prove(digest).await?;
            link = self.link(digest).await?;
            held = self.open(digest, link.as_ref()).await?;
        }
        if held.is_some() {
            // It is wanted: eviction shall not take it first.
            self.registry.quota().used(digest);
        }
        Ok(held.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::{Algorithm, MediaType};

    fn child(name: &str, platform: Option<&str>, attests: Option<&str>) -> Descriptor {
        let digest = |name: &str| Digest::of(Algorithm::Sha256, name.as_bytes());
        Descriptor {
            media_type: MediaType::known(MediaType::OCI_MANIFEST),
            digest: digest(name),
            size: 1,
            foreign: false,
            platform: platform.map(|text| text.parse().unwrap()),
            attests: attests.map(digest),
        }
    }

    #[test]
    fn which_children_are_wanted() {
        let children = [
            child("amd64", Some("linux/amd64"), None),
            child("arm64", Some("linux/arm64/v8"), None),
            child("arm6", Some("linux/arm/v6"), None),
            child("arm7", Some("linux/arm/v7"), None),
            child("anything", None, None),
            child("about amd64", Some("unknown/unknown"), Some("amd64")),
            child("about arm64", Some("unknown/unknown"), Some("arm64")),
            child("about nothing", Some("unknown/unknown"), None),
        ];
        for (platforms, want) in [
            (&["linux/amd64"][..], &["amd64", "anything", "about amd64"][..]),
            (&["linux/arm64"], &["arm64", "anything", "about arm64"]),
            (&["linux/arm"], &["arm6", "arm7", "anything"]),
            (&["linux/arm/v7", "linux/amd64"], &["amd64", "arm7", "anything", "about amd64"]),
            (&["linux/s390x"], &["anything"]),
        ] {
            let platforms = Platforms::parse(platforms.iter().copied()).unwrap();
            let found: Vec<Digest> = chosen(&platforms, &children).iter().map(|child| child.digest).collect();
            let want: Vec<Digest> = want.iter().map(|name| Digest::of(Algorithm::Sha256, name.as_bytes())).collect();
            assert_eq!(found, want, "{platforms:?}");
        }
        assert_eq!(chosen(&Platforms::All, &children).len(), children.len());
    }
}
