use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::oci::ReferrersQuery;
use crate::store::driver::DiskDriver;
use crate::store::{HostedStore, Store};
use crate::sys::disk;

fn digest(body: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, body)
}

fn body(subject: &Digest, n: usize) -> Vec<u8> {
    format!(r#"{{"manifests":[],"subject":{{"digest":"{subject}","size":1}},"annotations":{{"n":"{n}"}}}}"#)
        .into_bytes()
}

/// Two stores on one directory, as two processes have them.
struct Both {
    directory: tempfile::TempDir,
    ours: HostedStore,
    theirs: HostedStore,
    clock: Clock,
    name: RepositoryName,
    subject: Digest,
}

impl Both {
    fn new(ahead: Duration) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Clock::system();
        clock.advance(ahead);
        let ours = Store::new(directory.path(), clock.clone()).hosted;
        let theirs = Store::new(directory.path(), Clock::system()).hosted;
        Self { directory, ours, theirs, clock, name: "team/app".parse().unwrap(), subject: digest(b"subject") }
    }

    async fn put(&self, store: &HostedStore, body: &[u8]) -> Digest {
        store.put_manifest(&self.name, &digest(body), Bytes::from(body.to_vec()), None).await.unwrap();
        digest(body)
    }

    async fn listed(&self) -> usize {
        let asked = ReferrersQuery { subject: self.subject, artifact_type: None, n: None, last: None };
        self.ours.referrers(&self.name, &asked).await.unwrap().referrers.descriptors().len()
    }

    fn known(&self) -> Vec<Role> {
        let shared = self.ours.revisions.of(&self.name);
        let known = shared.try_lock().unwrap();
        known.sha256.revisions.iter().map(|revision| revision.role).collect()
    }
}

#[tokio::test]
async fn changes_of_other_processes_are_seen() {
    for ahead in [Duration::ZERO, Duration::from_secs(10)] {
        let both = Both::new(ahead);
        // With a clock that is ahead, each change seems settled at once. Then a tick of the file system's clock must
        // pass before the next change.
        let tick = || std::thread::sleep(if ahead.is_zero() { Duration::ZERO } else { Duration::from_millis(25) });
        assert_eq!(both.listed().await, 0);
        assert!(both.ours.revisions.known().is_empty(), "names without manifests are not kept");
        both.put(&both.ours, b"{\"manifests\":[]}").await;
        for n in 0..6 {
            let store = if n % 2 == 0 { &both.theirs } else { &both.ours };
            both.put(store, &body(&both.subject, n)).await;
            assert_eq!(both.listed().await, n + 1, "{ahead:?}");
            tick();
        }
        assert_eq!(both.known().iter().filter(|role| matches!(role, Role::Refers { .. })).count(), 6);
        assert!(both.known().contains(&Role::Plain));

        // registry:2 removes the link alone: the time of the directory above does not change.
        let link = layout::revision_link(&both.name, &digest(&body(&both.subject, 3)));
        disk::remove(&both.directory.path().join(link.as_str())).unwrap();
        assert_eq!(both.listed().await, 5);
        let fresh = HostedStore::new(Arc::new(DiskDriver::new(both.directory.path())), both.clock.clone());
        let both = Both { ours: fresh, ..both };
        assert_eq!(both.listed().await, 5);
        assert!(both.known().contains(&Role::Unknown), "a manifest without a link is unknown");
        tick();
        both.put(&both.theirs, &body(&both.subject, 3)).await;
        assert_eq!(both.listed().await, 6, "{ahead:?}");
        disk::remove_dir(&both.directory.path().join("docker")).unwrap();
        assert_eq!(both.listed().await, 0);
    }
}

#[tokio::test]
async fn known_revision_is_small() {
    assert!(size_of::<Revision>() <= 100, "{} bytes", size_of::<Revision>());
    let both = Both::new(Duration::ZERO);
    both.put(&both.ours, &body(&both.subject, 1)).await;
    let (store, name) = (both.ours.clone(), both.name.clone());
    let entered =
        crate::sys::blocking(move || store.revisions.enter((store.backend.driver(), &store.bad), &name, &store.clock))
            .await;
    assert_eq!(entered.unwrap(), 1);
    assert!(matches!(both.known()[..], [Role::Refers { .. }]), "the index read it without a question");
}
