//! The behaviour of hosted content over every driver.

use std::collections::BTreeSet;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use super::faulty::FaultyDriver;
use super::memory::MemoryDriver;
use crate::oci::{Algorithm, Digest, MediaType, ReferrersQuery, RepositoryName, Tag};
use crate::store::cache::CacheStore;
use crate::store::driver::{DiskDriver, Driver, Durability};
use crate::store::{HostedStore, RepositoryLock, Share, StoreError, StoredBlob, UploadId, layout};
use crate::sys::Clock;

/// A hosted store over one driver.
pub struct Fixture {
    pub store: HostedStore,
    pub driver: Arc<dyn Driver>,
    pub clock: Clock,
    directory: tempfile::TempDir,
}

impl Fixture {
    pub fn on_disk() -> Self {
        Self::new(|directory, _| Arc::new(DiskDriver::new(directory)))
    }

    pub fn in_memory() -> Self {
        Self::new(|_, clock| Arc::new(MemoryDriver::new(clock.clone())))
    }

    fn new(driver: impl Fn(&Path, &Clock) -> Arc<dyn Driver>) -> Self {
        let (directory, clock) = (tempfile::tempdir().unwrap(), Clock::system());
        let driver = driver(directory.path(), &clock);
        let store = HostedStore::new(Arc::clone(&driver), clock.clone());
        Self { store, driver, clock, directory }
    }

    /// Puts another driver in front of the fixture's own.
    pub fn over(self, driver: Arc<dyn Driver>) -> Self {
        let store = HostedStore::new(Arc::clone(&driver), self.clock.clone());
        Self { store, driver, ..self }
    }

    /// Returns a store that shares only the driver, as a restarted process does.
    pub fn restarted(&self) -> HostedStore {
        HostedStore::new(Arc::clone(&self.driver), self.clock.clone())
    }

    /// Returns the lock of a repository, which is held alone.
    pub async fn alone(&self, repository: &RepositoryName) -> RepositoryLock {
        self.store.lock(repository, Share::Alone).await.unwrap()
    }

    /// Pushes a blob in one piece.
    async fn push(&self, repository: &RepositoryName, content: &[u8]) -> Digest {
        let id = self.store.start_upload(repository, Algorithm::Sha256).await.unwrap();
        let mut upload = self.store.upload(repository, &id).await.unwrap();
        upload.append(Bytes::from(content.to_vec())).await.unwrap();
        let verified = self.store.verify(upload, &sha256(content)).await.unwrap();
        self.store.publish(verified).await.unwrap();
        sha256(content)
    }

    pub async fn put(&self, repository: &RepositoryName, body: &str) -> Digest {
        let digest = sha256(body.as_bytes());
        self.store.put_manifest(repository, &digest, Bytes::from(body.to_owned()), None).await.unwrap();
        digest
    }

    async fn tags(&self, repository: &RepositoryName) -> Vec<String> {
        self.store.tags(repository, None, 100).await.unwrap().entries
    }

    async fn referrers(&self, repository: &RepositoryName, subject: &Digest) -> usize {
        let query = ReferrersQuery { subject: *subject, artifact_type: None, n: None, last: None };
        self.store.referrers(repository, &query).await.unwrap().referrers.descriptors().len()
    }
}

/// Runs each test over both drivers.
macro_rules! over_both_drivers {
    ($($test:ident)*) => {
        mod on_disk {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::Fixture::on_disk()).await;
            })*
        }

        mod in_memory {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::Fixture::in_memory()).await;
            })*
        }
    };
}

pub(super) use over_both_drivers;

over_both_drivers! {
    pushed_blob_is_read_back
    upload_resumes_after_restart
    upload_is_held_by_one_request
    upload_with_another_digest_is_removed
    discarded_upload_is_unknown
    idle_uploads_are_purged_and_held_ones_stay
    sha512_content_lies_under_its_sha256
    mounted_blob_needs_a_link
    cached_blob_is_adopted_after_verification
    manifest_keeps_its_media_type
    tags_are_paged_moved_and_removed
    deleted_manifest_loses_its_tags_and_digests
    link_that_another_registry_removed_hides_the_manifest
    referrers_follow_pushes_and_deletions
    missing_digests_are_named_in_order
    repositories_are_listed_and_removed
    damaged_content_is_not_served_and_a_push_heals_it
    concurrent_pushes_keep_every_tag
    exclusive_lock_waits_for_shared_ones
    lock_of_all_repositories_excludes_each
    walk_finds_stored_bytes_and_removal_frees_them
    holders_are_known_before_and_after_indexing
    uploads_that_cannot_be_removed_do_not_keep_the_others
    uploads_that_cannot_be_listed_do_not_keep_the_others
}

