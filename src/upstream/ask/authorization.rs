//! The credentials that a request to an endpoint carries, and better ones after a refusal.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::{HeaderValue, StatusCode};

use crate::oci::RepositoryName;
use crate::outbound::{Response, Url, authority};
use crate::upstream::cause::FailureCause;
use crate::upstream::client::Upstream;
use crate::upstream::endpoint::{Endpoint, Scheme};
use crate::upstream::error::UpstreamError;
use crate::upstream::login::{PasswordUse, RegistryLogin, Token, TokenRequest, same_site};

/// The credentials that a request carries.
pub(super) enum Authorization {
    Nothing,
    Basic(Arc<RegistryLogin>),
    Token { token: Token, cached: bool },
}

impl Authorization {
    /// Returns the value of `Authorization`.
    pub(super) fn header(&self) -> Option<&HeaderValue> {
        match self {
            Self::Nothing => None,
            Self::Basic(login) => login.basic(),
            Self::Token { token, .. } => Some(token.header()),
        }
    }

    /// Returns the credentials unless they are none.
    fn given(self) -> Option<Self> {
        (!matches!(self, Self::Nothing)).then_some(self)
    }
}

/// The failure to get a token from the token server that an earlier 401 named.
pub(super) struct LackingToken {
    scheme: Arc<Scheme>,
    error: UpstreamError,
}

impl Upstream {
    /// Returns the credentials for an endpoint, as far as its authentication scheme is known. Without a token, there are none:
    /// the endpoint may name another token server by now, or need no token any more.
    pub(super) async fn credentials(
        &self,
        endpoint: &Endpoint,
        repository: &RepositoryName,
    ) -> (Authorization, Option<LackingToken>) {
        let Some(scheme) = endpoint.scheme() else { return (Authorization::Nothing, None) };
        match self.authorize(endpoint, &scheme, &endpoint.name_of(repository)).await {
            Ok(authorization) => (authorization, None),
            Err(error) => (Authorization::Nothing, Some(LackingToken { scheme, error })),
        }
    }

    /// Returns the token server's failure if the endpoint still wants its token. The endpoint has given this response to the
    /// request without a token.
    pub(super) async fn check_lack(
        &self,
        endpoint: &Endpoint,
        response: &Response,
        lack: LackingToken,
    ) -> Result<(), UpstreamError> {
        let is_elsewhere = response.redirected && !endpoint.is_at(&response.url);
        let is_open = match response.status {
            _ if is_elsewhere => response.status.is_success(),
            StatusCode::UNAUTHORIZED => match endpoint.asked_scheme(&response.headers) {
                Some(asked) if asked != *lack.scheme => false,
                _ => return Err(lack.error),
            },
            // To a client without a token, some registries deny what its account may read.
            StatusCode::FORBIDDEN | StatusCode::NOT_FOUND if !self.is_open(endpoint).await => return Err(lack.error),
            StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => true,
            status => status.is_success(),
        };
        if let Some(cause) = FailureCause::of(&lack.error) {
            endpoint.health().count_failure(cause);
        }
        if is_open {
            endpoint.forget(&lack.scheme);
            let (upstream, endpoint, error) = (self.name(), endpoint.host(), lack.error.to_string());
            tracing::info!(%upstream, %endpoint, error, "no token can be had, and the endpoint answers without one");
        }
        Ok(())
    }

    /// Returns the value of `Authorization` for an endpoint that wants the login itself.
    pub(super) async fn basic_for(&self, endpoint: &Endpoint) -> Option<HeaderValue> {
        let scheme = endpoint.scheme().filter(|scheme| **scheme == Scheme::Basic)?;
        let authorization = self.authorize(endpoint, &scheme, "").await.ok()?;
        authorization.header().cloned()
    }

    /// Returns better credentials after a refusal; `None` if there are no better ones.
    pub(super) async fn better_credentials(
        &self,
        endpoint: &Endpoint,
        repository: &RepositoryName,
        response: &Response,
        sent: Authorization,
    ) -> Result<Option<Authorization>, UpstreamError> {
        match response.status {
            // The target of a redirect to another server does not know the account.
            _ if response.redirected && !endpoint.is_at(&response.url) => Ok(None),
            StatusCode::UNAUTHORIZED => {
                let name = name_at(endpoint, repository, response);
                self.answer_challenge(endpoint, name, response, sent).await
            }
            StatusCode::FORBIDDEN => self.renew(endpoint, name_at(endpoint, repository, response), sent).await,
            _ => Ok(None),
        }
    }

