//! One endpoint of an upstream: its address, its authentication scheme and its health.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

use super::challenge::{Challenge, challenges};
use super::health::EndpointHealth;
use super::meter::Meter;
use super::namespace::Namespace;
use crate::oci::RepositoryName;
use crate::outbound::{Url, authority};
use crate::sys::Clock;

/// Identifies an endpoint by its position in the upstream's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointId(pub(in crate::upstream) usize);

#[cfg(test)]
impl EndpointId {
    pub(crate) fn numbered(number: usize) -> Self {
        Self(number)
    }
}

/// An address where an upstream is asked, with its state.
#[derive(Debug)]
pub(in crate::upstream) struct Endpoint {
    id: EndpointId,
    base: Url,
    /// The path before `/v2/`.
    root: String,
    /// The part of the path after `/v2/`, which the names of all repositories begin with here.
    prefix: Option<String>,
    namespace: Namespace,
    health: Arc<EndpointHealth>,
    /// The authentication scheme that its last 401 asked for; `None` before the first 401.
    scheme: ArcSwapOption<Scheme>,
}

/// An authentication scheme.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::upstream) enum Scheme {
    Basic,
    Bearer(BearerRealm),
}

/// The token server that a Bearer challenge names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::upstream) struct BearerRealm {
    pub(in crate::upstream) realm: Url,
    pub(in crate::upstream) service: Option<String>,
}

/// The scheme that a 401 asked for.
#[derive(Clone, Debug)]
pub(in crate::upstream) struct LearnedScheme {
    pub(in crate::upstream) scheme: Arc<Scheme>,
    /// It differs from the scheme that was known before.
    pub(in crate::upstream) is_new: bool,
}

impl Endpoint {
    pub(in crate::upstream) fn new(
        id: EndpointId,
        base: Url,
        namespace: Namespace,
        clock: &Clock,
        meter: &Meter,
    ) -> Self {
        // The path is part of the label, since several endpoints may share a host.
        let label = format!("{}{}", authority(&base), base.path().trim_end_matches('/'));
        let health = Arc::new(EndpointHealth::new(clock.clone(), meter.health_metrics(label)));
        let (root, prefix) = split(base.path());
        Self { id, base, root, prefix, namespace, health, scheme: ArcSwapOption::empty() }
    }

    /// Parses an endpoint's address. The error says why it cannot be one.
    pub(in crate::upstream) fn parse(address: &str) -> Result<Url, String> {
        let base = Url::parse(address).map_err(|error| format!("{address:?} is not an address ({error})"))?;
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none_or(str::is_empty) {
            return Err(format!("{address:?} is not an http address"));
        }
        if !base.username().is_empty() || base.password().is_some() {
            return Err("an address may not hold a user or a password: they have keys of their own".to_owned());
        }
        if base.query().is_some() || base.fragment().is_some() {
            return Err(format!("{address:?} has a query or a fragment after its path"));
        }
        Ok(base)
    }

    pub(in crate::upstream) fn id(&self) -> EndpointId {
        self.id
    }

    /// Returns the configured address.
    pub(in crate::upstream) fn base(&self) -> &Url {
        &self.base
    }

    pub(in crate::upstream) fn health(&self) -> &Arc<EndpointHealth> {
        &self.health
    }

    /// Returns `HOST:PORT`.
    pub(in crate::upstream) fn host(&self) -> String {
        authority(&self.base)
    }

    /// Returns true if `url` has the scheme, host and port of this endpoint.
    pub(in crate::upstream) fn is_at(&self, url: &Url) -> bool {
        self.base.origin() == url.origin()
    }

    /// Returns the address of `/v2/NAME/REST` at this endpoint.
    pub(in crate::upstream) fn url(&self, repository: &RepositoryName, rest: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/v2/{}/{rest}", self.root, self.name_of(repository)));
        url
    }

