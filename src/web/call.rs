//! A request as its handler sees it, and the gate that it passes.

use std::sync::Arc;

use http::header::{AUTHORIZATION, HeaderName};
use http::{HeaderMap, HeaderValue, Response};

use super::body::Body;
use super::error::Failure;
use super::exchange::{Exchange, Kind};
use super::headers;
use super::request::RequestBody;
use super::route::At;
use super::{App, Listener};
use crate::auth::{Action, Admitted, Caller, Credentials, Unproven};
use crate::oci::{ImageRepository, Target};
use crate::registry::{CacheStatus, Found, Holding, Hosted, Repository};

/// What a handler answers.
pub(super) type Answer = Result<Response<Body>, Failure>;

/// A request on its way through the house.
pub(super) struct Call {
    pub(super) exchange: Box<Exchange>,
    pub(super) body: RequestBody,
    pub(super) listener: Listener,
    /// For `OCI-Namespace`.
    pub(super) namespace: Option<HeaderValue>,
}

impl Call {
    pub(super) fn app(&self) -> &App {
        &self.exchange.app
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        &self.exchange.head.headers
    }

    /// A header's value, where it stands there once and is text.
    pub(super) fn header(&self, name: &HeaderName) -> Option<&str> {
        let mut values = self.headers().get_all(name).iter();
        let value = values.next()?.to_str().ok()?;
        values.next().is_none().then_some(value)
    }

    /// The repository that is asked for, to somebody who may. With [`Call::hosted`] the only way to one.
    pub(super) async fn repository(&mut self, at: &At, action: Action) -> Result<Repository, Failure> {
        let (_, admitted) = self.admit(at, action).await?;
        Ok(self.exchange.app.registry.repository(admitted.into_inner())?)
    }

    /// The repository that is pushed to, and who pushes; refused where the name is not local.
    pub(super) async fn hosted(&mut self, at: &At) -> Result<(Hosted, Caller), Failure> {
        let (caller, admitted) = self.admit(at, Action::Push).await?;
        Ok((self.exchange.app.registry.hosted(admitted.into_inner())?, caller))
    }

    /// Returns the caller, if the gate allows it what concerns no repository ([`Action::Enter`] or [`Action::Admin`]).
    pub(super) async fn allow(&mut self, action: Action) -> Result<Caller, Failure> {
        let caller = self.identify(action, None).await?;
        self.app().gate.allow(&caller, action)?;
        Ok(caller)
    }

    /// What is here of the repository that is named as people name images, to somebody who may.
    pub(super) async fn holding(
        &mut self,
        caller: &Caller,
        name: &ImageRepository,
        action: Action,
    ) -> Result<Holding, Failure> {
        let app = Arc::clone(&self.exchange.app);
        let target = app.registry.find(name).await?;
        self.exchange.facts.repository = Some(target.to_string());
        let admitted = app.gate.admit(caller, action, &target)?;
        Ok(app.registry.holding(admitted.into_inner()))
    }

    async fn admit(&mut self, at: &At, action: Action) -> Result<(Caller, Admitted<Target>), Failure> {
        self.exchange.facts.name = Some(at.name.to_string());
        let target = self.app().registry.resolve(at.ns.as_deref(), &at.name)?;
        self.exchange.facts.repository = Some(target.to_string());
        self.namespace = self.namespace_of(at);
        let caller = self.identify(action, Some(&target)).await?;
        let admitted = self.app().gate.admit(&caller, action, &target)?;
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
            Ok(credentials) => app.gate.identify(&credentials).await,
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
            (Some(value), None) => Credentials::from_header(Some(value.to_str().unwrap_or_default())),
            // With two headers, a proxy in front may have checked the other one. Two are refused, like bytes that are not text.
            (Some(_), Some(_)) => Credentials::from_header(Some("")),
        }
    }

    /// The value of `?ns=`, where it decided (distribution-spec, "Registry Proxying"). One that names ourselves did not.
    fn namespace_of(&self, at: &At) -> Option<HeaderValue> {
        let ns = at.ns.as_deref()?;
        self.app().registry.naming().namespace(ns)?;
        HeaderValue::try_from(ns).ok()
    }

    /// A pull begins: counted, if it is one of mirrored content.
    pub(super) fn pulls(&mut self, kind: Kind, repository: &Repository) {
        if let Repository::Mirror(_) = repository {
            self.exchange.facts.mirrored = Some(kind);
            self.app().metrics.proxy_requests.with_label_values(&[kind.as_str()]).inc();
        }
    }

    /// What a pull is answered with has been found: takes note of how, and tells the client.
    pub(super) fn found<T>(&mut self, found: Found<T>, response: &mut HeaderMap) -> T {
        if let Some(cache) = found.cache {
            self.note(cache);
        }
        if let Some(warning) = &found.warning {
            response.insert(http::header::WARNING, headers::warning(warning));
        }
        found.value
    }

    fn note(&mut self, cache: CacheStatus) {
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
