//! Opens the private readers of an upstream's header fields to `fuzz/`.

use std::time::{Duration, SystemTime};

use http::HeaderMap;

use super::header;

/// Returns the decoded query of the next page that `Link` names.
pub fn next_page(headers: &HeaderMap) -> Option<Vec<(String, String)>> {
    let query = header::next_page(headers)?;
    Some(query.into_iter().map(|(name, value)| (name.into_owned(), value)).collect())
}

/// Returns the first byte, the last byte and the total size of a `Content-Range`.
pub fn content_range(text: &str) -> Option<(u64, u64, Option<u64>)> {
    header::ContentRange::parse(text).map(|range| (range.first, range.last, range.total))
}

/// Returns the size in the `Content-Range` of a 416.
pub fn unsatisfied(text: &str) -> Option<u64> {
    header::unsatisfied(text)
}

/// Returns the wait that `Retry-After` asks for.
pub fn retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    header::retry_after(text, now)
}

/// Returns the count and the window of a `ratelimit-…` field.
pub fn ratelimit(text: &str) -> Option<(u64, Option<Duration>)> {
    header::ratelimit(text).map(|limit| (limit.count, limit.window))
}
