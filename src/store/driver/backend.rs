//! A handle to a driver for async code.

use std::io;
use std::sync::Arc;

use super::verbs::Driver;
use crate::store::StoreError;
use crate::store::bad_entries::BadEntries;
use crate::store::key::ObjectKey;
use crate::sys::{BlockingLimit, blocking};

/// The threads for verbs that change something. Verbs that only read never wait for them.
static CHANGES: BlockingLimit = BlockingLimit::new(128);

/// A driver whose verbs are run off the async threads.
#[derive(Clone, Debug)]
pub struct Backend {
    driver: Arc<dyn Driver>,
    bad: Arc<BadEntries>,
}

impl Backend {
    pub fn new(driver: Arc<dyn Driver>) -> Self {
        Self { driver, bad: Arc::default() }
    }

    /// Returns the entries that cannot be used, as far as they are known.
    pub fn bad(&self) -> &Arc<BadEntries> {
        &self.bad
    }

    pub fn driver(&self) -> &dyn Driver {
        &*self.driver
    }

    /// Runs work that only reads. Its error names the action and the key. If it is about one entry, that is noted.
    pub async fn run<T: Send + 'static>(
        &self,
        action: &'static str,
        key: &ObjectKey,
        work: impl FnOnce(&dyn Driver) -> io::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.described(action, key, blocking(self.noting(work)).await)
    }

    /// Runs work that may change something. It may wait for other work that does, but reading never waits for it.
    pub async fn change<T: Send + 'static>(
        &self,
        action: &'static str,
        key: &ObjectKey,
        work: impl FnOnce(&dyn Driver) -> io::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.described(action, key, CHANGES.run(self.noting(work)).await)
    }

    fn noting<T, W>(&self, work: W) -> impl FnOnce() -> io::Result<T> + Send + use<T, W>
    where
        W: FnOnce(&dyn Driver) -> io::Result<T> + Send + 'static,
    {
        let (driver, bad) = (Arc::clone(&self.driver), Arc::clone(&self.bad));
        move || work(&*driver).inspect_err(|error| _ = bad.note_error(error))
    }

    fn described<T>(&self, action: &'static str, key: &ObjectKey, done: io::Result<T>) -> Result<T, StoreError> {
        done.map_err(|source| StoreError::io(action, self.driver.describe(key), source))
    }
}
