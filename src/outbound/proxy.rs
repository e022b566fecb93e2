//! Which proxy a request goes through.

use reqwest::{NoProxy, Proxy};

use super::{BuildError, Url};

/// Never through a proxy of the environment: what runs on this machine is reached directly.
const LOOPBACK: &str = "localhost,127.0.0.0/8,::1";

/// The proxy that the configuration names: everything goes through it.
pub(super) fn configured(address: &str) -> Result<Proxy, BuildError> {
    let parsed = Url::parse(address).map_err(|_| BuildError::Proxy)?;
    let has_host = parsed.host_str().is_some_and(|host| !host.is_empty());
    if has_host && matches!(parsed.scheme(), "http" | "https" | "socks5" | "socks5h") {
        Proxy::all(address).map_err(|_| BuildError::Proxy)
    } else {
        Err(BuildError::Proxy)
    }
}

/// The proxies that the environment names, in curl's way: `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy`.
///
/// reqwest would read them by itself, but it would use them for loopback addresses too.
pub(super) fn of_environment(variable: impl Fn(&str) -> Option<String>) -> Vec<Proxy> {
    let read = |lower: &str| {
        let found = variable(lower).filter(|text| !text.is_empty());
        // A CGI's HTTP_PROXY is what a client wrote into its `Proxy:` header.
        let upper = (lower != "http_proxy" || variable("REQUEST_METHOD").is_none()).then(|| lower.to_ascii_uppercase());
        found.or_else(|| upper.and_then(|upper| variable(&upper)).filter(|text| !text.is_empty()))
    };
    let direct = read("no_proxy").map_or_else(|| LOOPBACK.to_owned(), |names| format!("{names},{LOOPBACK}"));
    let direct = NoProxy::from_string(&direct);
    let made = |name: &str, make: fn(String) -> reqwest::Result<Proxy>| {
        let proxy = make(read(name)?).map(|proxy| proxy.no_proxy(direct.clone()));
        // Not fatal, as in every other program that reads them; and not repeated, since it may hold a password.
        proxy.inspect_err(|_| tracing::warn!("the variable {name} is ignored: it is not the address of a proxy")).ok()
    };
    [made("http_proxy", Proxy::http), made("https_proxy", Proxy::https), made("all_proxy", Proxy::all)]
        .into_iter()
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configured_proxies() {
        for good in ["http://p:3128", "https://me:secret@p", "socks5://127.0.0.1:1080", "socks5h://p"] {
            assert!(configured(good).is_ok(), "{good}");
        }
        for bad in ["", "p", "p:3128", "ftp://p", "http://", "socks5://"] {
            assert!(configured(bad).is_err(), "{bad} was taken for a proxy");
        }
    }

    #[test]
    fn proxies_of_the_environment() {
        let count = |variables: &[(&str, &str)]| {
            let found =
                |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
            of_environment(found).len()
        };
        assert_eq!(count(&[]), 0);
        assert_eq!(count(&[("HTTP_PROXY", "")]), 0);
        assert_eq!(count(&[("HTTP_PROXY", "http://p"), ("https_proxy", "p:3128"), ("ALL_PROXY", "socks5://p")]), 3);
        assert_eq!(count(&[("HTTP_PROXY", "http://p"), ("REQUEST_METHOD", "GET")]), 0);
        assert_eq!(count(&[("http_proxy", "http://")]), 0);
    }
}
