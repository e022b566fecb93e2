//! `entrepot health`: a container's healthcheck, which needs no shell and no curl.

use std::time::Duration;

use super::settings::{Trouble, read};

/// A server that is alive answers at once.
const LIMIT: Duration = Duration::from_secs(5);

/// Asks a running server's `/readyz`.
#[expect(clippy::print_stdout, reason = "this command's answer goes to the terminal")]
pub(super) async fn run(url: Option<String>) -> Result<(), Trouble> {
    let url = match url {
        Some(url) => url,
        None => {
            let http = read(None).await?.1.config.http;
            format!("{}{}", address(&http.addr), http.prefix)
        }
    };
    let url = if url.contains("://") { url } else { address(&url) };
    let url = format!("{}/readyz", url.trim_end_matches('/'));
    let client = reqwest::Client::builder().no_proxy().timeout(LIMIT).build().map_err(Trouble::new)?;
    let answer = client.get(&url).send().await.map_err(|error| Trouble(format!("{url}: {}", cause(&error))))?;
    let status = answer.status();
    let reason = answer.text().await.unwrap_or_default();
    if status.is_success() {
        println!("{}", reason.trim());
        return Ok(());
    }
    Err(Trouble(format!("{url}: {status}: {}", reason.trim())))
}

/// The innermost error: what a person can act on.
fn cause(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), cause)
}

/// Where a server that listens on `addr` can be reached from the same machine.
fn address(addr: &str) -> String {
    let local = ["0.0.0.0:", "[::]:"].iter().find_map(|every| addr.strip_prefix(every));
    match local.or_else(|| addr.strip_prefix(':')) {
        Some(port) => format!("http://127.0.0.1:{port}"),
        None => format!("http://{addr}"),
    }
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
}
