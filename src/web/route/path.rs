//! The path of a request, as its route and the guard read it.
//!
//! Clients and proxies join addresses carelessly, so several slashes count as one, as in `registry:2`. The guard must read the path
//! as the route does: otherwise `//v2/` would reach content without the headers that protect it.

use std::borrow::Cow;

use http::Uri;
use percent_encoding::percent_decode_str;

use super::refused::RouteError;

/// Returns the path with its escapes decoded once, and with one slash for several. An escaped slash separates like any other, as in
/// `registry:2`.
pub(super) fn path_of(uri: &Uri) -> Result<Cow<'_, str>, RouteError> {
    decode(uri.path()).map(single_slashes)
}

/// Returns the same path. One whose escapes cannot be decoded stays encoded; no route reads it.
pub(super) fn path_or_written(uri: &Uri) -> Cow<'_, str> {
    path_of(uri).unwrap_or_else(|_| single_slashes(Cow::Borrowed(uri.path())))
}

fn decode(path: &str) -> Result<Cow<'_, str>, RouteError> {
    let hex = |b: Option<&u8>| b.is_some_and(u8::is_ascii_hexdigit);
    let bytes = path.as_bytes();
    let escapes = bytes.iter().enumerate().filter(|(_, b)| **b == b'%').map(|(at, _)| at);
    if escapes.into_iter().any(|at| !hex(bytes.get(at + 1)) || !hex(bytes.get(at + 2))) {
        return Err(RouteError::Escape);
    }
    percent_decode_str(path).decode_utf8().map_err(|_| RouteError::Escape)
}

fn single_slashes(path: Cow<'_, str>) -> Cow<'_, str> {
    if !path.contains("//") {
        return path;
    }
    let mut single = String::with_capacity(path.len());
    for c in path.chars() {
        if c != '/' || !single.ends_with('/') {
            single.push(c);
        }
    }
    Cow::Owned(single)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_and_escapes_are_read_once() {
        for (path, want) in [
            ("/v2/a", Some("/v2/a")),
            ("//v2///a//", Some("/v2/a/")),
            ("/v2/%2Fa%2f%2Fb", Some("/v2/a/b")),
            ("/%76%32/a", Some("/v2/a")),
            ("/v2/a%252Fb", Some("/v2/a%2Fb")),
            ("/v2/%zz", None),
            ("/v2/%ff", None),
        ] {
            let uri = Uri::builder().path_and_query(path).build().unwrap();
            assert_eq!(path_of(&uri).ok().as_deref(), want, "{path}");
        }
    }
}
