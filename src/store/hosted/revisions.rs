//! The manifests of each repository in memory, with the manifest that each refers to.
//!
//! The memory only narrows the search. Each question first checks whether any process has added or removed a manifest
//! since the last listing. If so, the manifests are listed again, and only new ones are read. The manifests in the
//! answer and their links are then read from the storage, since a deletion removes the link. The first question about a
//! repository reads all of its manifests.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{links, manifest_file};
use crate::oci::{Algorithm, Digest, Manifest, RepositoryName};
use crate::store::bad_entries::{BadEntries, Wanted};
use crate::store::directory::{Comparison, FolderState};
use crate::store::driver::Driver;
use crate::store::layout;
use crate::sys::{Clock, Moment};

/// The known manifests of every repository that has any.
#[derive(Default)]
pub struct Revisions {
    /// A std `Mutex`: held only for operations on the map.
    known: Mutex<HashMap<RepositoryName, Shared>>,
}

/// The known manifests of one repository. An async lock: the request that brings them up to date holds it, and the
/// others wait for the result instead of doing the same.
type Shared = Arc<tokio::sync::Mutex<KnownRevisions>>;

/// The manifests of one repository.
#[derive(Default)]
pub struct KnownRevisions {
    sha256: Folder,
    sha512: Folder,
    /// The moment of the last comparison with the storage.
    checked: Option<Moment>,
}

/// The manifests in `_manifests/revisions/ALGORITHM`.
#[derive(Clone, Default)]
struct Folder {
    state: FolderState,
    /// The manifests in the order of their digests, 96 bytes for each. Shared with the answers that are being made of
    /// them.
    revisions: Arc<[Revision]>,
}

/// A manifest of a repository.
#[derive(Clone)]
pub struct Revision {
    pub digest: Digest,
    role: Role,
}

/// The relation of a manifest to others. It never changes, since the content of a digest never changes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Not known: the manifest has no link, or it cannot be read. It is looked at again with each question:
    /// `registry:2` deletes the link alone and leaves an empty folder, and a new link in it does not change the time of
    /// the folder above.
    Unknown,
    /// It refers to no manifest.
    Plain,
    Refers {
        /// The first bytes of the digest that it refers to.
        subject: u64,
        /// A hash of its artifact type.
        artifact_type: u64,
    },
}

impl Revisions {
    /// Returns the known manifests of a repository.
    pub fn of(&self, repository: &RepositoryName) -> Shared {
        let mut known = self.known();
        known.get(repository).cloned().unwrap_or_else(|| {
            let fresh = Shared::default();
            known.insert(repository.clone(), Arc::clone(&fresh));
            fresh
        })
    }

    /// Forgets a repository without manifests. Clients may ask about any name, so only existing ones are kept.
    pub fn forget(&self, repository: &RepositoryName) {
        self.known().remove(repository);
    }

    fn known(&self) -> MutexGuard<'_, HashMap<RepositoryName, Shared>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the manifests of a repository into memory. Returns how many it has. Blocks.
    pub fn enter(
        &self,
        (driver, bad): (&dyn Driver, &BadEntries),
        repository: &RepositoryName,
        clock: &Clock,
    ) -> io::Result<usize> {
        let shared = self.of(repository);
        let mut known = shared.blocking_lock();
        known.refresh((driver, bad), repository, clock)?;
        let count = known.sha256.revisions.len() + known.sha512.revisions.len();
        if count == 0 {
            self.forget(repository);
        }
        Ok(count)
    }
}

impl KnownRevisions {
    /// Returns true if the manifests were compared with the storage at this moment or later.
    pub fn is_newer_than(&self, moment: Moment) -> bool {
        self.checked.is_some_and(|checked| checked >= moment)
    }

    /// Returns the manifests, by algorithm, in the order of their digests.
    pub fn all(&self) -> [Arc<[Revision]>; 2] {
        [Arc::clone(&self.sha256.revisions), Arc::clone(&self.sha512.revisions)]
    }