pub fn sha256(content: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, content)
}

pub fn name(text: &str) -> RepositoryName {
    text.parse().unwrap()
}

pub fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

async fn read(blob: StoredBlob) -> Vec<u8> {
    let (mut extent, mut content) = (blob.extent(), Vec::new());
    loop {
        let piece = extent.read(7).await.unwrap();
        if piece.is_empty() {
            return content;
        }
        content.extend_from_slice(&piece);
    }
}

async fn pushed_blob_is_read_back(fixture: Fixture) {
    let (app, other) = (name("team/app"), name("team/other"));
    let digest = fixture.push(&app, b"the content of a layer").await;
    let blob = fixture.store.blob(&app, &digest).await.unwrap().unwrap();
    assert_eq!(blob.size, 22);
    fixture.store.unlink_layer(fixture.alone(&app).await, &app, &digest).await.unwrap();
    fixture.store.remove_blob(&digest).await.unwrap();
    assert_eq!(read(blob).await, b"the content of a layer", "an open blob outlives its removal");
    assert!(fixture.store.blob(&app, &digest).await.unwrap().is_none());
    assert!(fixture.store.blob(&other, &digest).await.unwrap().is_none());
}

async fn upload_resumes_after_restart(fixture: Fixture) {
    let app = name("team/app");
    let id = fixture.store.start_upload(&app, Algorithm::Sha256).await.unwrap();
    let mut upload = fixture.store.upload(&app, &id).await.unwrap();
    upload.append(Bytes::from_static(b"first ")).await.unwrap();
    drop(upload);
    let mut upload = fixture.store.upload(&app, &id).await.unwrap();
    assert_eq!(upload.size(), 6, "resumed in the same process");
    upload.append(Bytes::from_static(b"second ")).await.unwrap();
    drop(upload);
    let store = fixture.restarted();
    assert_eq!(store.upload_size(&app, &id).await.unwrap(), 13);
    let mut upload = store.upload(&app, &id).await.unwrap();
    upload.append(Bytes::from_static(b"third")).await.unwrap();
    let digest = sha256(b"first second third");
    let verified = store.verify(upload, &digest).await.unwrap();
    store.publish(verified).await.unwrap();
    assert_eq!(read(store.blob(&app, &digest).await.unwrap().unwrap()).await, b"first second third");
    assert!(matches!(store.upload_size(&app, &id).await, Err(StoreError::NoUpload)));
}

async fn upload_is_held_by_one_request(fixture: Fixture) {
    let app = name("team/app");
    let id = fixture.store.start_upload(&app, Algorithm::Sha256).await.unwrap();
    let upload = fixture.store.upload(&app, &id).await.unwrap();
    assert!(matches!(fixture.store.upload(&app, &id).await, Err(StoreError::Busy)));
    assert!(matches!(fixture.store.discard_upload(&app, &id).await, Err(StoreError::Busy)));
    assert_eq!(fixture.store.upload_size(&app, &id).await.unwrap(), 0, "the size can be asked for");
    drop(upload);
    assert!(fixture.store.upload(&app, &id).await.is_ok());
}

async fn upload_with_another_digest_is_removed(fixture: Fixture) {
    let app = name("team/app");
    let id = fixture.store.start_upload(&app, Algorithm::Sha256).await.unwrap();
    let mut upload = fixture.store.upload(&app, &id).await.unwrap();
    upload.append(Bytes::from_static(b"some bytes")).await.unwrap();
    let refused = fixture.store.verify(upload, &sha256(b"other bytes")).await;
    let Err(StoreError::Mismatch { expected, found }) = refused else { panic!("the digest differs") };
    assert_eq!((expected, found), (sha256(b"other bytes"), sha256(b"some bytes")));
    assert!(matches!(fixture.store.upload(&app, &id).await, Err(StoreError::NoUpload)));
    assert!(!fixture.store.has_content(&found).await.unwrap());
}

