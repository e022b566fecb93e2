//! What is here, for those who look: repositories, and their tags with what these name. Looking asks no upstream, and counts as no
//! use.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Deserialize;

use super::mirror::kept::Kept;
use super::{Condition, HeldManifest, Hosted, Page, PageRequest, Registry, RegistryError, Removed};
use crate::oci::{
    Descriptor, Digest, HostName, ImageRepository, Manifest, MediaType, Platform, Reference, Tag, Target,
};
use crate::store::StoredBlob;

/// So many children of an index are looked at.
const CHILDREN: usize = 200;
/// The longest configuration of an image that is read.
const CONFIGURATION: usize = 1 << 20;

/// A repository that something is held of.
#[derive(Clone, Debug)]
pub struct RepositoryReport {
    pub target: Target,
    pub tags: u64,
}

/// What is here of a repository, for those who look and delete. An upstream that is not configured any more is no obstacle.
pub enum Holding {
    Hosted(Hosted),
    Mirrored(Kept),
}

/// A tag that is held.
#[derive(Clone, Debug)]
pub struct TagReport {
    pub tag: Tag,
    pub digest: Digest,
    /// `None`: its manifest is not held.
    pub media_type: Option<MediaType>,
    /// What it runs on, as far as that is said.
    pub platforms: Vec<Platform>,
    /// The bytes of all that its manifests name, as far as these are held; each digest counts once.
    pub size: u64,
    /// So many of them are here.
    pub held: u64,
    /// When it was pushed, or when the upstream last confirmed it.
    pub since: Option<SystemTime>,
}

/// Entries of a list, and whether more come after them.
#[derive(Clone, Debug)]
pub struct Part<T> {
    pub entries: Vec<T>,
    pub more: bool,
}

impl PageRequest {
    /// The most entries in an answer that costs a look at each, and how many there are where nothing is asked.
    const LOOKED_AT: (usize, usize) = (1000, 100);

    fn looked_at(&self) -> usize {
        let (most, usual) = Self::LOOKED_AT;
        self.n.unwrap_or(usual).min(most)
    }
}

impl Registry {
    /// The repositories that something is held of and that `may_pull` allows, in the byte order of their canonical names.
    pub async fn contents(
        &self,
        page: &PageRequest,
        may_pull: &(dyn Fn(&Target) -> bool + Sync),
    ) -> Result<Part<RepositoryReport>, RegistryError> {
        let most = page.looked_at();
        let (mut entries, mut after) = (Vec::new(), page.last.clone());
        if most == 0 {
            // Nothing can be gone on with after nothing.
            return Ok(Part { entries, more: false });
        }
        loop {
            let batch = self.targets_after(after.clone(), most + 1).await?;
            let is_last = batch.len() <= most;
            for target in batch {
                after = Some(target.to_string());
                if !may_pull(&target) {
                    continue;
                }
                if entries.len() == most {
                    return Ok(Part { entries, more: true });
                }
                entries.push(RepositoryReport { tags: self.count_tags(&target).await?, target });
            }
            if is_last {
                return Ok(Part { entries, more: false });
            }
        }
    }

    /// At most so many repositories that something is held of (in one that is being pushed to that may be layers alone), in the byte order of their canonical names, after this one.
    pub(super) async fn targets_after(&self, after: Option<String>, most: usize) -> Result<Vec<Target>, RegistryError> {
        let after = after.as_deref();
        let hosted = self.store().hosted.inhabited_after(after, most).await?.entries;
        let mirrored = self.store().cache.repositories_after(after, most).await?;
        let hosted = hosted.iter().filter_map(|name| name.parse().ok()).map(Target::Hosted);
        let mirrored = mirrored.into_iter().map(|(upstream, name)| Target::Mirror(upstream, name));
        let mut targets: Vec<Target> = hosted.chain(mirrored).collect();
        targets.sort_by_cached_key(Target::to_string);
        targets.truncate(most);
        Ok(targets)
    }

    /// What is here of a repository. It need not be there.
    pub fn holding(self: &Arc<Self>, target: Target) -> Holding {
        match target {
            Target::Hosted(name) => Holding::Hosted(Hosted::new(Arc::clone(self), name)),
            Target::Mirror(upstream, name) => Holding::Mirrored(Kept::new(Arc::clone(self), upstream, name)),
        }
    }

