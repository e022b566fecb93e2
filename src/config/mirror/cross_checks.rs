//! Checks for contradictions between upstreams, local patterns, names, prefetched images and the server's own address.
//!
//! They run on the values and the tree, after all sections were read.

use std::collections::BTreeMap;

use super::proxy::NOT_REGISTRIES;
use super::settings::{Mirror, MirrorOrigin};
use super::upstream::Upstream;
use crate::config::cursor::{Cursor, ReadContext};
use crate::config::http::Http;
use crate::config::{address, document};
use crate::oci::{HostName, ImagePattern, Pattern};

/// Reports every contradiction.
pub(in crate::config) fn check(root: &Cursor<'_>, http: &Http, mirror: &Mirror, reading: &mut ReadContext<'_>) {
    let written = root.get("mirror");
    if written.is_written() {
        one_default(&written.get("upstreams"), reading);
        distinct_aliases(&written.get("upstreams"), mirror, reading);
        names_for_paths(&written.get("upstreams"), mirror, reading);
        local_patterns(&written, mirror, reading);
        own_names(&written.get("names"), mirror, reading);
        prefetched_images(&written.get("prefetch"), (http, mirror), reading);
    }
    own_names(&root.get("http").get("names"), mirror, reading);
    for upstream in mirror.upstreams.values() {
        let cursor = if mirror.origin == MirrorOrigin::Proxy {
            root.get("proxy")
        } else {
            written.get("upstreams").find(upstream.name.as_str())
        };
        if mirror.origin == MirrorOrigin::Written {
            own_host(&cursor, upstream, http, reading);
        }
        endpoints(&cursor, upstream, (http, mirror), reading);
    }
}

/// Checks that at most one upstream is the default.
fn one_default(upstreams: &Cursor<'_>, reading: &mut ReadContext<'_>) {
    let is_default = |cursor: &Cursor<'_>| cursor.get("default").raw().and_then(document::boolean) == Some(true);
    let mut first: Option<HostName> = None;
    for (name, cursor) in upstreams.children().filter(|(_, cursor)| is_default(cursor)) {
        let Ok(name) = name.parse::<HostName>() else { continue };
        match &first {
            None => first = Some(name),
            // The same upstream in other letters was reported already.
            Some(first) if *first == name => {}
            Some(first) => {
                let message = format!(
                    "mirror.upstreams.{name}.default: {first} is the default already; write `default: true` only once"
                );
                reading.report.error(cursor.get("default").location(), message);
            }
        }
    }
}

/// Checks that each name and alias leads to one upstream only.
fn distinct_aliases(upstreams: &Cursor<'_>, mirror: &Mirror, reading: &mut ReadContext<'_>) {
    let mut seen: BTreeMap<HostName, HostName> =
        mirror.upstreams.keys().map(|name| (name.clone(), name.clone())).collect();
    for (name, cursor) in upstreams.children() {
        let Ok(name) = name.parse::<HostName>() else { continue };
        for (alias, cursor) in parsed::<HostName>(&cursor.get("aliases")) {
            let wrong = match seen.insert(alias.clone(), name.clone()) {
                Some(other) if other == alias => format!("is the name of the upstream {other} already"),
                Some(other) => format!("is an alias of {other} already"),
                None => continue,
            };
            let message = format!("mirror.upstreams.{name}.aliases: {alias} {wrong}; remove it here");
            reading.report.error(cursor.location(), message);
        }
    }
}

/// Warns of an upstream that a path cannot name, since each of its names has a port.
fn names_for_paths(upstreams: &Cursor<'_>, mirror: &Mirror, reading: &mut ReadContext<'_>) {
    let is_taken = |alias: &HostName| is_upstream(alias, mirror) || mirror.names.contains(alias);
    for upstream in
        mirror.upstreams.values().filter(|upstream| names_of(upstream).all(|name| name.as_str().contains(':')))
    {
        let name = upstream.name.as_str();
        let host = name.split_once(':').and_then(|(host, _)| host.parse().ok());
        let alias = match host.filter(|host| !is_taken(host)) {
            Some(host) => host.to_string(),
            None => name.replace(['[', ']'], "").replace(':', "-").trim_matches('-').to_owned(),
        };
        let message = format!(
            "has a port, which a path cannot contain, so no client can pull HOST/{name}/NAME, and podman cannot use this \
             upstream; write `aliases: [{alias}]` for HOST/{alias}/NAME"
        );
        upstreams.find(name).warn(reading, &message);
    }
}

