//! Locks over every driver, and locks between processes: two stores on one directory share nothing but the files, as two
//! processes do.

use std::time::Duration;

use super::fixture::{Fixture, name, over_both_drivers};
use crate::oci::RepositoryName;
use crate::store::{Share, Store};
use crate::sys::Clock;

over_both_drivers! {
    exclusive_lock_waits_for_shared_ones
    lock_of_all_repositories_excludes_each
}

fn is_free(store: &Store, share: Share) -> impl Future<Output = bool> {
    let (hosted, name) = (store.hosted.clone(), "team/app".parse::<RepositoryName>().unwrap());
    async move { tokio::time::timeout(Duration::from_millis(150), hosted.lock(&name, share)).await.is_ok() }
}

#[tokio::test]
async fn exclusive_lock_excludes_every_process() {
    let directory = tempfile::tempdir().unwrap();
    let stores = [(); 2].map(|()| Store::new(directory.path(), Clock::system()));
    let name = "team/app".parse().unwrap();
    for held in [Share::Shared, Share::Alone] {
        let lock = stores[0].hosted.lock(&name, held).await.unwrap();
        for store in &stores {
            assert_eq!(is_free(store, Share::Shared).await, held == Share::Shared);
            assert!(!is_free(store, Share::Alone).await);
        }
        drop(lock);
        assert!(is_free(&stores[1], Share::Alone).await);
    }
}

#[tokio::test]
async fn shared_locks_do_not_starve_an_exclusive_one() {
    let directory = tempfile::tempdir().unwrap();
    let stores = [(); 3].map(|()| Store::new(directory.path(), Clock::system()));
    let name = "team/app".parse().unwrap();
    let lock = stores[0].hosted.lock(&name, Share::Shared).await.unwrap();
    // It holds the waiter's lock from its first attempt on.
    let alone = async { drop(stores[1].hosted.lock(&name, Share::Alone).await.unwrap()) };
    let others = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(!is_free(&stores[2], Share::Shared).await, "a later shared lock passed the waiting exclusive one");
        drop(lock);
    };
    tokio::join!(alone, others);
    assert!(is_free(&stores[2], Share::Shared).await);
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
