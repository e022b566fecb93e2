//! `mirror` and `proxy` into upstreams; in what these can contradict each other is in `conflict`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::at::{At, Reading};
use super::prefetch::{Owners, prefetch};
use super::problem::Place;
use super::scalar::number;
use super::{
    Cache, Connections, Credentials, Fill, Helper, Identity, Login, Mirror, MirrorOrigin, Secret, Stale, Trust,
    Unattended, Upstream, address, conflict,
};
use crate::oci::{HostName, Pattern};

const HUB: &str = "docker.io";
const HUB_ENDPOINT: &str = "https://registry-1.docker.io";
/// What people write for Docker Hub; the last two do not speak the registry's API.
const HUB_HOSTS: &[&str] = &["registry-1.docker.io", "index.docker.io", "docker.io", "hub.docker.com"];
pub(super) const NOT_REGISTRIES: &[&str] = &["docker.io", "hub.docker.com"];
const TAG_TTL: Duration = Duration::from_secs(600);
const NEGATIVE_TTL: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(15);
const FILL: Fill = Fill {
    connections: Connections::Auto,
    per_host: 16,
    segment: 8 << 20,
    stall: Duration::from_secs(15),
    unattended: Unattended::Finish,
    keep: Duration::from_secs(7 * 24 * 3600),
};
const GRACE: Duration = Duration::from_secs(10);
const SMALLEST_SEGMENT: u64 = 64 << 10;

/// Who gave the configuration that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Given {
    BuiltIn,
    Written,
}

/// An upstream as it is read, with what is needed to compare it with the others.
pub(super) struct Entry<'t> {
    pub(super) place: &'t Place,
    pub(super) upstream: Upstream,
    pub(super) aliases: Vec<(HostName, &'t Place)>,
    pub(super) default: Option<&'t Place>,
}

pub(super) fn mirror(root: &At<'_>, given: Given, reading: &mut Reading<'_>) -> Mirror {
    let (at, proxy) = (root.get("mirror"), root.get("proxy"));
    let upstream = shorthand(&proxy, reading);
    match upstream {
        Some(_) if at.is_written() => {
            let message =
                "and `mirror` are both written; write its `remoteurl` as an endpoint under `mirror.upstreams`";
            proxy.error(reading, message);
            written(&at, MirrorOrigin::Written, reading)
        }
        Some(upstream) => Mirror {
            default: Some(upstream.name.clone()),
            upstreams: BTreeMap::from([(upstream.name.clone(), upstream)]),
            ..empty(MirrorOrigin::Proxy, Vec::new())
        },
        None if at.is_written() => {
            let origin = if given == Given::BuiltIn { MirrorOrigin::BuiltIn } else { MirrorOrigin::Written };
            written(&at, origin, reading)
        }
        None => empty(MirrorOrigin::Absent, patterns("**")),
    }
}

fn empty(origin: MirrorOrigin, local: Vec<Pattern>) -> Mirror {
    let cache = Cache { max_size: None, reserve: None };
    let (upstreams, names) = (BTreeMap::new(), Vec::new());
    let (fill, prefetch) = (FILL, Vec::new());
    Mirror { origin, local, cache, upstreams, default: None, names, fill, prefetch }
}

fn patterns(text: &str) -> Vec<Pattern> {
    text.parse().into_iter().collect()
}

/// `proxy`, where it names a registry. An empty one is none, as in `registry:2`.
fn shorthand(at: &At<'_>, reading: &mut Reading<'_>) -> Option<Upstream> {
    let remote = at.get("remoteurl");
    let (written, helper) = (password(at, reading).map(Login::Written), helper(at, reading).map(Login::Helper));
    if written.is_some() && helper.is_some() {
        at.get("exec").error(reading, "excludes `username` and `password`; keep the one or the other");
    }
    let credentials = written.or(helper);
    let Some(text) = remote.text(reading) else {
        if credentials.is_some() {
            remote.error(reading, "is missing; write the registry to mirror, such as https://registry-1.docker.io");
        }
        return None;
    };
    let endpoint = match address::base(text) {
        Ok(endpoint) => endpoint,
        Err(wrong) => {
            remote.error(reading, wrong);
            String::new()
        }
    };
    let host = address::host_of(&endpoint);
    let is = |hosts: &[&str]| host.as_ref().is_some_and(|host| hosts.contains(&host.as_str()));
    let endpoint = if is(NOT_REGISTRIES) { HUB_ENDPOINT.to_owned() } else { endpoint };
    let hub = || HUB.parse().ok();
    let name = if is(HUB_HOSTS) { hub() } else { host.or_else(hub) };
    Some(Upstream { endpoints: vec![endpoint], credentials, ..untouched(name?) })
}

/// An upstream about which nothing is written.
fn untouched(name: HostName) -> Upstream {
    let endpoint = if name.as_str() == HUB { HUB_ENDPOINT.to_owned() } else { format!("https://{name}") };
    Upstream {
        name,
        endpoints: vec![endpoint],
        credentials: None,
        tag_ttl: TAG_TTL,
        negative_ttl: NEGATIVE_TTL,
        stale: Stale::Always,
        proxy: None,
        trust: Trust::System,
        identity: None,
        aliases: Vec::new(),
        connect_timeout: CONNECT_TIMEOUT,
        first_byte_timeout: FIRST_BYTE_TIMEOUT,
    }
}

