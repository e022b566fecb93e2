//! Addresses in a configuration: those to listen on, those of upstreams, and those of proxies.

use http::Uri;

use super::keys::Notation;
use crate::oci::{HostName, RepositoryName};

/// The notation of an optional http:// or https:// URL.
pub(super) const URL: Notation = Notation::Pattern("^$|^https?://");

/// The ports that Go knows by name without a file of services (its package `net`).
const PORT_NAMES: &[(&str, u16)] = &[
    ("domain", 53),
    ("ftp", 21),
    ("ftps", 990),
    ("gopher", 70),
    ("http", 80),
    ("https", 443),
    ("imap2", 143),
    ("imap3", 220),
    ("imaps", 993),
    ("pop3", 110),
    ("pop3s", 995),
    ("smtp", 25),
    ("submissions", 465),
    ("ssh", 22),
    ("telnet", 23),
];

/// Returns the host and the port of `HOST:PORT` or `:PORT`. An empty host stands for every address. The port may be a name, as in
/// `registry:2`.
pub(super) fn listen(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    let named = || PORT_NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(port)).map(|(_, port)| *port);
    let port = if digits { port.parse::<u16>().ok() } else { named() }?;
    (host.is_empty() || host.parse::<HostName>().is_ok_and(|name| !has_port(name.as_str()))).then_some((host, port))
}

/// Returns true if two listeners would need the same port of the same address.
pub(super) fn collide(a: &str, b: &str) -> bool {
    let every = |host: &str| matches!(host, "" | "0.0.0.0" | "[::]");
    match (listen(a), listen(b)) {
        (Some((a, p)), Some((b, q))) => p == q && p != 0 && (a == b || every(a) || every(b)),
        _ => false,
    }
}

/// Returns the base address of a registry, without `/v2` or `/v1` at its end and without a slash there. A prefix of repositories after
/// `/v2/` stays. `/v1/` is from the times of Docker's first API: `https://index.docker.io/v1/` is still the name of Docker Hub's login.
///
/// An error does not repeat the address, since it may hold a password.
pub(super) fn base(text: &str) -> Result<String, &'static str> {
    let uri = uri(text, &["http", "https"])
        .ok_or("is not an http:// or https:// URL; write a URL such as https://registry-1.docker.io")?;
    if has_userinfo(&uri) {
        return Err("holds a user or a password; write them as `username` and `password`");
    }
    if uri.query().is_some() || text.contains('#') {
        return Err("holds a query or a fragment; write only scheme, host and port");
    }
    let text = text.trim_end_matches('/');
    let text = text.strip_suffix("/v2").or_else(|| text.strip_suffix("/v1")).unwrap_or(text);
    if let Some((_, prefix)) = text.split_once("/v2/")
        && prefix.parse::<RepositoryName>().is_err()
    {
        return Err(
            "has a path after /v2/ that cannot be the beginning of a repository's name; write it in lower case, such as \
             https://harbor.corp/v2/hub-proxy",
        );
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// Returns true for the address of a proxy.
pub(super) fn is_proxy(text: &str) -> bool {
    uri(text, &["http", "https", "socks5", "socks5h"]).is_some()
}

/// Returns the host of a base address, with the port if one is written.
pub(super) fn host_of(base: &str) -> Option<HostName> {
    base.parse::<Uri>().ok()?.authority()?.as_str().parse().ok()
}

/// Returns the address with user and password masked.
pub(super) fn masked(text: &str) -> String {
    match text.split_once("://") {
        Some((scheme, rest)) => match rest.rsplit_once('@') {
            Some((_, rest)) => format!("{scheme}://****@{rest}"),
            None => text.to_owned(),
        },
        None => text.to_owned(),
    }
}

fn uri(text: &str, schemes: &[&str]) -> Option<Uri> {
    let uri: Uri = text.parse().ok()?;
    let scheme = uri.scheme_str().is_some_and(|scheme| schemes.contains(&scheme));
    let authority = uri.authority()?.as_str();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    (scheme && host.parse::<HostName>().is_ok()).then_some(uri)
}

fn has_userinfo(uri: &Uri) -> bool {
    uri.authority().is_some_and(|authority| authority.as_str().contains('@'))
}

fn has_port(host: &str) -> bool {
    host.rsplit_once(']').map_or(host, |(_, rest)| rest).contains(':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listen_addresses_are_parsed_and_compared() {
        for good in [":5000", "0.0.0.0:5000", "localhost:0", "[::1]:5000", "[::]:5000"] {
            assert!(listen(good).is_some(), "{good}");
        }
        for (named, port) in [(":http", 80), ("localhost:https", 443), ("[::1]:HTTP", 80), ("0.0.0.0:submissions", 465)]
        {
            assert_eq!(listen(named).map(|(_, port)| port), Some(port), "{named}");
        }
        for bad in ["", "5000", ":", ":x", ":70000", "a:b:1", "::1:5000", "http://a:1", "/run/sock", ":+1", "a b:1"] {
            assert!(listen(bad).is_none(), "{bad:?}");
        }
        for (a, b, want) in [
            (":5000", ":5000", true),
            (":5000", "127.0.0.1:5000", true),
            ("127.0.0.1:5000", "127.0.0.2:5000", false),
            (":0", ":0", false),
            (":5000", ":5001", false),
        ] {
            assert_eq!(collide(a, b), want, "{a} and {b}");
        }
    }

    #[test]
    fn base_addresses_and_proxies_are_parsed() {
        for (text, want) in [
            ("https://ghcr.io", "https://ghcr.io"),
            ("https://ghcr.io/", "https://ghcr.io"),
            ("https://ghcr.io/v2/", "https://ghcr.io"),
            ("https://index.docker.io/v1/", "https://index.docker.io"),
            ("https://r.corp/sub/v1", "https://r.corp/sub"),
            ("https://r.corp/v1/sub", "https://r.corp/v1/sub"),
            ("http://a:5000/mirror", "http://a:5000/mirror"),
            ("https://harbor.corp/v2/hub/", "https://harbor.corp/v2/hub"),
            ("https://r.corp/a/v2/b/c", "https://r.corp/a/v2/b/c"),
            ("http://[::1]:5000", "http://[::1]:5000"),
        ] {
            assert_eq!(base(text).as_deref(), Ok(want), "{text}");
        }
        for bad in [
            "",
            "ghcr.io",
            "ftp://a",
            "https://",
            "https://me:pw@a",
            "https://a?b",
            "https://a#b",
            "https://a b",
            "https://a/v2/B",
        ] {
            assert!(base(bad).is_err(), "{bad:?}");
        }
        for good in ["socks5://127.0.0.1:1080", "http://me:pw@proxy:3128", "socks5h://p:1", "http://proxy"] {
            assert!(is_proxy(good), "{good}");
        }
        for bad in ["", "proxy:3128", "socks4://a:1", "http://"] {
            assert!(!is_proxy(bad), "{bad:?}");
        }
        assert_eq!(masked("http://me:p@w@proxy:3128"), "http://****@proxy:3128");
        assert_eq!(masked("http://proxy:3128"), "http://proxy:3128");
    }
}
