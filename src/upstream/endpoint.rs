//! One address of an upstream, and what is known of it.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

use super::challenge::{Challenge, challenges};
use super::health::Health;
use super::meter::Meter;
use crate::oci::RepositoryName;
use crate::outbound::{Url, authority};
use crate::sys::Clock;

/// Which of an upstream's endpoints: its place in the configured order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointId(pub(super) usize);

/// One address that an upstream is asked at.
#[derive(Debug)]
pub(super) struct Endpoint {
    id: EndpointId,
    base: Url,
    health: Arc<Health>,
    /// How it wants to be asked, as its last 401 said; `None`: it never said.
    scheme: ArcSwapOption<Scheme>,
}

/// How an endpoint wants to know who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    Basic,
    Bearer(Bearer),
}

/// Where tokens come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Bearer {
    pub(super) realm: Url,
    pub(super) service: Option<String>,
}

/// What a 401 taught.
#[derive(Clone, Debug)]
pub(super) struct Lesson {
    pub(super) scheme: Arc<Scheme>,
    /// It is not what was known before.
    pub(super) news: bool,
}

impl Endpoint {
    pub(super) fn new(id: EndpointId, base: Url, clock: &Clock, meter: &Meter) -> Self {
        // Several may stand on one host.
        let label = format!("{}{}", authority(&base), base.path().trim_end_matches('/'));
        let health = Arc::new(Health::new(clock.clone(), meter.marks(label)));
        Self { id, base, health, scheme: ArcSwapOption::empty() }
    }

    /// An error is the reason why this cannot be an endpoint's address.
    pub(super) fn parse(address: &str) -> Result<Url, String> {
        let base = Url::parse(address).map_err(|error| format!("{address:?} is not an address ({error})"))?;
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none_or(str::is_empty) {
            return Err(format!("{address:?} is not an http address"));
        }
        if !base.username().is_empty() || base.password().is_some() {
            return Err("an address may not hold a user or a password: they have keys of their own".to_owned());
        }
        if base.query().is_some() || base.fragment().is_some() {
            return Err(format!("{address:?} goes on after its path"));
        }
        Ok(base)
    }

    pub(super) fn id(&self) -> EndpointId {
        self.id
    }

    /// Its address, without what is asked there.
    pub(super) fn base(&self) -> &Url {
        &self.base
    }

    pub(super) fn health(&self) -> &Arc<Health> {
        &self.health
    }

    /// `HOST:PORT`.
    pub(super) fn host(&self) -> String {
        authority(&self.base)
    }

    /// Does an address lead to this endpoint itself?
    pub(super) fn is_at(&self, url: &Url) -> bool {
        self.base.origin() == url.origin()
    }

    /// The address of something in a repository: `/v2/NAME/REST`.
    pub(super) fn url(&self, repository: &RepositoryName, rest: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/v2/{repository}/{rest}", self.base.path().trim_end_matches('/')));
        url
    }

    pub(super) fn scheme(&self) -> Option<Arc<Scheme>> {
        self.scheme.load_full()
    }

    /// Learns from the headers of a 401. `None`: it asks for nothing that we could bring.
    pub(super) fn learn(&self, headers: &HeaderMap) -> Option<Lesson> {
        let fields = headers.get_all(WWW_AUTHENTICATE).iter();
        let fields: Vec<_> = fields.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        let asked = challenges(fields.iter().map(AsRef::as_ref));
        let tokens = asked.iter().find_map(|challenge| self.bearer(challenge)).map(Scheme::Bearer);
        let scheme = tokens.or_else(|| asked.contains(&Challenge::Basic).then_some(Scheme::Basic))?;
        if let Some(known) = self.scheme().filter(|known| **known == scheme) {
            return Some(Lesson { scheme: known, news: false });
        }
        let scheme = Arc::new(scheme);
        self.scheme.store(Some(Arc::clone(&scheme)));
        Some(Lesson { scheme, news: true })
    }

    fn bearer(&self, challenge: &Challenge) -> Option<Bearer> {
        let Challenge::Bearer { realm, service } = challenge else {
            return None;
        };
        let mut realm = self.base.join(realm).ok().filter(|realm| matches!(realm.scheme(), "http" | "https"))?;
        // The HTTP library would turn these into an Authorization of its own.
        realm.set_username("").and_then(|()| realm.set_password(None)).ok()?;
        Some(Bearer { realm, service: service.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(address: &str) -> Endpoint {
        let meter = Meter::new("docker.io".parse().unwrap(), Arc::default(), Clock::system());
        Endpoint::new(EndpointId(0), Endpoint::parse(address).unwrap(), &Clock::system(), &meter)
    }

    #[test]
    fn addresses() {
        let name: RepositoryName = "library/alpine".parse().unwrap();
        for (address, want) in [
            ("https://registry-1.docker.io", "https://registry-1.docker.io/v2/library/alpine/manifests/1.0"),
            ("http://127.0.0.1:5000/", "http://127.0.0.1:5000/v2/library/alpine/manifests/1.0"),
            ("https://r.corp/hub", "https://r.corp/hub/v2/library/alpine/manifests/1.0"),
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
    fn what_a_401_teaches() {
        let endpoint = endpoint("https://r.corp");
        let learn = |field: &'static str| {
            let headers = HeaderMap::from_iter([(WWW_AUTHENTICATE, http::HeaderValue::from_static(field))]);
            endpoint.learn(&headers).map(|lesson| ((*lesson.scheme).clone(), lesson.news))
        };
        let bearer = |realm: &str| Scheme::Bearer(Bearer { realm: realm.parse().unwrap(), service: None });
        assert_eq!(learn("Negotiate"), None);
        assert_eq!(learn("Basic realm=x"), Some((Scheme::Basic, true)));
        assert_eq!(learn("Basic realm=y"), Some((Scheme::Basic, false)));
        assert_eq!(learn(r#"Basic, Bearer realm="https://a/t""#), Some((bearer("https://a/t"), true)));
        assert_eq!(learn(r#"Bearer realm="/t""#), Some((bearer("https://r.corp/t"), true)));
        assert_eq!(learn(r#"Bearer realm="ftp://a/t", Basic"#), Some((Scheme::Basic, true)));
    }
}
