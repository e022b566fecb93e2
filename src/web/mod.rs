//! The HTTP interface: requests, routes, one module for each noun of the API, bodies, errors.
//!
//! This floor does not decide which target a name means (`registry` does) or what a caller may do (`auth` does). It never
//! uses `store` or `upstream` directly. The status of an error is decided in `error` alone; handlers set only the statuses
//! of successful answers.

mod request;
mod route;
mod guard;
mod app;
mod exchange;
mod response;
mod error;
mod bad_request;
mod call;

mod ops;
mod v2;
mod api;

mod handle;

#[cfg(any(test, fuzzing))]
pub mod fuzzing;

pub use api::{
    BadEntryUsage, BlobState, BlobUsage, BudgetStatus, CacheTotals, CircuitStatus, DeletedImage, DiskUsage,
    EndpointStatus, FillList, FillState, FillStatus, NamedManifest, RepositoryEntry, RepositoryKind, RepositoryList,
    StoredTags, TagEntry, UnfinishedUsage, UnlinkedUsage, UploadUsage, UpstreamList, UpstreamStatus, UsageEntry,
    UsageLine, UsageTotals, WarmLine, WarmOrder,
};
pub use app::{AccessLog, App, AppError, Listener, Parts, RequestRoom};
pub use bad_request::{ClientProtocol, bad_request, overloaded};
pub use error::{ErrorAnswer, ErrorEntry};
pub use handle::handle;
pub use request::Repeated;
pub use response::{Body, Cut};
pub use route::{Api, At, BlobVerb, ManifestVerb, MetricsAt, Refused, Route, RouteError, Site, Start, UploadVerb};
