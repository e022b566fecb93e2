//! Removals take the same few steps under the lock, however much they remove.

use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::faulty::FaultyDriver;
use super::fixture::{Fixture, name, sha256, tag};
use crate::oci::{Algorithm, Digest};
use crate::store::driver::Durability;
use crate::store::{RepositoryLock, Share, layout};

const BODY: &str = r#"{"n":1}"#;

/// The steps of the driver under one lock of a repository.
#[derive(Debug, Default)]
struct Steps {
    /// True while the lock is held.
    locked: bool,
    under_this_lock: Vec<String>,
    /// The steps under the lock with the most of them.
    most: Vec<String>,
    without: usize,
}

/// Counts the steps of every removal that `fixture` does from now on.
fn counting(fixture: Fixture) -> (Fixture, Arc<Mutex<Steps>>) {
    let (faulty, steps) =
        (Arc::new(FaultyDriver::new(Arc::clone(&fixture.driver))), Arc::new(Mutex::new(Steps::default())));
    let counted = Arc::clone(&steps);
    faulty.set_hook(move |verb, key| {
        let mut steps = counted.lock().unwrap();
        match verb {
            // The other file of a lock is held for a moment only.
            "lock" | "unlock" if key.as_str().ends_with(".waiting") => {}
            "lock" => steps.locked = true,
            "unlock" => {
                steps.locked = false;
                let under = std::mem::take(&mut steps.under_this_lock);
                if under.len() > steps.most.len() {
                    steps.most = under;
                }
            }
            verb if steps.locked => steps.under_this_lock.push(format!("{verb} {key}")),
            _ => steps.without += 1,
        }
        Ok(())
    });
    (fixture.over(faulty), steps)
}

/// The kinds of removal, each of a repository that holds as much of one thing as the test wants.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// A manifest with many tags.
    Manifest,
    /// A manifest in a repository with many manifests under another digest.
    AmongOthers,
    /// A tag that has named many manifests.
    Tag,
    /// A blob whose folder holds foreign files.
    Blob,
    Repository,
}

async fn fill(fixture: &Fixture, kind: Kind, count: usize) {
    let app = name("team/app");
    let digest = fixture.put(&app, BODY).await;
    fixture.store.set_tag(&app, &tag("v"), &digest).await.unwrap();
    fixture.store.link_layer(&app, &digest, &digest).await.unwrap();
    let link = |key, digest: &Digest| {
        fixture.driver.write(&key, digest.to_string().as_bytes(), Durability::Unsynced).unwrap();
    };
    for n in 0..count {
        let other = Digest::of(Algorithm::Sha512, n.to_string().as_bytes());
        let old = sha256(n.to_string().as_bytes());
        match kind {
            Kind::Manifest => link(layout::tag_current(&app, &tag(&format!("t{n}"))), &digest),
            Kind::AmongOthers => link(layout::revision_link(&app, &other), &old),
            Kind::Tag => link(layout::tag_index(&app, &tag("v"), &old), &old),
            Kind::Blob => link(layout::layer(&app, &digest).join(&format!("foreign-{n}")), &old),
            Kind::Repository => {
                link(layout::tag_current(&app, &tag(&format!("t{n}"))), &digest);
                link(layout::layer_link(&app, &old), &old);
                link(layout::push(&app, &old), &old);
            }
        }
    }
}

async fn remove(fixture: &Fixture, kind: Kind) -> bool {
    let (app, store) = (name("team/app"), &fixture.store);
    let lock: RepositoryLock = store.lock(&app, Share::Alone).await.unwrap();
    match kind {
        Kind::Manifest | Kind::AmongOthers => {
            store.delete_manifest(lock, &app, &sha256(BODY.as_bytes())).await.unwrap().is_some()
        }
        Kind::Tag => store.untag(lock, &app, &tag("v")).await.unwrap(),
        Kind::Blob => store.unlink_layer(lock, &app, &sha256(BODY.as_bytes())).await.unwrap(),
        Kind::Repository => store.remove_repository(lock, &app).await.unwrap(),
    }
}

#[tokio::test]
async fn removal_takes_the_same_steps_under_the_lock_however_much_is_removed() {
    for kind in [Kind::Manifest, Kind::AmongOthers, Kind::Tag, Kind::Blob, Kind::Repository] {
        let mut most = Vec::new();
        for count in [20, 400] {
            let (fixture, steps) = counting(Fixture::on_disk());
            fill(&fixture, kind, count).await;
            *steps.lock().unwrap() = Steps::default();
            assert!(remove(&fixture, kind).await, "{kind:?}");
            let steps = std::mem::take(&mut *steps.lock().unwrap());
            let slow = |step: &&String| step.starts_with("remove_tree") || step.starts_with("each_child");
            assert_eq!(steps.most.iter().filter(slow).collect::<Vec<_>>(), Vec::<&String>::new(), "{kind:?}");
            assert!(!steps.locked && steps.without > 0, "{kind:?}: {steps:?}");
            most.push(steps.most.len());
            assert_eq!(fixture.driver.children(&layout::trash()).unwrap(), [], "{kind:?}: nothing is left");
        }
        assert_eq!(most[0], most[1], "{kind:?}");
        assert!(most[0] <= 40, "{kind:?}: {most:?}");
    }
}

