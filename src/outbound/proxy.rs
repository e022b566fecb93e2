//! Chooses the proxy that a request goes through.

use std::fmt;
use std::sync::Arc;

use hyper_util::client::proxy::matcher::Matcher;
use reqwest::{Proxy, Url};

use super::address::authority;
use super::error::ClientError;

/// The addresses of this machine. A proxy from the environment is never used for them.
const LOOPBACK: &str = "localhost,127.0.0.0/8,::1";

/// The proxies for plain HTTP and for HTTPS, and the addresses that are reached without them. They may hold passwords.
#[derive(Clone)]
pub(super) struct Proxies {
    http: Option<Url>,
    https: Option<Url>,
    /// Matches every address that is not reached directly.
    matcher: Arc<Matcher>,
}

impl Proxies {
    /// Uses the configured proxy for every request.
    pub(super) fn configured(address: &str) -> Result<Self, ClientError> {
        let proxy = parse(address).ok_or(ClientError::Proxy)?;
        Ok(Self { http: Some(proxy.clone()), https: Some(proxy), matcher: all_except("") })
    }

    /// Uses the proxies that the environment names, as curl does: `http_proxy`, `https_proxy`, `all_proxy` and
    /// `no_proxy`.
    ///
    /// reqwest can read them itself, but it would use them for loopback addresses too.
    pub(super) fn of_environment(variable: impl Fn(&str) -> Option<String>) -> Self {
        let read = |lower: &str| {
            let found = variable(lower).filter(|text| !text.is_empty());
            // In a CGI program, HTTP_PROXY holds the `Proxy:` header of a client's request.
            let upper =
                (lower != "http_proxy" || variable("REQUEST_METHOD").is_none()).then(|| lower.to_ascii_uppercase());
            found.or_else(|| upper.and_then(|upper| variable(&upper)).filter(|text| !text.is_empty()))
        };
        let proxy = |name: &str| {
            let text = read(name)?;
            let proxy = parse(&text).or_else(|| parse(&format!("http://{text}")).filter(|_| !text.contains("://")));
            if proxy.is_none() {
                // Other programs that read these variables ignore bad ones too. The value is not repeated, since it may
                // hold a password.
                tracing::warn!("the variable {name} is ignored: it is not the address of a proxy");
            }
            proxy
        };
        let all = proxy("all_proxy");
        let direct = read("no_proxy").map_or_else(|| LOOPBACK.to_owned(), |names| format!("{names},{LOOPBACK}"));
        Self {
            http: proxy("http_proxy").or_else(|| all.clone()),
            https: proxy("https_proxy").or(all),
            matcher: all_except(&direct.to_ascii_lowercase()),
        }
    }

    /// Returns the proxy for this address.
    fn of(&self, url: &Url) -> Option<&Url> {
        let proxy = if url.scheme() == "https" { &self.https } else { &self.http }.as_ref()?;
        let destination = format!("{}://{}", url.scheme(), url.host_str()?).parse().ok()?;
        self.matcher.intercept(&destination).map(|_| proxy)
    }

    /// Returns `HOST:PORT` of the proxy for this address, without its user and its password.
    pub(super) fn name(&self, url: &Url) -> Option<String> {
        self.of(url).map(authority)
    }

    /// Returns these proxies as a rule for the HTTP library; `None` if there is no proxy.
    pub(super) fn rule(&self) -> Option<Proxy> {
        self.http.as_ref().or(self.https.as_ref())?;
        let proxies = self.clone();
        Some(Proxy::custom(move |url| proxies.of(url).cloned()))
    }
}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [&self.http, &self.https].map(|proxy| proxy.as_ref().map(authority));
        f.debug_struct("Proxies").field("http", &names[0]).field("https", &names[1]).finish_non_exhaustive()
    }
}

fn parse(address: &str) -> Option<Url> {
    let url = Url::parse(address).ok()?;
    let has_host = url.host_str().is_some_and(|host| !host.is_empty());
    (has_host && matches!(url.scheme(), "http" | "https" | "socks5" | "socks5h")).then_some(url)
}

/// Matches every address except those that a `NO_PROXY` list names.
fn all_except(direct: &str) -> Arc<Matcher> {
    Arc::new(Matcher::builder().all("http://any").no(direct).build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configured_proxy_is_used_for_every_address() {
        for good in ["http://p:3128", "https://me:secret@p", "socks5://127.0.0.1:1080", "socks5h://p"] {
            assert!(Proxies::configured(good).is_ok(), "{good}");
        }
        for bad in ["", "p", "p:3128", "ftp://p", "http://", "socks5://"] {
            assert!(Proxies::configured(bad).is_err(), "{bad} was taken for a proxy");
        }
        let proxies = Proxies::configured("http://me:secret@p:3128").unwrap();
        assert!(!format!("{proxies:?} {:?}", proxies.rule()).contains("secret"));
        for address in ["http://127.0.0.1", "https://localhost", "https://ghcr.io"] {
            assert_eq!(proxies.name(&address.parse().unwrap()).as_deref(), Some("p:3128"), "{address}");
        }
    }

    #[test]
    fn proxies_of_the_environment_are_chosen_as_curl_does() {
        let named = |variables: &[(&str, &str)], address: &str| {
            let found =
                |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
            Proxies::of_environment(found).name(&address.parse().unwrap()).unwrap_or_default()
        };
        let both =
            [("HTTP_PROXY", "http://plain"), ("https_proxy", "me:secret@p:3128"), ("ALL_PROXY", "socks5://all:1")];
        let except = [("ALL_PROXY", "p"), ("NO_PROXY", "Corp.example, 10.0.0.0/8,.io")];
        for (variables, address, want) in [
            (&[][..], "https://ghcr.io", ""),
            (&both, "http://ghcr.io", "plain"),
            (&both, "https://ghcr.io", "p:3128"),
            (&both[2..], "https://ghcr.io", "all:1"),
            (&both, "https://127.0.0.1:5000", ""),
            (&both, "http://127.1.2.3", ""),
            (&both, "http://[::1]:5000", ""),
            (&both, "https://localhost", ""),
            (&except, "https://quay.example", "p"),
            (&except, "https://corp.example", ""),
            (&except, "https://registry.corp.example", ""),
            (&except, "https://notcorp.example", "p"),
            (&except, "https://ghcr.io", ""),
            (&except, "http://10.1.2.3:5000", ""),
            (&except, "http://11.1.2.3:5000", "p"),
            (&[("ALL_PROXY", "p"), ("no_proxy", "*")], "http://a.example", ""),
            (&[("HTTP_PROXY", "")], "http://a.example", ""),
            (&[("http_proxy", "lower"), ("HTTP_PROXY", "upper")], "http://a.example", "lower"),
            (&[("HTTP_PROXY", "http://p"), ("REQUEST_METHOD", "GET")], "http://a.example", ""),
            (&[("http_proxy", "http://")], "http://a.example", ""),
            (&[("http_proxy", "ftp://p")], "http://a.example", ""),
        ] {
            assert_eq!(named(variables, address), want, "{variables:?} {address}");
        }
    }
}