/// Checks that no local pattern covers the names of an upstream.
fn local_patterns(written: &Cursor<'_>, mirror: &Mirror, reading: &mut ReadContext<'_>) {
    let local = written.get("local");
    let patterns = if local.is_written() {
        parsed::<Pattern>(&local)
    } else {
        mirror.local.iter().map(|pattern| (pattern.clone(), written.clone())).collect()
    };
    for (pattern, cursor) in patterns {
        if let Some(name) = covered(&pattern, mirror) {
            let message = format!(
                "mirror.local: {pattern:?} covers names of the upstream {name}; write a first part of your own, such as local/**",
                pattern = pattern.as_str()
            );
            reading.report.error(cursor.location(), message);
        }
    }
}

fn covered<'m>(pattern: &Pattern, mirror: &'m Mirror) -> Option<&'m HostName> {
    let (first, rest) = pattern.as_str().split_once('/').unwrap_or((pattern.as_str(), ""));
    if pattern.as_str().split('/').all(|part| part == "**") {
        return mirror.default.as_ref();
    }
    if first == "**" || rest.is_empty() {
        return None;
    }
    let first: Pattern = first.parse().ok()?;
    let matches = |upstream: &&Upstream| names_of(upstream).any(|name| first.matches(name.as_str()));
    mirror.upstreams.values().find(matches).map(|upstream| &upstream.name)
}

/// Checks that no name of this server is an upstream's, since `?ns=` with that name would never reach the upstream.
fn own_names(names: &Cursor<'_>, mirror: &Mirror, reading: &mut ReadContext<'_>) {
    for (name, cursor) in parsed::<HostName>(names) {
        if let Some(upstream) = mirror.upstreams.values().find(|upstream| names_of(upstream).any(|n| *n == name)) {
            let message =
                format!("{}: {name} leads to the upstream {}; write only our own names", names.path, upstream.name);
            reading.report.error(cursor.location(), message);
        }
    }
}

/// Checks that no name or alias of an upstream is this server's host.
fn own_host(cursor: &Cursor<'_>, upstream: &Upstream, http: &Http, reading: &mut ReadContext<'_>) {
    let Some(host) = http.host.as_deref().and_then(address::host_of) else { return };
    let message = format!("is {host}, which is `http.host`, our own name; write only names of other registries");
    if upstream.name == host {
        cursor.error(reading, &message);
    }
    let aliases = cursor.get("aliases");
    for (_, alias) in parsed::<HostName>(&aliases).iter().filter(|(alias, _)| *alias == host) {
        alias.error(reading, &message);
    }
}

/// Checks that the endpoints are registries, other than this server, and distinct.
fn endpoints(
    cursor: &Cursor<'_>,
    upstream: &Upstream,
    (http, mirror): (&Http, &Mirror),
    reading: &mut ReadContext<'_>,
) {
    let mut cursors = cursor.get("endpoints").each();
    if cursors.len() != upstream.endpoints.len() {
        let remote = cursor.get("remoteurl");
        cursors = vec![if remote.is_written() { remote } else { cursor.clone() }; upstream.endpoints.len()];
    }
    let mut seen = Vec::new();
    for (endpoint, cursor) in upstream.endpoints.iter().zip(&cursors) {
        let host = address::host_of(endpoint);
        if let Some(host) = host.as_ref().filter(|host| NOT_REGISTRIES.contains(&host.as_str())) {
            let message = format!("leads to https://{host}, which is no registry; write https://registry-1.docker.io");
            cursor.error(reading, &message);
        }
        if let Some(host) = host.filter(|host| is_this_server(endpoint, host, http, mirror)) {
            let message =
                format!("leads to {endpoint}, which is this server itself; write the address of the upstream");
            match endpoint.starts_with("https:") && !is_named(&host, http, mirror) {
                // This server speaks no TLS, so another program must answer there, if any does.
                true => cursor.warn(reading, &message),
                false => cursor.error(reading, &message),
            }
        }
        let canonical = endpoint.to_ascii_lowercase();
        if seen.contains(&canonical) {
            cursor.error(reading, &format!("names the endpoint {endpoint} a second time; remove one of them"));
        }
        seen.push(canonical);
    }
}

