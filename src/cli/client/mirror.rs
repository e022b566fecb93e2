//! What a client has to know of the mirror.

use std::path::{Path, PathBuf};

use super::super::Ended;
use super::super::ask::{Server, ServerArguments};
use super::super::server_url;
use super::super::settings::{Trouble, read};
use crate::config::Config;
use crate::oci::{HostName, Pattern};
use crate::outbound::{Url, authority};
use crate::web::UpstreamList;

/// A mirror, as clients see it.
pub(super) struct Mirror {
    /// `HOST[:PORT]`, as clients reach it.
    pub(super) host: String,
    pub(super) transport: Transport,
    /// What it mirrors, in the order of the names.
    pub(super) upstreams: Vec<Upstream>,
    /// The patterns of names that live there; all where there are none and nothing is mirrored.
    pub(super) local: Vec<String>,
    /// Whoever pulls must log in.
    pub(super) wants_login: bool,
    /// Nobody said how clients reach it.
    guessed: bool,
    /// Where it is known from.
    source: String,
}

/// A registry that is mirrored.
pub(super) struct Upstream {
    pub(super) name: HostName,
    pub(super) aliases: Vec<HostName>,
    pub(super) is_default: bool,
}

/// How clients speak to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Http,
    /// With a certificate that everybody trusts.
    Https,
    /// With one of this authority.
    Authority(PathBuf),
    /// With one that is not checked.
    Unchecked,
}

impl Mirror {
    pub(super) async fn of_configuration(path: Option<&Path>) -> Result<Self, Ended> {
        let (source, draft) = read(path).await?;
        let config = draft.conclude().map_err(Trouble::from)?.config;
        Ok(Self::configured(source, &config))
    }

    fn configured(source: String, config: &Config) -> Self {
        let mirror = &config.mirror;
        let upstream = |spec: &crate::config::Upstream| Upstream {
            name: spec.name.clone(),
            aliases: spec.aliases.clone(),
            is_default: mirror.default.as_ref() == Some(&spec.name),
        };
        let address = config.http.host.clone().unwrap_or_else(|| server_url::address(&config.http.addr));
        let (host, transport) = address_of(&address).unwrap_or_else(|| ("127.0.0.1:5000".to_owned(), Transport::Http));
        Self {
            host,
            transport,
            upstreams: mirror.upstreams.values().map(upstream).collect(),
            local: mirror.local.iter().map(|pattern| pattern.as_str().to_owned()).collect(),
            wants_login: config.auth.is_some(),
            guessed: config.http.host.is_none(),
            source,
        }
    }

    pub(super) async fn of_server(arguments: ServerArguments) -> Result<Self, Ended> {
        let mut server = Server::open(arguments).await?;
        let (answer, _) = server.get::<UpstreamList>("/api/v1/upstreams").await?;
        // What it makes is pasted or written where root reads it: names and patterns, nothing that could be a line of its own.
        let pattern = |text: &String| text.parse::<Pattern>().ok();
        let host = |text: &String| text.parse::<HostName>().ok();
        let upstreams = answer.upstreams.iter().filter_map(|upstream| {
            Some(Upstream {
                name: host(&upstream.name)?,
                aliases: upstream.aliases.iter().filter_map(host).collect(),
                is_default: upstream.default,
            })
        });
        Ok(Self {
            upstreams: upstreams.collect(),
            local: answer.local.iter().filter_map(pattern).map(|pattern| pattern.to_string()).collect(),
            host: authority(server.url()),
            transport: if server.url().scheme() == "https" { Transport::Https } else { Transport::Http },
            wants_login: server.wants_login(),
            guessed: false,
            source: server.name().to_owned(),
        })
    }

    /// The same, as the arguments say that it is reached.
    pub(super) fn reached(mut self, host: Option<String>, unchecked: bool, ca: Option<PathBuf>) -> Result<Self, Ended> {
        if let Some(text) = host {
            let found = address_of(&text).ok_or_else(|| {
                Ended::Usage(format!("{text:?} is no address of a mirror: write HOST:PORT, or https://HOST for TLS"))
            })?;
            (self.host, self.transport) = found;
            self.guessed = false;
        }
        match ca {
            Some(ca) => {
                // It stands in files that lie elsewhere.
                let ca = std::path::absolute(&ca).map_err(|error| Trouble(format!("{}: {error}", ca.display())))?;
                self.transport = Transport::Authority(ca);
            }
            None if unchecked => self.transport = Transport::Unchecked,
            None => {}
        }
        Ok(self)
    }

