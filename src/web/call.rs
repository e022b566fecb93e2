//! A request as its handler sees it. A handler gets a repository only through the gate.

use std::sync::Arc;

use http::header::{AUTHORIZATION, HeaderName};
use http::{HeaderMap, HeaderValue, Response};

use super::app::{App, Listener};
use super::error::Failure;
use super::exchange::{Exchange, PulledKind};
use super::request::RequestBody;
use super::response::{Body, headers};
use super::route::At;
use crate::auth::{Action, Admitted, Caller, Credentials, Unproven};
use crate::oci::{ImageRepository, Target};
use crate::registry::{CacheStatus, Found, HostedRepository, Repository};

/// The answer of a handler.
pub(super) type Answer = Result<Response<Body>, Failure>;

/// A request that is being answered.
pub(super) struct Call {
    pub(super) exchange: Box<Exchange>,
    pub(super) body: RequestBody,
    pub(super) listener: Listener,
    /// The value of `OCI-Namespace` in the answer.
    pub(super) namespace: Option<HeaderValue>,
}

impl Call {
    pub(super) fn app(&self) -> &App {
        &self.exchange.app
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        &self.exchange.head.headers
    }

    /// Returns the value of a header, if the header occurs once and is text.
    pub(super) fn header(&self, name: &HeaderName) -> Option<&str> {
        let mut values = self.headers().get_all(name).iter();
        let value = values.next()?.to_str().ok()?;
        values.next().is_none().then_some(value)
    }

    /// Returns the requested repository, if the gate admits the caller.
    pub(super) async fn repository(&mut self, at: &At, action: Action) -> Result<Repository, Failure> {
        let (_, admitted) = self.admit(at, action).await?;
        Ok(self.exchange.app.registry.repository(admitted.into_inner()))
    }

    /// Returns the repository to push to, and the caller. Refuses a name that is not local.
    pub(super) async fn hosted(&mut self, at: &At) -> Result<(HostedRepository, Caller), Failure> {
        let (caller, admitted) = self.admit(at, Action::Push).await?;
        Ok((self.exchange.app.registry.hosted(admitted.into_inner())?, caller))
    }

    /// Returns the caller, if the gate allows it what concerns no repository ([`Action::Enter`] or [`Action::Admin`]).
    pub(super) async fn allow(&mut self, action: Action) -> Result<Caller, Failure> {
        let caller = self.identify(action, None).await?;
        self.app().gate.allow(&caller, action)?;
        Ok(caller)
    }

    /// Returns the stored content of a repository whose name is written as in an image name, if the gate admits the caller.
    pub(super) async fn stored_repository(
        &mut self,
        caller: &Caller,
        name: &ImageRepository,
        action: Action,
    ) -> Result<Repository, Failure> {
        let app = Arc::clone(&self.exchange.app);
        let target = app.registry.find(name).await?;
        self.exchange.facts.repository = Some(target.to_string());
        let admitted = app.gate.admit(caller, action, &target)?;
        Ok(app.registry.repository(admitted.into_inner()))
    }

    async fn admit(&mut self, at: &At, action: Action) -> Result<(Caller, Admitted<Target>), Failure> {
        self.exchange.facts.name = Some(at.name.to_string());
        // The error of a name tells which names are local and mirrored, so it is for callers who may use the registry.
        let resolved = self.app().registry.resolve(at.ns.as_deref(), &at.name);
        let caller = self.identify(action, resolved.as_ref().ok()).await?;
        let target = match resolved {
            Ok(target) => target,
            Err(unknown) => {
                self.app().gate.allow(&caller, Action::Enter)?;
                return Err(unknown.into());
            }
        };
        self.exchange.facts.repository = Some(target.to_string());
        let admitted = self.app().gate.admit(&caller, action, &target)?;
        self.namespace = self.namespace_of(at);
        Ok((caller, admitted))
    }

    /// Returns the sender of the request. `action` and `target` are those of the challenge if its credentials prove nothing.
    async fn identify(&mut self, action: Action, target: Option<&Target>) -> Result<Caller, Failure> {
        let app = Arc::clone(&self.exchange.app);
        if app.gate.is_open() {
            // As in registry:2 without `auth`, credentials are ignored.
            return Ok(Caller::Anonymous);
        }
        let identified = match self.credentials() {
            Ok(credentials) => app.gate.identify(&credentials, self.exchange.client()).await,
            Err(reason) => Err(reason),
        };
        let caller = identified.map_err(|reason| app.gate.refuse(reason, action, target))?;
        self.exchange.facts.user = caller.name().map(str::to_owned);
        Ok(caller)
    }

    fn credentials(&self) -> Result<Credentials, Unproven> {
        let mut fields = self.headers().get_all(AUTHORIZATION).iter();
        match (fields.next(), fields.next()) {
            (None, _) => Credentials::from_header(None),
            (Some(value), None) => Credentials::from_header(Some(value.to_str().map_err(|_| Unproven::Scheme)?)),
            // With two headers, a proxy in front may have checked the other one.
            (Some(_), Some(_)) => Err(Unproven::Several),
        }
    }

    /// Returns the value of `?ns=`, if it decided the target (OCI distribution-spec 1.1, "Registry Proxying"). A value that names this
    /// registry decides nothing.
    fn namespace_of(&self, at: &At) -> Option<HeaderValue> {
        let ns = at.ns.as_deref()?;
        self.app().registry.naming().namespace(ns)?;
        HeaderValue::try_from(ns).ok()
    }

    /// Counts a pull of mirrored content.
    pub(super) fn count_pull(&mut self, kind: PulledKind, repository: &Repository) {
        if let Repository::Mirror(_) = repository {
            self.exchange.facts.mirrored = Some(kind);
            self.app().metrics.proxy_requests.with_label_values(&[kind.as_str()]).inc();
        }
    }

    /// Takes the content of a pull: counts its cache status and adds its warning to the answer.
    pub(super) fn take_found<T>(&mut self, found: Found<T>, response: &mut HeaderMap) -> T {
        if let Some(cache) = found.cache {
            self.count_cache_status(cache);
        }
        if let Some(warning) = &found.warning {
            response.insert(http::header::WARNING, headers::warning(warning));
        }
        found.value
    }

    fn count_cache_status(&mut self, cache: CacheStatus) {
        let elapsed = self.exchange.elapsed();
        let facts = &mut self.exchange.facts;
        facts.cache = Some(cache);
        let kind = facts.mirrored;
        let metrics = &self.app().metrics;
        metrics.first_byte.with_label_values(&[cache.as_str()]).observe(elapsed.as_secs_f64());
        let counter = match cache {
            CacheStatus::Hit | CacheStatus::Revalidated | CacheStatus::Stale => &metrics.proxy_hits,
            CacheStatus::Miss | CacheStatus::Fill => &metrics.proxy_misses,
        };
        if let Some(kind) = kind {
            counter.with_label_values(&[kind.as_str()]).inc();
        }
    }
}