    /// Which repository people mean who look or delete: as the rules of names say; and where that holds nothing, what is left
    /// under this very name of an upstream that is not configured any more.
    pub async fn find(&self, image: &ImageRepository) -> Result<Target, RegistryError> {
        let resolved = self.naming().resolve_image(image);
        let Some(left) = self.left_of(image) else { return resolved };
        let taken = match &resolved {
            Ok(target) => self.holds(target).await?,
            Err(_) => false,
        };
        if !taken && self.holds(&left).await? { Ok(left) } else { resolved }
    }

    /// A name in its canonical spelling, if its upstream is none that is configured.
    fn left_of(&self, image: &ImageRepository) -> Option<Target> {
        let spelled = image.to_string();
        let (upstream, name) = spelled.split_once('/')?;
        let upstream = upstream.parse::<HostName>().ok().filter(|upstream| !self.remotes.contains_key(upstream))?;
        Some(Target::Mirror(upstream, name.parse().ok()?))
    }

    async fn holds(&self, target: &Target) -> Result<bool, RegistryError> {
        Ok(match target {
            Target::Hosted(name) => self.store().hosted.exists(name).await?,
            Target::Mirror(upstream, name) => self.store().cache.has_repository(upstream, name).await?,
        })
    }

    pub(super) async fn count_tags(&self, target: &Target) -> Result<u64, RegistryError> {
        Ok(match target {
            Target::Hosted(name) => self.store().hosted.count_tags(name).await?,
            Target::Mirror(upstream, name) => self.store().cache.count_tags(upstream, name).await?,
        })
    }
}

impl Holding {
    /// Its canonical name, and whose it is.
    pub fn target(&self) -> Target {
        match self {
            Self::Hosted(hosted) => hosted.target(),
            Self::Mirrored(kept) => kept.target(),
        }
    }

    /// Removes a tag, or a manifest and its tags: as [`Repository::delete_manifest`](super::Repository::delete_manifest).
    pub async fn delete_manifest(&self, reference: &Reference, condition: &Condition) -> Result<(), RegistryError> {
        self.registry().deletion_allowed()?;
        match self {
            Self::Hosted(hosted) => hosted.delete_manifest(reference, condition).await,
            Self::Mirrored(kept) => kept.evict_manifest(reference).await,
        }
    }

    /// Removes all of it; of a mirrored one it evicts. Refused unless `storage.delete.enabled`.
    pub async fn delete_all(&self) -> Result<Removed, RegistryError> {
        self.registry().deletion_allowed()?;
        match self {
            Self::Hosted(hosted) => hosted.delete_all().await,
            Self::Mirrored(kept) => kept.evict_all().await,
        }
    }

    fn registry(&self) -> &Registry {
        match self {
            Self::Hosted(hosted) => hosted.registry(),
            Self::Mirrored(kept) => kept.registry(),
        }
    }

    /// The tags that are held, in byte order. Of a mirrored repository these are not all that its upstream has.
    pub async fn held_tags(&self, page: &PageRequest) -> Result<Part<TagReport>, RegistryError> {
        let mut page = PageRequest { n: Some(page.looked_at()), last: page.last.clone() };
        loop {
            let Page { entries: tags, more } = match self {
                Self::Hosted(hosted) => hosted.tags(&page).await?,
                Self::Mirrored(kept) => page.cut(kept.held_tags().await?.iter().map(Tag::as_str)),
            };
            let mut entries = Vec::new();
            for tag in tags.iter().filter_map(|tag| tag.parse().ok()) {
                // What was deleted meanwhile is not there, nor is what a push that broke off left behind.
                entries.extend(self.tag_report(tag).await?);
            }
            if !entries.is_empty() || !more || tags.is_empty() {
                let more = more && !entries.is_empty();
                return Ok(Part { entries, more });
            }
            // A page of nothing could not be gone on from.
            page.last = tags.last().cloned();
        }
    }

