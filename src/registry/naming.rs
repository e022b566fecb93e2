//! The rules that decide which repository a name means: a hosted one, or one of an upstream (docs/reference/naming.md).

use std::collections::HashMap;

use super::error::RegistryError;
use crate::config;
use crate::oci::{HostName, ImageRepository, MirroredName, Pattern, RepositoryName, Target};

/// The rules by which names become targets.
#[derive(Clone, Debug)]
pub struct Naming {
    local: Vec<Pattern>,
    /// The upstreams' names, by these names and by their aliases.
    upstreams: HashMap<HostName, HostName>,
    default: Option<HostName>,
    /// The names of this server. In `?ns=` they are ignored.
    ours: Vec<HostName>,
}

impl Naming {
    /// Makes the rules of a `mirror` for a server with the names `ours`.
    pub fn new(mirror: &config::Mirror, ours: Vec<HostName>) -> Self {
        let mut upstreams = HashMap::new();
        for upstream in mirror.upstreams.values() {
            for name in upstream.aliases.iter().chain([&upstream.name]) {
                upstreams.insert(name.clone(), upstream.name.clone());
            }
        }
        Self { local: mirror.local.clone(), upstreams, default: mirror.default.clone(), ours }
    }

    /// Returns true if this server mirrors any upstream.
    pub fn has_upstreams(&self) -> bool {
        !self.upstreams.is_empty()
    }

    /// Returns the target of a request for `name` with the parameter `?ns=NS`.
    pub fn resolve(&self, ns: Option<&str>, name: &RepositoryName) -> Result<Target, RegistryError> {
        if let Some(ns) = ns
            && let Some(target) = self.by_namespace(ns, name)?
        {
            return Ok(target);
        }
        if let Some((first, rest)) = name.as_str().split_once('/')
            && let Ok(host) = first.parse::<HostName>()
            && let Some(upstream) = self.upstream(&host)
        {
            let rest = rest.parse().map_err(|_| self.unknown(name))?;
            return Ok(mirrored(upstream, rest));
        }
        if self.upstreams.is_empty() || self.local.iter().any(|pattern| pattern.matches(name.as_str())) {
            return Ok(Target::Hosted(name.clone()));
        }
        match &self.default {
            Some(upstream) => Ok(mirrored(upstream, name.clone())),
            None => Err(self.unknown(name)),
        }
    }

    /// Returns the target of an image name as people write it. The registry in it counts as `?ns=`, unless the whole name is
    /// hosted here.
    pub fn resolve_image(&self, image: &ImageRepository) -> Result<Target, RegistryError> {
        let whole = image.to_string().parse::<RepositoryName>();
        match whole.map(|whole| self.resolve(None, &whole)) {
            Ok(Ok(hosted @ Target::Hosted(_))) => Ok(hosted),
            _ => self.resolve(image.registry().map(HostName::as_str), image.name()),
        }
    }

    /// Returns the upstream that `?ns=` names, for the `OCI-Namespace` of the answer.
    pub fn namespace(&self, ns: &str) -> Option<&HostName> {
        let host = ns.parse::<HostName>().ok().filter(|host| !self.is_ours(host))?;
        self.upstream(&host)
    }

    /// Returns the upstream with this name or alias. Another spelling of the same host counts, unless the written one is a name too.
    fn upstream(&self, host: &HostName) -> Option<&HostName> {
        self.upstreams.get(host).or_else(|| host.spellings().find_map(|spelling| self.upstreams.get(&spelling)))
    }

    fn is_ours(&self, host: &HostName) -> bool {
        self.ours.contains(host) || host.spellings().any(|spelling| self.ours.contains(&spelling))
    }

    /// Returns the other names of an upstream, in byte order.
    pub fn aliases(&self, upstream: &HostName) -> Vec<HostName> {
        let others = self.upstreams.iter().filter(|(name, of)| *of == upstream && *name != upstream);
        let mut aliases: Vec<_> = others.map(|(name, _)| name.clone()).collect();
        aliases.sort();
        aliases
    }

    pub fn default_upstream(&self) -> Option<&HostName> {
        self.default.as_ref()
    }

    /// Returns the patterns of names that can be pushed to.
    pub fn local(&self) -> &[Pattern] {
        &self.local
    }

    /// Describes the names that can be pushed to, for messages.
    pub fn patterns(&self) -> String {
        if self.upstreams.is_empty() {
            return "all".to_owned();
        }
        if self.local.is_empty() {
            return "none (this registry is only a mirror; mirror.local lists the names that are hosted here)"
                .to_owned();
        }
        self.local.iter().map(Pattern::as_str).collect::<Vec<_>>().join(", ")
    }

    fn by_namespace(&self, ns: &str, name: &RepositoryName) -> Result<Option<Target>, RegistryError> {
        let host = ns.parse::<HostName>().map_err(|reason| RegistryError::NameUnknown(format!("in ?ns=: {reason}")))?;
        if self.is_ours(&host) {
            return Ok(None);
        }
        match self.upstream(&host) {
            Some(upstream) => Ok(Some(mirrored(upstream, name.clone()))),
            None => {
                tracing::info!(ns = %host, "a client asked for a registry that is not mirrored; the key mirror.upstreams.{host} would mirror it");
                Err(RegistryError::NameUnknown(format!(
                    "{host} is not mirrored here; to mirror it, add the configuration key mirror.upstreams.{host}; if it is a name \
                     of this server, add it to mirror.names"
                )))
            }
        }
    }

