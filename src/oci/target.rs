//! The target of a request: a hosted repository or a mirrored one.

use std::fmt;
use std::str::FromStr;

use super::name::{NameError, RepositoryName};

/// Docker Hub as the names of its images contain it.
const HUB: &str = "docker.io";
/// The hosts that serve Docker Hub, which some clients name instead.
const HUB_HOSTS: &[&str] = &["index.docker.io", "registry-1.docker.io"];

/// The name of an upstream registry as image names contain it: a host with an optional port (`ghcr.io`,
/// `registry.corp:443`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostName(String);

impl HostName {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the other spellings of the same registry: without the dot at the end that makes a name absolute, with and without the
    /// port of HTTPS, and `docker.io` for the hosts of Docker Hub.
    pub fn spellings(&self) -> impl Iterator<Item = Self> {
        let after_brackets = self.0.rfind(']').unwrap_or(0);
        let port_at = self.0[after_brackets..].find(':').map_or(self.0.len(), |at| after_brackets + at);
        let (host, port) = self.0.split_at(port_at);
        let host = host.strip_suffix('.').unwrap_or(host);
        let spellings = match port {
            "" | ":443" => {
                let hub = HUB_HOSTS.contains(&host).then(|| HUB.to_owned());
                [Some(host.to_owned()), Some(format!("{host}:443")), hub]
            }
            port => [Some(format!("{host}{port}")), None, None],
        };
        spellings.into_iter().flatten().filter(|spelling| *spelling != self.0).map(Self).collect::<Vec<_>>().into_iter()
    }
}

impl FromStr for HostName {
    type Err = String;

    /// Parses letters, digits, `.`, `-` and `_` with an optional `:PORT`, or an IPv6 address in brackets. The result is
    /// in lower case.
    fn from_str(text: &str) -> Result<Self, String> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => rest
                .split_once(']')
                .map(|(host, rest)| (host, rest.strip_prefix(':').or(rest.is_empty().then_some("")))),
            None => Some(text.split_once(':').map_or((text, Some("")), |(host, port)| (host, Some(port)))),
        }
        .unwrap_or(("", None));
        let bracketed = text.starts_with('[');
        let host_ok = !host.is_empty()
            && host.len() <= 253
            && !host.starts_with(['.', '-'])
            && host.bytes().all(|b| match b {
                b':' => bracketed,
                _ => b.is_ascii_alphanumeric() || b"-._".contains(&b),
            });
        let has_colon = text.ends_with(':');
        let port_ok = port.is_some_and(|port| port.is_empty() || port.parse::<u16>().is_ok_and(|n| n > 0));
        if host_ok && port_ok && !has_colon {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(format!("{text:?} is not a registry's name: write HOST or HOST:PORT, without a scheme or a path"))
        }
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a mirrored repository: the upstream, and the repository's name there.
///
/// `Display` writes `UPSTREAM/REPOSITORY`, and `FromStr` reads that: `docker.io/library/alpine`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MirroredName {
    upstream: HostName,
    repository: RepositoryName,
}

impl MirroredName {
    /// Returns the name of an upstream's repository.
    pub fn new(upstream: HostName, repository: RepositoryName) -> Self {
        Self { upstream, repository }
    }

    /// Returns the name of the upstream.
    pub fn upstream(&self) -> &HostName {
        &self.upstream
    }

    /// Returns the repository's name at the upstream.
    pub fn repository(&self) -> &RepositoryName {
        &self.repository
    }
}

impl FromStr for MirroredName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (upstream, repository) = text
            .split_once('/')
            .ok_or_else(|| format!("{text:?} is not the name of a mirrored repository: write UPSTREAM/REPOSITORY"))?;
        let repository = repository.parse().map_err(|error: NameError| error.to_string())?;
        Ok(Self::new(upstream.parse()?, repository))
    }
}

impl fmt::Display for MirroredName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.upstream, self.repository)
    }
}

/// A repository in its canonical spelling, which is independent of the spelling in the request.
///
/// `Display` writes that spelling: `team/app`, `docker.io/library/alpine`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// A hosted repository: clients push to it, and no upstream is asked for it.
    Hosted(RepositoryName),
    /// A mirrored repository: a copy of an upstream's repository.
    Mirror(MirroredName),
}

impl Target {
    /// Returns the repository's name within its registry, without the upstream.
    pub fn name(&self) -> &RepositoryName {
        match self {
            Self::Hosted(name) => name,
            Self::Mirror(name) => name.repository(),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hosted(name) => name.fmt(f),
            Self::Mirror(name) => name.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_are_parsed_and_bad_ones_refused() {
        for good in ["docker.io", "localhost", "registry.corp:443", "127.0.0.1:5000", "[::1]:5000", "[::1]"] {
            assert!(good.parse::<HostName>().is_ok(), "{good}");
        }
        for (host, spellings) in [
            ("ghcr.io", &["ghcr.io:443"][..]),
            ("ghcr.io:443", &["ghcr.io"]),
            ("ghcr.io.", &["ghcr.io", "ghcr.io:443"]),
            ("ghcr.io.:443", &["ghcr.io", "ghcr.io:443"]),
            ("ghcr.io:5000", &[]),
            ("ghcr.io.:5000", &["ghcr.io:5000"]),
            ("[::1]", &["[::1]:443"]),
            ("[::1]:443", &["[::1]"]),
            ("[::1]:5000", &[]),
            ("index.docker.io:443", &["index.docker.io", "docker.io"]),
            ("registry-1.docker.io", &["registry-1.docker.io:443", "docker.io"]),
        ] {
            let found: Vec<_> = host.parse::<HostName>().unwrap().spellings().map(|other| other.to_string()).collect();
            assert_eq!(found, spellings, "{host}");
        }
        assert_eq!("GHCR.io".parse::<HostName>().unwrap().as_str(), "ghcr.io");
        for bad in ["", ":", "a:", "a:0", "a:x", "a:99999", "https://a", "a/b", "..", "[::1", "a b", "::1", "-a"] {
            assert!(bad.parse::<HostName>().is_err(), "{bad:?} was taken for a host");
        }
    }

    #[test]
    fn mirrored_names_are_parsed_and_bad_ones_refused() {
        for (text, upstream, repository) in [
            ("docker.io/library/alpine", "docker.io", "library/alpine"),
            ("GHCR.io/app", "ghcr.io", "app"),
            ("[::1]:5000/a/b/c", "[::1]:5000", "a/b/c"),
        ] {
            let name: MirroredName = text.parse().unwrap();
            assert_eq!((name.upstream().as_str(), name.repository().as_str()), (upstream, repository), "{text}");
            assert_eq!(name.to_string(), format!("{upstream}/{repository}"));
        }
        for bad in ["", "/", "docker.io", "docker.io/", "/app", "docker.io/App", "https://a/b", "docker.io//app"] {
            assert!(bad.parse::<MirroredName>().is_err(), "{bad:?} was taken for a name");
        }
    }

    #[test]
    fn target_is_displayed_in_its_canonical_spelling() {
        let name: RepositoryName = "library/alpine".parse().unwrap();
        let target = Target::Mirror(MirroredName::new("docker.io".parse().unwrap(), name.clone()));
        assert_eq!(target.to_string(), "docker.io/library/alpine");
        assert_eq!(Target::Hosted(name).to_string(), "library/alpine");
    }
}
