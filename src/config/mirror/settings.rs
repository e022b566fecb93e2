//! `mirror` as a whole.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::cache::Cache;
use super::fill::Fill;
use super::follow::Follow;
use super::link::{self, Link};
use super::prefetch::{self, Prefetch};
use super::proxy::Proxy;
use super::upstream::{HUB, NamedUpstream, Upstream};
use crate::config::cursor::{Cursor, ReadContext};
use crate::config::document::Location;
use crate::config::keys::KeyShape;
use crate::config::section::{self, Keys, Section};
use crate::oci::{HostName, Pattern};

/// The values of `mirror`, or the meaning of `proxy` or of neither key in the same terms.
#[derive(Clone, Debug)]
pub struct Mirror {
    /// The origin decides what happens with a store that already holds other names.
    pub origin: MirrorOrigin,
    /// Patterns of the local names.
    pub local: Vec<Pattern>,
    pub cache: Cache,
    pub upstreams: BTreeMap<HostName, Upstream>,
    /// The upstream of the names that carry no registry.
    pub default: Option<HostName>,
    /// `mirror.names`: this server's own names, which have no meaning in `?ns=`.
    pub names: Vec<HostName>,
    pub fill: Fill,
    /// The link that all upstreams share.
    pub link: Link,
    /// `None` if no tags are followed.
    pub follow: Option<Follow>,
    pub prefetch: Vec<Prefetch>,
}

/// The origin of the values of `mirror`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MirrorOrigin {
    /// `config/default.yml`, which gives way to a store that holds other names.
    BuiltIn,
    /// `mirror`, written by the operator.
    Written,
    /// `proxy` of `registry:2`: nothing is local.
    Proxy,
    /// Neither key: there are no upstreams, and every name is local.
    Absent,
}

/// The upstream that stands for any upstream where keys are declared.
pub(in crate::config) const SAMPLE: &str = "registry.example";

/// Names of images that most clients pull from Docker Hub.
const OFFICIAL: &[&str] = &["alpine", "library/alpine"];

impl Mirror {
    fn new(origin: MirrorOrigin, local: &[&str]) -> Self {
        Self {
            origin,
            local: local.iter().filter_map(|pattern| pattern.parse().ok()).collect(),
            cache: Cache::default(),
            upstreams: BTreeMap::new(),
            default: None,
            names: Vec::new(),
            fill: Fill::default(),
            link: Link::default(),
            follow: None,
            prefetch: Vec::new(),
        }
    }

    /// Returns the meaning of a configuration with neither `mirror` nor `proxy`.
    pub(in crate::config) fn absent() -> Self {
        Self::new(MirrorOrigin::Absent, &["**"])
    }

    fn of_proxy(upstream: Upstream) -> Self {
        Self {
            default: Some(upstream.name.clone()),
            upstreams: BTreeMap::from([(upstream.name.clone(), upstream)]),
            ..Self::new(MirrorOrigin::Proxy, &[])
        }
    }
}

/// Holds the defaults of a written `mirror`.
impl Default for Mirror {
    fn default() -> Self {
        Self::new(MirrorOrigin::Written, &["local/**"])
    }
}

/// Declares `proxy` and `mirror`.
pub(in crate::config) fn keys(mirror: &mut Mirror, keys: &mut Keys<'_, '_>) {
    let (mut proxy, mut written) = match mirror.origin {
        MirrorOrigin::Absent => (None, None),
        MirrorOrigin::Proxy => (mirror.upstreams.values().next().map(Proxy::of), None),
        MirrorOrigin::BuiltIn | MirrorOrigin::Written => (None, Some(mirror.clone())),
    };
    keys.optional("proxy", &mut proxy);
    keys.optional("mirror", &mut written);
    if !keys.is_reading() {
        return;
    }
    let upstream = proxy.and_then(Proxy::upstream);
    if upstream.is_some() && written.is_some() {
        let message = "and `mirror` are both written; write its `remoteurl` as an endpoint under `mirror.upstreams`";
        keys.error("proxy", message);
    }
    *mirror = written.or(upstream.map(Mirror::of_proxy)).unwrap_or_else(Mirror::absent);
}

