//! The mirror as clients see it: its address, its transport, and the registries that it mirrors.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cli::outcome::{CommandError, ErrorMessage};
use crate::cli::remote::{RemoteServer, ServerArguments, is_loopback, listen_url};
use crate::cli::settings::read;
use crate::config::Config;
use crate::oci::{HostName, Pattern};
use crate::outbound::{Url, authority};
use crate::web::UpstreamList;

/// The time that a server gets to answer that may not run at all.
const ASKING: Duration = Duration::from_secs(3);

/// A mirror as clients see it.
pub(super) struct MirrorProfile {
    /// The address that clients use: `HOST[:PORT]`.
    pub(super) host: String,
    pub(super) transport: Transport,
    /// The mirrored registries, sorted by name.
    pub(super) upstreams: Vec<MirroredRegistry>,
    /// The patterns of names that clients push to the mirror. Empty if nothing is mirrored: then every name is local.
    pub(super) local: Vec<String>,
    /// True if the mirror requires a login for pulls.
    pub(super) wants_login: bool,
    /// True if neither an argument nor the configuration names an address for clients. Then `host` works on this machine only.
    is_local_address: bool,
    /// The file or server that these facts come from.
    source: String,
}

/// A mirrored registry.
pub(super) struct MirroredRegistry {
    pub(super) name: HostName,
    pub(super) aliases: Vec<HostName>,
    pub(super) is_default: bool,
    /// The addresses at which the mirror asks it, without those that have a path.
    endpoints: Vec<RegistryAddress>,
}

/// The address of a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RegistryAddress {
    /// `HOST[:PORT]`.
    pub(super) host: String,
    pub(super) is_plain: bool,
}

impl RegistryAddress {
    pub(super) fn url(&self) -> String {
        format!("{}://{}", if self.is_plain { "http" } else { "https" }, self.host)
    }
}

impl MirroredRegistry {
    fn new<'a>(
        name: HostName,
        aliases: Vec<HostName>,
        is_default: bool,
        endpoints: impl Iterator<Item = &'a String>,
    ) -> Self {
        let address = |text: &String| {
            let (host, transport) = address_of(text)?;
            Some(RegistryAddress { host, is_plain: transport == Transport::Http })
        };
        Self { name, aliases, is_default, endpoints: endpoints.filter_map(address).collect() }
    }

    /// Returns the address at which clients that call the registry `name` find it themselves while the mirror is down. It is
    /// `https://NAME`, unless the mirror asks that host at another port or with plain HTTP.
    pub(super) fn own_address(&self, name: &HostName) -> RegistryAddress {
        let endpoint = self.own_endpoint(name).or_else(|| self.own_endpoint(&self.name).filter(|own| own.is_plain));
        endpoint.cloned().unwrap_or_else(|| RegistryAddress { host: name.as_str().to_owned(), is_plain: false })
    }

    /// Returns the endpoint at the host that `name` names, if clients do not find it at `https://NAME`.
    fn own_endpoint(&self, name: &HostName) -> Option<&RegistryAddress> {
        let is_spelling = |host: &str| name.as_str() == host || name.spellings().any(|other| other.as_str() == host);
        // A name without a port, such as an alias for podman, stands for the registry at the port that the mirror knows.
        let is_at_other_port = |host: &str| host.rsplit_once(':').is_some_and(|(host, _)| host == name.as_str());
        let named = self.endpoints.iter().find(|endpoint| is_spelling(&endpoint.host));
        match named {
            Some(endpoint) => Some(endpoint).filter(|endpoint| endpoint.is_plain),
            None => self.endpoints.iter().find(|endpoint| is_at_other_port(&endpoint.host)),
        }
    }
}

/// The way in which clients connect to the mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Http,
    /// TLS with a certificate that clients trust already.
    Https,
    /// TLS with a certificate of the authority in this file.
    Authority(PathBuf),
    /// TLS without a check of the certificate.
    Unchecked,
}

impl MirrorProfile {
    /// Reads the facts from a configuration file on this machine.
    pub(super) async fn from_configuration(path: Option<&Path>) -> Result<Self, CommandError> {
        let (source, draft) = read(path).await?;
        let config = draft.conclude().map_err(ErrorMessage::from)?.config;
        Ok(Self::new(source, &config))
    }