    /// Brings the manifests up to date with the storage. Blocks.
    pub fn refresh(
        &mut self,
        (driver, bad): (&dyn Driver, &BadEntries),
        repository: &RepositoryName,
        clock: &Clock,
    ) -> io::Result<()> {
        let begun = clock.moment();
        for (algorithm, folder) in [(Algorithm::Sha256, &mut self.sha256), (Algorithm::Sha512, &mut self.sha512)] {
            folder.list(driver, repository, algorithm, clock)?;
            folder.read_unknown((driver, bad), repository);
        }
        self.checked = Some(begun);
        Ok(())
    }
}

impl Folder {
    fn list(
        &mut self,
        driver: &dyn Driver,
        repository: &RepositoryName,
        algorithm: Algorithm,
        clock: &Clock,
    ) -> io::Result<()> {
        let folder = layout::revisions_by(repository, algorithm);
        let state = match self.state.compare(driver, &folder, clock.now())? {
            Comparison::Unchanged => return Ok(()),
            Comparison::Stale(state) => state,
            Comparison::Gone => {
                *self = Self::default();
                return Ok(());
            }
        };
        let mut digests = links::digests_in(driver, &folder, algorithm)?;
        digests.sort_unstable();
        let role = |digest: &Digest| match self.revisions.binary_search_by_key(digest, |revision| revision.digest) {
            Ok(at) => self.revisions[at].role,
            Err(_) => Role::Unknown,
        };
        self.revisions = digests.iter().map(|digest| Revision { digest: *digest, role: role(digest) }).collect();
        self.state = state;
        Ok(())
    }

    /// Reads the manifests whose role is not known yet. The role of one that cannot be read stays unknown.
    fn read_unknown(&mut self, (driver, bad): (&dyn Driver, &BadEntries), repository: &RepositoryName) {
        let is_unknown = |revision: &Revision| revision.role == Role::Unknown;
        for at in (0..self.revisions.len()).filter(|at| is_unknown(&self.revisions[*at])).collect::<Vec<_>>() {
            let digest = self.revisions[at].digest;
            let place = || driver.describe(&layout::revision_link(repository, &digest));
            let read = Role::read(driver, repository, &digest);
            let role = bad.accept(Wanted::Object, place, read).unwrap_or(Role::Unknown);
            if role != Role::Unknown {
                Arc::make_mut(&mut self.revisions)[at].role = role;
            }
        }
    }
}

impl Revision {
    /// Returns false if the manifest surely does not refer to `digest`.
    pub fn may_refer_to(&self, digest: &Digest) -> bool {
        match self.role {
            Role::Refers { subject, .. } => subject == digest.prefix(),
            Role::Unknown | Role::Plain => false,
        }
    }

    /// Returns false if the manifest surely has another artifact type than the one with the hash `wanted`. `None`
    /// stands for every type.
    pub fn may_have_type(&self, wanted: Option<u64>) -> bool {
        match self.role {
            Role::Refers { artifact_type, .. } => wanted.is_none_or(|wanted| wanted == artifact_type),
            Role::Unknown | Role::Plain => false,
        }
    }
}

impl Role {
    fn read(driver: &dyn Driver, repository: &RepositoryName, digest: &Digest) -> io::Result<Self> {
        let Some(stored) = manifest_file::read(driver, repository, digest)? else { return Ok(Self::Unknown) };
        Ok(match Manifest::parse(&stored.body, stored.media_type.as_ref()) {
            Err(_) => Self::Unknown,
            Ok(manifest) => manifest.subject().map_or(Self::Plain, |subject| Self::Refers {
                subject: subject.digest.prefix(),
                artifact_type: hash_type(manifest.artifact_type()),
            }),
        })
    }
}

/// Returns the hash by which artifact types are compared.
pub fn hash_type(artifact_type: Option<&str>) -> u64 {
    let mut hasher = DefaultHasher::new();
    artifact_type.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
