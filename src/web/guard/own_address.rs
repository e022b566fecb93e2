//! The address of this server as the client of a request wrote it.
//!
//! A trusted proxy names the address; without such a proxy, the request names it. Clients that do not understand a relative
//! address need it. A client can name a wrong address here, but only in the answer to its own request.

use std::net::SocketAddr;

use http::HeaderMap;
use http::header::{FORWARDED, HeaderName};
use http::request::Parts;
use http::uri::Authority;

use super::client::{TrustedProxies, parameter};
use super::own_names::host_of;

const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Returns the scheme and the host that the client used, such as `https://registry.corp`. Returns `None` if the request names no host.
pub(in crate::web) fn own_address(proxies: &TrustedProxies, peer: SocketAddr, head: &Parts) -> Option<String> {
    let (scheme, host) = if proxies.trusts(peer.ip()) { told(&head.headers) } else { (None, None) };
    let host = host.or_else(|| host_of(head)).filter(|host| !host.as_str().contains('@'))?;
    Some(format!("{}://{host}", scheme.unwrap_or("http")))
}

/// Returns the scheme and the host that proxies tell. The first of several is the one that the client spoke to.
fn told(headers: &HeaderMap) -> (Option<&'static str>, Option<Authority>) {
    let first = |name: HeaderName| headers.get(name)?.to_str().ok()?.split(',').next().map(str::trim);
    let (scheme, host) = match first(FORWARDED) {
        Some(element) => (parameter(element, "proto"), parameter(element, "host")),
        None => (first(X_FORWARDED_PROTO), first(X_FORWARDED_HOST)),
    };
    let scheme =
        ["http", "https"].into_iter().find(|known| scheme.is_some_and(|told| told.eq_ignore_ascii_case(known)));
    (scheme, host.and_then(|host| host.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(peer: &str, fields: &[(&'static str, &str)]) -> Option<String> {
        let mut request = http::Request::get("/v2/");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let head = request.body(()).unwrap().into_parts().0;
        let proxies = TrustedProxies::new(vec!["127.0.0.0/8".parse().unwrap()]);
        own_address(&proxies, SocketAddr::new(peer.parse().unwrap(), 1), &head)
    }

    #[test]
    fn trusted_proxies_tell_the_address() {
        let host = ("host", "r.lan:5000");
        for (peer, fields, want) in [
            ("127.0.0.1", &[host][..], Some("http://r.lan:5000")),
            ("127.0.0.1", &[host, ("x-forwarded-proto", "https")], Some("https://r.lan:5000")),
            ("127.0.0.1", &[host, ("x-forwarded-proto", "HTTPS, http")], Some("https://r.lan:5000")),
            ("127.0.0.1", &[host, ("x-forwarded-host", "r.corp, inner")], Some("http://r.corp")),
            (
                "127.0.0.1",
                &[host, ("forwarded", "for=1.2.3.4;proto=https;host=\"r.corp:8443\"")],
                Some("https://r.corp:8443"),
            ),
            ("127.0.0.1", &[host, ("forwarded", "for=1.2.3.4, proto=https")], Some("http://r.lan:5000")),
            (
                "127.0.0.1",
                &[host, ("x-forwarded-proto", "ftp"), ("x-forwarded-host", "a b")],
                Some("http://r.lan:5000"),
            ),
            (
                "203.0.113.1",
                &[host, ("x-forwarded-proto", "https"), ("x-forwarded-host", "evil")],
                Some("http://r.lan:5000"),
            ),
            ("127.0.0.1", &[("host", "me@r.lan")], None),
            ("127.0.0.1", &[], None),
        ] {
            assert_eq!(address(peer, fields).as_deref(), want, "{peer} {fields:?}");
        }
    }
}
