//! The rule for web pages that change content (docs/decisions/0040-pages-of-other-origins.md).
//!
//! A browser sends requests for any page that a person opens, from inside the network and with the person's logins. A request that only
//! reads is harmless: the page does not get the answer unless `Access-Control-Allow-Origin` says so. A request that changes something
//! does its harm without an answer. So:
//!
//! 1. A request without `Origin` comes from no page and passes. Docker, curl and their like send none, whatever host they use.
//!    The exception is a request that a browser marks as coming from another site (`Sec-Fetch-Site`).
//! 2. A request with `Origin` that changes something passes if the page is ours, or if `http.headers` allows its origin.
//! 3. A page is ours if its origin is one of our names, or the host of the request itself where that is an address or `localhost`.
//!    A host name that merely equals the origin proves nothing: the owner of any domain can make it lead to this server after the
//!    page was loaded (DNS rebinding). An address cannot be rebound, and browsers do not resolve `localhost` by DNS.

use http::Method;
use http::header::{HeaderName, HeaderValue, ORIGIN};
use http::request::Parts;

use super::cors::Cors;
use super::own_names::{OwnNames, PageOrigin, host_of};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// A request by which a page that is not ours would change something. `Display` gives a message for the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::web) enum ForeignPage {
    #[error("a web page of another site may not change this registry")]
    Unnamed,
    /// The page came from the host that the request is for, which is none of our names.
    #[error(
        "a web page of {origin} may not change this registry: if {host} is a name of this registry, add it to http.names"
    )]
    UnknownName { origin: String, host: String },
    #[error(
        "a web page of {origin} may not change this registry: if the page belongs to the registry, as behind the same proxy, add its \
         host to http.names; else allow its origin by Access-Control-Allow-Origin in http.headers"
    )]
    Other { origin: String },
}

/// Refuses a request by which a foreign page would change something.
pub(in crate::web) fn check_page(names: &OwnNames, cors: &Cors, head: &Parts) -> Result<(), ForeignPage> {
    if matches!(head.method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE) {
        return Ok(());
    }
    let mut origins = head.headers.get_all(ORIGIN).iter();
    match (origins.next(), origins.next()) {
        (None, _) if is_marked_foreign(head) => Err(ForeignPage::Unnamed),
        (None, _) => Ok(()),
        (Some(origin), None) if cors.admits(origin, &head.method) => Ok(()),
        (Some(origin), None) => check_origin(names, origin, head),
        (Some(origin), Some(_)) => Err(ForeignPage::Other { origin: text_of(origin) }),
    }
}

fn check_origin(names: &OwnNames, origin: &HeaderValue, head: &Parts) -> Result<(), ForeignPage> {
    let parsed = origin.to_str().ok().and_then(PageOrigin::parse);
    if parsed.as_ref().is_some_and(|origin| names.include(origin, head)) {
        return Ok(());
    }
    let origin = text_of(origin);
    let host = host_of(head).map(|host| host.to_string().to_ascii_lowercase());
    match host.filter(|host| origin.rsplit_once("://").is_some_and(|(_, of_page)| of_page.eq_ignore_ascii_case(host))) {
        Some(host) => Err(ForeignPage::UnknownName { origin, host }),
        None => Err(ForeignPage::Other { origin }),
    }
}

/// Returns true if a browser says that another site made the request.
fn is_marked_foreign(head: &Parts) -> bool {
    head.headers.get_all(SEC_FETCH_SITE).iter().any(|site| site == "cross-site" || site == "same-site")
}

