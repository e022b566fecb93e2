//! Where the running server is that a command speaks to.

use std::path::Path;

use super::Ended;
use super::settings::{Trouble, read};
use crate::outbound::Url;
use crate::sys::{blocking, disk};

/// Names the server for every command that asks one.
const VARIABLE: &str = "ENTREPOT_SERVER";

/// The server's base address without a slash at the end: as given, else the one that `serve` would use.
pub(super) async fn base(given: Option<String>) -> Result<String, Ended> {
    let url = match given {
        Some(url) if url.trim().is_empty() => {
            let message = "the server's address is empty; write it like http://mirror.lan:5000, or leave it out";
            return Err(Ended::Usage(message.to_owned()));
        }
        Some(url) if url.contains("://") => url,
        Some(path) if is_file(&path).await => {
            let message = format!(
                "{path} is a file, and the address of a server is wanted, like http://127.0.0.1:5000; for the server that this \
                 configuration would start, leave the address out and set ENTREPOT_CONFIG={path}"
            );
            return Err(Ended::Usage(message));
        }
        Some(url) => address(&url),
        None => {
            let (_, draft) = read(None).await?;
            let http = draft.conclude().map_err(Trouble::from)?.config.http;
            format!("{}{}", address(&http.addr), http.prefix)
        }
    };
    Ok(url.trim_end_matches('/').to_owned())
}

/// What `--server` says, else what `$ENTREPOT_SERVER` does.
pub(super) fn named(argument: Option<String>) -> Option<String> {
    argument.or_else(|| std::env::var(VARIABLE).ok().filter(|server| !server.is_empty()))
}

/// A server's address, without a login in it.
pub(super) fn parse(base: &str) -> Result<Url, Ended> {
    let parsed = Url::parse(base).ok();
    if let Some(url) = parsed.as_ref().filter(|url| !matches!(url.scheme(), "http" | "https")) {
        let scheme = url.scheme();
        let message = format!(
            "the server's address begins with {scheme}://, and http:// or https:// is wanted; write it like http://mirror.lan:5000"
        );
        return Err(Ended::Usage(message));
    }
    let url = parsed.filter(Url::has_host);
    let Some(url) = url else {
        // It may hold a password: it is not repeated.
        return Err(Ended::Usage("the server's address is none; write it like http://mirror.lan:5000".to_owned()));
    };
    if !url.username().is_empty() || url.password().is_some() {
        let message = "the server's address holds a login; use --user NAME and $ENTREPOT_PASSWORD instead";
        return Err(Ended::Usage(message.to_owned()));
    }
    Ok(url)
}

/// A configuration where an address should be: the commonest slip.
async fn is_file(text: &str) -> bool {
    let path = text.to_owned();
    let exists = blocking(move || disk::metadata(Path::new(&path)).is_ok_and(|found| found.is_file()));
    text.ends_with(".yml") || text.ends_with(".yaml") || text.starts_with(['/', '.']) || exists.await
}

/// Is it reached without leaving this machine, and so without a proxy?
pub(super) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Where a server that listens on `addr` can be reached from the same machine.
pub(super) fn address(addr: &str) -> String {
    let local = ["0.0.0.0:", "[::]:"].iter().find_map(|every| addr.strip_prefix(every));
    match local.or_else(|| addr.strip_prefix(':')) {
        Some(port) => format!("http://127.0.0.1:{port}"),
        None => format!("http://{addr}"),
    }
}

/// The innermost error: what a person can act on.
pub(super) fn cause(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (addr, want) in [
            (":5000", "http://127.0.0.1:5000"),
            ("0.0.0.0:5000", "http://127.0.0.1:5000"),
            ("[::]:80", "http://127.0.0.1:80"),
            ("10.0.0.1:5000", "http://10.0.0.1:5000"),
        ] {
            assert_eq!(address(addr), want);
        }
    }

    #[test]
    fn loopback() {
        for (url, want) in [
            ("http://127.0.0.1:5000", true),
            ("http://[::1]:5000", true),
            ("http://localhost", true),
            ("http://mirror.lan:5000", false),
            ("http://10.0.0.1", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(url).unwrap()), want, "{url}");
        }
    }
}
