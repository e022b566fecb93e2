//! One question to an upstream: which endpoint, with which credentials, and what its status means.

use std::sync::atomic::Ordering;

use http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::account::Password;
use super::endpoint::{Endpoint, Scheme};
use super::meter::Kind;
use super::token::{Grant, Token};
use super::{Upstream, UpstreamError, header, realm};
use crate::oci::RepositoryName;
use crate::outbound::{Answer, Hop, Request, authority};

/// The digest of what is answered (distribution-spec, "Pulling manifests").
pub(super) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// What is asked, whatever endpoint answers it.
#[derive(Debug)]
pub(super) struct Ask<'a> {
    pub(super) kind: Kind,
    pub(super) method: Method,
    pub(super) repository: &'a RepositoryName,
    /// What follows `/v2/NAME/`.
    pub(super) rest: String,
    pub(super) query: header::Query,
    pub(super) headers: HeaderMap,
}

/// An answer, and who gave it.
#[derive(Debug)]
pub(super) struct Reply<'a> {
    pub(super) answer: Answer,
    pub(super) endpoint: &'a Endpoint,
}

/// What a request says of who asks.
enum Authorization {
    Nothing,
    Basic,
    Token { token: Token, cached: bool },
}

impl Upstream {
    /// The first endpoint's answer, in the configured order, that is one: another is asked only if there was no connection,
    /// no answer in time, or a 5xx. An answer of any other status is given as it is; [`Self::judge`] says what it means.
    pub(super) async fn ask(&self, ask: &Ask<'_>) -> Result<Reply<'_>, UpstreamError> {
        let host = self.name().to_string();
        let mut outcome = Err(UpstreamError::Protocol { host, reason: "it has no endpoint".to_owned() });
        for endpoint in &self.endpoints {
            outcome = self.ask_endpoint(endpoint, ask).await;
            let try_next = match &outcome {
                Ok(reply) => reply.answer.status.is_server_error(),
                Err(error) => error.is_of_endpoint(),
            };
            if !try_next {
                break;
            }
        }
        outcome
    }

    /// The answer, if it brings what was asked.
    pub(super) fn judge(&self, reply: Reply<'_>) -> Result<Answer, UpstreamError> {
        let answer = reply.answer;
        let host = answer.body.host().to_owned();
        let status = answer.status.as_u16();
        match answer.status {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(answer),
            // Elsewhere nobody knows us: what refuses there is a signature, not our rights.
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if !answer.redirected => {
                Err(self.account.denied(&host, status, self.password_for(reply.endpoint)))
            }
            StatusCode::NOT_FOUND => Err(UpstreamError::NotFound),
            StatusCode::TOO_MANY_REQUESTS => {
                let retry_after =
                    answer.header(&RETRY_AFTER).and_then(|text| header::retry_after(&text, self.clock.now()));
                Err(UpstreamError::TooManyRequests { host, retry_after })
            }
            _ => Err(UpstreamError::Status { host, status }),
        }
    }

    /// The answer of one endpoint.
    pub(super) async fn ask_endpoint<'a>(
        &'a self,
        endpoint: &'a Endpoint,
        ask: &Ask<'_>,
    ) -> Result<Reply<'a>, UpstreamError> {
        let authorization = match endpoint.scheme() {
            Some(scheme) => self.authorize(endpoint, &scheme, ask.repository).await?,
            None => Authorization::Nothing,
        };
        let mut answer = self.send(endpoint, ask, &authorization).await?;
        if answer.status == StatusCode::UNAUTHORIZED
            && !answer.redirected
            && let Some(better) = self.answer_challenge(endpoint, ask, &answer, authorization).await?
        {
            answer = self.send(endpoint, ask, &better).await?;
        }
        Ok(Reply { answer, endpoint })
    }

    /// What to send to an endpoint of which it is known how it wants to be asked.
    async fn authorize(
        &self,
        endpoint: &Endpoint,
        scheme: &Scheme,
        repository: &RepositoryName,
    ) -> Result<Authorization, UpstreamError> {
        match scheme {
            Scheme::Basic if self.account.is_anonymous() => Ok(Authorization::Nothing),
            Scheme::Basic => Ok(Authorization::Basic),
            Scheme::Bearer(bearer) => {
                let named = self.password_for(endpoint) == Password::Offered && !self.account.is_anonymous();
                let grant = Grant { bearer: bearer.clone(), scope: format!("repository:{repository}:pull"), named };
                if let Some(token) = self.tokens.kept(&grant).await {
                    return Ok(Authorization::Token { token, cached: true });
                }
                let token = self.tokens.fetch(grant).await?;
                Ok(Authorization::Token { token, cached: false })
            }
        }
    }

    /// What to send instead, after a 401; `None` where nothing better is at hand.
    async fn answer_challenge(
        &self,
        endpoint: &Endpoint,
        ask: &Ask<'_>,
        answer: &Answer,
        sent: Authorization,
    ) -> Result<Option<Authorization>, UpstreamError> {
        let Some(lesson) = endpoint.learn(&answer.headers) else {
            return Ok(None);
        };
        match (&*lesson.scheme, sent) {
            (Scheme::Basic, _) if self.account.is_anonymous() => return Ok(None),
            (Scheme::Basic, Authorization::Basic) => return Ok(None),
            (Scheme::Bearer(_), Authorization::Token { cached: false, .. }) if !lesson.news => {
                return Ok(None);
            }
            (_, Authorization::Token { token, .. }) => self.tokens.forget(&token).await,
            _ => {}
        }
        self.authorize(endpoint, &lesson.scheme, ask.repository).await.map(Some)
    }

    /// Is our password for this endpoint sent where its tokens come from?
    fn password_for(&self, endpoint: &Endpoint) -> Password {
        let Some(scheme) = endpoint.scheme() else {
            return Password::Offered;
        };
        let Scheme::Bearer(bearer) = &*scheme else {
            return Password::Offered;
        };
        if realm::same_site(endpoint.base(), &bearer.realm) {
            return Password::Offered;
        }
        if !self.account.is_anonymous() && !self.warned.swap(true, Ordering::Relaxed) {
            let (upstream, endpoint, realm) = (self.name(), endpoint.host(), authority(&bearer.realm));
            tracing::warn!(
                %upstream, %endpoint, %realm,
                "the password is not sent to this upstream's token server, since it is on another site; asking without"
            );
        }
        Password::Withheld
    }

    async fn send(
        &self,
        endpoint: &Endpoint,
        ask: &Ask<'_>,
        authorization: &Authorization,
    ) -> Result<Answer, UpstreamError> {
        let mut url = endpoint.url(ask.repository, &ask.rest);
        if !ask.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&ask.query);
        }
        let mut headers = ask.headers.clone();
        // What is stored is hashed as it is named: nothing may be encoded on the way.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let value = match authorization {
            Authorization::Nothing => None,
            Authorization::Basic => self.account.basic(),
            Authorization::Token { token, .. } => Some(token.header()),
        };
        if let Some(value) = value {
            headers.insert(AUTHORIZATION, value.clone());
        }
        let request = Request { method: ask.method.clone(), url, headers };
        let observe = |hop: &Hop<'_>| self.meter.hop(ask.kind, hop);
        Ok(self.client.send(request, &observe).await?)
    }
}

/// The answer, if its body is not encoded: encoded bytes are not those that a digest names.
pub(super) fn plain(answer: Answer) -> Result<Answer, UpstreamError> {
    match answer.header(&CONTENT_ENCODING) {
        Some(coding) if !coding.trim().eq_ignore_ascii_case("identity") => {
            let reason = format!("it sent a body with Content-Encoding {coding:?}, though none was accepted");
            Err(UpstreamError::Protocol { host: answer.body.host().to_owned(), reason })
        }
        _ => Ok(answer),
    }
}

/// The number of `Content-Length`; the body of a HEAD does not tell it.
pub(super) fn content_length(answer: &Answer) -> Option<u64> {
    answer.header(&CONTENT_LENGTH)?.trim().parse().ok()
}
