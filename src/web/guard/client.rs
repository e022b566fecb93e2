//! The address of the client, which a proxy in front passes on.
//!
//! Any client can send `X-Forwarded-For`. It is believed only from the proxies of `http.trustedproxies`, and only for the log and for a
//! fair share of the server. It never gives a right.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use http::header::{FORWARDED, HeaderName};

use crate::config::AddressRange;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// The proxies that are trusted to name the address of a client.
#[derive(Debug)]
pub(in crate::web) struct TrustedProxies(Vec<AddressRange>);

impl TrustedProxies {
    pub(in crate::web) fn new(ranges: Vec<AddressRange>) -> Self {
        Self(ranges)
    }

    /// Returns the address of the client that sent a request through `peer`, if proxies that are trusted tell it.
    ///
    /// Each proxy appends the address that it saw. So the list is read from its end: an address counts if the proxy that named it is
    /// trusted, and the first one that is no trusted proxy is the client.
    pub(in crate::web) fn forwarded(&self, peer: SocketAddr, headers: &HeaderMap) -> Option<IpAddr> {
        let mut client = None;
        for address in listed(headers).into_iter().rev() {
            if !self.trusts(client.unwrap_or(peer.ip())) {
                break;
            }
            let Some(address) = address else { break };
            client = Some(address);
        }
        client
    }

    /// Returns true for the address of a trusted proxy.
    pub(super) fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|range| range.contains(address))
    }
}

/// Returns the addresses that the proxies named, in their order; `None` stands for a text that is no address.
fn listed(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    let texts = |name: HeaderName| {
        let values = headers.get_all(name).into_iter();
        values.flat_map(|value| value.to_str().unwrap_or("?").split(',').map(str::trim)).collect::<Vec<_>>()
    };
    let (usual, standard) = (texts(X_FORWARDED_FOR), texts(FORWARDED));
    if !usual.is_empty() {
        return usual.into_iter().map(address).collect();
    }
    if !standard.is_empty() {
        return standard.into_iter().map(|element| parameter(element, "for").and_then(address)).collect();
    }
    texts(X_REAL_IP).into_iter().map(address).collect()
}

/// Returns the value of a parameter in an element of `Forwarded` (RFC 7239, section 4).
pub(super) fn parameter<'a>(element: &'a str, name: &str) -> Option<&'a str> {
    let pairs = element.split(';').filter_map(|pair| pair.trim().split_once('='));
    let value = pairs.into_iter().find(|(other, _)| other.eq_ignore_ascii_case(name))?.1;
    Some(value.trim_matches('"'))
}

/// Parses an address with or without a port and brackets.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.split_once(']')).map_or(text, |(bare, _)| bare);
    let parsed = bare.parse::<IpAddr>().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
    parsed.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forwarded(peer: &str, fields: &[(&'static str, &str)]) -> Option<String> {
        let trusted = ["127.0.0.0/8", "10.0.0.0/8", "::1"].iter().map(|range| range.parse().unwrap()).collect();
        let headers =
            fields.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect();
        let peer = SocketAddr::new(peer.parse().unwrap(), 1);
        TrustedProxies::new(trusted).forwarded(peer, &headers).map(|address| address.to_string())
    }

    #[test]
    fn only_trusted_proxies_name_the_client() {
        for (peer, list, client) in [
            ("127.0.0.1", "203.0.113.9", Some("203.0.113.9")),
            ("::1", "203.0.113.9", Some("203.0.113.9")),
            ("203.0.113.1", "198.51.100.7", None),
            // The client wrote the first address itself.
            ("127.0.0.1", "198.51.100.7, 203.0.113.9", Some("203.0.113.9")),
            ("127.0.0.1", "198.51.100.7, 203.0.113.9, 10.0.0.2", Some("203.0.113.9")),
            ("127.0.0.1", "10.0.0.5", Some("10.0.0.5")),
            ("127.0.0.1", "10.0.0.5, 10.0.0.2", Some("10.0.0.5")),
            ("127.0.0.1", "unknown", None),
            ("127.0.0.1", "unknown, 10.0.0.2", Some("10.0.0.2")),
            ("127.0.0.1", "203.0.113.9:4711", Some("203.0.113.9")),
            ("127.0.0.1", "[2001:db8::9]:4711", Some("2001:db8::9")),
            ("127.0.0.1", "", None),
        ] {
            assert_eq!(forwarded(peer, &[("x-forwarded-for", list)]).as_deref(), client, "{peer} {list}");
        }
    }

    #[test]
    fn other_headers_name_the_client_too() {
        for (fields, client) in [
            (&[("forwarded", "for=203.0.113.9;proto=https")][..], Some("203.0.113.9")),
            (&[("forwarded", "for=198.51.100.7, For=\"[2001:db8::9]:47\"")], Some("2001:db8::9")),
            (&[("forwarded", "for=_hidden")], None),
            (&[("forwarded", "proto=https")], None),
            (&[("x-real-ip", "203.0.113.9")], Some("203.0.113.9")),
            (&[("x-forwarded-for", "198.51.100.7"), ("x-forwarded-for", "203.0.113.9")], Some("203.0.113.9")),
            (&[("x-forwarded-for", "203.0.113.9"), ("x-real-ip", "198.51.100.7")], Some("203.0.113.9")),
            (&[], None),
        ] {
            assert_eq!(forwarded("127.0.0.1", fields).as_deref(), client, "{fields:?}");
        }
    }
}
