//! In what upstreams, local patterns and names can contradict each other.

use std::collections::BTreeMap;

use super::Upstream;
use super::at::Reading;
use super::mirror::Entry;
use super::problem::Place;
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
