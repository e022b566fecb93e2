//! The lines that `serve` prints when it starts: its address, the mirrored registries, the store, and the rights of
//! clients.

use std::net::SocketAddr;

use crate::cli::remote::is_loopback;
use crate::cli::settings::Settings;
use crate::config::{Config, Delete, MirrorOrigin, Upstream};
use crate::oci::Pattern;
use crate::outbound::Url;

/// Returns the banner for a server that listens on `address`, one string per line.
pub(super) fn lines(settings: &Settings, address: SocketAddr) -> Vec<String> {
    let config = settings.config();
    let prefix = config.http.prefix.trim_end_matches('/');
    let mut lines = vec![format!("entrepot {} listens on http://{address}{prefix}", env!("CARGO_PKG_VERSION"))];
    lines.push(format!("  config   {}", settings.described_source()));
    for upstream in config.mirror.upstreams.values() {
        let default = if config.mirror.default.as_ref() == Some(&upstream.name) { ", the default" } else { "" };
        lines.push(format!("  mirrors  {} ({}{default})", upstream.name, upstream.endpoints.join(", ")));
    }
    lines.push(format!("  local    {}", local_names(config)));
    lines.push(format!("  stores   {}", config.storage.root.display()));
    if !prefix.is_empty() {
        lines.push(format!(
            "  prefix   the paths begin with {prefix} (http.prefix); clients write none, so a proxy must lead /v2/ to {prefix}/v2/"
        ));
    } else if config.auth.is_none() && mirrors_docker_hub(config) {
        lines.push(format!(
            "  docker   write into /etc/docker/daemon.json: {{\"registry-mirrors\": [\"http://{}\"]}}",
            reachable(address)
        ));
    }
    lines.extend(settings.notes.iter().map(|note| format!("  note     {note}")));
    lines
}

/// Returns what an operator must know about the protection of this server, one string per line. It is said at every log level.
pub(super) fn notices(settings: &Settings, address: SocketAddr) -> Vec<String> {
    let config = settings.config();
    let mut lines = vec![access(config)];
    let is_reachable = !address.ip().is_loopback();
    if config.auth.is_some() && is_reachable {
        lines.push(format!(
            "  warning  passwords cross the network unencrypted: {address} serves plain HTTP; let a proxy with TLS serve the network, and \
             write an address of this machine such as 127.0.0.1:{} as http.addr",
            address.port()
        ));
    }
    let with_account = |upstream: &&Upstream| upstream.credentials.is_some() || upstream.identity.is_some();
    let names: Vec<&str> =
        config.mirror.upstreams.values().filter(with_account).map(|upstream| upstream.name.as_str()).collect();
    if config.auth.is_none() && !names.is_empty() {
        lines.push(format!(
            "  warning  every client that reaches this address may pull what your account at {} may, private images too; \
             auth.htpasswd requires a login",
            names.join(", ")
        ));
    }
    lines.extend(unencrypted_logins(config));
    lines
}

/// Returns a line for each endpoint that gets the password of an upstream without encryption, beyond this machine.
fn unencrypted_logins(config: &Config) -> impl Iterator<Item = String> {
    let with_login = config.mirror.upstreams.values().filter(|upstream| upstream.credentials.is_some());
    let endpoints =
        with_login.flat_map(|upstream| upstream.endpoints.iter().map(|endpoint| (&upstream.name, endpoint)));
    let is_open = |endpoint: &str| Url::parse(endpoint).is_ok_and(|url| url.scheme() == "http" && !is_loopback(&url));
    endpoints.filter(move |(_, endpoint)| is_open(endpoint)).map(|(upstream, endpoint)| {
        format!(
            "  warning  the password of your account at {upstream} crosses the network unencrypted: the endpoint {endpoint} is plain \
             HTTP; write https:// if it offers that"
        )
    })
}

/// Returns the line that says which clients have which rights.
fn access(config: &Config) -> String {
    match &config.auth {
        None => format!(
            "  access   without a login, every client that reaches this address may {}; auth.htpasswd requires a login",
            rights(config)
        ),
        Some(_) if mirrors_docker_hub(config) => {
            "  access   every client must log in, also to pull; dockerd sends no login to a mirror, so its registry-mirrors setting \
             does not work with this server"
                .to_owned()
        }
        Some(_) => "  access   every client must log in".to_owned(),
    }
}

/// Returns the patterns of repository names that clients can push to.
fn local_names(config: &Config) -> String {
    match (config.mirror.upstreams.is_empty(), config.mirror.local.as_slice()) {
        (true, _) => "all names (nothing is mirrored)".to_owned(),
        (false, []) => "no names (nothing can be pushed)".to_owned(),
        (false, patterns) => patterns.iter().map(Pattern::as_str).collect::<Vec<_>>().join(", "),
    }
}

fn rights(config: &Config) -> &'static str {
    match (config.mirror.origin, config.storage.delete) {
        (MirrorOrigin::Proxy, Delete::Refused) => "pull",
        (MirrorOrigin::Proxy, Delete::Allowed) => "pull and delete",
        (_, Delete::Refused) => "pull and push",
        (_, Delete::Allowed) => "pull, push and delete",
    }
}

fn mirrors_docker_hub(config: &Config) -> bool {
    config.mirror.default.as_ref().is_some_and(|name| name.as_str() == "docker.io")
}

/// Returns an address that works at least on this machine.
fn reachable(address: SocketAddr) -> String {
    if address.ip().is_unspecified() { format!("localhost:{}", address.port()) } else { address.to_string() }
}
