//! Lists of repositories and of their tags, with the manifests and blobs behind each tag.

use std::collections::HashMap;
use std::time::SystemTime;

use serde::Deserialize;

use super::walk::Inventory;
use crate::oci::{Descriptor, Digest, Manifest, MediaType, Platform, Tag, Target};
use crate::registry::answer::{HeldManifest, PageRequest};
use crate::registry::error::RegistryError;
use crate::registry::mirror::MirrorRepository;
use crate::registry::repository::Repository;
use crate::store::Page;

/// The highest number of children of an index that are read.
const MOST_CHILDREN: usize = 200;

/// The longest image configuration that is read, in bytes.
const LONGEST_CONFIGURATION: usize = 1 << 20;

/// A repository that holds anything.
#[derive(Clone, Debug)]
pub struct RepositoryReport {
    pub target: Target,
    pub tags: u64,
}

/// A stored tag.
#[derive(Clone, Debug)]
pub struct TagReport {
    pub tag: Tag,
    pub digest: Digest,
    /// The media type of the manifest. `None` if the manifest is not stored.
    pub media_type: Option<MediaType>,
    /// True if the manifest, or one that it names, is stored with wrong bytes, or is lost in a hosted repository.
    pub is_damaged: bool,
    /// The platforms of the image, where its manifests or configuration state them.
    pub platforms: Vec<Platform>,
    /// The bytes of all content that the stored manifests name. Each digest counts once.
    pub size: u64,
    /// The bytes of the part of that content which is stored.
    pub held: u64,
    /// The time of the push, or of the last confirmation by the upstream.
    pub since: Option<SystemTime>,
}

impl Inventory {
    /// Returns a page of the repositories that hold anything and that `may_pull` allows, sorted by canonical name.
    pub(in crate::registry) async fn repositories(
        &self,
        page: &PageRequest,
        may_pull: &(dyn Fn(&Target) -> bool + Sync),
    ) -> Result<Page<RepositoryReport>, RegistryError> {
        let limit = page.most_detailed();
        let (mut entries, mut last) = (Vec::new(), page.last.clone());
        if limit == 0 {
            // An empty page has no last entry to continue after, so it claims to be the end.
            return Ok(Page { entries, more: false });
        }
        loop {
            let batch = self.targets_after(last.as_deref(), limit + 1).await?;
            let is_last = batch.len() <= limit;
            for target in batch {
                last = Some(target.to_string());
                if !may_pull(&target) {
                    continue;
                }
                if entries.len() == limit {
                    return Ok(Page { entries, more: true });
                }
                let tags = self.unless_bad(self.count_tags(&target).await)?.unwrap_or_default();
                entries.push(RepositoryReport { tags, target });
            }
            if is_last {
                return Ok(Page { entries, more: false });
            }
        }
    }
}

