//! `proxy`: the shorthand of `registry:2` for a single upstream.

use super::login::{self, LoginMethod};
use super::upstream::{HUB, HUB_ENDPOINT, Upstream};
use crate::config::address;
use crate::config::keys::KeyShape;
use crate::config::section::{Keys, Section};
use crate::oci::HostName;

/// The values of `proxy`.
#[derive(Default)]
pub(super) struct Proxy {
    /// The base address; `None` if no registry is named, as in an empty `proxy`, which `registry:2` accepts.
    endpoint: Option<String>,
    login: Option<LoginMethod>,
}

/// The hosts of Docker Hub that are registries.
const HUB_REGISTRIES: &[&str] = &["registry-1.docker.io", "index.docker.io"];
/// Hosts that users write for Docker Hub, and that are no registries.
pub(super) const NOT_REGISTRIES: &[&str] = &[HUB, "hub.docker.com"];

impl Proxy {
    /// Returns the values that mean this upstream.
    pub(super) fn of(upstream: &Upstream) -> Self {
        Self { endpoint: upstream.endpoints.first().cloned(), login: upstream.credentials.clone() }
    }

    /// Returns the upstream that these values mean.
    pub(super) fn upstream(self) -> Option<Upstream> {
        let endpoint = self.endpoint?;
        let host = address::host_of(&endpoint);
        let is_one = |hosts: &[&str]| {
            let named = |host: &HostName| hosts.contains(&host.as_str());
            host.as_ref().is_some_and(|host| named(host) || host.spellings().any(|spelling| named(&spelling)))
        };
        let is_hub_registry = is_one(HUB_REGISTRIES);
        let is_hub = is_hub_registry || is_one(NOT_REGISTRIES);
        let endpoint = if is_hub && !is_hub_registry { HUB_ENDPOINT.to_owned() } else { endpoint };
        let hub = || HUB.parse().ok();
        let name = if is_hub { hub() } else { host.or_else(hub) };
        Some(Upstream { endpoints: vec![endpoint], credentials: self.login, ..Upstream::new(name?) })
    }
}

impl Section for Proxy {
    fn keys(&mut self, keys: &mut Keys<'_, '_>) {
        remote_url(&mut self.endpoint, keys);
        login::proxy_keys(&mut self.login, keys);
        if self.endpoint.is_none() && self.login.is_some() {
            let message = "is missing; write the registry to mirror, such as https://registry-1.docker.io";
            keys.error("remoteurl", message);
        }
        keys.ignored(&[
            ("ttl", "the cache is bounded by its size instead of by age: see `mirror.cache.maxsize`"),
            ("remotenamespace", "the upstream is asked for names as clients write them"),
            ("cachewritetimeout", "a fill goes on while bytes arrive: see `mirror.fill.stall`"),
        ]);
    }
}

fn remote_url(endpoint: &mut Option<String>, keys: &mut Keys<'_, '_>) {
    let shown = endpoint.as_ref().map(|endpoint| serde_json::json!(endpoint));
    let Some((cursor, reading)) = keys.key("remoteurl", KeyShape::Scalar(address::URL), shown) else { return };
    let Some(text) = cursor.text(reading) else { return };
    *endpoint = Some(address::base(text).unwrap_or_else(|wrong| {
        // The message does not repeat the address, which may hold a password.
        cursor.error(reading, wrong);
        String::new()
    }));
}
