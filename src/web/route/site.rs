//! The paths that a listener serves.

use http::Uri;

use super::path::path_or_written;

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
    below_prefix(site, uri).is_some_and(|path| is_below_v2(&path) || path.starts_with("api/v1/"))
}

/// Returns true if the path is below `/v2/`, where every answer carries `Docker-Distribution-Api-Version`.
pub(in crate::web) fn is_registry_api(site: &Site, uri: &Uri) -> bool {
    below_prefix(site, uri).is_some_and(|path| is_below_v2(&path))
}

fn is_below_v2(path: &str) -> bool {
    path == "v2" || path.starts_with("v2/")
}

/// Returns the path below `http.prefix`, as the route reads it.
fn below_prefix(site: &Site, uri: &Uri) -> Option<String> {
    let Site::Main { prefix, .. } = site else { return None };
    let path = path_or_written(uri);
    path.strip_prefix(prefix.as_str()).map(str::to_owned)
}
