//! The address of the server that a command sends requests to.

use std::path::Path;

use crate::cli::outcome::{CommandError, ErrorMessage};
use crate::cli::settings::read;
use crate::outbound::{Url, authority};
use crate::sys::{blocking, disk};

/// The environment variable that names the server for every command.
const VARIABLE: &str = "ENTREPOT_SERVER";

/// Returns the server's base address without a slash at the end. Without an address, the configuration that `serve` would use
/// decides.
pub(in crate::cli) async fn base_url(given: Option<String>) -> Result<String, CommandError> {
    let url = match given {
        Some(url) if url.trim().is_empty() => {
            let message = "the server's address is empty; write it like http://mirror.lan:5000, or leave it out";
            return Err(CommandError::Usage(message.to_owned()));
        }
        Some(url) if url.contains("://") => url,
        Some(path) if is_file(&path).await => {
            let message = format!(
                "{path} is a file, but the address of a server is needed, like http://127.0.0.1:5000; to reach the server that \
                 this configuration starts, leave the address out and set ENTREPOT_CONFIG={path}"
            );
            return Err(CommandError::Usage(message));
        }
        Some(url) => listen_url(&url),
        None => {
            let (_, draft) = read(None).await?;
            let http = draft.conclude().map_err(ErrorMessage::from)?.config.http;
            format!("{}{}", listen_url(&http.addr), http.prefix)
        }
    };
    Ok(url.trim_end_matches('/').to_owned())
}

/// Returns the value of `--server`, else of `$ENTREPOT_SERVER`.
pub(in crate::cli) fn chosen_server(argument: Option<String>) -> Option<String> {
    argument.or_else(|| std::env::var(VARIABLE).ok().filter(|server| !server.is_empty()))
}

/// Parses a server's address. An address that contains a login is an error.
pub(in crate::cli) fn parse_url(base: &str) -> Result<Url, CommandError> {
    let parsed = Url::parse(base).ok();
    if let Some(url) = parsed.as_ref().filter(|url| !matches!(url.scheme(), "http" | "https")) {
        let scheme = url.scheme();
        let message = format!(
            "the server's address begins with {scheme}://, but only http:// and https:// work; write it like \
             http://mirror.lan:5000"
        );
        return Err(CommandError::Usage(message));
    }
    let url = parsed.filter(Url::has_host);
    let Some(url) = url else {
        // The address is not repeated: it could contain a password.
        return Err(CommandError::Usage(
            "the server's address is not valid; write it like http://mirror.lan:5000".to_owned(),
        ));
    };
    if !url.username().is_empty() || url.password().is_some() {
        let message = "the server's address contains a login; use --user NAME and $ENTREPOT_PASSWORD instead";
        return Err(CommandError::Usage(message.to_owned()));
    }
    Ok(url)
}

/// Returns true if the text looks like a path. To give a configuration file instead of an address is a common mistake.
async fn is_file(text: &str) -> bool {
    let path = text.to_owned();
    let exists = blocking(move || disk::metadata(Path::new(&path)).is_ok_and(|found| found.is_file()));
    text.ends_with(".yml") || text.ends_with(".yaml") || text.starts_with(['/', '.']) || exists.await
}

/// Returns true if requests to this address stay on this machine. Such requests use no proxy.
pub(in crate::cli) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Returns the address under which the same machine reaches a server that listens on `addr`.
pub(in crate::cli) fn listen_url(addr: &str) -> String {
    let local = ["0.0.0.0:", "[::]:"].iter().find_map(|every| addr.strip_prefix(every));
    match local.or_else(|| addr.strip_prefix(':')) {
        Some(port) => format!("http://127.0.0.1:{port}"),
        None => format!("http://{addr}"),
    }
}

/// Returns the names (`HOST[:PORT]`) that docker may use for the server. A server on this machine has several.
pub(super) fn host_names(url: &Url) -> Vec<String> {
    let mut hosts = vec![authority(url)];
    if is_loopback(url) {
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        hosts.extend(["localhost", "127.0.0.1", "[::1]"].map(|host| format!("{host}{port}")));
    }
    hosts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listening_address_becomes_a_local_url() {
        for (addr, want) in [
            (":5000", "http://127.0.0.1:5000"),
            ("0.0.0.0:5000", "http://127.0.0.1:5000"),
            ("[::]:80", "http://127.0.0.1:80"),
            ("10.0.0.1:5000", "http://10.0.0.1:5000"),
        ] {
            assert_eq!(listen_url(addr), want);
        }
    }

    #[test]
    fn loopback_addresses_are_recognized() {
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
