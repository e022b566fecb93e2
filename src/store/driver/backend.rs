//! A handle to a driver for async code.

use std::io;
use std::sync::Arc;

use super::verbs::Driver;
use crate::store::StoreError;
use crate::store::bad_entries::BadEntries;
use crate::store::key::ObjectKey;
use crate::sys::blocking;

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

    /// Runs work on the driver. Its error names the action and the key. If it is about one entry, that is noted.
    pub async fn run<T: Send + 'static>(
        &self,
        action: &'static str,
        key: &ObjectKey,
        work: impl FnOnce(&dyn Driver) -> io::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let driver = Arc::clone(&self.driver);
        let bad = Arc::clone(&self.bad);
        let done = blocking(move || work(&*driver).inspect_err(|error| _ = bad.note_error(error))).await;
        done.map_err(|source| StoreError::io(action, self.driver.describe(key), source))
    }
}
