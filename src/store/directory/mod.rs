//! The memory of folders: lists that are kept so that long ones need not be read again for each page.
//!
//! A list in memory is a hint, never an answer: each use looks first whether the driver says that the folder is
//! unchanged. A driver that cannot say so has no memory; its folders are listed each time.

mod state;
mod queue;
mod tag_lists;
mod names;
mod holders;

pub use holders::Holders;
pub use names::{Names, Part};
pub use state::{Comparison, FolderState};
pub use tag_lists::TagLists;
