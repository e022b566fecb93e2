//! A push of a manifest.

use std::collections::HashSet;

use bytes::Bytes;

use super::condition::Condition;
use super::repository::HostedRepository;
use crate::config::Sparse;
use crate::oci::{Algorithm, Descriptor, Digest, Manifest, ManifestError, MediaType, Reference, Tag};
use crate::registry::error::RegistryError;
use crate::registry::missing::{Missing, Search};
use crate::store::Share;

/// A manifest that a client pushes.
#[derive(Clone, Debug)]
pub struct ManifestPush {
    pub reference: Reference,
    /// Further tags for the manifest (`?tag=`; OCI distribution-spec, "Pushing Manifests").
    pub tags: Vec<Tag>,
    pub content_type: Option<MediaType>,
    /// The account that pushes, for the record of the push; `None` for an anonymous client.
    pub by: Option<String>,
    /// The manifest is stored only if this holds.
    pub condition: Condition,
    pub body: Bytes,
}

/// The result of a push.
#[derive(Debug)]
pub struct PutManifest {
    pub digest: Digest,
    /// The manifest that the pushed one refers to, for `OCI-Subject`.
    pub subject: Option<Digest>,
    /// Content that the manifest names and that is not stored here (only with `validation.manifests.sparse: allow`).
    pub missing: Missing,
}

/// The content that a manifest names and that has to be stored here, as the last search found it.
struct NamedContent {
    config: Option<Digest>,
    present: Vec<Digest>,
    absent: Vec<Digest>,
}

impl HostedRepository {
    /// Stores a manifest under its digest and under the tags of the push.
    pub async fn put_manifest(&self, push: ManifestPush) -> Result<PutManifest, RegistryError> {
        let manifest = Manifest::parse(&push.body, push.content_type.as_ref())?;
        manifest.check(push.content_type.as_ref())?;
        self.check_urls(&manifest)?;
        let algorithm = match &push.reference {
            Reference::Digest(digest) => digest.algorithm(),
            Reference::Tag(_) => Algorithm::Sha256,
        };
        let digest = Digest::of(algorithm, &push.body);
        if let Reference::Digest(expected) = push.reference
            && expected != digest
        {
            return Err(RegistryError::DigestMismatch { expected, found: digest });
        }
        // The long search runs before the lock is taken. Under the lock only the content that was present is looked for again.
        let named = self.named_content(&manifest).await?;
        // A condition on the current digest needs the repository alone.
        let share = if push.condition.is_none() { Share::Shared } else { Share::Alone };
        let content = match algorithm {
            Algorithm::Sha256 => digest,
            Algorithm::Sha512 => Digest::of(Algorithm::Sha256, &push.body),
        };
        let lock = self.context.with_space(|| self.store().lock_to_push(&self.name, share, &content)).await?;
        self.finish(lock, |hosted| async move { hosted.put(&push, &manifest, digest, named).await }).await
    }

    async fn put(
        &self,
        push: &ManifestPush,
        manifest: &Manifest,
        digest: Digest,
        named: NamedContent,
    ) -> Result<PutManifest, RegistryError> {
        let ManifestPush { reference, tags, condition, body, by, .. } = push;
        let missing = Missing::new(self.confirm(named).await?.absent, Search::Full);
        if !condition.is_none() {
            condition.check(reference, self.current(reference).await?)?;
        }
        // A media type that the body or its shape tells is not recorded, so that registry:2's directories stay as they are.
        let by_body = Manifest::parse(body, None).ok();
        let is_told = by_body.is_some_and(|told| told.media_type() == manifest.media_type());
        let media_type = (!is_told).then(|| manifest.media_type());
        let store = |body| self.store().put_manifest(&self.name, &digest, body, media_type);
        self.context.with_space(|| store(body.clone())).await?;
        let own = match reference {
            Reference::Tag(tag) => Some(tag),
            Reference::Digest(_) => None,
        };
        for tag in own.into_iter().chain(tags) {
            self.context.with_space(|| self.store().set_tag(&self.name, tag, &digest)).await?;
        }
        self.store().private().note_push(&self.name, &digest, by.clone()).await;
        Ok(PutManifest { digest, subject: manifest.subject().map(|subject| subject.digest), missing })
    }

    /// Checks the addresses of layers on other servers. Clients fetch them from there, so a manifest could lead every client to any
    /// server.
    fn check_urls(&self, manifest: &Manifest) -> Result<(), RegistryError> {
        let urls = manifest.config().into_iter().chain(manifest.layers());
        let mut urls = urls.flat_map(|descriptor| descriptor.urls.iter().map(|url| (descriptor.digest, url)));
        match urls.find(|(_, url)| !self.context.urls.permits(url)) {
            None => Ok(()),
            Some((digest, url)) => Err(ManifestError::Url { digest, url: url.clone() }.into()),
        }
    }

    /// Searches the content that a manifest names. Missing content is an error unless `sparse` allows it; a missing image
    /// configuration always is. Only a layer of a non-distributable type whose addresses are allowed need not be here.
    async fn named_content(&self, manifest: &Manifest) -> Result<NamedContent, RegistryError> {
        let mut seen = HashSet::new();
        let elsewhere = |descriptor: &&Descriptor| descriptor.media_type.is_foreign() && !descriptor.urls.is_empty();
        let layers = manifest.layers().iter().filter(|layer| !elsewhere(layer));
        let named = manifest.config().into_iter().chain(layers).chain(manifest.children());
        let named = named.map(|descriptor| descriptor.digest);
        let present = named.filter(|digest| seen.insert(*digest)).collect();
        let config = manifest.config().map(|config| config.digest);
        self.confirm(NamedContent { config, present, absent: Vec::new() }).await
    }

    /// Checks that the content which the search found is still present.
    async fn confirm(&self, named: NamedContent) -> Result<NamedContent, RegistryError> {
        let NamedContent { config, mut present, mut absent } = named;
        let refuse = self.context.sparse == Sparse::Refuse;
        let search = if refuse { Search::UntilRefused } else { Search::Full };
        // A child of an index may be a blob (BuildKit's caches), and a layer may be any content that was pushed here.
        let gone = self.store().missing(&self.name, present.clone(), search.most()).await?;
        if !gone.is_empty() {
            let lost: HashSet<&Digest> = gone.iter().collect();
            present.retain(|digest| !lost.contains(digest));
            absent.extend(gone);
        }
        if !absent.is_empty() && (refuse || config.is_some_and(|config| absent.contains(&config))) {
            let missing = Missing::new(absent, search);
            return Err(RegistryError::ManifestBlobUnknown { repository: self.name.to_string(), missing });
        }
        Ok(NamedContent { config, present, absent })
    }
}
