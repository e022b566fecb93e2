//! The paths that a listener serves.

use http::Uri;

/// The paths that a listener serves.
#[derive(Clone, Debug)]
pub enum Site {
    /// `http.addr` serves everything.
    Main {
        /// `http.prefix`, which begins and ends with `/`.
        prefix: String,
        metrics: MetricsAt,
    },
    /// `http.debug.addr` serves metrics and health, nothing else.
    Debug { metrics: MetricsAt },
}

/// The path at which a listener serves the metrics.
#[derive(Clone, Debug)]
pub enum MetricsAt {
    Nowhere,
    Path(String),
}

/// Returns true if the path is below `/v2/` or `/api/v1/`.
pub(in crate::web) fn is_api(site: &Site, uri: &Uri) -> bool {
    let Site::Main { prefix, .. } = site else { return false };
    let below = uri.path().strip_prefix(prefix.as_str());
    is_registry_api(site, uri) || below.is_some_and(|path| path.starts_with("api/v1/"))
}

/// Returns true if the path is below `/v2/`, where every answer carries `Docker-Distribution-Api-Version`.
pub(in crate::web) fn is_registry_api(site: &Site, uri: &Uri) -> bool {
    let Site::Main { prefix, .. } = site else { return false };
    let rest = uri.path().strip_prefix(prefix.as_str());
    rest.is_some_and(|rest| rest == "v2" || rest.starts_with("v2/"))
}
