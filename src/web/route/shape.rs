//! Splitting a path into its parts. The parts are parsed later.

use super::routes::Route;
use super::site::{MetricsAt, Site};

/// The kind of a path, and the unparsed names in it.
pub(super) enum Shape<'a> {
    Plain(Route),
    Catalog,
    Tags {
        name: &'a str,
    },
    Manifest {
        name: &'a str,
        reference: &'a str,
    },
    Blob {
        name: &'a str,
        digest: &'a str,
    },
    Referrers {
        name: &'a str,
        digest: &'a str,
    },
    Uploads {
        name: &'a str,
    },
    Upload {
        name: &'a str,
        id: &'a str,
    },
    /// A path below `/api/v1/`.
    Api(&'a str),
    Unknown,
    /// The path does not begin with this prefix.
    Outside(&'a str),
}

impl<'a> Shape<'a> {
    /// Returns the shape of a path.
    pub(super) fn of(site: &'a Site, path: &'a str) -> Self {
        let is_metrics = |metrics: &MetricsAt| matches!(metrics, MetricsAt::Path(at) if at == path);
        match site {
            Site::Debug { metrics } if is_metrics(metrics) => Self::Plain(Route::Metrics),
            Site::Debug { .. } if path == "/debug/health" => Self::Plain(Route::Health),
            Site::Debug { .. } => Self::Unknown,
            Site::Main { metrics, .. } if is_metrics(metrics) => Self::Plain(Route::Metrics),
            Site::Main { prefix, .. } => {
                let below = path.strip_prefix(prefix.as_str());
                let probed = path.strip_prefix('/').and_then(Self::probed).or_else(|| below.and_then(Self::probed));
                probed.map(Self::Plain).or_else(|| below.map(Self::below_prefix)).unwrap_or(Self::Outside(prefix))
            }
        }
    }

    /// Returns the route of a probe. Probes are served with the prefix and without it, because some bypass the proxy that adds it.
    fn probed(path: &str) -> Option<Route> {
        match path {
            "" => Some(Route::Root),
            "livez" => Some(Route::Live),
            "readyz" => Some(Route::Ready),
            "debug/health" => Some(Route::Health),
            _ => None,
        }
    }

    fn below_prefix(path: &'a str) -> Self {
        match path {
            "v1/_ping" => Self::Plain(Route::Ping),
            "v2" | "v2/" => Self::Plain(Route::Base),
            "v2/_catalog" | "v2/_catalog/" => Self::Catalog,
            _ => match path.strip_prefix("api/v1/") {
                Some(path) => Self::Api(path),
                None => path.strip_prefix("v2/").map_or(Self::Unknown, Self::of_repository),
            },
        }
    }

    /// Splits from the right, because a repository name may have parts called `blobs` or `manifests`. A list may end with a slash.
    fn of_repository(path: &'a str) -> Self {
        let list = path.strip_suffix('/').unwrap_or(path);
        if let Some(name) = list.strip_suffix("/blobs/uploads") {
            return Self::Uploads { name };
        }
        if let Some(name) = list.strip_suffix("/tags/list") {
            return Self::Tags { name };
        }
        if let Some((rest, digest)) = list.rsplit_once('/')
            && let Some(name) = rest.strip_suffix("/referrers")
        {
            return Self::Referrers { name, digest };
        }
        let Some((rest, last)) = path.rsplit_once('/') else { return Self::Unknown };
        if let Some(name) = rest.strip_suffix("/blobs/uploads") {
            return Self::Upload { name, id: last };
        }
        match rest.rsplit_once('/') {
            Some((name, "manifests")) => Self::Manifest { name, reference: last },
            // The digest is missing.
            Some((name, "referrers")) => Self::Referrers { name, digest: last },
            Some((name, "blobs")) => Self::Blob { name, digest: last },
            _ => Self::Unknown,
        }
    }

    /// Returns the name of the handler in metrics.
    pub(super) fn handler(&self) -> &'static str {
        match self {
            Self::Plain(route) => route.handler(),
            Self::Catalog => "catalog",
            Self::Tags { .. } => "tags",
            Self::Manifest { .. } => "manifest",
            Self::Blob { .. } => "blob",
            Self::Referrers { .. } => "referrers",
            Self::Uploads { .. } => "blob_upload",
            Self::Upload { .. } => "blob_upload_chunk",
            Self::Api(_) => "api",
            Self::Unknown | Self::Outside(_) => "unknown",
        }
    }
}
