//! Decides which token servers may receive a password.

use std::net::IpAddr;

use crate::outbound::Url;

/// Returns true if the password for `endpoint` may be sent to the token server at `realm`.
///
/// Both must be on the same site: the same host with any port, or hosts below the same registrable domain
/// (`registry-1.docker.io` and `auth.docker.io`). A password for https is never sent over plain http. An upstream names
/// its realm itself, so without this rule any server that can answer for it could collect passwords.
pub(in crate::upstream) fn same_site(endpoint: &Url, realm: &Url) -> bool {
    let secure_enough = realm.scheme() == "https" || (realm.scheme() == "http" && endpoint.scheme() == "http");
    let (Some(here), Some(there)) = (host(endpoint), host(realm)) else {
        return false;
    };
    secure_enough && (here == there || both_loopback(&here, &there) || same_domain(&here, &there))
}

/// Returns the host without the brackets of an IPv6 address and without the final dot of a fully qualified name.
fn host(url: &Url) -> Option<String> {
    let host = url.host_str()?;
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let bare = bare.strip_suffix('.').unwrap_or(bare);
    (!bare.is_empty()).then(|| bare.to_ascii_lowercase())
}

fn both_loopback(here: &str, there: &str) -> bool {
    [here, there].iter().all(|host| host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()))
}

/// Compares registrable domains by the public suffix list: two names below `co.uk` differ, two names below `docker.io`
/// match.
fn same_domain(here: &str, there: &str) -> bool {
    let domain = |host| psl::domain_str(host);
    let is_address = |host: &str| host.parse::<IpAddr>().is_ok();
    !is_address(here) && !is_address(there) && domain(here).is_some() && domain(here) == domain(there)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn password_is_sent_only_within_the_same_site() {
        for (endpoint, realm, sent) in [
            ("https://registry-1.docker.io", "https://auth.docker.io/token", true),
            ("https://ghcr.io", "https://ghcr.io/token", true),
            ("https://registry.gitlab.com", "https://gitlab.com/jwt/auth", true),
            ("https://gitlab.com", "https://Registry.GitLab.com./t", true),
            ("https://r.corp:5000", "https://r.corp:5001/t", true),
            ("http://r.corp", "https://r.corp/t", true),
            ("http://r.corp", "http://r.corp:81/t", true),
            ("http://127.0.0.1:5000", "http://127.0.0.1:5001/t", true),
            ("http://127.0.0.1:5000", "http://127.0.0.2/t", true),
            ("http://127.0.0.1:5000", "http://[::1]/t", true),
            ("http://localhost:5000", "http://localhost/t", true),
            ("https://10.0.0.1", "https://10.0.0.1/t", true),
            ("https://registry-1.docker.io", "http://auth.docker.io/token", false),
            ("https://registry-1.docker.io", "https://auth.docker.io.evil.example/token", false),
            ("https://registry-1.docker.io", "https://evildocker.io/token", false),
            ("https://registry-1.docker.io", "https://user@evil.example/token", false),
            ("https://registry-1.docker.io", "ftp://auth.docker.io/token", false),
            ("https://a.co.uk", "https://b.co.uk/t", false),
            ("https://a.github.io", "https://b.github.io/t", false),
            ("https://10.0.0.1", "https://10.0.0.2/t", false),
            ("https://1.2.3.4", "https://9.2.3.4/t", false),
            ("http://localhost:5000", "http://127.0.0.1/t", false),
            ("https://registry", "https://auth/t", false),
            ("https://io", "https://docker.io/t", false),
        ] {
            let (here, there) = (endpoint.parse().unwrap(), realm.parse().unwrap());
            assert_eq!(same_site(&here, &there), sent, "{endpoint} to {realm}");
        }
    }
}
