//! What works and is surely not meant: each a warning with what to write.

use std::time::Duration;

use super::at::{At, Reading};
use super::print::MASK;
use super::scalar::{show_duration, show_size};
use super::{Config, Connections, Login, Mirror, MirrorOrigin, Prefetch, Stale, Upstream};
use crate::oci::Pattern;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
const MIB: u64 = 1 << 20;
/// More than most layers have.
const LONG_SEGMENT: u64 = 1 << 30;
/// A cache that holds no image.
const SMALL_CACHE: u64 = 64 * MIB;
/// Names of Docker Hub that no image carries.
const HUB_ADDRESSES: &[&str] = &["registry-1.docker.io", "index.docker.io", "hub.docker.com"];
/// Where Docker Hub keeps `alpine`.
const OFFICIAL: &[&str] = &["alpine", "library/alpine"];

/// Warns of what a configuration says and nobody means.
pub(super) fn doubt(root: &At<'_>, config: &Config, reading: &mut Reading<'_>) {
    sections(root, config, reading);
    let (at, mirror) = (root.get("mirror"), &config.mirror);
    if at.is_written() {
        cache(&at.get("cache"), mirror, reading);
        fill(&at.get("fill"), mirror, reading);
        local(&at.get("local"), mirror, reading);
        exact(&at.get("local"), mirror, reading);
        prefetch(&at.get("prefetch"), &mirror.prefetch, reading);
        for upstream in mirror.upstreams.values() {
            one(&at.get("upstreams").find(upstream.name.as_str()), upstream, reading);
        }
    }
    if mirror.origin == MirrorOrigin::Proxy {
        masked(&root.get("proxy"), mirror.upstreams.values().next(), reading);
    }
}

fn sections(root: &At<'_>, config: &Config, reading: &mut Reading<'_>) {
    // An empty variable means it.
    if let Some(auth) = root.empty("auth").filter(|_| config.auth.is_none()) {
        auth.warn(reading, "is empty, so that everybody may do everything; write `htpasswd: {path: …}`, or remove it");
    }
    let age = root.get("storage").get("maintenance").get("uploadpurging").get("age");
    if config.storage.upload_age.is_some_and(|written| written < HOUR) {
        age.warn(reading, "is shorter than 1h: uploads on a slow link would be removed while they arrive; write 168h");
    }
    let interval = root.get("health").get("storagedriver").get("interval");
    if config.health.storage.as_ref().is_some_and(|check| check.interval < SECOND) {
        interval.warn(reading, "is shorter than 1s: the disk would do little else; write 10s");
    }
}

fn cache(at: &At<'_>, mirror: &Mirror, reading: &mut Reading<'_>) {
    let small = |size: Option<u64>, least: u64| size.filter(|size| (1..least).contains(size));
    if let Some(size) = small(mirror.cache.max_size, SMALL_CACHE) {
        let message = format!("is {}, which holds no image; write it with a unit, such as 200GiB", show_size(size));
        at.get("maxsize").warn(reading, &message);
    }
    if let Some(size) = small(mirror.cache.reserve, MIB) {
        let message = format!("is {}, as good as nothing; write it with a unit, such as 10GiB", show_size(size));
        at.get("reserve").warn(reading, &message);
    }
}

fn fill(at: &At<'_>, mirror: &Mirror, reading: &mut Reading<'_>) {
    let fill = &mirror.fill;
    if fill.segment > LONG_SEGMENT {
        let message = format!(
            "is {}, longer than a layer: one connection would bring all of it; write 8MiB, or `connections: 1` if you want that",
            show_size(fill.segment)
        );
        at.get("segment").warn(reading, &message);
    }
    if let Connections::Fixed(count) = fill.connections
        && count > fill.per_host
    {
        let message =
            format!("is {count}, of which `perhost` allows {}; write no more than that, or raise it", fill.per_host);
        at.get("connections").warn(reading, &message);
    }
    if fill.stall < SECOND {
        at.get("stall").warn(reading, "is shorter than 1s: slow connections would be given up; write 15s");
    }
    if fill.keep < MINUTE {
        let message = "is shorter than 1m: what has arrived of a cut blob would be thrown away; write 168h";
        at.get("keep").warn(reading, message);
    }
}