fn written(at: &At<'_>, origin: MirrorOrigin, reading: &mut Reading<'_>) -> Mirror {
    let local_at = at.get("local");
    let local: Vec<(Pattern, &Place)> = if local_at.is_written() {
        local_at.list(reading)
    } else {
        patterns("local/**").into_iter().map(|pattern| (pattern, at.place())).collect()
    };
    let names: Vec<(HostName, &Place)> = at.get("names").list(reading);
    let entries = upstreams(&at.get("upstreams"), reading);
    if entries.is_empty() {
        at.warn(reading, "has no upstreams: nothing is mirrored, and every name is local");
    }
    let default = conflict::default(&entries, reading);
    conflict::distinct(&entries, reading);
    conflict::uncovered(&local, &entries, default.as_ref(), reading);
    conflict::not_ours(&names, &entries, reading);
    let owners = Owners { local: &local, entries: &entries, default: default.as_ref(), names: &names };
    let prefetch = prefetch(&at.get("prefetch"), &owners, reading);
    Mirror {
        upstreams: entries.into_iter().map(|entry| (entry.upstream.name.clone(), entry.upstream)).collect(),
        default,
        names: unzip(names),
        cache: cache(&at.get("cache"), reading),
        fill: fill(&at.get("fill"), reading),
        prefetch,
        ..empty(origin, unzip(local))
    }
}

fn unzip<T>(items: Vec<(T, &Place)>) -> Vec<T> {
    items.into_iter().map(|(item, _)| item).collect()
}

fn cache(at: &At<'_>, reading: &mut Reading<'_>) -> Cache {
    let max_size = at.get("maxsize").size(reading);
    if max_size == Some(0) {
        at.get("maxsize")
            .error(reading, "is 0, which holds nothing; write a size, or leave it out for 80 % of the file system");
    }
    Cache { max_size, reserve: at.get("reserve").size(reading) }
}

fn fill(at: &At<'_>, reading: &mut Reading<'_>) -> Fill {
    let count =
        |text: &str, most| number(text).and_then(|n| usize::try_from(n).ok()).filter(|n| (1..=most).contains(n));
    let connections = |text: &str| match text {
        "auto" => Some(Connections::Auto),
        _ => count(text, 64).map(Connections::Fixed),
    };
    let per_host = |text: &str| count(text, 1024);
    let base = FILL;
    let segment = at.get("segment").size(reading).unwrap_or(base.segment);
    if segment < SMALLEST_SEGMENT {
        at.get("segment").error(
            reading,
            "is smaller than 64KiB, so that requests would take longer than what they bring; write 8MiB",
        );
    }
    let grace = at.get("grace").duration(reading).unwrap_or(GRACE);
    let unattended = [("finish", Unattended::Finish), ("pause", Unattended::Pause(grace))];
    Fill {
        connections: at
            .get("connections")
            .parsed(reading, connections, "write auto, or a number from 1 to 64")
            .unwrap_or(base.connections),
        per_host: at.get("perhost").parsed(reading, per_host, "write a number from 1 to 1024").unwrap_or(base.per_host),
        segment,
        stall: at.get("stall").timeout(reading).unwrap_or(base.stall),
        unattended: at
            .get("unattended")
            .choice(reading, &unattended, "write finish or pause")
            .unwrap_or(base.unattended),
        keep: at.get("keep").duration(reading).unwrap_or(base.keep),
    }
}

fn upstreams<'t>(at: &At<'t>, reading: &mut Reading<'_>) -> Vec<Entry<'t>> {
    let mut entries: Vec<Entry<'t>> = Vec::new();
    for (name, at) in at.children() {
        match name.parse::<HostName>() {
            Ok(name) => match entries.iter().find(|entry| entry.upstream.name == name) {
                Some(first) => {
                    let message = format!("is the upstream of {} in other letters; keep one", first.place.short());
                    at.error(reading, &message);
                }
                None => entries.push(upstream(&at, name, reading)),
            },
            Err(error) => at.error(reading, &format!("cannot be an upstream: {error}")),
        }
    }
    entries
}

fn upstream<'t>(at: &At<'t>, name: HostName, reading: &mut Reading<'_>) -> Entry<'t> {
    let base = untouched(name);
    let endpoints = endpoints(&at.get("endpoints"), reading).unwrap_or(base.endpoints);
    let aliases: Vec<(HostName, &Place)> = at.get("aliases").list(reading);
    let default_at = at.get("default");
    let default = default_at.flag(reading).unwrap_or(false).then(|| default_at.place());
    let upstream = Upstream {
        endpoints,
        credentials: login(at, reading),
        tag_ttl: at.get("tagttl").duration(reading).unwrap_or(base.tag_ttl),
        negative_ttl: at.get("negativettl").duration(reading).unwrap_or(base.negative_ttl),
        stale: stale(at, reading),
        proxy: proxy(&at.get("proxy"), reading),
        trust: trust(at, reading),
        identity: identity(at, reading),
        aliases: unzip(aliases.clone()),
        connect_timeout: at.get("connecttimeout").timeout(reading).unwrap_or(base.connect_timeout),
        first_byte_timeout: at.get("firstbytetimeout").timeout(reading).unwrap_or(base.first_byte_timeout),
        name: base.name,
    };
    Entry { place: at.place(), upstream, aliases, default }
}