    async fn authorize(
        &self,
        endpoint: &Endpoint,
        scheme: &Scheme,
        name: &str,
    ) -> Result<Authorization, UpstreamError> {
        match scheme {
            Scheme::Basic => Ok(basic(self.account.login().await)),
            Scheme::Bearer(bearer) => {
                let named = self.password_for(endpoint) == PasswordUse::Sent && self.account.login().await.is_some();
                let scope = scope_of(name);
                let wanted = TokenRequest { bearer: bearer.clone(), scope, named };
                if let Some(token) = self.tokens.cached(&wanted).await {
                    return Ok(Authorization::Token { token, cached: true });
                }
                let token = self.tokens.fetch(wanted).await?;
                Ok(Authorization::Token { token, cached: false })
            }
        }
    }

    /// Returns better credentials after a 401; `None` if there are no better ones.
    async fn answer_challenge(
        &self,
        endpoint: &Endpoint,
        name: String,
        response: &Response,
        sent: Authorization,
    ) -> Result<Option<Authorization>, UpstreamError> {
        let Some(learned) = endpoint.learn(&response.headers) else {
            return self.renew(endpoint, name, sent).await;
        };
        match (&*learned.scheme, sent) {
            (Scheme::Basic, Authorization::Basic(refused)) => return self.newer_login(&refused).await,
            (Scheme::Bearer(_), Authorization::Token { token, .. }) if !token.is_for(&scope_of(&name)) => {}
            (Scheme::Bearer(_), sent @ Authorization::Token { cached: false, .. }) if !learned.is_new => {
                return self.renew(endpoint, name, sent).await;
            }
            (_, Authorization::Token { token, .. }) => self.tokens.forget(&token).await,
            _ => {}
        }
        Ok(self.authorize(endpoint, &learned.scheme, &name).await?.given())
    }

    /// Returns fresh credentials for those that were refused: some registries answer 403 to a login that has expired, or to
    /// a token whose rights were changed after it was issued.
    async fn renew(
        &self,
        endpoint: &Endpoint,
        name: String,
        sent: Authorization,
    ) -> Result<Option<Authorization>, UpstreamError> {
        match sent {
            Authorization::Nothing => return Ok(None),
            Authorization::Basic(refused) => return self.newer_login(&refused).await,
            Authorization::Token { token, cached: true } => self.tokens.forget(&token).await,
            Authorization::Token { token, cached: false } => {
                // Some token servers give a token without rights to a login that has expired.
                let login = if token.is_named() { self.account.login().await } else { None };
                let Some(refused) = login else { return Ok(None) };
                if self.account.instead_of(&refused).await.is_none() {
                    return Ok(None);
                }
                self.tokens.forget(&token).await;
            }
        }
        let Some(scheme) = endpoint.scheme() else { return Ok(None) };
        Ok(self.authorize(endpoint, &scheme, &name).await?.given())
    }

    async fn newer_login(&self, refused: &RegistryLogin) -> Result<Option<Authorization>, UpstreamError> {
        Ok(basic(self.account.instead_of(refused).await).given())
    }

    /// Decides whether the password for this endpoint may be sent to the server that its credentials are for.
    pub(super) fn password_for(&self, endpoint: &Endpoint) -> PasswordUse {
        let Some(scheme) = endpoint.scheme() else {
            return PasswordUse::Sent;
        };
        let Scheme::Bearer(bearer) = &*scheme else {
            return PasswordUse::Sent;
        };
        if same_site(endpoint.base(), &bearer.realm) {
            return PasswordUse::Sent;
        }
        if !self.account.is_anonymous() && !self.warned_of_withheld_password.swap(true, Ordering::Relaxed) {
            let (upstream, endpoint, realm) = (self.name(), endpoint.host(), authority(&bearer.realm));
            tracing::warn!(
                %upstream, %endpoint, %realm,
                "the token server of this upstream is on another site, so the password is not sent to it; requesting an \
                 anonymous token"
            );
        }
        PasswordUse::Withheld
    }
}

/// Returns the name that a repository has in the address that answered: an endpoint may redirect to its own name for it.
fn name_at(endpoint: &Endpoint, repository: &RepositoryName, response: &Response) -> String {
    let place = if response.redirected { place_of(&response.url) } else { None };
    place.map_or_else(|| endpoint.name_of(repository), |(_, name)| name)
}

fn scope_of(name: &str) -> String {
    format!("repository:{name}:pull")
}

/// Returns the host of an address and the repository in its path: `/v2/NAME/manifests/…`.
pub(super) fn place_of(url: &Url) -> Option<(String, String)> {
    let (_, rest) = url.path().split_once("/v2/")?;
    let ends = ["/manifests/", "/blobs/", "/tags/", "/referrers/"];
    let end = ends.iter().filter_map(|part| rest.rfind(part)).max()?;
    Some((authority(url), rest[..end].to_owned()))
}

/// Returns the login if it can be sent with each request. An identity token is only for token servers.
fn basic(login: Option<Arc<RegistryLogin>>) -> Authorization {
    login.filter(|login| login.basic().is_some()).map_or(Authorization::Nothing, Authorization::Basic)
}
