//! `GET /api/v1/fills` lists the running fills; `DELETE /api/v1/fills/DIGEST` cancels one.

use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};

use crate::oci::Digest;
use crate::registry::{FillReport, Phase, RegistryError};
use crate::web::call::{Answer, Call};
use crate::web::response::{bare, object};

/// The answer: the blobs that are arriving.
#[derive(Debug, Serialize, Deserialize)]
pub struct FillList {
    pub fills: Vec<FillStatus>,
}

/// A blob that is arriving from an upstream. Sizes are in bytes.
#[derive(Debug, Serialize, Deserialize)]
pub struct FillStatus {
    pub digest: String,
    /// The size of the blob; `null` while it is unknown.
    pub size: Option<u64>,
    /// The bytes on the disk.
    pub arrived: u64,
    pub state: FillState,
    /// The number of requests that wait for the blob.
    pub readers: usize,
    /// The repositories that the blob is fetched for.
    pub repositories: Vec<String>,
}

/// The phase of a fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FillState {
    /// The content is being downloaded.
    Arriving,
    /// The downloaded content did not match the digest. Parts of it are being downloaded again.
    Repairing,
    /// The content is verified and served, and is being stored in the cache.
    Storing,
    /// The content cannot be stored. Clients get it as it arrives.
    Passing,
}

/// Lists the running fills.
pub(super) fn list(call: &Call) -> Answer {
    let fills = call.app().registry.arriving().into_iter().map(FillStatus::from).collect();
    Ok(object(&FillList { fills }, None))
}

/// Cancels a fill. The bytes that have arrived stay on the disk, and a later fill resumes from them.
pub(super) fn cancel(call: &Call, digest: Digest) -> Answer {
    if call.app().registry.cancel_fill(&digest) {
        Ok(bare(StatusCode::ACCEPTED, HeaderMap::new()))
    } else {
        Err(RegistryError::NoFill(digest).into())
    }
}

impl From<FillReport> for FillStatus {
    fn from(report: FillReport) -> Self {
        Self {
            digest: report.digest.to_string(),
            size: report.size,
            arrived: report.arrived,
            state: match report.phase {
                Phase::Repairing => FillState::Repairing,
                Phase::Unstorable => FillState::Passing,
                phase if phase.is_verified() => FillState::Storing,
                _ => FillState::Arriving,
            },
            readers: report.readers,
            repositories: report.repositories,
        }
    }
}
