//! `GET /api/v1/usage`, `…/usage/repositories` and `…/repositories/NAME/usage` report the use of the disk. Sizes are in
//! bytes.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, stream};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::values::RepositoryKind;
use crate::auth::{Action, Caller};
use crate::oci::ImageRepository;
use crate::registry::{Amount, BadEntry, RegistryError, RepositoryUsage, Unlinked, UsageReport, UsageStep};
use crate::web::call::{Answer, Call};
use crate::web::response::{Body, Cut, object};

/// The usage of the whole disk. Content that several repositories share counts once.
///
/// ```json
/// {
///   "hosted": {"blobs": 1204, "bytes": 13207024435},
///   "uploads": {"count": 1, "bytes": 1048576},
///   "cache": {"blobs": 4300, "bytes": 57015322214, "links": 9120, "link_bytes": 37355520, "limit": 214748364800, "reserve": 10737418240},
///   "unfinished": {"blobs": 2, "bytes": 125829120, "arriving": 4194304},
///   "disk": {"total": 999653638144, "free": 322122547200},
///   "bad_entries": [{"place": "/var/lib/registry/cache/blobs/sha256/ab", "problem": "Permission denied (os error 13)"}]
/// }
/// ```
#[derive(Debug, Serialize, Deserialize)]
pub struct UsageTotals {
    /// Pushed content.
    pub hosted: BlobUsage,
    /// Unfinished uploads.
    pub uploads: UploadUsage,
    /// Complete blobs in the cache.
    pub cache: CacheTotals,
    /// Partial content of running and interrupted fills.
    pub unfinished: UnfinishedUsage,
    /// The file system.
    pub disk: DiskUsage,
    /// The entries of the store that cannot be read or do not belong there. Everything else is served and counted.
    #[serde(default)]
    pub bad_entries: Vec<BadEntryUsage>,
}

/// An entry of the store that cannot be used.
#[derive(Debug, Serialize, Deserialize)]
pub struct BadEntryUsage {
    /// The path.
    pub place: String,
    pub problem: String,
}

/// A number of blobs and their size.
#[derive(Debug, Serialize, Deserialize)]
pub struct BlobUsage {
    pub blobs: u64,
    pub bytes: u64,
}

/// The number of unfinished uploads and their size.
#[derive(Debug, Serialize, Deserialize)]
pub struct UploadUsage {
    pub count: u64,
    pub bytes: u64,
}

/// The usage and the limits of the cache.
#[derive(Debug, Serialize, Deserialize)]
pub struct CacheTotals {
    pub blobs: u64,
    pub bytes: u64,
    /// The number of links of mirrored repositories to content.
    pub links: u64,
    /// The space that the links take on the disk.
    pub link_bytes: u64,
    /// The most bytes that blobs, links and unfinished blobs may take together.
    pub limit: u64,
    /// The bytes of the file system that the cache leaves free.
    pub reserve: u64,
}

/// The partial content of fills.
#[derive(Debug, Serialize, Deserialize)]
pub struct UnfinishedUsage {
    /// The number of interrupted fills.
    pub blobs: u64,
    /// The bytes that interrupted fills left.
    pub bytes: u64,
    /// The bytes that running fills have written.
    pub arriving: u64,
}

/// The size of the file system and its free space.
#[derive(Debug, Serialize, Deserialize)]
pub struct DiskUsage {
    pub total: u64,
    pub free: u64,
}

/// A line of the answer to `…/usage/repositories`: one for each repository, then one for unlinked content.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum UsageLine {
    Repository(UsageEntry),
    Unlinked { unlinked: UnlinkedUsage },
}

/// The usage of one repository.
///
/// ```json
/// {"name": "local/app", "kind": "hosted", "tags": 3, "blobs": 14, "bytes": 60817408, "own_blobs": 4, "own_bytes": 1048576}
/// ```
#[derive(Debug, Serialize, Deserialize)]
pub struct UsageEntry {
    /// The canonical name.
    pub name: String,
    pub kind: RepositoryKind,
    pub tags: u64,
    /// The number of blobs, including those that other repositories have too.
    pub blobs: u64,
    /// The size of these blobs.
    pub bytes: u64,
    /// The number of blobs that no other repository has.
    pub own_blobs: u64,
    /// The size of the blobs that no other repository has.
    pub own_bytes: u64,
}