/// A pattern that takes the default upstream's best known images.
fn local(at: &At<'_>, mirror: &Mirror, reading: &mut Reading<'_>) {
    if mirror.default.as_ref().is_none_or(|name| name.as_str() != "docker.io") {
        return;
    }
    for at in at.each() {
        let Some(pattern) = at.raw().and_then(|text| text.parse::<Pattern>().ok()) else { continue };
        let wide = pattern.as_str().contains('*') && pattern.as_str().split('/').any(|part| part != "**");
        if wide && OFFICIAL.iter().any(|name| pattern.matches(name)) {
            let message = format!(
                "is {:?}, which takes Docker Hub's official images from it; write a first part of your own, such as local/**",
                pattern.as_str()
            );
            at.warn(reading, &message);
        }
    }
}

/// Names that hold no other, and nothing beside them that does: their first part was meant.
fn exact(at: &At<'_>, mirror: &Mirror, reading: &mut Reading<'_>) {
    if mirror.local.iter().any(|pattern| pattern.as_str().contains('*')) {
        return;
    }
    for at in at.each() {
        if let Some(name) = at.raw().filter(|name| !name.is_empty() && !name.contains('/')) {
            let message = format!("is {name:?}, which is one repository alone; write \"{name}/**\" for all below it");
            at.warn(reading, &message);
        }
    }
}

/// A name that is no host's, and nothing says where it is reached: it was meant for one.
fn nickname(at: &At<'_>, upstream: &Upstream, reading: &mut Reading<'_>) {
    let name = upstream.name.as_str();
    if name.contains(['.', ':']) || name == "localhost" || at.get("endpoints").is_written() {
        return;
    }
    let meant = match name {
        "docker" | "dockerhub" | "docker-hub" | "hub" => "docker.io",
        "ghcr" | "github" => "ghcr.io",
        "quay" => "quay.io",
        "gcr" | "google" => "gcr.io",
        "k8s" | "kubernetes" => "registry.k8s.io",
        _ => "the registry's host, as images carry it",
    };
    let message =
        format!("is no registry's name, and would be asked at https://{name}; write {meant}, or its `endpoints`");
    at.warn(reading, &message);
}

fn prefetch(at: &At<'_>, written: &[Prefetch], reading: &mut Reading<'_>) {
    let mut seen: Vec<&str> = Vec::new();
    for at in at.items() {
        let image = at.get("image");
        let Some(one) = written.iter().find(|one| image.raw() == Some(one.image.as_str())) else { continue };
        if seen.contains(&one.image.as_str()) {
            image.warn(reading, "is written a second time; write one, with all its platforms");
        }
        seen.push(one.image.as_str());
        let every = at.get("every");
        let short = |text| super::scalar::duration(text).is_some_and(|every| (SECOND..MINUTE).contains(&every));
        if every.raw().is_some_and(short) {
            every.warn(reading, "is shorter than 1m, and asks the upstream all the time; write 24h, or 10m at least");
        }
    }
}

fn one(at: &At<'_>, upstream: &Upstream, reading: &mut Reading<'_>) {
    let show = show_duration;
    nickname(at, upstream, reading);
    if HUB_ADDRESSES.contains(&upstream.name.as_str()) {
        at.warn(reading, "is an address of Docker Hub, whose images are named docker.io/…; write `docker.io:`");
    }
    if let Stale::UpTo(longest) = upstream.stale
        && longest < upstream.tag_ttl
    {
        let message = format!(
            "is {}, shorter than `tagttl` ({}): nothing old would ever be served; write `staleif: never`, or a longer time",
            show(longest),
            show(upstream.tag_ttl)
        );
        at.get("stalemax").warn(reading, &message);
    }
    if upstream.negative_ttl > DAY {
        let message = "is longer than 24h: what the upstream has by then would not be found; write 1m";
        at.get("negativettl").warn(reading, message);
    }
    let (connect, first) = (upstream.connect_timeout, upstream.first_byte_timeout);
    if connect > first {
        let message = format!(
            "is {}, longer than `firstbytetimeout` ({}), which ends it; write a shorter time, or raise that one",
            show(connect),
            show(first)
        );
        at.get("connecttimeout").warn(reading, &message);
    }
    masked(at, Some(upstream), reading);
}

/// What `check --print` shows in the place of a secret was taken for one.
fn masked(at: &At<'_>, upstream: Option<&Upstream>, reading: &mut Reading<'_>) {
    const WRITE: &str = "holds the **** that `check --print` shows in the place of a secret; write the secret";
    let login = upstream.and_then(|upstream| upstream.credentials.as_ref());
    if matches!(login, Some(Login::Written(login)) if login.password.reveal() == MASK) {
        at.get("password").warn(reading, WRITE);
    }
    let proxy = upstream.and_then(|upstream| upstream.proxy.as_ref());
    if proxy.is_some_and(|proxy| proxy.reveal().contains(&format!("://{MASK}@"))) {
        at.get("proxy").warn(reading, WRITE);
    }
}
