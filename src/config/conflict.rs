//! In what upstreams, local patterns, names and our own address can contradict each other.

use std::collections::BTreeMap;

use super::at::{At, Reading};
use super::mirror::{Entry, NOT_REGISTRIES};
use super::problem::Place;
use super::{Config, MirrorOrigin, Upstream, address};
use crate::oci::{HostName, Pattern};

/// The default upstream: at most one.
pub(super) fn default(entries: &[Entry<'_>], reading: &mut Reading<'_>) -> Option<HostName> {
    let mut defaults = entries.iter().filter_map(|entry| Some((entry, entry.default?)));
    let (first, _) = defaults.next()?;
    for (entry, place) in defaults {
        let (name, first) = (&entry.upstream.name, &first.upstream.name);
        let message =
            format!("mirror.upstreams.{name}.default: {first} is the default already; write `default: true` once");
        reading.report.error(place, message);
    }
    Some(first.upstream.name.clone())
}

/// A name or an alias leads to one upstream only.
pub(super) fn distinct(entries: &[Entry<'_>], reading: &mut Reading<'_>) {
    let mut seen: BTreeMap<&HostName, &HostName> =
        entries.iter().map(|e| (&e.upstream.name, &e.upstream.name)).collect();
    for entry in entries {
        for (alias, place) in &entry.aliases {
            let name = &entry.upstream.name;
            let message = match seen.insert(alias, name) {
                Some(other) if other == alias => format!("is the name of the upstream {other} already"),
                Some(other) => format!("is an alias of {other} already"),
                None => continue,
            };
            let message = format!("mirror.upstreams.{name}.aliases: {alias} {message}; remove it here");
            reading.report.error(place, message);
        }
    }
}

/// A local pattern must leave the upstreams their names.
pub(super) fn uncovered(
    local: &[(Pattern, &Place)],
    entries: &[Entry<'_>],
    default: Option<&HostName>,
    reading: &mut Reading<'_>,
) {
    for (pattern, place) in local {
        let covered = covered(pattern, entries, default);
        if let Some(name) = covered {
            let message = format!(
                "mirror.local: {pattern:?} covers names of the upstream {name}; write a first part of your own, such as local/**",
                pattern = pattern.as_str()
            );
            reading.report.error(place, message);
        }
    }
}

fn covered<'e>(pattern: &Pattern, entries: &'e [Entry<'_>], default: Option<&'e HostName>) -> Option<&'e HostName> {
    let (first, rest) = pattern.as_str().split_once('/').unwrap_or((pattern.as_str(), ""));
    if pattern.as_str().split('/').all(|part| part == "**") {
        return default;
    }
    if first == "**" || rest.is_empty() {
        return None;
    }
    let first: Pattern = first.parse().ok()?;
    let upstreams = entries.iter().map(|entry| &entry.upstream);
    upstreams
        .filter(|upstream| {
            std::iter::once(&upstream.name).chain(&upstream.aliases).any(|name| first.matches(name.as_str()))
        })
        .map(|upstream| &upstream.name)
        .next()
}

/// A name that is ours cannot be an upstream's too: `?ns=` with it would never reach it.
pub(super) fn not_ours(names: &[(HostName, &Place)], entries: &[Entry<'_>], reading: &mut Reading<'_>) {
    for (name, place) in names {
        let is = |upstream: &Upstream| upstream.name == *name || upstream.aliases.contains(name);
        if let Some(entry) = entries.iter().find(|entry| is(&entry.upstream)) {
            let message =
                format!("mirror.names: {name} leads to the upstream {}; write our own names only", entry.upstream.name);
            reading.report.error(place, message);
        }
    }
}

/// What sections say against each other, once all are read.
pub(super) fn across(root: &At<'_>, config: &Config, reading: &mut Reading<'_>) {
    let ours = config.http.host.as_deref().and_then(address::host_of);
    for upstream in config.mirror.upstreams.values() {
        let at = if config.mirror.origin == MirrorOrigin::Proxy {
            root.get("proxy")
        } else {
            root.get("mirror").get("upstreams").find(upstream.name.as_str())
        };
        let name = std::iter::once((&upstream.name, at.clone()));
        let aliases = upstream.aliases.iter().map(|alias| (alias, element(&at.get("aliases"), alias)));
        for (name, at) in name.chain(aliases) {
            if config.mirror.origin == MirrorOrigin::Written && ours.as_ref() == Some(name) {
                at.error(
                    reading,
                    &format!("is {name}, which is `http.host`, our own name; write names of others only"),
                );
            }
        }
        endpoints(&at, upstream, config, reading);
    }
}

/// The element of a list that is this name.
fn element<'t>(at: &At<'t>, name: &HostName) -> At<'t> {
    let is = |at: &At<'_>| at.raw().and_then(|text| text.parse().ok()).as_ref() == Some(name);
    at.each().into_iter().find(is).unwrap_or_else(|| at.clone())
}

fn endpoints(at: &At<'_>, upstream: &Upstream, config: &Config, reading: &mut Reading<'_>) {
    let written = at.get("endpoints");
    let mut places = written.each();
    if places.len() != upstream.endpoints.len() {
        let remote = at.get("remoteurl");
        places = vec![if remote.is_written() { remote } else { at.clone() }; upstream.endpoints.len()];
    }
    let mut seen = Vec::new();
    for (endpoint, at) in upstream.endpoints.iter().zip(&places) {
        let host = address::host_of(endpoint);
        if let Some(host) = host.as_ref().filter(|host| NOT_REGISTRIES.contains(&host.as_str())) {
            let message = format!("leads to https://{host}, which is no registry; write https://registry-1.docker.io");
            at.error(reading, &message);
        }
        if is_us(endpoint, host.as_ref(), config) {
            let message = format!("leads to {endpoint}, which is this server itself; write the upstream's own address");
            at.error(reading, &message);
        }
        let plain = endpoint.to_ascii_lowercase();
        if seen.contains(&plain) {
            at.error(reading, &format!("names the endpoint {endpoint} a second time; keep one"));
        }
        seen.push(plain);
    }
}

/// Would a request to this endpoint come back to us?
fn is_us(endpoint: &str, host: Option<&HostName>, config: &Config) -> bool {
    let Some(host) = host else { return false };
    let names = config.http.host.iter().filter_map(|host| address::host_of(host));
    if names.chain(config.mirror.names.iter().cloned()).any(|name| name == *host) {
        return true;
    }
    let here = ["localhost:", "127.0.0.1:", "[::1]:"].iter().any(|local| host.as_str().starts_with(local));
    // Another address of this machine may have another listener.
    let listens = here && address::collide(&config.http.addr, &host.as_str().replace("localhost", "127.0.0.1"));
    endpoint.starts_with("http://") && (listens || host.as_str() == config.http.addr)
}