    fn new(source: String, config: &Config) -> Self {
        let mirror = &config.mirror;
        let upstream = |spec: &crate::config::Upstream| {
            let is_default = mirror.default.as_ref() == Some(&spec.name);
            MirroredRegistry::new(spec.name.clone(), spec.aliases.clone(), is_default, spec.endpoints.iter())
        };
        let address = config.http.host.clone().unwrap_or_else(|| listen_url(&config.http.addr));
        let (host, transport) = address_of(&address).unwrap_or_else(|| ("127.0.0.1:5000".to_owned(), Transport::Http));
        Self {
            host,
            transport,
            upstreams: mirror.upstreams.values().map(upstream).collect(),
            local: mirror.local.iter().map(|pattern| pattern.as_str().to_owned()).collect(),
            wants_login: config.auth.is_some(),
            is_local_address: config.http.host.is_none(),
            source,
        }
    }

    /// Asks a running server for the facts.
    pub(super) async fn from_server(arguments: ServerArguments) -> Result<Self, CommandError> {
        let mut server = RemoteServer::open(arguments).await?;
        let (answer, _) = server.get::<UpstreamList>("/api/v1/upstreams").await?;
        // The result is pasted into files that root reads. Only valid names and patterns are taken from the server: another text
        // could contain lines of its own.
        let pattern = |text: &String| text.parse::<Pattern>().ok();
        let host = |text: &String| text.parse::<HostName>().ok();
        let upstreams = answer.upstreams.iter().filter_map(|upstream| {
            let aliases = upstream.aliases.iter().filter_map(host).collect();
            let endpoints = upstream.endpoints.iter().map(|endpoint| &endpoint.address);
            Some(MirroredRegistry::new(host(&upstream.name)?, aliases, upstream.default, endpoints))
        });
        Ok(Self {
            upstreams: upstreams.collect(),
            local: answer.local.iter().filter_map(pattern).map(|pattern| pattern.to_string()).collect(),
            host: authority(server.url()),
            transport: if server.url().scheme() == "https" { Transport::Https } else { Transport::Http },
            wants_login: server.wants_login(),
            is_local_address: false,
            source: server.name().to_owned(),
        })
    }

    /// Asks a server that nothing says is running. Returns `None` if it does not answer at once, or not as an Entrepot.
    pub(super) async fn from_running(arguments: ServerArguments) -> Option<Self> {
        tokio::time::timeout(ASKING, Self::from_server(arguments)).await.ok()?.ok()
    }

    /// Takes the mirrored registries from a running server. The address stays that of the configuration.
    pub(super) fn with_registries_of(self, running: Self) -> Self {
        let Self { upstreams, local, wants_login, source, .. } = running;
        Self { upstreams, local, wants_login, source, ..self }
    }

    /// Applies the arguments about the mirror's address and certificate.
    pub(super) fn reached(
        mut self,
        host: Option<String>,
        unchecked: bool,
        ca: Option<PathBuf>,
    ) -> Result<Self, CommandError> {
        if let Some(text) = host {
            let found = address_of(&text).ok_or_else(|| {
                CommandError::Usage(format!(
                    "{text:?} is not the address of a mirror; write HOST:PORT, or https://HOST for TLS"
                ))
            })?;
            (self.host, self.transport) = found;
            self.is_local_address = false;
        }
        self.check_transport(unchecked, ca.as_deref())?;
        match ca {
            Some(ca) => {
                // The path is written into files in other directories.
                let ca =
                    std::path::absolute(&ca).map_err(|error| ErrorMessage(format!("{}: {error}", ca.display())))?;
                self.transport = Transport::Authority(ca);
            }
            None if unchecked => self.transport = Transport::Unchecked,
            None => {}
        }
        Ok(self)
    }

    /// Returns an error if an argument about certificates was given for a mirror with plain HTTP.
    fn check_transport(&self, unchecked: bool, ca: Option<&Path>) -> Result<(), CommandError> {
        if self.transport != Transport::Http || !unchecked && ca.is_none() {
            return Ok(());
        }
        let (host, argument) = (&self.host, if unchecked { "--insecure" } else { "--ca" });
        Err(CommandError::Usage(format!(
            "{argument} is about the certificate of the mirror, but http://{host} uses none: leave {argument} out, or write \
             --host https://{host} if the mirror uses TLS"
        )))
    }

    /// Returns the name of the file or server that these facts come from.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// Returns an error if nothing is mirrored: then no client needs a configuration.
    pub(super) fn check(&self) -> Result<(), ErrorMessage> {
        if !self.upstreams.is_empty() {
            return Ok(());
        }
        let source = &self.source;
        Err(ErrorMessage(format!(
            "nothing is mirrored by {source}, so clients need no configuration; name a mirror with --server URL or --config FILE"
        )))
    }

