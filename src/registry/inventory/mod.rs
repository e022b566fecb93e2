//! The inventory: which repositories are here, what they contain, and how much of the disk they use. It asks no upstream, and
//! reading it does not count as a use.

mod walk;
mod contents;
mod usage;
mod removal;
mod upstreams;

pub use contents::{RepositoryReport, TagReport};
pub use removal::Removed;
pub use upstreams::UpstreamReport;
pub use usage::{RepositoryUsage, Unlinked, UsageReport, UsageStep};
pub(super) use walk::Inventory;