    /// Without anything that is mirrored, a client has nothing to be told.
    pub(super) fn check(&self) -> Result<(), Trouble> {
        if !self.upstreams.is_empty() {
            return Ok(());
        }
        let source = &self.source;
        Err(Trouble(format!(
            "nothing is mirrored by {source}: no client needs to be told of it; --server URL or --config FILE names another mirror"
        )))
    }

    /// `http://HOST:PORT` or `https://HOST:PORT`.
    pub(super) fn url(&self) -> String {
        let scheme = if self.transport == Transport::Http { "http" } else { "https" };
        format!("{scheme}://{}", self.host)
    }

    /// Does a client have to be told that this is no proper TLS?
    pub(super) fn is_insecure(&self) -> bool {
        matches!(self.transport, Transport::Http | Transport::Unchecked)
    }

    /// Is it on the client's own machine?
    pub(super) fn is_loopback(&self) -> bool {
        Url::parse(&self.url()).is_ok_and(|url| server_url::is_loopback(&url))
    }

    /// Every name that a client may use, and the upstream that it means.
    pub(super) fn names(&self) -> impl Iterator<Item = (&HostName, &Upstream)> {
        self.upstreams.iter().flat_map(|upstream| {
            std::iter::once(&upstream.name).chain(&upstream.aliases).map(move |name| (name, upstream))
        })
    }

    /// What people should know, whichever client it is.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = vec![format!("What is mirrored is known from {}", self.source)];
        if self.guessed {
            let host = &self.host;
            notes.push(format!("{host} is where clients on this machine reach it; for others say --host HOST:PORT"));
        }
        let host = &self.host;
        if !self.local.is_empty() {
            let local = self.local.join(", ");
            notes.push(format!("What lives there ({local}) is pushed and pulled with the mirror's name: {host}/NAME"));
        }
        notes
    }
}

/// `[SCHEME://]HOST[:PORT][/]`.
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

    /// A mirror of `upstreams`, each with its aliases behind it.
    pub(in super::super) fn mirror(address: &str, upstreams: &[(&str, &[&str])]) -> Mirror {
        let (host, transport) = address_of(address).unwrap();
        let name = |text: &&str| text.parse::<HostName>().unwrap();
        let upstream = |(at, (text, aliases)): (usize, &(&str, &[&str]))| Upstream {
            name: name(text),
            aliases: aliases.iter().map(name).collect(),
            is_default: at == 0,
        };
        Mirror {
            host,
            transport,
            upstreams: upstreams.iter().enumerate().map(upstream).collect(),
            local: vec!["local/**".to_owned()],
            wants_login: false,
            guessed: false,
            source: "a test".to_owned(),
        }
    }

    #[test]
    fn addresses() {
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
    fn how_it_is_reached() {
        let reached = |host: Option<&str>, unchecked, ca: Option<&str>| {
            let mirror =
                mirror("mirror.lan:5000", &[]).reached(host.map(str::to_owned), unchecked, ca.map(PathBuf::from));
            mirror.ok().map(|mirror| (mirror.url(), mirror.transport)).unwrap()
        };
        assert_eq!(reached(None, false, None), ("http://mirror.lan:5000".to_owned(), Transport::Http));
        assert_eq!(reached(None, true, None), ("https://mirror.lan:5000".to_owned(), Transport::Unchecked));
        let ca = Transport::Authority("/ca.pem".into());
        assert_eq!(reached(Some("a.lan"), false, Some("/ca.pem")), ("https://a.lan".to_owned(), ca));
        assert!(mirror("a.lan", &[]).reached(Some("a b".to_owned()), false, None).is_err());
    }

    #[test]
    fn what_the_configuration_says() {
        let text = "version: 0.1\nhttp: {addr: \":5001\"}\nmirror: {upstreams: {docker.io: {default: true}, r.corp:443: {aliases: [r.corp]}}}";
        let source = crate::config::Source { name: String::new(), text, built_in: false };
        let loaded = crate::config::load(source, &[], &|_| Ok(String::new())).unwrap();
        let mirror = Mirror::configured("a test".to_owned(), &loaded.config);
        assert_eq!(mirror.url(), "http://127.0.0.1:5001");
        let names: Vec<&str> = mirror.names().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["docker.io", "r.corp:443", "r.corp"]);
        assert!(mirror.notes()[1].contains("--host"), "{:?}", mirror.notes());
    }
}
