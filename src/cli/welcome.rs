//! What `serve` says when it starts: where it listens, what it mirrors, where it stores, and what is open to everybody.

use std::net::SocketAddr;

use super::settings::Settings;
use crate::config::{Config, Delete, MirrorOrigin};
use crate::oci::Pattern;

/// The lines, without a line end.
pub(super) fn lines(settings: &Settings, address: SocketAddr) -> Vec<String> {
    let config = settings.config();
    let mut lines = vec![format!("entrepot {} listens on http://{address}", env!("CARGO_PKG_VERSION"))];
    lines.push(format!("  reads    {}", settings.source));
    for upstream in config.mirror.upstreams.values() {
        let default = if config.mirror.default.as_ref() == Some(&upstream.name) { ", the default" } else { "" };
        lines.push(format!("  mirrors  {} ({}{default})", upstream.name, upstream.endpoints.join(", ")));
    }
    lines.push(format!("  local    {}", local(config)));
    lines.push(format!("  stores   {}", config.storage.root.display()));
    if config.auth.is_none() && mirrors_docker_hub(config) {
        lines.push(format!(
            "  docker   in /etc/docker/daemon.json: {{\"registry-mirrors\": [\"http://{}\"]}}",
            reachable(address)
        ));
    }
    match &config.auth {
        None => lines.push(format!("  open     everybody who reaches this address may {}; auth.htpasswd asks for a login", rights(config))),
        Some(_) if mirrors_docker_hub(config) => lines.push(
            "  login    everybody must log in, also to pull; dockerd sends no credentials to a mirror, so its registry-mirrors \
             will not work with this server"
                .to_owned(),
        ),
        Some(_) => lines.push("  login    everybody must log in".to_owned()),
    }
    lines.extend(settings.notes.iter().map(|note| format!("  note     {note}")));
    lines
}

fn local(config: &Config) -> String {
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

/// What a client on this machine, at least, can write.
fn reachable(address: SocketAddr) -> String {
    if address.ip().is_unspecified() { format!("localhost:{}", address.port()) } else { address.to_string() }
}
