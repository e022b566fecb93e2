//! The records of pushes and pulls over every driver, and what happens to them when the storage fails or processes
//! change the same tag.

use std::io;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, SystemTime};

use tokio::task::JoinSet;

use super::faulty::FaultyDriver;
use super::fixture::{Fixture, name, over_both_drivers, tag};
use crate::oci::{Digest, RepositoryName};
use crate::store::driver::Durability;
use crate::store::{HostedStore, Share, layout};
use crate::sys::{Tasks, blocking};

over_both_drivers! {
    push_is_recorded_until_the_manifest_is_deleted
    pull_is_recorded_at_most_once_a_minute
    pull_is_recorded_in_a_task_of_its_own
    first_pull_of_a_tag_that_was_pushed_again_is_recorded
    first_pull_is_recorded_after_another_process_pushed_the_tag_again
    late_pull_of_a_removed_tag_is_not_recorded
    new_tag_inherits_no_pull_of_a_tag_that_registry_2_removed
    damaged_record_counts_as_missing
    record_that_cannot_be_removed_fails_no_deletion
    pull_that_is_written_during_a_deletion_is_dropped
    record_that_cannot_be_written_is_tried_once_a_minute
}

/// Sets the tag `latest` of `team/app` to a manifest.
async fn push_latest(fixture: &Fixture) -> Digest {
    let digest = fixture.put(&name("team/app"), r#"{"n":1}"#).await;
    fixture.store.set_tag(&name("team/app"), &tag("latest"), &digest).await.unwrap();
    digest
}

/// Returns the time of the last push of the tag `latest`.
async fn pushed_at(store: &HostedStore) -> Option<SystemTime> {
    store.tagged(&name("team/app"), &tag("latest")).await.unwrap().unwrap().pushed_at
}

/// Pulls the tag `latest` as a request does. Returns true if the pull was due to be recorded.
async fn pull(store: &HostedStore) -> bool {
    let (app, latest, pushed_at) = (name("team/app"), tag("latest"), pushed_at(store).await);
    let due = store.private().claim_pull(&app, &latest, pushed_at);
    if due {
        store.record_pull(&app, &latest, pushed_at).await.unwrap();
    }
    due
}

async fn last_pull(store: &HostedStore) -> Option<u64> {
    store.private().last_pull(&name("team/app"), &tag("latest")).await.unwrap()
}

/// Deletes the tag `latest` under the lock, as a request does.
async fn untag(store: &HostedStore) -> bool {
    let lock = store.lock(&name("team/app"), Share::Alone).await.unwrap();
    store.untag(lock, &name("team/app"), &tag("latest")).await.unwrap()
}

/// Deletes the tag `latest` and pushes it again, until its time differs: a file system may count time in whole seconds.
async fn push_again(store: &HostedStore, fixture: &Fixture) {
    let before = pushed_at(store).await;
    loop {
        fixture.clock.advance(Duration::from_millis(1));
        assert!(untag(store).await);
        let digest = fixture.put(&name("team/app"), r#"{"n":1}"#).await;
        store.set_tag(&name("team/app"), &tag("latest"), &digest).await.unwrap();
        if pushed_at(store).await != before {
            return;
        }
    }
}

async fn push_is_recorded_until_the_manifest_is_deleted(fixture: Fixture) {
    let app = name("team/app");
    let digest = fixture.put(&app, r#"{"n":1}"#).await;
    let private = fixture.store.private();
    assert_eq!(private.last_push(&app, &digest).await.unwrap(), None);
    private.record_push(&app, &digest, Some("alice".to_owned())).await.unwrap();
    let first = private.last_push(&app, &digest).await.unwrap().unwrap();
    assert_eq!(first.by.as_deref(), Some("alice"));
    fixture.clock.advance(Duration::from_secs(5));
    private.note_push(&app, &digest, None).await;
    let second = fixture.restarted().private().last_push(&app, &digest).await.unwrap().unwrap();
    assert!(second.by.is_none() && second.at >= first.at + 5, "the latest push counts");
    fixture.store.delete_manifest(fixture.alone(&app).await, &app, &digest).await.unwrap();
    assert_eq!(private.last_push(&app, &digest).await.unwrap(), None);
}

async fn pull_is_recorded_at_most_once_a_minute(fixture: Fixture) {
    push_latest(&fixture).await;
    assert_eq!(last_pull(&fixture.store).await, None);
    assert!(pull(&fixture.store).await);
    let first = last_pull(&fixture.store).await.unwrap();
    fixture.clock.advance(Duration::from_secs(20));
    assert!(!pull(&fixture.store).await);
    assert_eq!(last_pull(&fixture.store).await, Some(first));
    fixture.clock.advance(Duration::from_secs(50));
    assert!(pull(&fixture.store).await);
    assert!(last_pull(&fixture.store).await.unwrap() >= first + 70);
    assert!(untag(&fixture.store).await);
    assert_eq!(last_pull(&fixture.store).await, None);
}

async fn pull_is_recorded_in_a_task_of_its_own(fixture: Fixture) {
    push_latest(&fixture).await;
    let (tasks, at) = (Tasks::new(), pushed_at(&fixture.store).await);
    (0..3).for_each(|_| fixture.store.note_pull(&tasks, &name("team/app"), &tag("latest"), at));
    while last_pull(&fixture.store).await.is_none() {
        tokio::task::yield_now().await;
    }
}

async fn first_pull_of_a_tag_that_was_pushed_again_is_recorded(fixture: Fixture) {
    push_latest(&fixture).await;
    assert!(pull(&fixture.store).await);
    push_again(&fixture.store, &fixture).await;
    assert_eq!(last_pull(&fixture.store).await, None);
    assert!(pull(&fixture.store).await);
    assert!(last_pull(&fixture.store).await.is_some());
    assert!(!pull(&fixture.store).await);
}

async fn first_pull_is_recorded_after_another_process_pushed_the_tag_again(fixture: Fixture) {
    push_latest(&fixture).await;
    assert!(pull(&fixture.store).await);
    push_again(&fixture.restarted(), &fixture).await;
    assert!(pull(&fixture.store).await);
    assert!(last_pull(&fixture.store).await.is_some());
}

async fn late_pull_of_a_removed_tag_is_not_recorded(fixture: Fixture) {
    push_latest(&fixture).await;
    let (app, latest, old) = (name("team/app"), tag("latest"), pushed_at(&fixture.store).await);
    push_again(&fixture.store, &fixture).await;
    fixture.store.record_pull(&app, &latest, old).await.unwrap();
    assert_eq!(last_pull(&fixture.store).await, None, "the pull found the removed tag");
    let new = pushed_at(&fixture.store).await;
    assert!(untag(&fixture.store).await);
    fixture.store.record_pull(&app, &latest, new).await.unwrap();
    assert_eq!(last_pull(&fixture.store).await, None, "there is no tag any more");
}

async fn new_tag_inherits_no_pull_of_a_tag_that_registry_2_removed(fixture: Fixture) {
    push_latest(&fixture).await;
    assert!(pull(&fixture.store).await);
    fixture.driver.remove_tree(&layout::tag(&name("team/app"), &tag("latest"))).unwrap();
    push_latest(&fixture).await;
    assert_eq!(last_pull(&fixture.store).await, None);
    fixture.clock.advance(Duration::from_secs(60));
    assert!(pull(&fixture.store).await);
    let (at, moved) = (last_pull(&fixture.store).await, fixture.put(&name("team/app"), r#"{"n":2}"#).await);
    fixture.store.set_tag(&name("team/app"), &tag("latest"), &moved).await.unwrap();
    assert_eq!(last_pull(&fixture.store).await, at, "a tag that moves keeps its last pull");
}

async fn damaged_record_counts_as_missing(fixture: Fixture) {
    let digest = push_latest(&fixture).await;
    let (app, latest) = (name("team/app"), tag("latest"));
    let long = format!("{{\"at\":1}}{}", " ".repeat(1 << 20));
    for damaged in ["", "{", "{\"at\":", "{\"at\":-1}", "{\"at\":\"1\"}", "[]", "null", "\0\0\0\0", "\u{1f}", &long] {
        for record in [layout::pull(&app, &latest), layout::push(&app, &digest)] {
            fixture.driver.write(&record, damaged.as_bytes(), Durability::Unsynced).unwrap();
        }
        assert_eq!(last_pull(&fixture.store).await, None, "{} bytes", damaged.len());
        assert_eq!(fixture.store.private().last_push(&app, &digest).await.unwrap(), None, "{} bytes", damaged.len());
    }
    assert!(pull(&fixture.store).await);
    fixture.store.private().note_push(&app, &digest, None).await;
    assert!(last_pull(&fixture.store).await.is_some(), "the next pull replaces it");
    assert!(fixture.store.private().last_push(&app, &digest).await.unwrap().is_some());
}

async fn record_that_cannot_be_removed_fails_no_deletion(fixture: Fixture) {
    let (fixture, faulty) = with_faults(fixture);
    let app = name("team/app");
    for records in ["/_pulls", "/_pushes"] {
        fixture.clock.advance(Duration::from_secs(60));
        let digest = push_latest(&fixture).await;
        fixture.store.private().note_push(&app, &digest, None).await;
        let other: RepositoryName = name("team/other");
        let again = fixture.put(&other, r#"{"n":1}"#).await;
        fixture.store.set_tag(&other, &tag("v1"), &again).await.unwrap();
        assert!(pull(&fixture.store).await);
        faulty.fail(&["remove", "remove_tree", "move_tree"], records, io::ErrorKind::PermissionDenied);
        assert!(untag(&fixture.store).await, "{records}");
        assert!(
            fixture.store.delete_manifest(fixture.alone(&app).await, &app, &digest).await.unwrap().is_some(),
            "{records}"
        );
        assert_eq!(fixture.store.manifest(&app, &digest).await.unwrap().map(|found| found.body), None);
        assert!(fixture.store.remove_repository(fixture.alone(&other).await, &other).await.unwrap(), "{records}");
        assert!(!fixture.store.exists(&other).await.unwrap());
        faulty.remove_hook();
        push_latest(&fixture).await;
        assert_eq!(last_pull(&fixture.store).await, None, "a new tag does not inherit the record that stayed");
        fixture.store.delete_manifest(fixture.alone(&app).await, &app, &digest).await.unwrap();
    }
}

async fn pull_that_is_written_during_a_deletion_is_dropped(fixture: Fixture) {
    let (fixture, faulty) = with_faults(fixture);
    for other_process in [false, true] {
        push_latest(&fixture).await;
        let (started, is_started) = mpsc::channel();
        let (allow, allowed) = mpsc::channel::<()>();
        let allowed = Mutex::new(allowed);
        faulty.set_hook(move |verb, key| {
            if verb == "write" && key.as_str().contains("/_pulls/") {
                started.send(()).unwrap();
                allowed.lock().unwrap().recv().unwrap();
            }
            Ok(())
        });
        let (app, latest, at) = (name("team/app"), tag("latest"), pushed_at(&fixture.store).await);
        let store = fixture.store.clone();
        let (mut recording, mut deletion) = (JoinSet::new(), JoinSet::new());
        recording.spawn(async move { store.record_pull(&app, &latest, at).await });
        blocking(move || is_started.recv().unwrap()).await;
        // Only another process has other locks in memory. The driver in memory has none between processes.
        let shares_files = fixture.driver.file_locks().is_some();
        let store = if other_process && shares_files { fixture.restarted() } else { fixture.store.clone() };
        deletion.spawn(async move { untag(&store).await });
        // A deletion that does not wait for the record ends before it.
        let early = tokio::time::timeout(Duration::from_millis(100), deletion.join_next()).await.ok().flatten();
        allow.send(()).unwrap();
        recording.join_next().await.unwrap().unwrap().unwrap();
        let deleted = match early {
            Some(deleted) => deleted,
            None => deletion.join_next().await.unwrap(),
        };
        assert!(deleted.unwrap());
        assert_eq!(last_pull(&fixture.store).await, None, "the record outlived its tag");
        faulty.remove_hook();
    }
}

async fn record_that_cannot_be_written_is_tried_once_a_minute(fixture: Fixture) {
    let (fixture, faulty) = with_faults(fixture);
    let (app, latest) = (name("team/app"), tag("latest"));
    push_latest(&fixture).await;
    let at = pushed_at(&fixture.store).await;
    faulty.fail(&["write"], "/_pulls/", io::ErrorKind::StorageFull);
    assert!(fixture.store.private().claim_pull(&app, &latest, at));
    assert!(fixture.store.record_pull(&app, &latest, at).await.is_err());
    assert!(!pull(&fixture.store).await, "each pull would fail and write to the log");
    faulty.remove_hook();
    fixture.clock.advance(Duration::from_secs(60));
    assert!(pull(&fixture.store).await);
    assert!(last_pull(&fixture.store).await.is_some());
}

/// Puts a driver with a hook before the fixture's own.
fn with_faults(fixture: Fixture) -> (Fixture, Arc<FaultyDriver>) {
    let faulty = Arc::new(FaultyDriver::new(Arc::clone(&fixture.driver)));
    (fixture.over(Arc::clone(&faulty) as _), faulty)
}
