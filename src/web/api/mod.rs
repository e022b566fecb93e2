//! `/api/v1/…`: the API of the user interface and of the commands. The types of its JSON are shared with the commands. No answer
//! contains a secret.

mod values;

mod fills;
mod images;
mod repositories;
mod upstreams;
mod usage;
mod warm;

mod dispatch;

pub(super) use dispatch::answer;
pub use fills::{FillList, FillState, FillStatus};
pub use images::{DeletedImage, NamedManifest};
pub use repositories::{RepositoryEntry, RepositoryList, StoredTags, TagEntry};
pub use upstreams::{BudgetStatus, CircuitStatus, EndpointStatus, UpstreamList, UpstreamStatus};
pub use usage::{
    BadEntryUsage, BlobUsage, CacheTotals, DiskUsage, UnfinishedUsage, UnlinkedUsage, UploadUsage, UsageEntry,
    UsageLine, UsageTotals,
};
pub use values::RepositoryKind;
pub use warm::{BlobState, WarmLine, WarmOrder};