/// A push of the same manifest would bring back the tags that are not removed yet.
#[tokio::test]
async fn push_during_a_deletion_brings_no_tag_back() {
    let fixture = Fixture::on_disk();
    let app = name("team/app");
    fill(&fixture, Kind::Manifest, 30).await;
    // Fails the removal of a tag, as a crash would: the manifest is gone, its tags are not.
    let faulty = Arc::new(FaultyDriver::new(Arc::clone(&fixture.driver)));
    let interrupted = fixture.over(Arc::clone(&faulty) as _);
    faulty.fail(&["each_child"], "_manifests/tags", io::ErrorKind::Interrupted);
    let digest = sha256(BODY.as_bytes());
    assert!(interrupted.store.delete_manifest(interrupted.alone(&app).await, &app, &digest).await.is_err());
    assert!(interrupted.store.manifest(&app, &digest).await.unwrap().is_none(), "it is deleted");
    assert!(interrupted.store.lock_to_push(&app, Share::Shared, &digest).await.is_err(), "a push waits for the rest");
    faulty.remove_hook();
    let lock = interrupted.store.lock_to_push(&app, Share::Shared, &digest).await.unwrap();
    interrupted.put(&app, BODY).await;
    interrupted.store.set_tag(&app, &tag("new"), &digest).await.unwrap();
    drop(lock);
    assert_eq!(interrupted.store.tags(&app, None, 100).await.unwrap().entries, ["new"]);
}

#[tokio::test]
async fn interrupted_deletion_is_finished_by_the_next_start() {
    let fixture = Fixture::on_disk();
    let (app, digest) = (name("team/app"), sha256(BODY.as_bytes()));
    fill(&fixture, Kind::Manifest, 30).await;
    let longer = Digest::of(Algorithm::Sha512, BODY.as_bytes());
    fixture.store.put_manifest(&app, &longer, Bytes::from(BODY), None).await.unwrap();
    let kept = fixture.put(&app, r#"{"n":2}"#).await;
    fixture.store.set_tag(&app, &tag("kept"), &kept).await.unwrap();
    fixture.driver.move_tree(&layout::revision(&app, &digest), &layout::deleted(&app, &digest)).unwrap();
    fixture.driver.write(&layout::trash().join("left/by/a/crash"), b"", Durability::Unsynced).unwrap();
    let restarted = fixture.restarted();
    assert_eq!(restarted.finish_deletions(&app).await.unwrap(), 1);
    assert_eq!(restarted.finish_deletions(&app).await.unwrap(), 0);
    assert_eq!(restarted.empty_trash().await, 1);
    assert_eq!(restarted.tags(&app, None, 100).await.unwrap().entries, ["kept"]);
    assert!(!fixture.driver.exists(&layout::revision_link(&app, &longer)).unwrap());
    assert!(restarted.manifest(&app, &kept).await.unwrap().is_some());
}

/// `registry:2` may push a manifest again before this server finishes the deletion. Then the manifest and its tags stay.
#[tokio::test]
async fn unfinished_deletion_removes_nothing_that_was_pushed_since() {
    for finishes in ["start", "push", "deletion"] {
        let fixture = Fixture::on_disk();
        let (app, digest) = (name("team/app"), sha256(BODY.as_bytes()));
        fill(&fixture, Kind::Manifest, 3).await;
        fixture.driver.move_tree(&layout::revision(&app, &digest), &layout::deleted(&app, &digest)).unwrap();
        fixture.put(&app, BODY).await;
        let mut left = 4;
        match finishes {
            "start" => assert_eq!(fixture.store.finish_deletions(&app).await.unwrap(), 1),
            "push" => drop(fixture.store.lock_to_push(&app, Share::Shared, &digest).await.unwrap()),
            _ => {
                assert!(
                    fixture.store.delete_manifest(fixture.alone(&app).await, &app, &digest).await.unwrap().is_some()
                );
                left = 0;
            }
        }
        assert_eq!(fixture.store.tags(&app, None, 100).await.unwrap().entries.len(), left, "{finishes}");
        assert!(!fixture.driver.exists(&layout::deleted(&app, &digest)).unwrap(), "{finishes}");
    }
}

/// The trash may lie on another disk than the repositories, and a full disk may have no space for a folder.
#[tokio::test]
async fn content_that_cannot_be_moved_is_removed_at_once() {
    for error in [io::ErrorKind::CrossesDevices, io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded] {
        for kind in [Kind::Manifest, Kind::AmongOthers, Kind::Tag, Kind::Blob, Kind::Repository] {
            let fixture = Fixture::on_disk();
            fill(&fixture, kind, 3).await;
            let faulty = Arc::new(FaultyDriver::new(Arc::clone(&fixture.driver)));
            let fixture = fixture.over(Arc::clone(&faulty) as _);
            faulty.fail(&["move_tree"], "", error);
            assert!(remove(&fixture, kind).await, "{error} {kind:?}");
            assert!(!remove(&fixture, kind).await, "{error} {kind:?}");
            assert!(
                !fixture.driver.exists(&layout::all_deleted(&name("team/app"))).unwrap()
                    || error == io::ErrorKind::CrossesDevices
            );
        }
    }
}