    async fn tag_report(&self, tag: Tag) -> Result<Option<TagReport>, RegistryError> {
        let named = match self {
            Self::Hosted(hosted) => hosted.tagged(&tag).await?,
            Self::Mirrored(kept) => kept.tagged(&tag).await?,
        };
        let Some((digest, since)) = named else { return Ok(None) };
        let mut named = Named::default();
        let manifest = self.look(&digest).await?;
        let media_type = manifest.as_ref().map(|held| held.info.media_type.clone());
        if let Some(held) = manifest {
            self.read_into(&mut named, &held).await?;
        }
        // What a manifest says of a size may be anything.
        let (mut size, mut held) = (0u64, 0u64);
        for (digest, said) in &named.sizes {
            size = size.saturating_add(*said);
            held = held.saturating_add(if self.is_here(digest).await? { *said } else { 0 });
        }
        Ok(Some(TagReport { tag, digest, media_type, platforms: named.platforms, size, held, since }))
    }

    /// Adds what a manifest names, and what the manifests of an index do.
    async fn read_into(&self, named: &mut Named, held: &HeldManifest) -> Result<(), RegistryError> {
        named.sizes.insert(held.info.digest, held.info.size);
        // What is no manifest any more is damaged; serving it finds that out.
        let Ok(manifest) = Manifest::parse(&held.body, Some(&held.info.media_type)) else { return Ok(()) };
        named.add(manifest.config().into_iter().chain(manifest.layers()));
        if let Some(config) = manifest.config()
            && let Some(platform) = self.platform(&config.digest).await?
        {
            named.runs_on(platform);
        }
        for child in manifest.children().iter().take(CHILDREN) {
            child.platform.iter().for_each(|platform| named.runs_on(platform.clone()));
            let Some(held) = self.look(&child.digest).await? else { continue };
            named.sizes.insert(child.digest, held.info.size);
            if let Ok(inner) = Manifest::parse(&held.body, Some(&held.info.media_type)) {
                named.add(inner.named());
            }
        }
        Ok(())
    }

    /// What an image's configuration says that it runs on, where that is here.
    async fn platform(&self, config: &Digest) -> Result<Option<Platform>, RegistryError> {
        let Some(blob) = self.look_at_blob(config).await? else { return Ok(None) };
        let mut extent = blob.extent();
        let mut text = Vec::new();
        while text.len() < CONFIGURATION {
            match extent.read(CONFIGURATION).await {
                Ok(piece) if piece.is_empty() => break,
                Ok(piece) => text.extend_from_slice(&piece),
                Err(_) => return Ok(None),
            }
        }
        let said: Option<Configuration> = serde_json::from_slice(&text).ok();
        Ok(said.map(|said| Platform::described(&said.os, &said.architecture, said.variant.as_deref())))
    }

    async fn is_here(&self, digest: &Digest) -> Result<bool, RegistryError> {
        Ok(self.look_at_blob(digest).await?.is_some() || self.look(digest).await?.is_some())
    }

    async fn look(&self, digest: &Digest) -> Result<Option<HeldManifest>, RegistryError> {
        match self {
            Self::Hosted(hosted) => hosted.look(digest).await,
            Self::Mirrored(kept) => kept.look(digest).await,
        }
    }

    async fn look_at_blob(&self, digest: &Digest) -> Result<Option<StoredBlob>, RegistryError> {
        match self {
            Self::Hosted(hosted) => hosted.look_at_blob(digest).await,
            Self::Mirrored(kept) => kept.open(digest, kept.link(digest).await?.as_ref()).await,
        }
    }
}

/// What the manifests behind a tag name.
#[derive(Default)]
struct Named {
    sizes: HashMap<Digest, u64>,
    platforms: Vec<Platform>,
}

impl Named {
    fn add<'d>(&mut self, descriptors: impl IntoIterator<Item = &'d Descriptor>) {
        let here = descriptors.into_iter().filter(|descriptor| !descriptor.foreign);
        self.sizes.extend(here.map(|descriptor| (descriptor.digest, descriptor.size)));
    }

    fn runs_on(&mut self, platform: Platform) {
        if !platform.is_unknown() && !self.platforms.contains(&platform) {
            self.platforms.push(platform);
        }
    }
}

/// An image's configuration (image-spec, "Image Configuration"), as far as it says what it runs on.
#[derive(Deserialize)]
struct Configuration {
    os: String,
    architecture: String,
    variant: Option<String>,
}

/// Seconds since 1970, as records have them.
pub(super) fn time_of(seconds: u64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}