impl Section for Mirror {
    fn keys(&mut self, keys: &mut Keys<'_, '_>) {
        keys.list("local", &mut self.local);
        keys.section("cache", &mut self.cache);
        upstreams(self, keys);
        keys.list("names", &mut self.names);
        keys.section("fill", &mut self.fill);
        keys.section("link", &mut self.link);
        keys.optional("follow", &mut self.follow);
        prefetch::keys(&mut self.prefetch, keys);
        if let Some((cursor, reading)) = keys.cursor() {
            if self.upstreams.is_empty() {
                cursor.warn(reading, "has no upstreams, so that nothing is mirrored and every name is local");
            }
            warn(&cursor.get("local"), self, reading);
            let upstreams = cursor.get("upstreams");
            for upstream in self.upstreams.values() {
                let written = upstreams.find(upstream.name.as_str());
                link::warn_of_upstream(&self.link, &upstream.link, &written, reading);
            }
        }
    }
}

fn upstreams(mirror: &mut Mirror, keys: &mut Keys<'_, '_>) {
    let named =
        |upstream: Upstream| NamedUpstream { is_default: mirror.default.as_ref() == Some(&upstream.name), upstream };
    let sample = SAMPLE.parse().ok().map(|name| section::declare(&mut named(Upstream::new(name))));
    let shape = KeyShape::Named(sample.unwrap_or_default());
    let print =
        |upstream: &Upstream| (upstream.name.to_string(), Value::Object(section::print(&mut named(upstream.clone()))));
    let shown = mirror.upstreams.values().map(print).collect::<Map<_, _>>();
    if let Some((cursor, reading)) = keys.key("upstreams", shape, Some(Value::Object(shown))) {
        let read = read_upstreams(&cursor, reading);
        let first = read.iter().find(|named| named.is_default);
        mirror.default = first.map(|named| named.upstream.name.clone());
        mirror.upstreams = read.into_iter().map(|named| (named.upstream.name.clone(), named.upstream)).collect();
    }
}

/// Reads the upstreams in the order in which they are written.
fn read_upstreams(cursor: &Cursor<'_>, reading: &mut ReadContext<'_>) -> Vec<NamedUpstream> {
    let mut upstreams: Vec<NamedUpstream> = Vec::new();
    let mut locations: BTreeMap<HostName, &Location> = BTreeMap::new();
    for (name, cursor) in cursor.children() {
        let name = match name.parse::<HostName>() {
            Ok(name) => name,
            Err(error) => {
                cursor.error(reading, &format!("cannot be an upstream: {error}"));
                continue;
            }
        };
        if let Some(first) = locations.get(&name) {
            let message = format!("is the upstream of {} in other letters; remove one of them", first.short());
            cursor.error(reading, &message);
            continue;
        }
        locations.insert(name.clone(), cursor.location());
        let mut named = NamedUpstream { upstream: Upstream::new(name), is_default: false };
        section::read(&mut named, &cursor, reading);
        upstreams.push(named);
    }
    upstreams
}

/// Warns of local patterns that are valid and surely not meant.
fn warn(cursor: &Cursor<'_>, mirror: &Mirror, reading: &mut ReadContext<'_>) {
    let of_hub = mirror.default.as_ref().is_some_and(|name| name.as_str() == HUB);
    let exact_only = !mirror.local.iter().any(|pattern| pattern.as_str().contains('*'));
    for cursor in cursor.each() {
        let text = cursor.raw().unwrap_or_default();
        if of_hub && text.parse().is_ok_and(|pattern| covers_official(&pattern)) {
            let message = format!(
                "is {text:?}, which makes Docker Hub's official images local; write a first part of your own, such as local/**"
            );
            cursor.warn(reading, &message);
        }
        // If no pattern matches more than one repository, a single word was probably meant as a first part.
        if exact_only && !text.is_empty() && !text.contains('/') {
            let message =
                format!("is {text:?}, which matches one repository only; write \"{text}/**\" for all below it");
            cursor.warn(reading, &message);
        }
    }
}

fn covers_official(pattern: &Pattern) -> bool {
    let text = pattern.as_str();
    let is_wide = text.contains('*') && text.split('/').any(|part| part != "**");
    is_wide && OFFICIAL.iter().any(|name| pattern.matches(name))
}
