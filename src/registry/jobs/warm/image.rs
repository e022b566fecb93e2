//! One image of a warm job: its manifests, then the blobs of the wanted platforms.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::stream::{self, StreamExt};

use super::event::{Presence, WarmStep, Warmed};
use super::listener::WarmListener;
use crate::fills::{Interest, Phase};
use crate::oci::{Descriptor, Digest, Manifest, Platform, Platforms, Reference};
use crate::registry::Registry;
use crate::registry::answer::{CacheStatus, Found, HeldManifest};
use crate::registry::error::RegistryError;
use crate::registry::mirror::{JoinedFill, MirrorRepository};

/// The number of blobs of one image that are worked on at once. The registry limits how many of them are fetched.
const BLOBS: usize = 3;

/// The pause between two progress events of a blob.
const TELL_EVERY: Duration = Duration::from_millis(750);

/// A number of manifests that no image has. It bounds the work for a malicious index.
const MOST_MANIFESTS: usize = 1000;

/// An image that is being warmed.
pub struct ImageJob {
    pub registry: Arc<Registry>,
    pub mirror: MirrorRepository,
    pub name: Arc<str>,
    pub reference: Reference,
    pub platforms: Arc<Platforms>,
    pub listener: Arc<WarmListener>,
    pub pulls: PullReserve,
}

/// Whether a job uses the last pulls that an upstream allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullReserve {
    /// It does, since a client waits for it.
    Used,
    /// They are kept for clients.
    Kept,
}

/// The content that the manifests of an image name.
#[derive(Default)]
struct Plan {
    warmed: Warmed,
    blobs: Vec<Descriptor>,
    /// The manifests and blobs that are in the plan already.
    seen: HashSet<Digest>,
    /// The manifests that are still to be read.
    open: Vec<Descriptor>,
    /// The platforms for which the indexes have images.
    offered: Vec<Platform>,
    /// The configuration of an image without an index. It tells the platform of the image.
    config: Option<Descriptor>,
}

impl ImageJob {
    /// Warms the image, and returns when all its blobs have arrived.
    pub async fn run(&self) -> Result<Warmed, RegistryError> {
        let mut plan = self.plan().await?;
        let bytes = plan.blobs.iter().map(|blob| blob.size).sum();
        self.tell(WarmStep::Planned { blobs: plan.blobs.len(), bytes }).await;
        let absent = self.fetch_config(&mut plan).await?.or_else(|| self.absent_platforms(&plan));
        let mut warmed = plan.warmed;
        let mut failure = None;
        // After a failure no more blobs begin. The ones that have begun are waited for.
        let has_failed = AtomicBool::new(false);
        let bring = |blob: Descriptor| self.unless_failed(&has_failed, blob);
        let mut blobs = stream::iter(plan.blobs.into_iter().map(bring)).buffer_unordered(BLOBS);
        while let Some(outcome) = blobs.next().await {
            match outcome {
                Ok(cost) => warmed.add(cost),
                Err(error) => {
                    has_failed.store(true, Ordering::Relaxed);
                    failure.get_or_insert(error);
                }
            }
        }
        failure.or(absent).map_or(Ok(warmed), Err)
    }

    async fn unless_failed(&self, has_failed: &AtomicBool, blob: Descriptor) -> Result<Warmed, RegistryError> {
        if has_failed.load(Ordering::Relaxed) { Ok(Warmed::default()) } else { self.bring(blob).await }
    }

    /// Reads the manifests, from the top one down to those of the wanted platforms.
    async fn plan(&self) -> Result<Plan, RegistryError> {
        let mut plan = Plan::default();
        let top = self.mirror.current_manifest(&self.reference).await?;
        self.add_manifest(top, None, &mut plan).await?;
        while let Some(child) = plan.open.pop() {
            if plan.seen.len() > MOST_MANIFESTS {
                let message = format!("{} names more than {MOST_MANIFESTS} manifests", self.image());
                return Err(RegistryError::bad_answer(self.mirror.cached.upstream(), message));
            }
            if self.pulls == PullReserve::Kept {
                self.mirror.check_reserve(&child.digest).await?;
            }
            let found = self.mirror.manifest(&Reference::Digest(child.digest)).await?;
            self.add_manifest(found, child.platform, &mut plan).await?;
        }
        Ok(plan)
    }