    /// Returns the mirror's address as `http://HOST:PORT` or `https://HOST:PORT`.
    pub(super) fn url(&self) -> String {
        let scheme = if self.transport == Transport::Http { "http" } else { "https" };
        format!("{scheme}://{}", self.host)
    }

    /// Returns true if clients need a setting to accept the connection, since it is not verified TLS.
    pub(super) fn is_insecure(&self) -> bool {
        matches!(self.transport, Transport::Http | Transport::Unchecked)
    }

    /// Returns true if the mirror is on the client's own machine.
    pub(super) fn is_loopback(&self) -> bool {
        Url::parse(&self.url()).is_ok_and(|url| is_loopback(&url))
    }

    /// Returns every name that clients can use for a mirrored registry, and that registry.
    pub(super) fn names(&self) -> impl Iterator<Item = (&HostName, &MirroredRegistry)> {
        self.upstreams.iter().flat_map(|upstream| {
            std::iter::once(&upstream.name).chain(&upstream.aliases).map(move |name| (name, upstream))
        })
    }

    /// Returns the notes that apply to every client.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = vec![format!("The mirrored registries are those of {}", self.source)];
        if self.is_local_address {
            let host = &self.host;
            notes.push(format!(
                "{host} works for clients on this machine only; for other clients, give --host HOST:PORT"
            ));
        }
        let host = &self.host;
        if !self.local.is_empty() {
            let local = self.local.join(", ");
            notes.push(format!(
                "Push and pull images of the mirror itself ({local}) under the mirror's name: {host}/NAME"
            ));
        }
        notes
    }
}

