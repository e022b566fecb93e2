//! Decides which redirects are followed. The HTTP library has rules of its own, so its redirects are switched off.

use http::header::{AUTHORIZATION, COOKIE, LOCATION, PROXY_AUTHORIZATION};
use http::{HeaderMap, StatusCode};

use reqwest::Url;

/// The most redirects that one request follows.
pub(super) const MOST: usize = 5;

/// Returns true for the statuses that redirect. Only GET and HEAD are redirected, and they keep their method for each
/// status.
pub(super) fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Returns the address that a response of `from` redirects to. `origin` is the first address of the request. The error
/// says why the redirect is refused.
pub(super) fn target(origin: &Url, from: &Url, headers: &HeaderMap) -> Result<Url, String> {
    let location = headers.get(LOCATION).ok_or("it redirects without a Location")?;
    let location =
        std::str::from_utf8(location.as_bytes()).map_err(|_| "it redirects to a Location that is not text")?;
    let mut target =
        from.join(location).map_err(|error| format!("it redirects to a Location that is not an address ({error})"))?;
    match target.scheme() {
        "https" => {}
        "http" if origin.scheme() == "http" => {}
        "http" => return Err("it redirects from https to plain http, which is refused".to_owned()),
        other => {
            return Err(format!("it redirects to {other}:, which is refused: only http and https are followed"));
        }
    }
    // The HTTP library would turn a user and a password in the address into an `Authorization` header.
    let cleared = target.set_username("").and_then(|()| target.set_password(None));
    cleared.map_err(|()| "it redirects to an address without a host".to_owned())?;
    Ok(target)
}

/// Removes the credentials from the headers unless `target` has the scheme, host and port of `origin`.
pub(super) fn withhold(headers: &mut HeaderMap, origin: &Url, target: &Url) {
    if origin.origin() != target.origin() {
        for name in [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION] {
            headers.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn go(origin: &str, from: &str, location: &str) -> Result<String, String> {
        let headers = HeaderMap::from_iter([(LOCATION, location.parse().unwrap())]);
        target(&origin.parse().unwrap(), &from.parse().unwrap(), &headers).map(String::from)
    }

    #[test]
    fn redirects_to_other_schemes_and_from_https_to_http_are_refused() {
        let https = "https://r.example/v2/a/blobs/x";
        for (origin, location, want) in [
            (https, "https://cdn.example/x?sig=1%2F2", Some("https://cdn.example/x?sig=1%2F2")),
            (https, "/other", Some("https://r.example/other")),
            (https, "//cdn.example/x", Some("https://cdn.example/x")),
            (https, "https://user:secret@cdn.example/x", Some("https://cdn.example/x")),
            (https, "http://cdn.example/x", None),
            (https, "file:///etc/passwd", None),
            (https, "ftp://cdn.example/x", None),
            (https, "https://", None),
            ("http://r.example/", "http://cdn.example/x", Some("http://cdn.example/x")),
            ("http://r.example/", "https://cdn.example/x", Some("https://cdn.example/x")),
        ] {
            assert_eq!(go(origin, origin, location).ok().as_deref(), want, "{origin} to {location}");
        }
        assert!(go("https://r.example/", "http://elsewhere/", "/x").is_err(), "the first address decides");
        assert!(target(&https.parse().unwrap(), &https.parse().unwrap(), &HeaderMap::new()).is_err());
    }

    #[test]
    fn credentials_stay_at_the_origin() {
        for (target, kept) in [
            ("https://r.example/b", true),
            ("https://r.example:443/b", true),
            ("https://r.example:444/b", false),
            ("http://r.example/b", false),
            ("https://cdn.r.example/b", false),
        ] {
            let mut headers = HeaderMap::from_iter([(AUTHORIZATION, "Bearer x".parse().unwrap())]);
            withhold(&mut headers, &"https://r.example/a".parse().unwrap(), &target.parse().unwrap());
            assert_eq!(headers.contains_key(AUTHORIZATION), kept, "{target}");
        }
    }
}
