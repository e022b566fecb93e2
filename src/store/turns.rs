//! Who may change a repository, and when: whoever adds to it goes beside others who add, whoever takes away from it is alone with it.
//! So nothing is removed between the look whether it is there and the link to it.
//!
//! Repositories share a fixed number of turns, each a lock in this process and a file with a lock (`flock`) for the other processes
//! that work on the same root. Whoever takes all of them is alone with everything that was pushed.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use super::layout::Layout;
use super::{HostedStore, StoreError, on_disk};
use crate::oci::{Algorithm, Digest, RepositoryName};
use crate::sys::disk::{self, Share};

/// So many turns there are.
const TURNS: u8 = 64;

/// How soon a lock that another process holds is tried again, at first and at last.
const AGAIN: [Duration; 2] = [Duration::from_millis(2), Duration::from_millis(100)];

/// One is waited for so long before that is said.
const LONG: Duration = Duration::from_secs(10);

/// The locks in this process. Async ones: held across the steps of a change.
pub(super) struct Turns(Vec<Arc<RwLock<()>>>);

/// A turn that is held; it ends when this is dropped.
pub struct Turn {
    /// Locked as long as it is open.
    _elsewhere: File,
    /// After it: who is let in here finds the file free.
    _here: Here,
}

#[expect(dead_code, reason = "held, and read by nobody")]
enum Here {
    Shared(OwnedRwLockReadGuard<()>),
    Alone(OwnedRwLockWriteGuard<()>),
}

impl Turns {
    pub(super) fn new() -> Self {
        Self((0..TURNS).map(|_| Arc::default()).collect())
    }

    /// Which turn a repository's changes take: the same in every process and version.
    fn number(repository: &RepositoryName) -> u8 {
        let digest = Digest::of(Algorithm::Sha256, repository.as_str().as_bytes());
        u8::from_str_radix(&digest.hex()[..2], 16).map_or(0, |byte| byte % TURNS)
    }
}

impl HostedStore {
    /// Waits for the turn to change a repository. Whoever stops waiting has taken nothing.
    pub async fn turn(&self, repository: &RepositoryName, share: Share) -> Result<Turn, StoreError> {
        let number = Turns::number(repository);
        let lock = Arc::clone(&self.turns.0[usize::from(number)]);
        let here = match share {
            Share::Shared => Here::Shared(lock.read_owned().await),
            Share::Alone => Here::Alone(lock.write_owned().await),
        };
        Ok(Turn { _elsewhere: self.lock(number, share).await?, _here: here })
    }

    async fn lock(&self, number: u8, share: Share) -> Result<File, StoreError> {
        let path = self.layout.turn(number);
        let (mut door, mut pause, mut waited) = (None, AGAIN[0], Duration::ZERO);
        loop {
            let layout = Arc::clone(&self.layout);
            let tried = on_disk("lock", &path, move || try_lock(&layout, number, share, door)).await?;
            door = match tried {
                Tried::Locked(file) => return Ok(file),
                Tried::Waits(door) => door,
            };
            // Not awaited in the kernel: as many as wait there would keep a thread each.
            tokio::time::sleep(pause).await;
            if waited < LONG && waited + pause >= LONG {
                tracing::warn!(lock = %path.display(), "another process has been working on a repository for 10 s; waiting for it");
            }
            (waited, pause) = (waited + pause, (pause * 2).min(AGAIN[1]));
        }
    }
}

/// What came of an attempt at a lock.
enum Tried {
    Locked(File),
    /// In the door, if it is this one's.
    Waits(Option<File>),
}

/// Whoever wants to be alone stands in the door until it is, so that others do not come in beside each other for ever.
fn try_lock(layout: &Layout, number: u8, share: Share, door: Option<File>) -> io::Result<Tried> {
    let locked = |path: &Path| {
        let file = disk::open_writable(path)?;
        io::Result::Ok(disk::try_share(&file, share)?.then_some(file))
    };
    let door = match door {
        Some(door) => Some(door),
        None => locked(&layout.door(number))?,
    };
    if door.is_some()
        && let Some(file) = locked(&layout.turn(number))?
    {
        return Ok(Tried::Locked(file));
    }
    Ok(Tried::Waits(door.filter(|_| share == Share::Alone)))
}

/// Makes the files that are locked.
pub(super) fn make_files(layout: &Layout) -> io::Result<()> {
    for number in 0..TURNS {
        disk::open_writable(&layout.turn(number))?;
        disk::open_writable(&layout.door(number))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use crate::sys::Clock;

    fn is_free(store: &Store, share: Share) -> impl Future<Output = bool> {
        let (hosted, name) = (store.hosted.clone(), "team/app".parse::<RepositoryName>().unwrap());
        async move { tokio::time::timeout(Duration::from_millis(150), hosted.turn(&name, share)).await.is_ok() }
    }

    #[tokio::test]
    async fn who_takes_away_is_alone_in_every_process() {
        let directory = tempfile::tempdir().unwrap();
        // Two stores on one root have nothing in common but the files, as two processes have.
        let stores = [(); 2].map(|()| Store::new(directory.path(), Clock::system()));
        let name = "team/app".parse().unwrap();
        for held in [Share::Shared, Share::Alone] {
            let turn = stores[0].hosted.turn(&name, held).await.unwrap();
            for store in &stores {
                assert_eq!(is_free(store, Share::Shared).await, held == Share::Shared);
                assert!(!is_free(store, Share::Alone).await);
            }
            drop(turn);
            assert!(is_free(&stores[1], Share::Alone).await);
        }
    }

    #[tokio::test]
    async fn who_wants_to_be_alone_is_not_passed_for_ever() {
        let directory = tempfile::tempdir().unwrap();
        let stores = [(); 3].map(|()| Store::new(directory.path(), Clock::system()));
        let name = "team/app".parse().unwrap();
        let turn = stores[0].hosted.turn(&name, Share::Shared).await.unwrap();
        let alone = async {
            // In the door from its first attempt on.
            drop(stores[1].hosted.turn(&name, Share::Alone).await.unwrap());
        };
        let others = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            assert!(!is_free(&stores[2], Share::Shared).await, "it goes in beside the first, before who waits");
            drop(turn);
        };
        tokio::join!(alone, others);
        assert!(is_free(&stores[2], Share::Shared).await);
    }

    #[test]
    fn turns_do_not_change_with_the_version() {
        let number = |name: &str| Turns::number(&name.parse().unwrap());
        assert_eq!([number("team/app"), number("a")], [36, 10]);
    }
}