/// Parses `[SCHEME://]HOST[:PORT][/]`.
fn address_of(text: &str) -> Option<(String, Transport)> {
    let (transport, rest) = match text.split_once("://") {
        Some(("http", rest)) => (Transport::Http, rest),
        Some(("https", rest)) => (Transport::Https, rest),
        Some(_) => return None,
        None => (Transport::Http, text),
    };
    let host: HostName = rest.trim_end_matches('/').parse().ok()?;
    Some((host.as_str().to_owned(), transport))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Returns a mirror of `upstreams`, each given as its name and its aliases. Each has the endpoint `https://NAME`.
    pub(in super::super) fn mirror(address: &str, upstreams: &[(&str, &[&str])]) -> MirrorProfile {
        let (host, transport) = address_of(address).unwrap();
        let name = |text: &&str| text.parse::<HostName>().unwrap();
        let upstream = |(at, (text, aliases)): (usize, &(&str, &[&str]))| {
            let endpoint = format!("https://{text}");
            MirroredRegistry::new(name(text), aliases.iter().map(name).collect(), at == 0, [&endpoint].into_iter())
        };
        MirrorProfile {
            host,
            transport,
            upstreams: upstreams.iter().enumerate().map(upstream).collect(),
            local: vec!["local/**".to_owned()],
            wants_login: false,
            is_local_address: false,
            source: "a test".to_owned(),
        }
    }

    /// Returns a mirror whose upstreams have other endpoints than `https://NAME`.
    pub(in super::super) fn mirror_of_plain_upstreams(address: &str) -> MirrorProfile {
        let mut made = mirror(address, &[("docker.io", &[]), ("r.lan:5000", &["r.lan", "alias.lan"])]);
        made.upstreams[0].endpoints = address_list(&["http://harbor.lan", "http://harbor.lan/v2/hub"]);
        made.upstreams[1].endpoints = address_list(&["https://other.lan", "http://r.lan:5000/"]);
        made
    }

    fn address_list(endpoints: &[&str]) -> Vec<RegistryAddress> {
        let endpoints: Vec<String> = endpoints.iter().map(|text| (*text).to_owned()).collect();
        MirroredRegistry::new("x".parse().unwrap(), Vec::new(), false, endpoints.iter()).endpoints
    }

    #[test]
    fn clients_find_a_registry_itself_where_the_mirror_does() {
        for (upstream, endpoints, name, want) in [
            ("ghcr.io", &["https://ghcr.io"][..], "ghcr.io", "https://ghcr.io"),
            ("docker.io", &["http://harbor.lan"], "docker.io", "https://docker.io"),
            ("r.lan:5000", &["http://r.lan:5000"], "r.lan:5000", "http://r.lan:5000"),
            ("r.lan:5000", &["http://r.lan:5000/v2/hub"], "r.lan:5000", "https://r.lan:5000"),
            ("r.lan:5000", &["http://r.lan:5000"], "r.lan", "http://r.lan:5000"),
            ("r.lan:5000", &["https://r.lan:5000"], "r.lan", "https://r.lan:5000"),
            ("r.lan:5000", &["http://r.lan:5000"], "alias.lan", "http://r.lan:5000"),
            ("r.lan:5000", &["https://r.lan:5000"], "alias.lan", "https://alias.lan"),
            ("r.lan:5000", &["http://r.lan:6000"], "r.lan:5000", "https://r.lan:5000"),
            ("r.lan", &["http://r.lan"], "r.lan", "http://r.lan"),
            ("r.lan:443", &["https://r.lan"], "r.lan:443", "https://r.lan:443"),
            ("[::1]:5000", &["http://[::1]:5000"], "[::1]", "http://[::1]:5000"),
        ] {
            let parsed = |text: &str| text.parse::<HostName>().unwrap();
            let mut registry = MirroredRegistry::new(parsed(upstream), Vec::new(), false, std::iter::empty());
            registry.endpoints = address_list(endpoints);
            assert_eq!(registry.own_address(&parsed(name)).url(), want, "{name} of {upstream} at {endpoints:?}");
        }
    }

    #[test]
    fn addresses_are_parsed() {
        for (text, want) in [
            ("mirror.lan:5000", Some("http://mirror.lan:5000")),
            ("http://mirror.lan:5000/", Some("http://mirror.lan:5000")),
            ("https://mirror.lan", Some("https://mirror.lan")),
            ("[::1]:5000", Some("http://[::1]:5000")),
            ("ftp://mirror.lan", None),
            ("mirror.lan/prefix", None),
            ("mirror.lan:", None),
            ("me@mirror.lan", None),
            ("", None),
        ] {
            let url = address_of(text).map(|_| mirror(text, &[]).url());
            assert_eq!(url.as_deref(), want, "{text}");
        }
    }

    #[test]
    fn arguments_change_the_address_and_the_transport() {
        let reached = |host: Option<&str>, unchecked, ca: Option<&str>| {
            let mirror =
                mirror("mirror.lan:5000", &[]).reached(host.map(str::to_owned), unchecked, ca.map(PathBuf::from));
            mirror.ok().map(|mirror| (mirror.url(), mirror.transport)).unwrap()
        };
        assert_eq!(reached(None, false, None), ("http://mirror.lan:5000".to_owned(), Transport::Http));
        assert_eq!(reached(Some("https://a.lan"), true, None), ("https://a.lan".to_owned(), Transport::Unchecked));
        let ca = Transport::Authority("/ca.pem".into());
        assert_eq!(reached(Some("https://a.lan"), false, Some("/ca.pem")), ("https://a.lan".to_owned(), ca));
        assert!(mirror("a.lan", &[]).reached(Some("a b".to_owned()), false, None).is_err());
    }

    #[test]
    fn arguments_about_certificates_are_refused_for_plain_http() {
        for host in [None, Some("a.lan"), Some("http://a.lan")] {
            for (unchecked, ca) in [(true, None), (false, Some(PathBuf::from("/ca.pem")))] {
                let reached = mirror("a.lan", &[]).reached(host.map(str::to_owned), unchecked, ca);
                let Err(CommandError::Usage(message)) = reached else { panic!("{host:?}") };
                assert!(message.contains("--host https://a.lan"), "{message}");
            }
        }
    }

    #[test]
    fn facts_come_from_the_configuration() {
        let text = "version: 0.1\nhttp: {addr: \":5001\"}\nmirror: {upstreams: {docker.io: {default: true}, r.corp:443: {aliases: [r.corp]}}}";
        let source = crate::config::SourceText { name: String::new(), text, built_in: false };
        let loaded = crate::config::load(source, &[], &|_| Ok(String::new())).unwrap();
        let mirror = MirrorProfile::new("a test".to_owned(), &loaded.config);
        assert_eq!(mirror.url(), "http://127.0.0.1:5001");
        let names: Vec<&str> = mirror.names().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["docker.io", "r.corp:443", "r.corp"]);
        assert!(mirror.notes()[1].contains("--host"), "{:?}", mirror.notes());
    }
}