fn text_of(origin: &HeaderValue) -> String {
    String::from_utf8_lossy(origin.as_bytes()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::guard::{Cors, OwnNames};
    use http::{HeaderMap, Request};

    const NAMES: [&str; 3] = ["registry.corp", "mirror.lan:5000", "[fd00::1]:5000"];

    fn checked(allowed: &[(&str, &str)], request: &str) -> Result<(), ForeignPage> {
        let names = OwnNames::new(NAMES.iter().map(|name| name.parse().unwrap()).collect());
        let headers: HeaderMap =
            allowed.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        let mut fields = request.split('|').map(str::trim);
        let mut request = Request::builder().method(fields.next().unwrap()).uri("/v2/");
        for (name, value) in fields.filter_map(|field| field.split_once(": ")) {
            request = request.header(name, value);
        }
        check_page(&names, &Cors::new(headers), &request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn requests_of_no_page_and_of_our_pages_pass() {
        for request in [
            "POST | Host: anything.example",
            "DELETE | Host: 10.0.0.7:5000 | Sec-Fetch-Site: same-origin",
            "POST | Host: x | Sec-Fetch-Site: none",
            "GET | Host: x | Origin: http://evil.example",
            "HEAD | Host: x | Origin: null",
            "OPTIONS | Host: x | Origin: http://evil.example",
            "POST | Host: 10.0.0.7:5000 | Origin: http://10.0.0.7:5000",
            "POST | Host: [fd00::7]:5000 | Origin: http://[fd00::7]:5000",
            "PUT | Host: localhost:5000 | Origin: http://localhost:5000",
            "PUT | Host: LOCALHOST | Origin: http://localhost",
            "PATCH | Host: registry.corp | Origin: https://registry.corp",
            "PATCH | Host: Registry.corp:443 | Origin: https://registry.corp",
            "POST | Host: registry.corp:5000 | Origin: http://registry.corp:5000",
            "POST | Host: mirror.lan:5000 | Origin: http://mirror.lan:5000",
            // A proxy in front passes another host.
            "DELETE | Host: 127.0.0.1:5000 | Origin: https://registry.corp",
            "DELETE | Host: backend:5000 | Origin: https://mirror.lan:5000 | Sec-Fetch-Site: cross-site",
        ] {
            assert_eq!(checked(&[], request), Ok(()), "{request}");
        }
    }

    #[test]
    fn pages_of_others_change_nothing() {
        for request in [
            "POST | Host: 10.0.0.7:5000 | Origin: http://evil.example",
            "POST | Host: evil.example | Origin: http://evil.example",
            "PUT | Host: evil.example:5000 | Origin: http://evil.example:5000 | Sec-Fetch-Site: same-origin",
            "PATCH | Host: registry.corp.evil.example | Origin: http://registry.corp.evil.example",
            "DELETE | Host: registry.corp | Origin: http://evil.example",
            "DELETE | Host: 10.0.0.7:5000 | Origin: http://10.0.0.7:8080",
            "DELETE | Host: 10.0.0.7:5000 | Origin: http://10.0.0.7",
            "DELETE | Host: localhost:5000 | Origin: http://localhost:3000",
            "DELETE | Host: localhost.evil.example | Origin: http://localhost.evil.example",
            "DELETE | Host: mirror.lan | Origin: http://mirror.lan",
            "POST | Host: 10.0.0.7:5000 | Origin: null",
            "POST | Host: 10.0.0.7:5000 | Origin: file://",
            "POST | Host: 10.0.0.7:5000 | Origin: http://10.0.0.7:5000/",
            "POST | Host: 10.0.0.7:5000 | Origin: http://x@10.0.0.7:5000",
            "POST | Host: 10.0.0.7:5000 | Origin: 10.0.0.7:5000",
            "POST | Host: 10.0.0.7:5000 | Origin: http://10.0.0.7:5000 | Origin: http://evil.example",
            "POST | Host: 10.0.0.7:5000 | Sec-Fetch-Site: cross-site",
            "POST | Host: 10.0.0.7:5000 | Sec-Fetch-Site: same-site",
            "BREW | Host: 10.0.0.7:5000 | Origin: http://evil.example",
        ] {
            assert!(checked(&[], request).is_err(), "{request}");
        }
        let rebound = checked(&[], "POST | Host: ui.lan:5000 | Origin: http://ui.lan:5000").unwrap_err().to_string();
        assert!(rebound.contains("if ui.lan:5000 is a name of this registry, add it to http.names"), "{rebound}");
    }

    #[test]
    fn allowed_origins_pass_and_any_origin_only_for_listed_methods() {
        let ui = ("access-control-allow-origin", "https://ui.example");
        let two = ("access-control-allow-origin", "https://other.example, https://ui.example");
        let any = ("access-control-allow-origin", "*");
        let null = ("access-control-allow-origin", "null");
        let methods = ("access-control-allow-methods", "HEAD, GET, OPTIONS, DELETE, POST, PUT, PATCH");
        let reading = ("access-control-allow-methods", "GET");
        for (allowed, method, origin, passes) in [
            (&[ui][..], "POST", "https://ui.example", true),
            (&[ui], "DELETE", "https://UI.example", true),
            (&[two], "DELETE", "https://ui.example", true),
            (&[ui, methods], "DELETE", "http://ui.example", false),
            (&[ui, methods], "DELETE", "https://ui.example:8443", false),
            (&[any, methods], "DELETE", "https://evil.example", true),
            (&[any, methods], "POST", "https://evil.example", false),
            (&[any, methods], "PUT", "https://evil.example", false),
            (&[any, methods], "PATCH", "https://evil.example", false),
            (&[any, reading], "DELETE", "https://evil.example", false),
            (&[any], "DELETE", "https://evil.example", false),
            (&[null, methods], "DELETE", "null", true),
            (&[null, methods], "PUT", "null", false),
            (&[ui, methods], "DELETE", "null", false),
        ] {
            let request = format!("{method} | Host: 10.0.0.7:5000 | Origin: {origin}");
            assert_eq!(checked(allowed, &request).is_ok(), passes, "{allowed:?} {request}");
        }
    }
}