    /// Returns the address of `/v2/`, where every registry answers.
    pub(in crate::upstream) fn ping_url(&self) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/v2/", self.root));
        url
    }

    /// Returns the name that a repository has at this endpoint.
    pub(in crate::upstream) fn name_of(&self, repository: &RepositoryName) -> String {
        match &self.prefix {
            Some(prefix) => format!("{prefix}/{repository}"),
            None => repository.to_string(),
        }
    }

    /// Returns whether requests name the upstream in `?ns=`.
    pub(in crate::upstream) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    pub(in crate::upstream) fn scheme(&self) -> Option<Arc<Scheme>> {
        self.scheme.load_full()
    }

    /// Forgets a scheme that the endpoint does not ask for any more. Another one that was learnt in its place stays.
    pub(in crate::upstream) fn forget(&self, scheme: &Arc<Scheme>) {
        self.scheme.compare_and_swap(&Some(Arc::clone(scheme)), None);
    }

    /// Learns the authentication scheme from the headers of a 401. `None` means that no scheme in them is supported.
    pub(in crate::upstream) fn learn(&self, headers: &HeaderMap) -> Option<LearnedScheme> {
        let scheme = self.asked_scheme(headers)?;
        if let Some(known) = self.scheme().filter(|known| **known == scheme) {
            return Some(LearnedScheme { scheme: known, is_new: false });
        }
        let scheme = Arc::new(scheme);
        self.scheme.store(Some(Arc::clone(&scheme)));
        Some(LearnedScheme { scheme, is_new: true })
    }

    /// Returns the authentication scheme that the headers of a 401 ask for.
    pub(in crate::upstream) fn asked_scheme(&self, headers: &HeaderMap) -> Option<Scheme> {
        let fields = headers.get_all(WWW_AUTHENTICATE).iter();
        let fields: Vec<_> = fields.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        let asked = challenges(fields.iter().map(AsRef::as_ref));
        let tokens = asked.iter().find_map(|challenge| self.bearer(challenge)).map(Scheme::Bearer);
        tokens.or_else(|| asked.contains(&Challenge::Basic).then_some(Scheme::Basic))
    }

    fn bearer(&self, challenge: &Challenge) -> Option<BearerRealm> {
        let Challenge::Bearer { realm, service, .. } = challenge else {
            return None;
        };
        let mut realm = self.base.join(realm).ok().filter(|realm| matches!(realm.scheme(), "http" | "https"))?;
        // The HTTP library would turn a user and a password in the address into an `Authorization` header.
        realm.set_username("").and_then(|()| realm.set_password(None)).ok()?;
        Some(BearerRealm { realm, service: service.clone() })
    }
}

/// Splits the path of an endpoint's address into the part before `/v2/`, and the prefix of its repositories after it.
fn split(path: &str) -> (String, Option<String>) {
    let path = path.trim_end_matches('/');
    let (root, prefix) = match path.split_once("/v2/") {
        Some((root, prefix)) => (root, Some(prefix)),
        None => (path.strip_suffix("/v2").unwrap_or(path), None),
    };
    (root.to_owned(), prefix.map(str::to_owned).filter(|prefix| !prefix.is_empty()))
}

/// Returns true if an endpoint's address has a prefix of repositories.
pub(in crate::upstream) fn has_prefix(base: &Url) -> bool {
    split(base.path()).1.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(address: &str) -> Endpoint {
        let meter = Meter::new("docker.io".parse().unwrap(), Arc::default(), Clock::system());
        let namespace = Namespace::never();
        Endpoint::new(EndpointId(0), Endpoint::parse(address).unwrap(), namespace, &Clock::system(), &meter)
    }

    #[test]
    fn addresses_are_parsed_and_bad_ones_refused() {
        let name: RepositoryName = "library/alpine".parse().unwrap();
        for (address, want) in [
            ("https://registry-1.docker.io", "https://registry-1.docker.io/v2/library/alpine/manifests/1.0"),
            ("http://127.0.0.1:5000/", "http://127.0.0.1:5000/v2/library/alpine/manifests/1.0"),
            ("https://r.corp/hub", "https://r.corp/hub/v2/library/alpine/manifests/1.0"),
            ("https://r.corp/v2/", "https://r.corp/v2/library/alpine/manifests/1.0"),
            ("https://r.corp/v2/hub-proxy", "https://r.corp/v2/hub-proxy/library/alpine/manifests/1.0"),
            ("https://r.corp/x/v2/a/b/", "https://r.corp/x/v2/a/b/library/alpine/manifests/1.0"),
        ] {
            assert_eq!(endpoint(address).url(&name, "manifests/1.0").as_str(), want);
        }
        for bad in [
            "",
            "ghcr.io",
            "ftp://ghcr.io",
            "https://",
            "https://me:secret@ghcr.io",
            "https://ghcr.io/?a",
            "https://ghcr.io/#a",
        ] {
            let refused = Endpoint::parse(bad).unwrap_err();
            assert!(!refused.contains("secret"), "{refused}");
        }
    }

    #[test]
    fn scheme_is_learned_from_a_401() {
        let endpoint = endpoint("https://r.corp");
        let learn = |field: &'static str| {
            let headers = HeaderMap::from_iter([(WWW_AUTHENTICATE, http::HeaderValue::from_static(field))]);
            endpoint.learn(&headers).map(|learned| ((*learned.scheme).clone(), learned.is_new))
        };
        let bearer = |realm: &str| Scheme::Bearer(BearerRealm { realm: realm.parse().unwrap(), service: None });
        assert_eq!(learn("Negotiate"), None);
        assert_eq!(learn("Basic realm=x"), Some((Scheme::Basic, true)));
        assert_eq!(learn("Basic realm=y"), Some((Scheme::Basic, false)));
        assert_eq!(learn(r#"Basic, Bearer realm="https://a/t""#), Some((bearer("https://a/t"), true)));
        assert_eq!(learn(r#"Bearer realm="/t""#), Some((bearer("https://r.corp/t"), true)));
        assert_eq!(learn(r#"Bearer realm="ftp://a/t", Basic"#), Some((Scheme::Basic, true)));
    }
}
