//! The headers that no answer lacks, whatever its content is.
//!
//! A client chooses the bytes and the media type of what it pushes, and an upstream those of what it delivers. A browser that is led to
//! such content must neither guess another type nor run it: a script on this origin has the rights of the person at the browser.

use http::header::{CONTENT_SECURITY_POLICY, HeaderMap, HeaderValue, X_CONTENT_TYPE_OPTIONS};

const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
/// No script, style, image or form, and an origin of its own.
const SANDBOX: HeaderValue = HeaderValue::from_static("default-src 'none'; sandbox");

/// Adds the headers of an answer that may have content of clients or upstreams. They replace others: no configuration may loosen
/// them.
pub(in crate::web) fn sandbox(headers: &mut HeaderMap) {
    fix_headers(headers);
    headers.insert(CONTENT_SECURITY_POLICY, SANDBOX);
}

/// Adds the headers of every answer.
pub(in crate::web) fn fix_headers(headers: &mut HeaderMap) {
    headers.insert(X_CONTENT_TYPE_OPTIONS, NOSNIFF);
}
