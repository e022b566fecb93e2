//! Lists the referrers of a manifest in a hosted repository.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use super::manifest_file::StoredManifest;
use super::revisions::{Revision, hash_type};
use super::store::HostedStore;
use super::{links, manifest_file};
use crate::oci::{Algorithm, Digest, Manifest, Referrers, ReferrersPage, ReferrersQuery, RepositoryName};
use crate::store::bad_entries::{BadEntries, Wanted};
use crate::store::driver::Driver;
use crate::store::{StoreError, layout};

impl HostedStore {
    /// Returns the referrers of a manifest in a repository, in the order of their digests.
    pub async fn referrers(
        &self,
        repository: &RepositoryName,
        query: &ReferrersQuery,
    ) -> Result<ReferrersPage, StoreError> {
        let asked_at = self.clock.moment();
        let mut known = self.revisions.of(repository).lock_owned().await;
        let (clock, query, name) = (self.clock.clone(), query.clone(), repository.clone());
        let bad = Arc::clone(&self.bad);
        let answer = move |driver: &dyn Driver| {
            // Another request may have brought the list up to date while this one waited for it.
            if !known.is_newer_than(asked_at) {
                known.refresh((driver, &bad), &name, &clock)?;
            }
            let held = known.all();
            drop(known);
            let is_empty = held.iter().all(|revisions| revisions.is_empty());
            Ok((page((driver, &bad), &name, &held, &query), is_empty))
        };
        let (page, is_empty) = self.backend.run("list", &layout::repository(repository), answer).await?;
        if is_empty {
            self.revisions.forget(repository);
        }
        Ok(page)
    }
}

/// Makes the requested page. Each entry is read from the storage. One that cannot be read is left out.
fn page(
    (driver, bad): (&dyn Driver, &BadEntries),
    repository: &RepositoryName,
    held: &[Arc<[Revision]>],
    query: &ReferrersQuery,
) -> ReferrersPage {
    let place = |digest: &Digest| driver.describe(&layout::revision_link(repository, digest));
    let refers = |revision: &&Revision| revision.may_refer_to(&query.subject);
    // A manifest that was pushed by its sha512 is linked by its sha256 too. It is listed once, by the digest that it
    // was pushed with.
    let mut listed_otherwise = HashSet::new();
    for revision in held.iter().flat_map(|revisions| revisions.iter()).filter(refers) {
        if revision.digest.algorithm() != Algorithm::Sha256 {
            let content = links::manifest_content(driver, repository, &revision.digest);
            listed_otherwise.extend(bad.accept(Wanted::Object, || place(&revision.digest), content).flatten());
        }
    }
    let wanted_type = query.artifact_type.as_deref().map(|wanted| hash_type(Some(wanted)));
    let is_wanted = |revision: &&Revision| {
        revision.may_have_type(wanted_type) && query.last.is_none_or(|last| last < revision.digest)
    };
    let mut filling = query.begin();
    let wanted = held.iter().flat_map(|revisions| revisions.iter()).filter(refers).filter(is_wanted);
    for revision in wanted.filter(|revision| !listed_otherwise.contains(&revision.digest)) {
        let found = read(driver, repository, &revision.digest);
        let found = bad.accept(Wanted::Object, || place(&revision.digest), found).flatten();
        let Some((stored, manifest)) = found else { continue };
        if manifest.subject().is_none_or(|subject| subject.digest != query.subject) {
            continue;
        }
        let descriptor = Referrers::describe(&revision.digest, &manifest, &stored.body);
        if query.wants(&descriptor) && !filling.add(descriptor) {
            break;
        }
    }
    filling.finish()
}

/// Reads and parses a manifest that the repository holds; `None` also if it cannot be parsed.
fn read(
    driver: &dyn Driver,
    repository: &RepositoryName,
    digest: &Digest,
) -> io::Result<Option<(StoredManifest, Manifest)>> {
    let stored = manifest_file::read(driver, repository, digest)?;
    let parsed = |stored: StoredManifest| {
        let manifest = Manifest::parse(&stored.body, stored.media_type.as_ref()).ok()?;
        Some((stored, manifest))
    };
    Ok(stored.and_then(parsed))
}