    fn unknown(&self, name: &RepositoryName) -> RegistryError {
        RegistryError::NameUnknown(format!(
            "{name} is neither a local name (local names: {}) nor a name of a mirrored registry, and no upstream is the default",
            self.patterns()
        ))
    }
}

/// Returns the target at an upstream. Official images of Docker Hub get the first part `library/`, which users leave out.
fn mirrored(upstream: &HostName, name: RepositoryName) -> Target {
    let official = upstream.as_str() == "docker.io" && !name.as_str().contains('/');
    let name = if official { name.within("library").unwrap_or(name) } else { name };
    Target::Mirror(MirroredName::new(upstream.clone(), name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naming() -> Naming {
        let host = |name: &str| name.parse::<HostName>().unwrap();
        let upstreams = ["docker.io", "ghcr.io", "registry.corp:443"].map(|name| (host(name), host(name)));
        let alias = (host("registry.corp"), host("registry.corp:443"));
        Naming {
            local: vec!["local/**".parse().unwrap()],
            upstreams: upstreams.into_iter().chain([alias]).collect(),
            default: Some(host("docker.io")),
            ours: vec![host("mirror.lan:5000")],
        }
    }

    #[test]
    fn names_resolve_to_targets() {
        for (ns, name, want) in [
            (None, "alpine", Some("docker.io/library/alpine")),
            (None, "library/alpine", Some("docker.io/library/alpine")),
            (None, "org/app", Some("docker.io/org/app")),
            (None, "docker.io/alpine", Some("docker.io/library/alpine")),
            (None, "ghcr.io/org/app", Some("ghcr.io/org/app")),
            (None, "registry.corp/app", Some("registry.corp:443/app")),
            (None, "local/app", Some("local/app")),
            (None, "local", Some("docker.io/library/local")),
            (Some("ghcr.io"), "org/app", Some("ghcr.io/org/app")),
            (Some("GHCR.io"), "local/app", Some("ghcr.io/local/app")),
            (Some("registry.corp"), "app", Some("registry.corp:443/app")),
            (Some("registry.corp."), "app", Some("registry.corp:443/app")),
            (Some("docker.io:443"), "alpine", Some("docker.io/library/alpine")),
            (Some("Docker.IO.:443"), "alpine", Some("docker.io/library/alpine")),
            (Some("index.docker.io"), "alpine", Some("docker.io/library/alpine")),
            (Some("registry-1.docker.io:443"), "alpine", Some("docker.io/library/alpine")),
            (Some("ghcr.io."), "org/app", Some("ghcr.io/org/app")),
            (Some("ghcr.io:444"), "org/app", None),
            (Some("mirror.lan.:5000"), "local/app", Some("local/app")),
            (Some("mirror.lan"), "local/app", None),
            (Some("mirror.lan:5000"), "local/app", Some("local/app")),
            (Some("mirror.lan:5000"), "ghcr.io/a/b", Some("ghcr.io/a/b")),
            (None, "index.docker.io/library/alpine", Some("docker.io/library/alpine")),
            (Some("quay.io"), "org/app", None),
            (Some("not a host"), "org/app", None),
        ] {
            let target = naming().resolve(ns, &name.parse().unwrap()).ok().map(|target| target.to_string());
            assert_eq!(target.as_deref(), want, "{ns:?} {name}");
        }
    }

    #[test]
    fn image_names_resolve_to_targets() {
        for (image, want) in [
            ("alpine", Some("docker.io/library/alpine")),
            ("docker.io/alpine:3", Some("docker.io/library/alpine")),
            ("ghcr.io/org/app", Some("ghcr.io/org/app")),
            ("registry.corp/app", Some("registry.corp:443/app")),
            ("registry.corp:443/app", Some("registry.corp:443/app")),
            ("mirror.lan:5000/ghcr.io/org/app", Some("ghcr.io/org/app")),
            ("mirror.lan:5000/local/app", Some("local/app")),
            ("local/app", Some("local/app")),
            ("quay.io/org/app", None),
        ] {
            let image: crate::oci::ImageName = image.parse().unwrap();
            let target = naming().resolve_image(image.repository()).ok().map(|target| target.to_string());
            assert_eq!(target.as_deref(), want, "{image:?}");
        }
    }

    #[test]
    fn without_upstreams_every_name_is_hosted() {
        let naming = Naming { upstreams: HashMap::new(), default: None, ..naming() };
        let name: RepositoryName = "ghcr.io/any/thing".parse().unwrap();
        assert_eq!(naming.resolve(None, &name).unwrap(), Target::Hosted(name));
    }

    #[test]
    fn without_a_default_upstream_a_bare_name_is_unknown() {
        let naming = Naming { default: None, ..naming() };
        assert!(naming.resolve(None, &"alpine".parse().unwrap()).is_err());
        assert!(naming.resolve(None, &"local/app".parse().unwrap()).is_ok());
    }
}