fn endpoints(at: &At<'_>, reading: &mut Reading<'_>) -> Option<Vec<String>> {
    let texts = at.texts(reading);
    if at.is_written() && texts.is_empty() {
        at.error(reading, "is empty; write at least one, such as https://ghcr.io, or leave it out");
    }
    let mut endpoints = Vec::new();
    for (text, place) in texts {
        match address::base(text) {
            Ok(endpoint) => endpoints.push(endpoint),
            Err(wrong) => {
                reading.report.error(place, format!("{}: one {wrong}", at.path));
            }
        }
    }
    (!endpoints.is_empty()).then_some(endpoints)
}

fn login(at: &At<'_>, reading: &mut Reading<'_>) -> Option<Login> {
    let (password, file) = (password(at, reading), at.get("credentials"));
    let Some(path) = file.text(reading) else {
        return password.map(Login::Written);
    };
    if ["username", "password"].iter().any(|key| at.get(key).is_written()) {
        file.error(reading, "excludes `username` and `password`; keep the one or the other");
    }
    Some(Login::File(PathBuf::from(path)))
}

fn helper(at: &At<'_>, reading: &mut Reading<'_>) -> Option<Helper> {
    let at = at.get("exec");
    let command = at.get("command").text(reading).map(str::to_owned);
    if at.is_written() && command.is_none() {
        at.get("command").error(reading, "is missing; write a credential helper, such as docker-credential-ecr-login");
    }
    let lifetime = at.get("lifetime").duration(reading);
    Some(Helper { command: command?, lifetime })
}

fn password(at: &At<'_>, reading: &mut Reading<'_>) -> Option<Credentials> {
    let username = at.get("username").text(reading).map(str::to_owned);
    let written = at.get("password").text(reading).is_some();
    let password = at.get("password").secret(reading);
    if username.as_ref().is_some_and(|name| name.contains(':')) {
        at.get("username").error(reading, "holds a ':', which no login can carry; write the name alone");
    }
    match (&username, written) {
        (Some(_), false) => at.get("username").error(reading, "has no `password` beside it; write both or neither"),
        (None, true) => at.get("password").error(reading, "has no `username` beside it; write both or neither"),
        _ => {}
    }
    Some(Credentials { username: username?, password: password? })
}

fn proxy(at: &At<'_>, reading: &mut Reading<'_>) -> Option<Secret> {
    let address = at.secret(reading)?;
    if !address::is_proxy(address.reveal()) {
        // It may hold a password: it is not repeated.
        at.error(
            reading,
            "is not a proxy's address; write http://, https://, socks5:// or socks5h:// with HOST:PORT, \
             such as socks5://127.0.0.1:1080, and signs of a password other than letters and digits as %XX",
        );
    }
    Some(address)
}

fn identity(at: &At<'_>, reading: &mut Reading<'_>) -> Option<Identity> {
    let (certificate, key) = (at.get("clientcert"), at.get("clientkey"));
    match (certificate.text(reading), key.text(reading)) {
        (Some(certificate), Some(key)) => Some(Identity { certificate: certificate.into(), key: key.into() }),
        (Some(_), None) => {
            certificate.error(reading, "has no `clientkey` beside it; write both or neither");
            None
        }
        (None, Some(_)) => {
            key.error(reading, "has no `clientcert` beside it; write both or neither");
            None
        }
        (None, None) => None,
    }
}

fn stale(at: &At<'_>, reading: &mut Reading<'_>) -> Stale {
    let longest = at.get("stalemax").timeout(reading);
    let words = [("error", true), ("never", false)];
    let allowed = at.get("staleif").choice(reading, &words, "write error or never").unwrap_or(true);
    match (allowed, longest) {
        (true, None) => Stale::Always,
        (true, Some(longest)) => Stale::UpTo(longest),
        (false, None) => Stale::Never,
        (false, Some(_)) => {
            at.get("stalemax").error(reading, "means nothing with `staleif: never`; keep one of them");
            Stale::Never
        }
    }
}

fn trust(at: &At<'_>, reading: &mut Reading<'_>) -> Trust {
    let ca = at.get("ca").text(reading);
    let insecure = at.get("insecure").flag(reading).unwrap_or(false);
    match (ca, insecure) {
        (Some(_), true) => {
            at.get("ca").error(reading, "means nothing with `insecure: true`; keep one of them");
            Trust::System
        }
        (Some(path), false) => Trust::Also(PathBuf::from(path)),
        (None, true) => Trust::Anything,
        (None, false) => Trust::System,
    }
}