async fn discarded_upload_is_unknown(fixture: Fixture) {
    let app = name("team/app");
    let id = fixture.store.start_upload(&app, Algorithm::Sha256).await.unwrap();
    fixture.store.discard_upload(&app, &id).await.unwrap();
    assert!(matches!(fixture.store.discard_upload(&app, &id).await, Err(StoreError::NoUpload)));
    let unknown: UploadId = "00000000-0000-4000-8000-000000000000".parse().unwrap();
    assert!(matches!(fixture.store.upload(&app, &unknown).await, Err(StoreError::NoUpload)));
}

async fn idle_uploads_are_purged_and_held_ones_stay(fixture: Fixture) {
    let app = name("team/app");
    let start = async || fixture.store.start_upload(&app, Algorithm::Sha256).await.unwrap();
    let (idle, held) = (start().await, start().await);
    let mut upload = fixture.store.upload(&app, &held).await.unwrap();
    upload.append(Bytes::from_static(b"12345")).await.unwrap();
    let amount = fixture.store.uploads_amount().await.unwrap();
    assert_eq!((amount.count, amount.bytes), (2, 5));
    assert_eq!(fixture.store.purge_uploads(Duration::from_secs(60)).await.unwrap(), 0, "both are young");
    fixture.clock.advance(Duration::from_secs(120));
    assert_eq!(fixture.store.purge_uploads(Duration::from_secs(60)).await.unwrap(), 1);
    assert!(matches!(fixture.store.upload_size(&app, &idle).await, Err(StoreError::NoUpload)));
    assert_eq!(fixture.store.upload_size(&app, &held).await.unwrap(), 5);
}

async fn uploads_that_cannot_be_removed_do_not_keep_the_others(fixture: Fixture) {
    let faulty = Arc::new(FaultyDriver::new(Arc::clone(&fixture.driver)));
    let fixture = fixture.over(Arc::clone(&faulty) as _);
    for verb in ["open_writer", "stat", "remove_tree"] {
        for kind in [io::ErrorKind::PermissionDenied, io::ErrorKind::IsADirectory] {
            let mut uploads = Vec::new();
            for repository in ["a", "b", "b", "b", "c"] {
                let id = fixture.store.start_upload(&name(repository), Algorithm::Sha256).await.unwrap();
                let mut upload = fixture.store.upload(&name(repository), &id).await.unwrap();
                upload.append(Bytes::from_static(b"12345")).await.unwrap();
                uploads.push((name(repository), id));
            }
            fixture.clock.advance(Duration::from_secs(120));
            let stuck = uploads[2].1.as_str().to_owned();
            faulty.set_hook(
                move |called, key| {
                    if called == verb && key.as_str().contains(&stuck) { Err(kind.into()) } else { Ok(()) }
                },
            );
            assert_eq!(fixture.store.purge_uploads(Duration::from_secs(60)).await.unwrap(), 4, "{verb}, {kind}");
            faulty.remove_hook();
            let mut left = Vec::new();
            for (repository, id) in &uploads {
                left.push(fixture.store.upload_size(repository, id).await.is_ok());
            }
            assert_eq!(left, [false, false, true, false, false], "{verb}, {kind}");
            assert_eq!(fixture.store.purge_uploads(Duration::from_secs(60)).await.unwrap(), 1, "it can be removed now");
        }
    }
}

async fn uploads_that_cannot_be_listed_do_not_keep_the_others(fixture: Fixture) {
    let faulty = Arc::new(FaultyDriver::new(Arc::clone(&fixture.driver)));
    let fixture = fixture.over(Arc::clone(&faulty) as _);
    for repository in ["a", "b", "c"] {
        fixture.store.start_upload(&name(repository), Algorithm::Sha256).await.unwrap();
    }
    fixture.clock.advance(Duration::from_secs(120));
    faulty.fail(&["each_child"], "repositories/b/_uploads", io::ErrorKind::PermissionDenied);
    assert_eq!(fixture.store.purge_uploads(Duration::from_secs(60)).await.unwrap(), 2);
}

