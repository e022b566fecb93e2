//! What refers to the manifests of a hosted repository.
//!
//! The revisions of a repository are kept in memory with what each refers to, as far as a hint goes. A question looks whether a
//! revision came or went since they were listed (one `stat` for each algorithm), whoever did it, lists them again if so, and reads
//! those alone that it has not read yet. What is answered is then read from the disk: the link, which a deletion takes away, and
//! the manifest. Nothing of a repository need be known before: the first question reads it.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::layout::Layout;
use super::listed::{Listed, Look};
use super::manifests::{StoredManifest, content_of, read_manifest};
use super::{HostedStore, StoreError, on_disk};
use crate::oci::{Algorithm, Digest, Manifest, Referrers, ReferrersPage, ReferrersQuery, RepositoryName};
use crate::sys::{Clock, Moment, disk};

/// What is known of the revisions of every repository that has any.
#[derive(Default)]
pub struct Revisions {
    /// A std `Mutex`: held for operations of the map only.
    known: Mutex<HashMap<RepositoryName, Shared>>,
}

/// One repository's. An async lock: whoever brings it up to date holds it, and the others wait for that instead of doing it too.
type Shared = Arc<tokio::sync::Mutex<Known>>;

#[derive(Default)]
pub struct Known {
    sha256: Directory,
    sha512: Directory,
    /// When they were last held against the directories.
    checked: Option<Moment>,
}

/// `_manifests/revisions/ALG`.
#[derive(Clone, Default)]
struct Directory {
    listed: Listed,
    /// In the order of their digests: 96 bytes for each. Shared with the answers that are being made of it.
    revisions: Arc<[Revision]>,
}

#[derive(Clone)]
struct Revision {
    digest: Digest,
    role: Role,
}

/// What a revision is to others. It never changes, since what a digest names does not.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Not known: it has no link, or its manifest cannot be read. It is looked at again with each question, since only a new entry
    /// changes the time of the directory, and `registry:2` deletes the link alone and leaves an empty directory.
    Unknown,
    /// It refers to nothing.
    Plain,
    Refers {
        /// The beginning of the digest that it refers to.
        subject: u64,
        /// A hash of its artifact type.
        artifact_type: u64,
    },
}

impl Revisions {
    fn of(&self, repository: &RepositoryName) -> Shared {
        let mut known = self.known();
        known.get(repository).cloned().unwrap_or_else(|| {
            let fresh = Shared::default();
            known.insert(repository.clone(), Arc::clone(&fresh));
            fresh
        })
    }

    /// Anybody may ask about any name: only those that have revisions are kept.
    fn forget(&self, repository: &RepositoryName) {
        self.known().remove(repository);
    }

    fn known(&self) -> MutexGuard<'_, HashMap<RepositoryName, Shared>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what is to be known of a repository. To be called off the async threads. Returns how many revisions it has.
    pub fn enter(&self, layout: &Layout, repository: &RepositoryName, clock: &Clock) -> io::Result<usize> {
        let shared = self.of(repository);
        let mut known = shared.blocking_lock();
        known.check(layout, repository, clock)?;
        let count = known.sha256.revisions.len() + known.sha512.revisions.len();
        if count == 0 {
            self.forget(repository);
        }
        Ok(count)
    }
}

impl HostedStore {
    /// The manifests of a repository that refer to one, in the order of their digests.
    pub async fn referrers(
        &self,
        repository: &RepositoryName,
        asked: &ReferrersQuery,
    ) -> Result<ReferrersPage, StoreError> {
        let asked_at = self.clock.moment();
        let mut known = self.revisions.of(repository).lock_owned().await;
        let (layout, clock, asked) = (Arc::clone(&self.layout), self.clock.clone(), asked.clone());
        let (name, path) = (repository.clone(), self.layout.hosted_repository(repository));
        let (page, is_empty) = on_disk("list", &path, move || {
            // Somebody else may have done it while this question waited for its turn.
            if known.checked.is_none_or(|checked| checked < asked_at) {
                known.check(&layout, &name, &clock)?;
            }
            let held = [Arc::clone(&known.sha256.revisions), Arc::clone(&known.sha512.revisions)];
            drop(known);
            let is_empty = held.iter().all(|revisions| revisions.is_empty());
            Ok((page(&layout, &name, &held, &asked)?, is_empty))
        })
        .await?;
        if is_empty {
            self.revisions.forget(repository);
        }
        Ok(page)
    }
}