/// Returns true for a name of this server.
fn is_named(host: &HostName, http: &Http, mirror: &Mirror) -> bool {
    http.own_names().chain(mirror.names.iter().cloned()).any(|name| name == *host)
}

/// Returns true if a request to this endpoint would come back to this server.
fn is_this_server(endpoint: &str, host: &HostName, http: &Http, mirror: &Mirror) -> bool {
    if is_named(host, http, mirror) {
        return true;
    }
    let has_port = host.as_str().rsplit(']').next().is_some_and(|rest| rest.contains(':'));
    let default = if endpoint.starts_with("https:") { 443 } else { 80 };
    let address = if has_port { host.to_string() } else { format!("{host}:{default}") };
    let is_local = ["localhost:", "127.0.0.1:", "[::1]:"].iter().any(|local| address.starts_with(local));
    // Another server may listen on another address of this machine.
    is_local && address::collide(&http.addr, &address.replace("localhost", "127.0.0.1")) || address == http.addr
}

/// Checks that an upstream has each image of `prefetch`. The rules are those by which `registry` resolves names.
fn prefetched_images(prefetch: &Cursor<'_>, (http, mirror): (&Http, &Mirror), reading: &mut ReadContext<'_>) {
    for cursor in prefetch.items() {
        let cursor = cursor.get("image");
        let Some(text) = cursor.raw() else { continue };
        if let Some(wrong) = text.parse().ok().and_then(|image| no_upstream(&image, http, mirror)) {
            cursor.error(reading, &format!("is {text:?}, {wrong}"));
        }
    }
}

/// Returns why no upstream has this image.
fn no_upstream(image: &ImagePattern, http: &Http, mirror: &Mirror) -> Option<String> {
    let repository = image.repository();
    let name = repository.name().as_str();
    if is_local(&repository.to_string(), mirror) {
        return Some("which is local; only images of an upstream can be fetched".to_owned());
    }
    match repository.registry() {
        Some(host) if is_upstream(host, mirror) => None,
        Some(host) if mirror.names.contains(host) || http.names.contains(host) => no_default(name, mirror),
        Some(host) => Some(format!("of no upstream; add {host} to mirror.upstreams")),
        None => no_default(name, mirror),
    }
}

fn no_default(name: &str, mirror: &Mirror) -> Option<String> {
    let first = name.split_once('/').and_then(|(first, _)| first.parse().ok());
    if first.is_some_and(|host| is_upstream(&host, mirror)) {
        return None;
    }
    if is_local(name, mirror) {
        return Some("which is local; only images of an upstream can be fetched".to_owned());
    }
    let message = "of no upstream, since no upstream is the default; write its registry before it, such as docker.io/…";
    mirror.default.is_none().then(|| message.to_owned())
}

fn is_local(name: &str, mirror: &Mirror) -> bool {
    mirror.local.iter().any(|pattern| pattern.matches(name))
}

fn is_upstream(host: &HostName, mirror: &Mirror) -> bool {
    mirror.upstreams.values().any(|upstream| names_of(upstream).any(|name| name == host))
}

fn names_of(upstream: &Upstream) -> impl Iterator<Item = &HostName> {
    std::iter::once(&upstream.name).chain(&upstream.aliases)
}

/// Returns the valid elements of a list, each with its cursor.
fn parsed<'t, T: std::str::FromStr>(list: &Cursor<'t>) -> Vec<(T, Cursor<'t>)> {
    let parse = |cursor: Cursor<'t>| Some((cursor.raw()?.parse().ok()?, cursor));
    list.each().into_iter().filter_map(parse).collect()
}