async fn sha512_content_lies_under_its_sha256(fixture: Fixture) {
    let (app, content) = (name("team/app"), b"by another algorithm".as_slice());
    let (other, content_digest) = (Digest::of(Algorithm::Sha512, content), sha256(content));
    for announced in [Algorithm::Sha512, Algorithm::Sha256] {
        let id = fixture.store.start_upload(&app, announced).await.unwrap();
        let mut upload = fixture.store.upload(&app, &id).await.unwrap();
        upload.append(Bytes::from(content)).await.unwrap();
        let verified = fixture.store.verify(upload, &other).await.unwrap();
        fixture.store.publish(verified).await.unwrap();
    }
    assert_eq!(fixture.store.layer(&app, &other).await.unwrap(), Some(content_digest));
    assert_eq!(read(fixture.store.blob(&app, &other).await.unwrap().unwrap()).await, content);
    assert_eq!(fixture.store.digests(&app).await.unwrap(), [content_digest]);
    assert_eq!(fixture.store.amount().await.unwrap().count, 1);
}

async fn mounted_blob_needs_a_link(fixture: Fixture) {
    let (app, other) = (name("team/app"), name("team/other"));
    let digest = fixture.push(&app, b"shared layer").await;
    assert!(fixture.store.has_content(&digest).await.unwrap());
    assert!(fixture.store.blob(&other, &digest).await.unwrap().is_none(), "stored bytes alone give no right");
    fixture.store.link_layer(&other, &digest, &digest).await.unwrap();
    assert!(fixture.store.blob(&other, &digest).await.unwrap().is_some());
    assert!(fixture.store.unlink_layer(fixture.alone(&app).await, &app, &digest).await.unwrap());
    assert!(!fixture.store.unlink_layer(fixture.alone(&app).await, &app, &digest).await.unwrap());
    assert!(fixture.store.blob(&app, &digest).await.unwrap().is_none());
    assert!(fixture.store.blob(&other, &digest).await.unwrap().is_some(), "the other repository keeps its right");
}

async fn cached_blob_is_adopted_after_verification(fixture: Fixture) {
    let root = fixture.directory.path();
    let cache = CacheStore::new(root, Arc::new(DiskDriver::new(root)), fixture.clock.clone());
    let (body, damaged) = (b"cached content".as_slice(), sha256(b"what it should be"));
    let (digest, longer) = (sha256(body), Digest::of(Algorithm::Sha512, body));
    assert_eq!(fixture.store.adopt(&cache, &digest).await.unwrap(), None, "it is not cached");
    for cached in [&digest, &longer, &damaged] {
        cache.put(cached, Bytes::from(body)).await.unwrap();
    }
    assert_eq!(fixture.store.adopt(&cache, &digest).await.unwrap(), Some(digest));
    assert_eq!(fixture.store.adopt(&cache, &longer).await.unwrap(), Some(digest));
    assert!(matches!(fixture.store.adopt(&cache, &damaged).await, Err(StoreError::Mismatch { .. })));
    assert!(fixture.store.has_content(&digest).await.unwrap() && !fixture.store.has_content(&damaged).await.unwrap());
    let app = name("team/app");
    fixture.store.link_layer(&app, &digest, &digest).await.unwrap();
    cache.remove(&digest).await.unwrap();
    assert_eq!(read(fixture.store.blob(&app, &digest).await.unwrap().unwrap()).await, body);
}

