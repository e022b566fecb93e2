//! `GET /api/v1/repositories` and `…/repositories/NAME/tags` list the stored content. No upstream is asked.
//!
//! NAME is written as clients write it: `alpine` means `docker.io/library/alpine` if `docker.io` is the default upstream. Both lists
//! come in pages of `?n=` entries (100, at most 1000) after `?last=`; `Link` leads to the next page. They contain what the caller may pull.

use http::HeaderValue;
use serde::{Deserialize, Serialize};

use super::values::{RepositoryKind, rfc3339};
use crate::auth::{Action, Caller};
use crate::oci::ImageRepository;
use crate::registry::{PageRequest, RepositoryReport, TagReport};
use crate::web::call::{Answer, Call};
use crate::web::response::object;

/// A page of repositories, sorted by canonical name in byte order.
#[derive(Debug, Serialize, Deserialize)]
pub struct RepositoryList {
    pub repositories: Vec<RepositoryEntry>,
}

/// A repository, for example `{"name": "docker.io/library/alpine", "kind": "mirrored", "tags": 3}`.
#[derive(Debug, Serialize, Deserialize)]
pub struct RepositoryEntry {
    /// The canonical name.
    pub name: String,
    pub kind: RepositoryKind,
    /// The number of stored tags.
    pub tags: u64,
}

/// A page of a repository's tags, in byte order.
#[derive(Debug, Serialize, Deserialize)]
pub struct StoredTags {
    /// The canonical name of the repository.
    pub name: String,
    pub kind: RepositoryKind,
    pub tags: Vec<TagEntry>,
}

/// A tag. Sizes are in bytes.
///
/// ```json
/// {
///   "tag": "3.20",
///   "digest": "sha256:…",
///   "media_type": "application/vnd.oci.image.index.v1+json",
///   "damaged": false,
///   "platforms": ["linux/amd64", "linux/arm64"],
///   "size": 3645120,
///   "held": 3645120,
///   "since": "2026-01-31T12:00:00Z"
/// }
/// ```
#[derive(Debug, Serialize, Deserialize)]
pub struct TagEntry {
    pub tag: String,
    pub digest: String,
    /// The media type of the manifest; `null` if the manifest is not stored.
    pub media_type: Option<String>,
    /// True if the manifest, or one that it names, has wrong bytes on the disk, or is lost in a hosted repository.
    #[serde(default)]
    pub damaged: bool,
    /// The platforms that the image runs on, as far as the stored manifests tell.
    pub platforms: Vec<String>,
    /// The size of the stored manifests and of all content that they name, each digest counted once. If one platform of an index
    /// was pulled, this is about the size of that platform.
    pub size: u64,
    /// The part of `size` that is stored.
    pub held: u64,
    /// The time at which a hosted tag was pushed, or at which the upstream last confirmed a mirrored tag.
    pub since: Option<String>,
}

/// Lists the repositories that the caller may pull.
pub(super) async fn list(call: &mut Call, caller: &Caller, page: &PageRequest) -> Answer {
    let app = call.app();
    let may_pull = |target: &_| app.gate.admit(caller, Action::Pull, target).is_ok();
    let part = app.registry.contents(page, &may_pull).await?;
    let repositories = part.entries.iter().map(RepositoryEntry::from).collect();
    let last = part.entries.last().filter(|_| part.more).map(|report| report.target.to_string());
    let next = last.map(|last| next(call, "repositories", page, &last));
    Ok(object(&RepositoryList { repositories }, next))
}

/// Lists the stored tags of a repository.
pub(super) async fn tags(call: &mut Call, caller: &Caller, name: &ImageRepository, page: &PageRequest) -> Answer {
    let repository = call.stored_repository(caller, name, Action::Pull).await?;
    let part = repository.stored_tags(page).await?;
    let tags = part.entries.iter().map(TagEntry::from).collect();
    let last = part.entries.last().filter(|_| part.more).map(|report| report.tag.to_string());
    let target = repository.target();
    let next = last.map(|last| next(call, &format!("repositories/{target}/tags"), page, &last));
    Ok(object(&StoredTags { name: target.to_string(), kind: RepositoryKind::from(&target), tags }, next))
}

fn next(call: &Call, path: &str, asked: &PageRequest, last: &str) -> HeaderValue {
    call.app().base.more_of_api(path, asked.n, last)
}

impl From<&RepositoryReport> for RepositoryEntry {
    fn from(report: &RepositoryReport) -> Self {
        Self { name: report.target.to_string(), kind: RepositoryKind::from(&report.target), tags: report.tags }
    }
}

impl From<&TagReport> for TagEntry {
    fn from(report: &TagReport) -> Self {
        Self {
            tag: report.tag.as_str().to_owned(),
            digest: report.digest.to_string(),
            media_type: report.media_type.as_ref().map(ToString::to_string),
            damaged: report.is_damaged,
            platforms: report.platforms.iter().map(ToString::to_string).collect(),
            size: report.size,
            held: report.held,
            since: report.since.map(rfc3339),
        }
    }
}
