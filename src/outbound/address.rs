//! The part of an address that may be shown in logs and errors.

use reqwest::Url;

/// Returns `HOST` or `HOST:PORT` of an address. Errors and log lines show this part only, since the path and the query
/// of a signed address are secrets.
pub fn authority(url: &Url) -> String {
    match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.to_owned(),
        (None, _) => String::new(),
    }
}