/// The part that is asked for, each of it read from the disk.
fn page(
    layout: &Layout,
    repository: &RepositoryName,
    held: &[Arc<[Revision]>],
    asked: &ReferrersQuery,
) -> io::Result<ReferrersPage> {
    let wanted_type = asked.artifact_type.as_deref().map(|wanted| hash(Some(wanted)));
    let refers = |revision: &&Revision| match revision.role {
        Role::Refers { subject, .. } => subject == asked.subject.prefix(),
        Role::Unknown | Role::Plain => false,
    };
    let is_wanted = |revision: &&Revision| match revision.role {
        Role::Refers { artifact_type, .. } => {
            wanted_type.is_none_or(|wanted| wanted == artifact_type)
                && asked.last.is_none_or(|last| last < revision.digest)
        }
        Role::Unknown | Role::Plain => false,
    };
    // What was pushed by its sha512 is known by its sha256 too, and listed once: by the name that it was given.
    let mut named_otherwise = HashSet::new();
    for revision in held.iter().flat_map(|revisions| revisions.iter()).filter(refers) {
        if revision.digest.algorithm() != Algorithm::Sha256 {
            named_otherwise.extend(content_of(layout, repository, &revision.digest)?);
        }
    }
    let mut filling = asked.begin();
    let wanted = held.iter().flat_map(|revisions| revisions.iter()).filter(refers).filter(is_wanted);
    for revision in wanted.filter(|revision| !named_otherwise.contains(&revision.digest)) {
        let Some((stored, manifest)) = read(layout, repository, &revision.digest)? else { continue };
        if manifest.subject().is_none_or(|subject| subject.digest != asked.subject) {
            continue;
        }
        let descriptor = Referrers::describe(&revision.digest, &manifest, &stored.body);
        if asked.wants(&descriptor) && !filling.add(descriptor) {
            break;
        }
    }
    Ok(filling.finish())
}

/// A manifest that the repository holds; `None` also for what cannot be read as one.
fn read(
    layout: &Layout,
    repository: &RepositoryName,
    digest: &Digest,
) -> io::Result<Option<(StoredManifest, Manifest)>> {
    let stored = read_manifest(layout, repository, digest)?;
    let parsed = |stored: StoredManifest| {
        let manifest = Manifest::parse(&stored.body, stored.media_type.as_ref()).ok()?;
        Some((stored, manifest))
    };
    Ok(stored.and_then(parsed))
}

impl Known {
    /// Makes what is known what the directories hold.
    fn check(&mut self, layout: &Layout, repository: &RepositoryName, clock: &Clock) -> io::Result<()> {
        let begun = clock.moment();
        for (algorithm, directory) in [(Algorithm::Sha256, &mut self.sha256), (Algorithm::Sha512, &mut self.sha512)] {
            directory.list(algorithm, &layout.revisions(repository, algorithm), clock)?;
            directory.settle(layout, repository)?;
        }
        self.checked = Some(begun);
        Ok(())
    }
}

impl Directory {
    fn list(&mut self, algorithm: Algorithm, path: &Path, clock: &Clock) -> io::Result<()> {
        let listed = match self.listed.look(path, clock.now())? {
            Look::Same => return Ok(()),
            Look::Anew(listed) => listed,
            Look::Gone => {
                *self = Self::default();
                return Ok(());
            }
        };
        let mut digests = Vec::new();
        disk::each(path, |entry| digests.extend(Digest::from_parts(algorithm.as_str(), &entry.name)))?;
        digests.sort_unstable();
        let role = |digest: &Digest| match self.revisions.binary_search_by_key(digest, |revision| revision.digest) {
            Ok(at) => self.revisions[at].role,
            Err(_) => Role::Unknown,
        };
        self.revisions = digests.iter().map(|digest| Revision { digest: *digest, role: role(digest) }).collect();
        self.listed = listed;
        Ok(())
    }

    /// Reads what has not been read yet.
    fn settle(&mut self, layout: &Layout, repository: &RepositoryName) -> io::Result<()> {
        let unknown = |revision: &Revision| revision.role == Role::Unknown;
        for at in (0..self.revisions.len()).filter(|at| unknown(&self.revisions[*at])).collect::<Vec<_>>() {
            let role = Role::read(layout, repository, &self.revisions[at].digest)?;
            if role != Role::Unknown {
                Arc::make_mut(&mut self.revisions)[at].role = role;
            }
        }
        Ok(())
    }
}

impl Role {
    fn read(layout: &Layout, repository: &RepositoryName, digest: &Digest) -> io::Result<Self> {
        let Some(stored) = read_manifest(layout, repository, digest)? else { return Ok(Self::Unknown) };
        Ok(match Manifest::parse(&stored.body, stored.media_type.as_ref()) {
            Err(_) => Self::Unknown,
            Ok(manifest) => manifest.subject().map_or(Self::Plain, |subject| Self::Refers {
                subject: subject.digest.prefix(),
                artifact_type: hash(manifest.artifact_type()),
            }),
        })
    }
}

fn hash(artifact_type: Option<&str>) -> u64 {
    let mut hasher = DefaultHasher::new();
    artifact_type.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
