//! Removal of the content of a repository. The bytes of blobs and manifests stay until garbage collection.
//!
//! Each removal takes the same few steps under the lock, however much it removes: folders are moved away under the lock, and
//! removed without it. A manifest may have thousands of tags. Its link is moved away first, so no tag names a manifest any more.
//! The moved link is also the record of the deletion: until the tags are removed too, a push of the same manifest waits, since
//! it would bring them back. The next start finishes a deletion that was interrupted.

use std::io;
use std::sync::Arc;

use super::links;
use super::locks::RepositoryLock;
use super::store::HostedStore;
use super::trash::{Trash, forget_record};
use crate::oci::{Algorithm, Digest, RepositoryName, Tag};
use crate::store::bad_entries::{BadEntries, Wanted};
use crate::store::driver::{Driver, Durability};
use crate::store::{StoreError, layout};
use crate::sys::disk::Share;

/// The most tags or links that are removed under the lock at a time.
const STEP: usize = 8;

/// A part of a deleted manifest.
#[derive(Clone, Debug)]
enum Remnant {
    Tag(Tag),
    /// The link under another digest.
    Link(Digest),
}

/// The outcome of one step of a deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Swept {
    /// These tags were removed.
    Done(Vec<Tag>),
    /// Another caller has finished the deletion, and the manifest was pushed again.
    PushedAgain,
}

impl HostedStore {
    /// Removes a tag. Returns false if there was none. The caller holds the repository alone; the lock is released here.
    pub async fn untag(
        &self,
        lock: RepositoryLock,
        repository: &RepositoryName,
        tag: &Tag,
    ) -> Result<bool, StoreError> {
        let (key, repository, tag) = (layout::tag(repository, tag), repository.clone(), tag.clone());
        let remove = move |driver: &dyn Driver| {
            let (_lock, mut trash) = (lock, Trash::default());
            Ok((untag(driver, &repository, &tag, &mut trash)?, trash))
        };
        let (was_there, trash) = self.backend.change("remove", &key, remove).await?;
        self.remove_trash(trash).await;
        Ok(was_there)
    }

