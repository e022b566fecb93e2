//! A handle to a driver for async code.

use std::io;
use std::sync::Arc;

use super::verbs::Driver;
use crate::store::StoreError;
use crate::store::key::ObjectKey;
use crate::sys::blocking;

/// A driver whose verbs are run off the async threads.
#[derive(Clone, Debug)]
pub struct Backend(Arc<dyn Driver>);

impl Backend {
    pub fn new(driver: Arc<dyn Driver>) -> Self {
        Self(driver)
    }

    pub fn driver(&self) -> &dyn Driver {
        &*self.0
    }

    /// Runs work on the driver. Its error names the action and the key.
    pub async fn run<T: Send + 'static>(
        &self,
        action: &'static str,
        key: &ObjectKey,
        work: impl FnOnce(&dyn Driver) -> io::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let driver = Arc::clone(&self.0);
        let done = blocking(move || work(&*driver)).await;
        done.map_err(|source| StoreError::io(action, self.0.describe(key), source))
    }
}
