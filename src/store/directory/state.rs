//! The state of a listed folder. One look at its time tells whether it is unchanged, so it need not be listed again.

use std::io;
use std::time::SystemTime;

use crate::store::driver::Driver;
use crate::store::key::ObjectKey;
use crate::sys::disk::Changed;

/// The time of the last change of a folder before it was listed; unknown if it must be listed again in any case.
#[derive(Clone, Copy, Debug, Default)]
pub struct FolderState(Option<Changed>);

/// The outcome of [`FolderState::compare`].
pub enum Comparison {
    /// The folder does not exist.
    Gone,
    /// Nothing appeared in the folder or disappeared from it.
    Unchanged,
    /// The folder must be listed now. Keep this state once that is done.
    Stale(FolderState),
}

impl FolderState {
    /// Returns true if a later comparison can find the folder unchanged.
    pub fn is_known(self) -> bool {
        self.0.is_some()
    }

    /// Compares the folder with this state. A folder that changed within the last tick of its file system's clock may
    /// change again without showing it, so it counts as changed until that tick is over. Without the driver's help it
    /// always counts as changed.
    pub fn compare(self, driver: &dyn Driver, folder: &ObjectKey, now: SystemTime) -> io::Result<Comparison> {
        let Some(changes) = driver.changes() else { return Ok(Comparison::Stale(Self::default())) };
        Ok(match changes.changed(folder)? {
            None => Comparison::Gone,
            Some(changed) if self.0 == Some(changed) => Comparison::Unchanged,
            Some(changed) => Comparison::Stale(Self(changed.is_settled(now).then_some(changed))),
        })
    }
}