    /// Removes the right to a blob. Returns false if the repository had none. Takes the lock as [`HostedStore::untag`] does.
    pub async fn unlink_layer(
        &self,
        lock: RepositoryLock,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<bool, StoreError> {
        let (folder, link) = (layout::layer(repository, digest), layout::layer_link(repository, digest));
        let remove = move |driver: &dyn Driver| {
            let (_lock, mut trash) = (lock, Trash::default());
            Ok((trash.take(driver, &folder)?, trash))
        };
        let (was_there, trash) = self.backend.change("remove", &link, remove).await?;
        self.holders.remove(repository.as_str(), digest);
        self.remove_trash(trash).await;
        Ok(was_there)
    }

    /// Removes a whole repository. Its uploads continue. Returns false if there was no such repository. Takes the lock as
    /// [`HostedStore::untag`] does.
    pub async fn remove_repository(
        &self,
        lock: RepositoryLock,
        repository: &RepositoryName,
    ) -> Result<bool, StoreError> {
        if !self.exists(repository).await? {
            return Ok(false);
        }
        let (key, name) = (layout::repository(repository), repository.clone());
        let remove = move |driver: &dyn Driver| {
            let (_lock, mut trash) = (lock, Trash::default());
            // The tags go first, so that none names a removed manifest.
            for folder in [
                layout::tags(&name),
                layout::manifests(&name),
                layout::layers(&name),
                layout::media_types(&name),
                layout::tag_digests(&name),
                layout::all_deleted(&name),
            ] {
                trash.take(driver, &folder)?;
            }
            for folder in [layout::pushes(&name), layout::pulls(&name)] {
                forget_record(trash.take(driver, &folder));
            }
            Ok(trash)
        };
        let trash = self.backend.change("remove", &key, remove).await?;
        self.remove_trash(trash).await;
        Ok(true)
    }

    /// Removes a manifest under all its digests, and every tag that names it. Returns these tags; `None` if there was no such
    /// manifest. Takes the lock as [`HostedStore::untag`] does, and takes it again for each few tags.
    pub async fn delete_manifest(
        &self,
        lock: RepositoryLock,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<Vec<Tag>>, StoreError> {
        let known = self.revision(repository, digest).await?;
        let content = known.unwrap_or(*digest);
        let (key, name) = (layout::revision(repository, &content), repository.clone());
        let unlink = move |driver: &dyn Driver| {
            let (_lock, mut trash) = (lock, Trash::default());
            // If another program pushed the manifest again during an unfinished deletion, this deletion replaces that one.
            trash.take(driver, &layout::deleted(&name, &content))?;
            let was_there = unlink_manifest(driver, &name, &content, &mut trash)?;
            remove_records(driver, &name, &content)?;
            Ok((was_there, trash))
        };
        let (was_there, trash) = self.backend.change("remove", &key, unlink).await?;
        self.remove_trash(trash).await;
        let mut tags = self.finish_deletion(repository, &content).await?;
        tags.sort_by(|one, other| one.as_str().cmp(other.as_str()));
        Ok((was_there && known.is_some()).then_some(tags))
    }

    /// Waits for the lock of a repository, and until no deletion of this manifest is unfinished.
    pub async fn lock_to_push(
        &self,
        repository: &RepositoryName,
        share: Share,
        content: &Digest,
    ) -> Result<RepositoryLock, StoreError> {
        let deleted = layout::deleted(repository, content);
        loop {
            let lock = self.lock(repository, share).await?;
            let looked = deleted.clone();
            if !self.backend.run("read", &deleted, move |driver| driver.exists(&looked)).await? {
                return Ok(lock);
            }
            drop(lock);
            self.finish_deletion(repository, content).await?;
        }
    }

    /// Finishes the deletions in a repository that were interrupted. Returns their number.
    pub async fn finish_deletions(&self, repository: &RepositoryName) -> Result<usize, StoreError> {
        let folder = layout::all_deleted(repository);
        let listed = folder.clone();
        let list = move |driver: &dyn Driver| {
            let mut found = Vec::new();
            for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
                found.extend(links::digests_in(driver, &listed.join(algorithm.as_str()), algorithm)?);
            }
            Ok(found)
        };
        let unfinished = self.backend.run("list", &folder, list).await?;
        for content in &unfinished {
            self.finish_deletion(repository, content).await?;
        }
        Ok(unfinished.len())
    }

    /// Removes what a deleted manifest has left: its tags, and its links under other digests. Several callers may do so at once.
    /// Returns the tags that this caller has removed.
    async fn finish_deletion(&self, repository: &RepositoryName, content: &Digest) -> Result<Vec<Tag>, StoreError> {
        let (mut failed, mut removed) = (None, Vec::new());
        for remnants in self.remnants(repository, content).await?.chunks(STEP) {
            match self.sweep(repository, content, remnants.to_vec()).await {
                Ok(Swept::Done(tags)) => removed.extend(tags),
                Ok(Swept::PushedAgain) => break,
                // The others are removed all the same.
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        // Pushes of the manifest go on, also if a tag could not be removed.
        let lock = self.lock(repository, Share::Alone).await?;
        let deleted = layout::deleted(repository, content);
        let taken = deleted.clone();
        let forget = move |driver: &dyn Driver| {
            let (_lock, mut trash) = (lock, Trash::default());
            trash.take(driver, &taken)?;
            Ok(trash)
        };
        self.remove_trash(self.backend.change("remove", &deleted, forget).await?).await;
        failed.map_or(Ok(removed), Err)
    }

    /// Returns what a deleted manifest has left. Looks at every tag, without the lock.
    async fn remnants(&self, repository: &RepositoryName, content: &Digest) -> Result<Vec<Remnant>, StoreError> {
        let (key, repository, content) = (layout::manifests(repository), repository.clone(), *content);
        let bad = Arc::clone(&self.bad);
        let look = move |driver: &dyn Driver| {
            let tags = tags_of((driver, &bad), &repository, &content)?;
            let links = other_digests((driver, &bad), &repository, &content)?;
            Ok(tags.into_iter().map(Remnant::Tag).chain(links.into_iter().map(Remnant::Link)).collect())
        };
        self.backend.run("list", &key, look).await
    }

    /// Removes a few remnants under the lock, unless they have changed since they were found.
    async fn sweep(
        &self,
        repository: &RepositoryName,
        content: &Digest,
        remnants: Vec<Remnant>,
    ) -> Result<Swept, StoreError> {
        let lock = self.lock(repository, Share::Alone).await?;
        let (key, name, content) = (layout::manifests(repository), repository.clone(), *content);
        let sweep = move |driver: &dyn Driver| {
            let (_lock, mut trash) = (lock, Trash::default());
            if links::read(driver, &layout::revision_link(&name, &content))?.is_some() {
                return Ok((Swept::PushedAgain, trash));
            }
            let mut tags = Vec::new();
            for remnant in remnants {
                tags.extend(remove_remnant(driver, &name, (&content, remnant), &mut trash)?);
            }
            Ok((Swept::Done(tags), trash))
        };
        let (swept, trash) = self.backend.change("remove", &key, sweep).await?;
        self.remove_trash(trash).await;
        Ok(swept)
    }
}

/// Moves the link to a manifest to the record of its deletion. Returns false if there was none.
fn unlink_manifest(
    driver: &dyn Driver,
    name: &RepositoryName,
    content: &Digest,
    trash: &mut Trash,
) -> io::Result<bool> {
    use io::ErrorKind::{CrossesDevices, QuotaExceeded, StorageFull};
    let (revision, deleted) = (layout::revision(name, content), layout::deleted(name, content));
    match driver.move_tree(&revision, &deleted) {
        Err(error) if error.kind() == CrossesDevices => {
            driver.write(&deleted.join("link"), content.to_string().as_bytes(), Durability::Synced)?;
            trash.take(driver, &revision)
        }
        // Content can be deleted from a full disk. Then nothing records the deletion.
        Err(error) if matches!(error.kind(), StorageFull | QuotaExceeded) => driver.remove_tree(&revision),
        moved => moved,
    }
}

/// Removes a remnant. Returns it if it was a tag that still named the manifest.
fn remove_remnant(
    driver: &dyn Driver,
    name: &RepositoryName,
    (content, remnant): (&Digest, Remnant),
    trash: &mut Trash,
) -> io::Result<Option<Tag>> {
    match remnant {
        Remnant::Tag(tag) => {
            let names_it = links::read(driver, &layout::tag_current(name, &tag))? == Some(*content);
            Ok(if names_it && untag(driver, name, &tag, trash)? { Some(tag) } else { None })
        }
        Remnant::Link(digest) => {
            remove_records(driver, name, &digest)?;
            trash.take(driver, &layout::revision(name, &digest))?;
            Ok(None)
        }
    }
}

fn remove_records(driver: &dyn Driver, name: &RepositoryName, digest: &Digest) -> io::Result<()> {
    driver.remove(&layout::media_type(name, digest))?;
    forget_record(driver.remove(&layout::push(name, digest)));
    Ok(())
}

fn untag(driver: &dyn Driver, name: &RepositoryName, tag: &Tag, trash: &mut Trash) -> io::Result<bool> {
    driver.remove(&layout::tag_digest(name, tag))?;
    let was_there = trash.take(driver, &layout::tag(name, tag))?;
    forget_record(driver.remove(&layout::pull(name, tag)));
    Ok(was_there)
}

/// Returns the tags that name these bytes. A tag that cannot be read is noted and left alone.
fn tags_of(
    (driver, bad): (&dyn Driver, &BadEntries),
    repository: &RepositoryName,
    content: &Digest,
) -> io::Result<Vec<Tag>> {
    let mut names = Vec::new();
    driver.each_child(&layout::tags(repository), &mut |child| {
        let Ok(tag) = child.name.parse::<Tag>() else { return };
        let link = layout::tag_current(repository, &tag);
        let named = bad.accept(Wanted::Object, || driver.describe(&link), links::read(driver, &link)).flatten();
        if named.as_ref() == Some(content) {
            names.push(tag);
        }
    })?;
    Ok(names)
}

/// Returns the digests of other algorithms under which a repository has a link to these bytes.
fn other_digests(
    (driver, bad): (&dyn Driver, &BadEntries),
    repository: &RepositoryName,
    content: &Digest,
) -> io::Result<Vec<Digest>> {
    let folder = layout::revisions_by(repository, Algorithm::Sha512);
    let mut same = links::digests_in(driver, &folder, Algorithm::Sha512)?;
    same.retain(|digest| {
        let link = layout::revision_link(repository, digest);
        let named = bad.accept(Wanted::Object, || driver.describe(&link), links::read(driver, &link)).flatten();
        digest != content && named.as_ref() == Some(content)
    });
    Ok(same)
}
