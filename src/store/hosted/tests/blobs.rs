//! Hosted blobs over every driver.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::fixture::{Fixture, name, over_both_drivers, read, sha256};
use crate::oci::{Algorithm, Digest};
use crate::store::cache::CacheStore;
use crate::store::driver::{DiskDriver, Durability};
use crate::store::{StoreError, layout};

over_both_drivers! {
    pushed_blob_is_read_back
    sha512_content_lies_under_its_sha256
    mounted_blob_needs_a_link
    cached_blob_is_adopted_after_verification
    damaged_content_is_not_served_and_a_push_heals_it
    walk_finds_stored_bytes_and_removal_frees_them
    holders_are_known_before_and_after_indexing
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
