//! Listings of folders that are kept in memory, so that a long folder need not be read again for each page.
//!
//! A list in memory is a hint, never an answer: each use first asks the driver whether the folder is unchanged. If a
//! driver cannot tell that, nothing is kept in memory, and its folders are listed each time.

mod state;
mod queue;
mod tag_lists;
mod names;
mod holders;

pub use holders::Holders;
pub use names::{Names, Part};
pub use state::{Comparison, FolderState};
pub use tag_lists::TagLists;
