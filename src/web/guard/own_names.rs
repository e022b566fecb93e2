//! The names of this server, and the host that a request is for.

use std::net::IpAddr;

use http::Uri;
use http::header::HOST;
use http::request::Parts;
use http::uri::Authority;

use crate::oci::HostName;

/// The names of this server: the hosts of `http.host`, `http.names` and `mirror.names`.
#[derive(Debug)]
pub(in crate::web) struct OwnNames(Vec<HostName>);

/// The origin of a web page: scheme, host and port (RFC 6454, section 4).
pub(super) struct PageOrigin {
    /// In lower case; an IPv6 address is in brackets.
    host: String,
    port: Option<u16>,
    /// The port of an origin that names none.
    default_port: Option<u16>,
}

impl PageOrigin {
    /// Parses the value of an `Origin` header. Returns `None` for `null` and for every form that no page of a server has.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
        let default_port = match uri.scheme_str()? {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        };
        let is_bare = uri.path_and_query().is_none_or(|path| path == "/") && !text.ends_with('/');
        is_bare.then(|| Self {
            host: authority.host().to_ascii_lowercase(),
            port: authority.port_u16().or(default_port),
            default_port,
        })
    }

    /// Returns true if the authority is that of this origin. A missing port is the default of the origin's scheme.
    fn is_at(&self, authority: &Authority) -> bool {
        self.host.eq_ignore_ascii_case(authority.host()) && self.port == authority.port_u16().or(self.default_port)
    }
}

impl OwnNames {
    pub(in crate::web) fn new(names: Vec<HostName>) -> Self {
        Self(names)
    }

    /// Returns true if the page came from this server: from the host of the request, where that host is surely ours, or from one
    /// of our names.
    pub(super) fn include(&self, origin: &PageOrigin, head: &Parts) -> bool {
        let from_host = host_of(head).is_some_and(|host| origin.is_at(&host) && self.is_ours(&host));
        from_host || self.authorities().any(|name| origin.is_at(&name))
    }

    /// Returns true for a host that no stranger can make a browser resolve to this server: an address, `localhost`, or one of our
    /// names with any port.
    fn is_ours(&self, host: &Authority) -> bool {
        let bare = host.host();
        let is_address = bare.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        let is_named = |name: Authority| {
            bare.eq_ignore_ascii_case(name.host()) && (name.port().is_none() || name.port_u16() == host.port_u16())
        };
        is_address || bare.eq_ignore_ascii_case("localhost") || self.authorities().any(is_named)
    }

    fn authorities(&self) -> impl Iterator<Item = Authority> {
        self.0.iter().filter_map(|name| Authority::try_from(name.as_str()).ok())
    }
}

/// Returns the host that a request is for. The target decides if it has one, as in HTTP/2 (RFC 9112, section 3.2.2).
pub(super) fn host_of(head: &Parts) -> Option<Authority> {
    let written = || Authority::try_from(head.headers.get(HOST)?.as_bytes()).ok();
    head.uri.authority().cloned().or_else(written)
}