    async fn add_manifest(
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
        let children = wanted_children(&self.platforms, manifest.children());
        let (manifests, blobs): (Vec<_>, Vec<_>) =
            children.into_iter().partition(|child| child.media_type.is_manifest());
        if plan.seen.len() == 1 && manifest.children().is_empty() {
            plan.config = manifest.config().filter(|config| is_image_config(config.media_type.as_str())).cloned();
        }
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

    /// Fetches the configuration of an image without an index, and returns an error for wanted platforms that it is not for. If it is
    /// for none of them, the layers leave the plan.
    async fn fetch_config(&self, plan: &mut Plan) -> Result<Option<RegistryError>, RegistryError> {
        let Platforms::These(wanted) = &*self.platforms else { return Ok(None) };
        let Some(config) = plan.config.take() else { return Ok(None) };
        plan.blobs.retain(|blob| blob.digest != config.digest);
        plan.warmed.add(self.bring(config.clone()).await?);
        let Some(platform) = self.mirror.cached.config_platform(&config.digest).await? else { return Ok(None) };
        let absent: Vec<&Platform> = wanted.iter().filter(|wanted| wanted.choose(&[&platform]).is_empty()).collect();
        if absent.is_empty() {
            return Ok(None);
        }
        if absent.len() == wanted.len() {
            plan.blobs.clear();
        }
        let wanted = absent.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        Ok(Some(RegistryError::NoPlatform { image: self.image(), wanted, offered: platform.to_string() }))
    }

    /// Returns an error for wanted platforms that the indexes do not offer.
    fn absent_platforms(&self, plan: &Plan) -> Option<RegistryError> {
        let Platforms::These(wanted) = &*self.platforms else { return None };
        let offered: Vec<&Platform> = plan.offered.iter().collect();
        let mut known: Vec<String> = offered.iter().filter(|p| !p.is_unknown()).map(ToString::to_string).collect();
        known.sort_unstable();
        known.dedup();
        let is_absent = |wanted: &&Platform| wanted.choose(&offered).is_empty();
        let absent: Vec<String> = wanted.iter().filter(is_absent).map(ToString::to_string).collect();
        // An index of attestations alone has nothing that could be fetched.
        let is_empty = known.is_empty() && !offered.is_empty() && plan.blobs.is_empty();
        (is_empty || (!known.is_empty() && !absent.is_empty())).then(|| RegistryError::NoPlatform {
            image: self.image(),
            wanted: absent.join(", "),
            offered: if known.is_empty() { "no platform".to_owned() } else { known.join(", ") },
        })
    }

    /// Makes sure that a blob is stored.
    async fn bring(&self, blob: Descriptor) -> Result<Warmed, RegistryError> {
        let Descriptor { digest, size, .. } = blob;
        if self.mirror.has_blob(&digest).await? {
            return Ok(self.tell_shared(digest, size).await);
        }
        // A fill that ends meanwhile is begun again by `join`, so the permit is needed even for one that is running.
        let permit = self.registry.warm_fetches.acquire().await;
        // Another request may have fetched the blob while this one waited.
        if self.mirror.has_blob(&digest).await? {
            return Ok(self.tell_shared(digest, size).await);
        }
        // This fill has the lowest priority, because no client waits for it.
        let link = self.mirror.cached.link(&digest).await?;
        let joined = self.mirror.join(&digest, link, Interest::Background).await?;
        let is_ours = joined.status == CacheStatus::Miss;
        let (cost, presence) = if is_ours {
            (Warmed { fetched: size, ..Warmed::default() }, Presence::Fetching)
        } else {
            (Warmed { shared: size, ..Warmed::default() }, Presence::Joined)
        };
        // The limit counts the blobs that are fetched for this job, not those that another request fetches.
        let permit = Some(permit).filter(|_| is_ours);
        self.tell(WarmStep::Blob { digest, size, presence }).await;
        self.wait_for(joined, size).await?;
        drop(permit);
        self.tell(WarmStep::Arrived { digest, size }).await;
        Ok(cost)
    }

    async fn tell_shared(&self, digest: Digest, size: u64) -> Warmed {
        self.tell(WarmStep::Blob { digest, size, presence: Presence::Shared }).await;
        Warmed { shared: size, ..Warmed::default() }
    }

    /// Waits until a fill has ended. Reads none of its bytes.
    async fn wait_for(&self, joined: JoinedFill, size: u64) -> Result<(), RegistryError> {
        // The waiter is kept to the end, so that the fill keeps running.
        let JoinedFill { fill, source, waiter: _waiter, .. } = joined;
        let clock = &self.registry.machine.clock;
        let mut watch = fill.watch();
        let mut told = clock.moment();
        loop {
            let progress = *watch.borrow_and_update();
            match progress.phase {
                Phase::Complete if fill.is_proven(&source.name)? => return Ok(()),
                Phase::Complete | Phase::Failed => return Err(fill.failure(&source.name).into()),
                Phase::Unstorable | Phase::Unkept => return Err(RegistryError::NoRoom(fill.digest)),
                Phase::Asking | Phase::Arriving | Phase::Encoded | Phase::Repairing | Phase::Verified => {}
            }
            if clock.since(told) >= TELL_EVERY {
                told = clock.moment();
                let step = WarmStep::Progress { digest: fill.digest, size, arrived: progress.arrived };
                self.listener.try_tell(&self.name, step);
            }
            if watch.changed().await.is_err() {
                return Err(fill.failure(&source.name).into());
            }
        }
    }

    async fn tell(&self, step: WarmStep) {
        self.listener.tell(&self.name, step).await;
    }

    fn image(&self) -> String {
        let separator = if matches!(self.reference, Reference::Tag(_)) { ':' } else { '@' };
        format!("{}{separator}{}", self.mirror.target(), self.reference)
    }
}

/// Returns true for the configuration of a container image. Those of other artifacts name no platform.
fn is_image_config(media_type: &str) -> bool {
    matches!(media_type, "application/vnd.oci.image.config.v1+json" | "application/vnd.docker.container.image.v1+json")
}

/// Returns the wanted children of an index: those of the wanted platforms, those that name no platform, and the attestations of
/// these.
fn wanted_children<'m>(platforms: &Platforms, children: &'m [Descriptor]) -> Vec<&'m Descriptor> {
    if *platforms == Platforms::All {
        return children.iter().collect();
    }
    let (attestations, images): (Vec<_>, Vec<_>) = children.iter().partition(|child| child.attests.is_some());
    let offered: Vec<&Platform> = images.iter().filter_map(|child| child.platform.as_ref()).collect();
    let chosen = platforms.choose(&offered);
    let is_wanted = |child: &&Descriptor| child.platform.as_ref().is_none_or(|platform| chosen.contains(&platform));
    let mut wanted: Vec<&Descriptor> = images.into_iter().filter(is_wanted).collect();
    let digests: HashSet<Digest> = wanted.iter().map(|child| child.digest).collect();
    let is_about = |child: &&Descriptor| child.attests.is_some_and(|subject| digests.contains(&subject));
    wanted.extend(attestations.into_iter().filter(is_about));
    wanted
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
            urls: Vec::new(),
            platform: platform.map(|text| text.parse().unwrap()),
            attests: attests.map(digest),
        }
    }

    #[test]
    fn children_are_chosen_by_platform() {
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
            let found: Vec<Digest> = wanted_children(&platforms, &children).iter().map(|child| child.digest).collect();
            let want: Vec<Digest> = want.iter().map(|name| Digest::of(Algorithm::Sha256, name.as_bytes())).collect();
            assert_eq!(found, want, "{platforms:?}");
        }
        assert_eq!(wanted_children(&Platforms::All, &children).len(), children.len());
    }
}
