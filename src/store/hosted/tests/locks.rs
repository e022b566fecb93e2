//! Locks between processes. Two stores on one directory share nothing but the files, as two processes do.

use std::time::Duration;

use crate::oci::RepositoryName;
use crate::store::{Share, Store};
use crate::sys::Clock;

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
