//! One question to one endpoint: with which credentials, what its status means, and what it tells of the endpoint's health.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::account::Password;
use super::endpoint::{Endpoint, Scheme};
use super::health::Throttle;
use super::login::Login;
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
    Basic(Arc<Login>),
    Token { token: Token, cached: bool },
}

impl Upstream {
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
            StatusCode::RANGE_NOT_SATISFIABLE => {
                let total = answer.header(&CONTENT_RANGE).and_then(|text| header::unsatisfied(&text));
                Err(UpstreamError::Unsatisfiable { host, total })
            }
            StatusCode::TOO_MANY_REQUESTS => {
                Err(UpstreamError::TooManyRequests { host, retry_after: self.retry_after(&answer) })
            }
            _ => Err(UpstreamError::Status { host, status }),
        }
    }

    /// The answer of one endpoint, whatever its status. What becomes of the question is told to the endpoint's health, so
    /// that the caller need only tell of the body. While the endpoint hangs nobody waits for it: [`UpstreamError::Silent`].
    pub(super) async fn ask_endpoint<'a>(
        &'a self,
        endpoint: &'a Endpoint,
        ask: &Ask<'_>,
    ) -> Result<Reply<'a>, UpstreamError> {
        let health = endpoint.health();
        let _probe = health.begin(&endpoint.host())?;
        let began = self.clock.moment();
        match self.exchange(endpoint, ask).await {
            Ok((answer, took)) => {
                self.note(endpoint, &answer, took);
                Ok(Reply { answer, endpoint })
            }
            Err(mut error) => {
                match &error {
                    // Of its token server.
                    UpstreamError::TooManyRequests { retry_after, .. } => {
                        health.spoke();
                        health.throttle(Throttle::TooManyRequests, *retry_after);
                    }
                    of_endpoint if of_endpoint.is_of_endpoint() => health.missed(&error, self.clock.since(began)),
                    _ => health.spoke(),
                }
                if let UpstreamError::Connect { retry_in, .. } = &mut error {
                    *retry_in = health.rests();
                }
                Err(error)
            }
        }
    }

    /// The final answer, and how long its head took.
    async fn exchange(&self, endpoint: &Endpoint, ask: &Ask<'_>) -> Result<(Answer, Duration), UpstreamError> {
        let authorization = match endpoint.scheme() {
            Some(scheme) => self.authorize(endpoint, &scheme, ask.repository).await?,
            None => Authorization::Nothing,
        };
        let (answer, took) = self.send(endpoint, ask, &authorization).await?;
        let better = match answer.status {
            _ if answer.redirected => None,
            StatusCode::UNAUTHORIZED => self.answer_challenge(endpoint, ask, &answer, authorization).await?,
            StatusCode::FORBIDDEN => self.renew(endpoint, ask, authorization).await?,
            _ => None,
        };
        match better {
            Some(better) => self.send(endpoint, ask, &better).await,
            None => Ok((answer, took)),
        }
    }

    /// What the head of an answer tells of its endpoint.
    fn note(&self, endpoint: &Endpoint, answer: &Answer, took: Duration) {
        let (health, host) = (endpoint.health(), endpoint.host());
        let status = answer.status;
        // Where it redirects to has limits of its own.
        let retry_after = self.retry_after(answer).filter(|_| !answer.redirected);
        if status.is_server_error() {
            health.missed(&UpstreamError::Status { host, status: status.as_u16() }, took);
        } else {
            health.answered(took);
        }
        match status {
            StatusCode::TOO_MANY_REQUESTS if !answer.redirected => {
                health.throttle(Throttle::TooManyRequests, retry_after);
            }
            StatusCode::SERVICE_UNAVAILABLE if retry_after.is_some() => {
                health.throttle(Throttle::Unavailable, retry_after);
            }
            _ => {}
        }
    }

    fn retry_after(&self, answer: &Answer) -> Option<Duration> {
        answer.header(&RETRY_AFTER).and_then(|text| header::retry_after(&text, self.clock.now()))
    }

    /// What to send to an endpoint of which it is known how it wants to be asked.
    async fn authorize(
        &self,
        endpoint: &Endpoint,
        scheme: &Scheme,
        repository: &RepositoryName,
    ) -> Result<Authorization, UpstreamError> {
        match scheme {
            Scheme::Basic => Ok(basic(self.account.login().await)),
            Scheme::Bearer(bearer) => {
                let named = self.password_for(endpoint) == Password::Offered && self.account.login().await.is_some();
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
            (Scheme::Basic, Authorization::Basic(refused)) => {
                let better = basic(self.account.instead_of(&refused).await);
                return Ok(Some(better).filter(|better| !matches!(better, Authorization::Nothing)));
            }
            (Scheme::Bearer(_), Authorization::Token { cached: false, .. }) if !lesson.news => {
                return Ok(None);
            }
            (_, Authorization::Token { token, .. }) => self.tokens.forget(&token).await,
            _ => {}
        }
        let better = self.authorize(endpoint, &lesson.scheme, ask.repository).await?;
        Ok(Some(better).filter(|better| !matches!(better, Authorization::Nothing)))
    }

    /// What to send instead, after a 403: some registries say that to a token whose rights were changed since it was given out.
    async fn renew(
        &self,
        endpoint: &Endpoint,
        ask: &Ask<'_>,
        sent: Authorization,
    ) -> Result<Option<Authorization>, UpstreamError> {
        let (Some(scheme), Authorization::Token { token, cached: true }) = (endpoint.scheme(), sent) else {
            return Ok(None);
        };
        self.tokens.forget(&token).await;
        self.authorize(endpoint, &scheme, ask.repository).await.map(Some)
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
    ) -> Result<(Answer, Duration), UpstreamError> {
        let mut url = endpoint.url(ask.repository, &ask.rest);
        if !ask.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&ask.query);
        }
        let mut headers = ask.headers.clone();
        // What is stored is hashed as it is named: nothing may be encoded on the way.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let value = match authorization {
            Authorization::Nothing => None,
            Authorization::Basic(login) => login.basic(),
            Authorization::Token { token, .. } => Some(token.header()),
        };
        if let Some(value) = value {
            headers.insert(AUTHORIZATION, value.clone());
        }
        let request = Request { method: ask.method.clone(), url, headers };
        let observe = |hop: &Hop<'_>| self.meter.hop(ask.kind, hop);
        let began = self.clock.moment();
        let answer = self.client.send(request, &observe).await?;
        Ok((answer, self.clock.since(began)))
    }
}

/// A login that can be sent with each request; an identity token is for token servers alone.
fn basic(login: Option<Arc<Login>>) -> Authorization {
    login.filter(|login| login.basic().is_some()).map_or(Authorization::Nothing, Authorization::Basic)
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
