//! The inventory: the stored repositories, their content, and the space that they use on the disk. It asks no upstream.
//! Reading the inventory does not count as a use of the content.

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
