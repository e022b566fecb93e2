//! Requests to the target of a redirect that asks for a token of its own: some registries only redirect to another registry.
//!
//! The token is requested as an anonymous client. The account of the upstream is never named to the target.

use http::header::{ACCEPT_ENCODING, AUTHORIZATION};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::authorization::place_of;
use crate::outbound::{Hop, Request, Response, Url};
use crate::upstream::client::Upstream;
use crate::upstream::endpoint::{BearerRealm, Challenge, RequestKind, challenges};
use crate::upstream::error::UpstreamError;
use crate::upstream::login::{Token, TokenRequest};

impl Upstream {
    /// Returns the response to a redirected request. If the target answers 401 and names a token server, the target is asked
    /// again with an anonymous token.
    pub(super) async fn with_anonymous_token(
        &self,
        (kind, method, headers): (RequestKind, &Method, &HeaderMap),
        response: Response,
    ) -> Result<Response, UpstreamError> {
        if !response.redirected || response.status != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let Some(place) = place_of(&response.url) else { return Ok(response) };
        let Some(wanted) = wanted(&response, &place.1) else { return Ok(response) };
        self.target_tokens.learn(place, wanted.clone());
        let cached = self.tokens.cached(&wanted).await;
        let (token, is_cached) = match cached {
            Some(token) => (token, true),
            None => (self.tokens.fetch(wanted.clone()).await?, false),
        };
        let url = response.url.clone();
        let again = self.send_to_target(kind, method, headers, (&url, Some(&token))).await?;
        if again.status != StatusCode::UNAUTHORIZED || !is_cached {
            return Ok(again);
        }
        self.tokens.forget(&token).await;
        let token = self.tokens.fetch(wanted).await?;
        self.send_to_target(kind, method, headers, (&url, Some(&token))).await
    }

    /// Sends a request to the target of an earlier redirect. That server does not know the account, so the request carries at
    /// most an anonymous token that the target asked for before.
    pub(super) async fn follow(
        &self,
        kind: RequestKind,
        address: &Url,
        headers: &HeaderMap,
    ) -> Result<Response, UpstreamError> {
        let wanted = place_of(address).and_then(|place| self.target_tokens.get(&place));
        let token = match &wanted {
            Some(wanted) => self.tokens.cached(wanted).await,
            None => None,
        };
        let response = self.send_to_target(kind, &Method::GET, headers, (address, token.as_ref())).await?;
        if let Some(token) = token.filter(|_| response.status == StatusCode::UNAUTHORIZED) {
            self.tokens.forget(&token).await;
        }
        self.with_anonymous_token((kind, &Method::GET, headers), response).await
    }

    async fn send_to_target(
        &self,
        kind: RequestKind,
        method: &Method,
        headers: &HeaderMap,
        (url, token): (&Url, Option<&Token>),
    ) -> Result<Response, UpstreamError> {
        let mut headers = headers.clone();
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.remove(AUTHORIZATION);
        if let Some(token) = token {
            headers.insert(AUTHORIZATION, token.header().clone());
        }
        let observe = |hop: &Hop<'_>| self.meter.hop(kind, &Hop { redirected: true, ..*hop });
        let request = Request { method: method.clone(), url: url.clone(), headers };
        let mut response = self.client.send(request, &observe).await?;
        response.redirected = true;
        Ok(response)
    }
}

/// Returns the token that a 401 asks for. A realm in plain HTTP is refused if the registry itself uses TLS.
fn wanted(response: &Response, repository: &str) -> Option<TokenRequest> {
    let fields = response.headers.get_all(http::header::WWW_AUTHENTICATE).iter();
    let fields: Vec<_> = fields.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    challenges(fields.iter().map(AsRef::as_ref)).into_iter().find_map(|challenge| {
        let Challenge::Bearer { realm, service, scope } = challenge else { return None };
        let mut realm = response.url.join(&realm).ok()?;
        let is_safe = realm.scheme() == "https" || (realm.scheme() == "http" && response.url.scheme() == "http");
        // The HTTP library would turn a user and a password in the address into an `Authorization` header.
        realm.set_username("").and_then(|()| realm.set_password(None)).ok()?;
        let scope = scope.unwrap_or_else(|| format!("repository:{repository}:pull"));
        is_safe.then_some(TokenRequest { bearer: BearerRealm { realm, service }, scope, named: false })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn place_is_host_and_repository() {
        for (address, want) in [
            ("https://back.example/v2/org/app/manifests/1", Some(("back.example:443", "org/app"))),
            ("http://back:81/x/v2/a/blobs/b/blobs/sha256:1", Some(("back:81", "a/blobs/b"))),
            ("https://cdn.example/data?signature=x", None),
            ("https://back.example/v2/", None),
        ] {
            let found = place_of(&address.parse().unwrap());
            let found = found.as_ref().map(|(host, repository)| (host.as_str(), repository.as_str()));
            let want = want.map(|(host, repository)| (host.trim_end_matches(":443"), repository));
            assert_eq!(found.map(|(host, repository)| (host.trim_end_matches(":443"), repository)), want, "{address}");
        }
    }
}