impl Repository {
    /// Returns a page of the stored tags, in byte order. The upstream of a mirrored repository may have more.
    pub async fn stored_tags(&self, page: &PageRequest) -> Result<Page<TagReport>, RegistryError> {
        let mut page = PageRequest { n: Some(page.most_detailed()), last: page.last.clone() };
        if let Self::Mirror(MirrorRepository { cached, .. }) = self {
            // Blobs that clients have read to their end count as stored.
            cached.context.fills.all_stored().await;
        }
        loop {
            let Page { entries: tags, more } = match self {
                Self::Hosted(hosted) => hosted.tags(&page).await?,
                Self::Mirror(MirrorRepository { cached, .. }) | Self::Unconfigured(cached) => {
                    page.cut(cached.tags().await?.iter().map(Tag::as_str))
                }
            };
            let mut entries = Vec::new();
            for tag in tags.iter().filter_map(|tag| tag.parse().ok()) {
                // A tag without a report was deleted meanwhile, or an interrupted push left it behind.
                match self.tag_report(tag).await {
                    Ok(report) => entries.extend(report),
                    // The store has noted the entry that cannot be read. The other tags are listed.
                    Err(RegistryError::BadEntry(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            if !entries.is_empty() || !more || tags.is_empty() {
                let more = more && !entries.is_empty();
                return Ok(Page { entries, more });
            }
            // A client cannot continue after an empty page, so the next one is read.
            page.last = tags.last().cloned();
        }
    }

    async fn tag_report(&self, tag: Tag) -> Result<Option<TagReport>, RegistryError> {
        let named = match self {
            Self::Hosted(hosted) => hosted.tagged(&tag).await?,
            Self::Mirror(MirrorRepository { cached, .. }) | Self::Unconfigured(cached) => cached.tagged(&tag).await?,
        };
        let Some((digest, since)) = named else { return Ok(None) };
        let mut content = TaggedContent::default();
        let manifest = self.stored_manifest(&digest).await?;
        let media_type = manifest.as_ref().map(|held| held.info.media_type.clone());
        match manifest {
            Some(held) => self.read_into(&mut content, &held).await?,
            None => content.is_damaged = self.has_lost(&digest).await?,
        }
        // The sizes in a manifest may be anything, so the sums saturate.
        let (mut size, mut held) = (0u64, 0u64);
        for (digest, stated) in &content.sizes {
            size = size.saturating_add(*stated);
            held = held.saturating_add(if self.has(digest).await? { *stated } else { 0 });
        }
        let TaggedContent { is_damaged, platforms, .. } = content;
        Ok(Some(TagReport { tag, digest, media_type, is_damaged, platforms, size, held, since }))
    }

    /// Adds the content that a manifest names, and for an index also the content that its children name.
    async fn read_into(&self, content: &mut TaggedContent, held: &HeldManifest) -> Result<(), RegistryError> {
        let Some(manifest) = content.read(held) else { return Ok(()) };
        content.add(manifest.config().into_iter().chain(manifest.layers()));
        if let Some(config) = manifest.config()
            && let Some(platform) = self.platform(&config.digest).await?
        {
            content.add_platform(platform);
        }
        for child in manifest.children().iter().take(MOST_CHILDREN) {
            child.platform.iter().for_each(|platform| content.add_platform(platform.clone()));
            let Some(held) = self.stored_manifest(&child.digest).await? else {
                content.is_damaged |= self.has_lost(&child.digest).await?;
                continue;
            };
            if let Some(inner) = content.read(&held) {
                content.add(inner.named());
            }
        }
        Ok(())
    }

    /// Returns the platform that a stored image configuration states.
    async fn platform(&self, config: &Digest) -> Result<Option<Platform>, RegistryError> {
        let Some(blob) = self.stored_blob(config).await? else { return Ok(None) };
        let mut extent = blob.extent();
        let mut text = Vec::new();
        while text.len() < LONGEST_CONFIGURATION {
            match extent.read(LONGEST_CONFIGURATION).await {
                Ok(piece) if piece.is_empty() => break,
                Ok(piece) => text.extend_from_slice(&piece),
                Err(_) => return Ok(None),
            }
        }
        let stated: Option<ImageConfiguration> = serde_json::from_slice(&text).ok();
        Ok(stated.and_then(|stated| Platform::described(&stated.os, &stated.architecture, stated.variant.as_deref())))
    }

    async fn has(&self, digest: &Digest) -> Result<bool, RegistryError> {
        Ok(self.stored_blob(digest).await?.is_some() || self.stored_manifest(digest).await?.is_some())
    }
}

/// The content that the manifests behind a tag name.
#[derive(Default)]
struct TaggedContent {
    sizes: HashMap<Digest, u64>,
    platforms: Vec<Platform>,
    is_damaged: bool,
}

impl TaggedContent {
    /// Parses a stored manifest and counts its size. Returns `None` if its bytes are wrong.
    fn read(&mut self, held: &HeldManifest) -> Option<Manifest> {
        self.sizes.insert(held.info.digest, held.info.size);
        let is_right = Digest::of(held.info.digest.algorithm(), &held.body) == held.info.digest;
        let manifest = Manifest::parse(&held.body, Some(&held.info.media_type)).ok().filter(|_| is_right);
        self.is_damaged |= manifest.is_none();
        manifest
    }

    fn add<'d>(&mut self, descriptors: impl IntoIterator<Item = &'d Descriptor>) {
        let stored = descriptors.into_iter().filter(|descriptor| !descriptor.foreign);
        self.sizes.extend(stored.map(|descriptor| (descriptor.digest, descriptor.size)));
    }

    fn add_platform(&mut self, platform: Platform) {
        if !platform.is_unknown() && !self.platforms.contains(&platform) {
            self.platforms.push(platform);
        }
    }
}

/// The part of an image configuration that states the platform (OCI image-spec, "Image Configuration").
#[derive(Deserialize)]
struct ImageConfiguration {
    os: String,
    architecture: String,
    variant: Option<String>,
}