/// Content on the disk that no repository links to: mostly deleted content that garbage collection has not removed yet.
///
/// ```json
/// {"unlinked": {"hosted": {"blobs": 2, "bytes": 1048576}, "cache": {"blobs": 0, "bytes": 0}}}
/// ```
///
/// Hosted content and the cache count separately: content that is in both counts in both.
#[derive(Debug, Serialize, Deserialize)]
pub struct UnlinkedUsage {
    pub hosted: BlobUsage,
    pub cache: BlobUsage,
}

/// Returns the usage of the whole disk.
pub(super) async fn total(call: &mut Call) -> Answer {
    let usage = call.app().registry.usage().await?;
    Ok(object(&UsageTotals::from(usage), None))
}

/// Streams one line of JSON for each repository that the caller may pull, sorted by canonical name, and a last line for unlinked
/// content. A complete answer ends cleanly; an incomplete one is cut.
///
/// The registry serves one such request at a time, because it reads all directories.
pub(super) async fn by_repository(call: &mut Call, caller: &Caller) -> Answer {
    let (app, caller) = (Arc::clone(&call.exchange.app), caller.clone());
    let registry = Arc::clone(&app.registry);
    let usages =
        registry.usage_by_repository(move |target| app.gate.admit(&caller, Action::Pull, target).is_ok()).await;
    let mut response = Response::new(Body::stream(lines(usages)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Returns the usage of one repository.
pub(super) async fn of_repository(call: &mut Call, caller: &Caller, name: &ImageRepository) -> Answer {
    let target = call.stored_repository(caller, name, Action::Pull).await?.target();
    let usage = call.app().registry.usage_of(&target).await?;
    Ok(object(&UsageEntry::from(&usage), None))
}

fn lines(
    usages: mpsc::Receiver<Result<UsageStep, RegistryError>>,
) -> impl Stream<Item = Result<Bytes, Cut>> + Send + 'static {
    stream::unfold(Some(usages), |usages| async move {
        let mut usages = usages?;
        let line = match usages.recv().await {
            Some(Ok(UsageStep::Repository(usage))) => UsageLine::Repository(UsageEntry::from(&usage)),
            Some(Ok(UsageStep::Unlinked(unlinked))) => UsageLine::Unlinked { unlinked: unlinked.into() },
            Some(Ok(UsageStep::End)) => return None,
            Some(Err(error)) => return Some((Err(Cut::new(error.to_string())), None)),
            None => return Some((Err(Cut::new("the usage of some repositories is missing")), None)),
        };
        let mut text = serde_json::to_vec(&line).expect("the types of an answer are valid JSON");
        text.push(b'\n');
        Some((Ok(text.into()), Some(usages)))
    })
}

impl From<UsageReport> for UsageTotals {
    fn from(usage: UsageReport) -> Self {
        let cache = usage.cache;
        Self {
            hosted: usage.hosted.into(),
            uploads: UploadUsage { count: usage.uploads.count, bytes: usage.uploads.bytes },
            cache: CacheTotals {
                blobs: cache.whole.count,
                bytes: cache.whole.bytes,
                links: cache.links.count,
                link_bytes: cache.links.bytes,
                limit: cache.limit,
                reserve: cache.reserve,
            },
            unfinished: UnfinishedUsage {
                blobs: cache.leftovers.count,
                bytes: cache.leftovers.bytes,
                arriving: cache.arriving,
            },
            disk: DiskUsage { total: usage.total, free: usage.free },
            bad_entries: usage.bad_entries.into_iter().map(BadEntryUsage::from).collect(),
        }
    }
}

impl From<BadEntry> for BadEntryUsage {
    fn from(BadEntry { place, problem }: BadEntry) -> Self {
        Self { place, problem }
    }
}

impl From<&RepositoryUsage> for UsageEntry {
    fn from(usage: &RepositoryUsage) -> Self {
        Self {
            name: usage.target.to_string(),
            kind: RepositoryKind::from(&usage.target),
            tags: usage.tags,
            blobs: usage.held.count,
            bytes: usage.held.bytes,
            own_blobs: usage.own.count,
            own_bytes: usage.own.bytes,
        }
    }
}

impl From<Unlinked> for UnlinkedUsage {
    fn from(unlinked: Unlinked) -> Self {
        Self { hosted: unlinked.hosted.into(), cache: unlinked.cached.into() }
    }
}

impl From<Amount> for BlobUsage {
    fn from(amount: Amount) -> Self {
        Self { blobs: amount.count, bytes: amount.bytes }
    }
}
