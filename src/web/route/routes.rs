//! The routes: one variant for each request that the server understands.

use super::api::Api;
use super::at::At;
use crate::oci::{Algorithm, Digest, Reference, ReferrersQuery, RepositoryName, Tag};
use crate::registry::{PageRequest, UploadId};

/// A request that makes sense. Its content may or may not exist.
#[derive(Clone, Debug)]
pub enum Route {
    Root,
    Live,
    Ready,
    Health,
    Metrics,
    Ping,
    Base,
    Catalog {
        page: PageRequest,
    },
    Tags {
        at: At,
        page: PageRequest,
    },
    Manifest {
        at: At,
        reference: Reference,
        verb: ManifestVerb,
    },
    Blob {
        at: At,
        digest: Digest,
        verb: BlobVerb,
    },
    Referrers {
        at: At,
        /// The subject, and the filter and the page of its referrers (`?artifactType=`, `n`, `last`).
        asked: ReferrersQuery,
    },
    StartUpload {
        at: At,
        start: Start,
    },
    Upload {
        at: At,
        id: UploadId,
        verb: UploadVerb,
    },
    Api(Api),
}

/// A method on a manifest.
#[derive(Clone, Debug)]
pub enum ManifestVerb {
    Head,
    Get,
    Put {
        /// The additional tags of the manifest (`?tag=`), each once.
        tags: Vec<Tag>,
    },
    Delete,
}

/// A method on a blob.
#[derive(Clone, Copy, Debug)]
pub enum BlobVerb {
    Head,
    Get,
    Delete,
}

/// The three ways to start an upload.
#[derive(Clone, Debug)]
pub enum Start {
    /// The content follows in other requests, and its digest will be of this algorithm (`?digest-algorithm=`).
    Empty(Algorithm),
    /// The body of this request is the content (`?digest=`).
    Whole(Digest),
    /// The content may already be stored in another repository (`?mount=`, `&from=`).
    Mount { digest: Digest, from: Option<RepositoryName> },
}

/// A method on a running upload.
#[derive(Clone, Copy, Debug)]
pub enum UploadVerb {
    Status,
    Append,
    Finish(Digest),
    Cancel,
}

impl Route {
    /// Returns the name of the route in metrics, which is the name that distribution uses.
    pub fn handler(&self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Live => "livez",
            Self::Ready => "readyz",
            Self::Health => "health",
            Self::Metrics => "metrics",
            Self::Ping => "ping",
            Self::Base => "base",
            Self::Catalog { .. } => "catalog",
            Self::Tags { .. } => "tags",
            Self::Manifest { .. } => "manifest",
            Self::Blob { .. } => "blob",
            Self::Referrers { .. } => "referrers",
            Self::StartUpload { .. } => "blob_upload",
            Self::Upload { .. } => "blob_upload_chunk",
            Self::Api(_) => "api",
        }
    }
}