async fn manifest_keeps_its_media_type(fixture: Fixture) {
    let (app, body) = (name("team/app"), r#"{"manifests":[]}"#);
    let digest = fixture.put(&app, body).await;
    let stored = fixture.store.manifest(&app, &digest).await.unwrap().unwrap();
    assert_eq!((&stored.body[..], stored.media_type), (body.as_bytes(), None));
    let media_type = MediaType::known(MediaType::OCI_INDEX);
    let put = |media_type| fixture.store.put_manifest(&app, &digest, Bytes::from(body), media_type);
    put(Some(&media_type)).await.unwrap();
    let stored = fixture.store.manifest(&app, &digest).await.unwrap().unwrap();
    assert_eq!(stored.media_type.as_ref(), Some(&media_type));
    put(None).await.unwrap();
    assert_eq!(fixture.store.manifest(&app, &digest).await.unwrap().unwrap().media_type, None);
}

async fn tags_are_paged_moved_and_removed(fixture: Fixture) {
    let app = name("team/app");
    let (one, two) = (fixture.put(&app, r#"{"n":1}"#).await, fixture.put(&app, r#"{"n":2}"#).await);
    for (text, digest) in [("v2", &one), ("latest", &one), ("v1", &one), ("latest", &two)] {
        fixture.store.set_tag(&app, &tag(text), digest).await.unwrap();
    }
    assert_eq!(fixture.store.tag(&app, &tag("latest")).await.unwrap(), Some(two));
    let tagged = fixture.store.tagged(&app, &tag("latest")).await.unwrap().unwrap();
    assert!(tagged.digest == two && tagged.pushed_at.is_some());
    let page = fixture.store.tags(&app, None, 2).await.unwrap();
    assert_eq!((page.entries, page.more), (vec!["latest".to_owned(), "v1".to_owned()], true));
    let page = fixture.store.tags(&app, Some("v1"), 2).await.unwrap();
    assert_eq!((page.entries, page.more), (vec!["v2".to_owned()], false));
    assert!(fixture.store.untag(fixture.alone(&app).await, &app, &tag("v1")).await.unwrap());
    assert!(!fixture.store.untag(fixture.alone(&app).await, &app, &tag("v1")).await.unwrap());
    assert_eq!(fixture.tags(&app).await, ["latest", "v2"]);
    assert_eq!(fixture.store.count_tags(&app).await.unwrap(), 2);
}

async fn deleted_manifest_loses_its_tags_and_digests(fixture: Fixture) {
    let (app, body) = (name("team/app"), r#"{"n":1}"#);
    let other = Digest::of(Algorithm::Sha512, body.as_bytes());
    fixture.store.put_manifest(&app, &other, Bytes::from(body), None).await.unwrap();
    let kept = fixture.put(&app, r#"{"n":2}"#).await;
    fixture.store.set_tag(&app, &tag("gone"), &other).await.unwrap();
    fixture.store.set_tag(&app, &tag("kept"), &kept).await.unwrap();
    assert_eq!(fixture.store.tag(&app, &tag("gone")).await.unwrap(), Some(other), "a tag keeps the pushed digest");
    assert_eq!(fixture.store.revision(&app, &other).await.unwrap(), Some(sha256(body.as_bytes())));
    assert!(
        fixture
            .store
            .delete_manifest(fixture.alone(&app).await, &app, &sha256(body.as_bytes()))
            .await
            .unwrap()
            .is_some()
    );
    assert!(fixture.store.delete_manifest(fixture.alone(&app).await, &app, &other).await.unwrap().is_none());
    for digest in [other, sha256(body.as_bytes())] {
        assert!(fixture.store.manifest(&app, &digest).await.unwrap().is_none());
    }
    assert_eq!(fixture.tags(&app).await, ["kept"]);
}

async fn link_that_another_registry_removed_hides_the_manifest(fixture: Fixture) {
    let (app, body) = (name("team/app"), r#"{"n":1}"#);
    let other = Digest::of(Algorithm::Sha512, body.as_bytes());
    fixture.store.put_manifest(&app, &other, Bytes::from(body), None).await.unwrap();
    fixture.driver.remove(&layout::revision_link(&app, &sha256(body.as_bytes()))).unwrap();
    assert!(fixture.store.manifest(&app, &other).await.unwrap().is_none());
    assert_eq!(fixture.store.revision(&app, &other).await.unwrap(), None);
}

async fn referrers_follow_pushes_and_deletions(fixture: Fixture) {
    let (app, subject) = (name("team/app"), sha256(b"subject"));
    let body = |n: usize| {
        format!(r#"{{"manifests":[],"subject":{{"digest":"{subject}","size":1}},"annotations":{{"n":"{n}"}}}}"#)
    };
    assert_eq!(fixture.referrers(&app, &subject).await, 0);
    for n in 1..=3 {
        fixture.put(&app, &body(n)).await;
        assert_eq!(fixture.referrers(&app, &subject).await, n);
    }
    fixture.store.delete_manifest(fixture.alone(&app).await, &app, &sha256(body(2).as_bytes())).await.unwrap();
    assert_eq!(fixture.referrers(&app, &subject).await, 2);
    let longer = Digest::of(Algorithm::Sha512, body(4).as_bytes());
    fixture.store.put_manifest(&app, &longer, Bytes::from(body(4)), None).await.unwrap();
    assert_eq!(fixture.referrers(&app, &subject).await, 3, "a manifest with two digests is listed once");
    assert_eq!(fixture.referrers(&app, &sha256(b"another subject")).await, 0);
}

async fn missing_digests_are_named_in_order(fixture: Fixture) {
    let app = name("team/app");
    let (layer, manifest) = (fixture.push(&app, b"layer").await, fixture.put(&app, r#"{"n":1}"#).await);
    let gone = fixture.push(&app, b"gone").await;
    fixture.store.remove_blob(&gone).await.unwrap();
    let never = sha256(b"never pushed");
    let asked = vec![never, layer, gone, manifest];
    assert_eq!(fixture.store.missing(&app, asked.clone(), 9).await.unwrap(), [never, gone]);
    assert_eq!(fixture.store.missing(&app, asked, 1).await.unwrap(), [never]);
}

async fn repositories_are_listed_and_removed(fixture: Fixture) {
    for text in ["b", "a/b", "a", "a-b"] {
        let digest = fixture.put(&name(text), r#"{"n":1}"#).await;
        fixture.store.set_tag(&name(text), &tag("v1"), &digest).await.unwrap();
    }
    fixture.push(&name("layers/only"), b"layer").await;
    let page = fixture.store.repositories(Some("a"), 2).await.unwrap();
    assert_eq!((page.entries, page.more), (vec!["a-b".to_owned(), "a/b".to_owned()], true));
    let all = fixture.store.inhabited_after(None, 9).await.unwrap();
    assert_eq!(all.entries, ["a", "a-b", "a/b", "b", "layers/only"]);
    assert!(fixture.store.exists(&name("a/b")).await.unwrap() && !fixture.store.exists(&name("c")).await.unwrap());
    assert!(fixture.store.remove_repository(fixture.alone(&name("a")).await, &name("a")).await.unwrap());
    assert!(!fixture.store.remove_repository(fixture.alone(&name("a")).await, &name("a")).await.unwrap());
    let left = fixture.store.repositories(None, 9).await.unwrap();
    assert_eq!(left.entries, ["a-b", "a/b", "b"], "a repository below the removed one stays");
}

async fn damaged_content_is_not_served_and_a_push_heals_it(fixture: Fixture) {
    let (app, body) = (name("team/app"), r#"{"n":1}"#);
    let (manifest, layer) = (fixture.put(&app, body).await, fixture.push(&app, b"layer").await);
    let damage = |digest, content: &[u8]| fixture.driver.write(&layout::blob(digest), content, Durability::Synced);
    damage(&manifest, br#"{"n":7}"#).unwrap();
    damage(&layer, b"").unwrap();
    assert!(fixture.store.manifest(&app, &manifest).await.unwrap().is_none());
    assert!(fixture.store.blob(&app, &layer).await.unwrap().is_none());
    assert!(!fixture.store.has_content(&layer).await.unwrap());
    fixture.put(&app, body).await;
    fixture.push(&app, b"layer").await;
    assert_eq!(fixture.store.manifest(&app, &manifest).await.unwrap().unwrap().body, body);
    assert_eq!(read(fixture.store.blob(&app, &layer).await.unwrap().unwrap()).await, b"layer");
    let link = layout::layer_link(&app, &layer);
    fixture.driver.write(&link, b"no digest", Durability::Synced).unwrap();
    assert_eq!(fixture.store.layer(&app, &layer).await.unwrap(), None, "a damaged link counts as missing");
}

async fn concurrent_pushes_keep_every_tag(fixture: Fixture) {
    let (fixture, app) = (Arc::new(fixture), name("team/app"));
    let push = |n: usize| {
        let (fixture, app) = (Arc::clone(&fixture), app.clone());
        async move {
            let _lock = fixture.store.lock(&app, Share::Shared).await.unwrap();
            let layer = fixture.push(&app, format!("layer {}", n % 4).as_bytes()).await;
            let digest = fixture.put(&app, &format!(r#"{{"layer":"{layer}","n":{n}}}"#)).await;
            fixture.store.set_tag(&app, &tag(&format!("v{n}")), &digest).await.unwrap();
        }
    };
    let mut running = tokio::task::JoinSet::new();
    (0..12).for_each(|n| drop(running.spawn(push(n))));
    running.join_all().await;
    assert_eq!(fixture.tags(&app).await.len(), 12);
    for n in 0..12 {
        let digest = fixture.store.tag(&app, &tag(&format!("v{n}"))).await.unwrap().unwrap();
        assert!(fixture.store.manifest(&app, &digest).await.unwrap().is_some());
    }
    assert_eq!(fixture.store.amount().await.unwrap().count, 12 + 4);
}

async fn exclusive_lock_waits_for_shared_ones(fixture: Fixture) {
    let app = name("team/app");
    let shared = [fixture.store.lock(&app, Share::Shared).await, fixture.store.lock(&app, Share::Shared).await];
    let alone = fixture.store.lock(&app, Share::Alone);
    let mut alone = std::pin::pin!(alone);
    let soon = Duration::from_millis(50);
    assert!(tokio::time::timeout(soon, &mut alone).await.is_err());
    drop(shared);
    let _alone = alone.await.unwrap();
    assert!(tokio::time::timeout(soon, fixture.store.lock(&app, Share::Shared)).await.is_err());
}

async fn lock_of_all_repositories_excludes_each(fixture: Fixture) {
    let all = fixture.store.lock_all().await.unwrap();
    let soon = Duration::from_millis(20);
    for text in ["a", "b", "team/app"] {
        assert!(tokio::time::timeout(soon, fixture.store.lock(&name(text), Share::Shared)).await.is_err(), "{text}");
    }
    drop(all);
    assert!(fixture.store.lock(&name("a"), Share::Alone).await.is_ok());
}

async fn walk_finds_stored_bytes_and_removal_frees_them(fixture: Fixture) {
    let app = name("team/app");
    let digests = [fixture.push(&app, b"one").await, fixture.push(&app, b"three").await];
    let found = Arc::new(Mutex::new(BTreeSet::new()));
    let walk = async |limit: usize| {
        let seen = Arc::clone(&found);
        seen.lock().unwrap().clear();
        let visit = move |blob: crate::store::HostedBlob| {
            let mut seen = seen.lock().unwrap();
            seen.insert((blob.digest, blob.size));
            if seen.len() == limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        fixture.store.walk_blobs(visit).await.unwrap();
        found.lock().unwrap().clone()
    };
    assert_eq!(walk(9).await, BTreeSet::from([(digests[0], 3), (digests[1], 5)]));
    assert_eq!(walk(1).await.len(), 1, "the walk ends when its visitor says so");
    assert_eq!(fixture.store.amount().await.unwrap().bytes, 8);
    assert!(fixture.store.remove_blob(&digests[0]).await.unwrap());
    assert!(!fixture.store.remove_blob(&digests[0]).await.unwrap());
    assert_eq!(fixture.store.sizes(digests.to_vec()).await.unwrap(), [0, 5]);
    assert_eq!(walk(9).await, BTreeSet::from([(digests[1], 5)]));
}

async fn holders_are_known_before_and_after_indexing(fixture: Fixture) {
    let (one, two) = (name("team/one"), name("team/two"));
    let layer = fixture.push(&one, b"layer").await;
    fixture.push(&two, b"another layer").await;
    let store = fixture.restarted();
    let holders = async || store.holders(&layer).await.unwrap().collect::<Vec<_>>();
    assert_eq!(holders().await, [one.clone(), two.clone()], "each may hold it");
    store.index(&mut crate::store::Indexed::default()).await.unwrap();
    assert_eq!(holders().await, std::slice::from_ref(&one));
    store.link_layer(&two, &layer, &layer).await.unwrap();
    assert_eq!(holders().await, [one, two]);
}
