//! Uploads over every driver.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::faulty::FaultyDriver;
use super::fixture::{Fixture, name, over_both_drivers, read, sha256};
use crate::oci::Algorithm;
use crate::store::{StoreError, UploadId};

over_both_drivers! {
    upload_resumes_after_restart
    upload_is_held_by_one_request
    upload_with_another_digest_is_removed
    discarded_upload_is_unknown
    idle_uploads_are_purged_and_held_ones_stay
    uploads_that_cannot_be_removed_do_not_keep_the_others
    uploads_that_cannot_be_listed_do_not_keep_the_others
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
