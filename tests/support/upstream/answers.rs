//! The answers of the test upstream.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use entrepot::oci::ByteRange;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Request, Response};
use serde_json::json;

use super::super::fault::{Body, Fault, Faults, pick};
use super::super::line::Line;
use super::super::listing;
use super::{Auth, Inner, Links, Logged, State};

/// An answer before faults apply: its status, headers and body.
pub struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
}

impl Answer {
    pub fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::new() }
    }

    /// Returns the answer of a registry to a request that it refuses, or whose content it does not have.
    fn refused(status: u16) -> Self {
        Self::new(status).with("docker-distribution-api-version", "registry/2.0")
    }

    /// Returns the answer of another server in the place of the registry.
    fn page(status: u16) -> Self {
        Self::new(status).with("content-type", "text/html").body("<html>please log in to the network</html>")
    }

    pub fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }

    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }
}

pub(super) async fn handle(state: &State, request: Request<Incoming>, line: &Arc<Line>) -> Response<Body> {
    let (method, path) = (request.method().as_str().to_owned(), request.uri().path().to_owned());
    let (version, headers, query) =
        (request.version(), request.headers().clone(), request.uri().query().map(str::to_owned));
    let body = if method == "POST" { request.collect().await.unwrap().to_bytes() } else { Bytes::new() };
    let form = String::from_utf8_lossy(&body).into_owned();
    let sent = Arc::new(AtomicU64::new(0));
    let (faults, answer, sets_cookies) = {
        let mut inner = state.lock();
        let query = query.unwrap_or_default();
        let faults = Faults::of(&mut inner.rules, &method, &format!("{path}?{query}"));
        let logged = Logged { method: method.clone(), path, query, version, headers, form, sent: Arc::clone(&sent) };
        inner.log.push(logged.clone());
        let is_cdn = logged.path.starts_with("/cdn/");
        let answer = match (pick!(faults, Status), pick!(faults, Page)) {
            (_, Some(status)) => Answer::page(status),
            (Some(status @ 401..=404), _) if !is_cdn => Answer::refused(status),
            (Some(status), _) => Answer::new(status),
            (None, None) => answer(state, &mut inner, &logged, &faults),
        };
        (faults, answer, !inner.omits_cookies)
    };
    faults.before_head(line).await;
    let mut headers = answer.headers;
    if let Some(value) = pick!(faults, RetryAfter) {
        headers.push(("retry-after", value.to_owned()));
    }
    if faults.has(&Fault::NoDigest) {
        headers.retain(|(name, _)| *name != "docker-content-digest");
    }
    if faults.has(&Fault::Encoded) {
        headers.push(("content-encoding", "gzip".to_owned()));
    }
    if !faults.has(&Fault::NoLength) {
        let length = pick!(faults, Length).unwrap_or(answer.body.len() as u64);
        headers.push(("content-length", length.to_string()));
    }
    // Clients must not send it back.
    if sets_cookies {
        headers.push(("set-cookie", "session=c00kie; Path=/".to_owned()));
    }
    let body = if method == "HEAD" { Bytes::new() } else { answer.body };
    let mut response = Response::new(faults.body(body, sent, line, &state.pace));
    *response.status_mut() = answer.status.try_into().unwrap();
    for (name, value) in headers {
        response.headers_mut().append(HeaderName::from_static(name), HeaderValue::try_from(value).unwrap());
    }
    response
}

fn answer(state: &State, inner: &mut Inner, request: &Logged, faults: &Faults) -> Answer {
    if request.path == "/token" {
        return token(state, inner, request);
    }
    if let Some(digest) = request.path.strip_prefix("/cdn/blobs/") {
        if ["authorization", "cookie"].iter().any(|name| request.headers.contains_key(*name)) {
            return Answer::new(400);
        }
        if !good_link(inner, request) {
            return Answer::new(403);
        }
        let held = inner.repositories.values().find_map(|repository| repository.blobs.get(digest));
        return held.map_or(Answer::new(404), |content| ranged(content, request, faults));
    }
    let Some(rest) = request.path.strip_prefix("/v2/") else {
        return Answer::refused(404);
    };
    let parts: Vec<&str> = rest.rsplitn(3, '/').collect();
    let name = parts.get(2).copied().unwrap_or_default();
    if let Some(refusal) = refuse(state, inner, name, request) {
        return refusal;
    }
    if rest.is_empty() {
        return Answer::new(200).with("docker-distribution-api-version", "registry/2.0").body("{}");
    }
    let Some(repository) = inner.repositories.get(name) else {
        return Answer::refused(404);
    };
    match parts[..] {
        [reference, "manifests", _] => {
            let digest = repository.tags.get(reference).map_or(reference, String::as_str);
            let Some((body, media_type)) = repository.manifests.get(digest) else {
                return Answer::refused(404);
            };
            let answer = Answer::new(200).with("content-type", media_type).with("docker-content-digest", digest);
            let answer = answer.body(body.clone());
            if let Some(left) = &mut inner.pulls_left {
                *left = left.saturating_sub(u64::from(request.method == "GET"));
                let remaining = format!("{left};w=21600");
                return answer.with("ratelimit-limit", "100;w=21600").with("ratelimit-remaining", remaining);
            }
            match inner.ratelimit {
                Some(text) => answer.with("ratelimit-limit", "100;w=21600").with("ratelimit-remaining", text),
                None => answer,
            }
        }
        [digest, "blobs", _] if repository.blobs.contains_key(digest) && inner.cdn => {
            inner.given.push((Instant::now(), 0));
            let link = inner.given.len() - 1;
            let cdn = inner.cdn_at.clone().unwrap_or_else(|| state.url(state.cdn));
            Answer::new(307).with("location", format!("{cdn}/cdn/blobs/{digest}?signature=secret&link={link}"))
        }
        [digest, "blobs", _] => match repository.blobs.get(digest) {
            Some(content) => ranged(content, request, faults).with("docker-content-digest", digest),
            None => Answer::refused(404),
        },
        ["list", "tags", _] => listing::tags(name, repository, inner.lists, request),
        [subject, "referrers", _] => listing::referrers(repository, subject, inner.lists, request),
        _ => Answer::refused(404),
    }
}

/// Returns true if the link of this request to the CDN is still valid.
fn good_link(inner: &mut Inner, request: &Logged) -> bool {
    if matches!(inner.links, Links::Lasting) {
        return true;
    }
    let number = parameter(&request.query, "link").and_then(|number| number.parse::<usize>().ok());
    let Some((given, used)) = number.and_then(|number| inner.given.get_mut(number)) else {
        return false;
    };
    *used += usize::from(request.method == "GET");
    match inner.links {
        Links::Lasting => true,
        Links::Once => *used <= 1,
        Links::For(time) => given.elapsed() <= time,
    }
}

fn token(state: &State, inner: &mut Inner, request: &Logged) -> Answer {
    let Auth::Bearer(auth) = inner.auth.clone() else {
        return Answer::new(404);
    };
    let asked = |name: &str| parameter(&request.query, name).or_else(|| parameter(&request.form, name));
    let identified = request.method == "POST"
        && asked("grant_type").as_deref() == Some("refresh_token")
        && auth.identity.is_some_and(|identity| asked("refresh_token").as_deref() == Some(identity));
    let named =
        auth.login.is_none_or(|(name, password)| request.header("authorization") == Some(&basic(name, password)));
    if !(identified || (named && request.method == "GET" && (auth.login.is_some() || auth.identity.is_none()))) {
        return Answer::new(401);
    }
    inner.issued += 1;
    // Another upstream's token is not valid here.
    let token = format!("token-{}-{}", state.registry.port(), inner.issued);
    inner.tokens.insert(token.clone(), asked("scope").unwrap_or_default());
    let mut answer = json!({});
    answer[if auth.oauth { "access_token" } else { "token" }] = token.into();
    if let Some(seconds) = auth.expires_in {
        answer["expires_in"] = seconds.into();
    }
    Answer::new(200).with("content-type", "application/json").body(answer.to_string())
}

/// Returns the 401 for a client that may not read this repository.
fn refuse(state: &State, inner: &Inner, name: &str, request: &Logged) -> Option<Answer> {
    let sent = request.header("authorization").unwrap_or_default();
    match &inner.auth {
        Auth::Open => None,
        Auth::Basic(user, password) if sent == basic(user, password) => None,
        Auth::Basic(..) => Some(Answer::new(401).with("www-authenticate", r#"Basic realm="test""#)),
        Auth::Bearer(auth) => {
            let scope = sent.strip_prefix("Bearer ").and_then(|token| inner.tokens.get(token));
            if scope.is_some_and(|scope| *scope == format!("repository:{name}:pull")) {
                return None;
            }
            if auth.forbids && !sent.is_empty() {
                return Some(Answer::refused(403));
            }
            let usual = [r#"Bearer realm="{realm}",service="test",scope="repository:{name}:pull""#];
            let written = if auth.challenges.is_empty() { &usual[..] } else { &auth.challenges };
            let realm = auth.realm.clone().unwrap_or_else(|| format!("{}/token", state.url(state.registry)));
            let fields = written.iter().map(|text| text.replace("{realm}", &realm).replace("{name}", name));
            Some(fields.fold(Answer::new(401), |answer, field| answer.with("www-authenticate", field)))
        }
    }
}

fn ranged(content: &Bytes, request: &Logged, faults: &Faults) -> Answer {
    let range = request.header("range").and_then(|text| text.parse::<ByteRange>().ok());
    let Some(range) = range.filter(|_| !faults.has(&Fault::IgnoreRange)) else {
        return Answer::new(200).body(content.clone());
    };
    if let Some(status) = pick!(faults, RefuseRange) {
        return Answer::new(status).body("no ranges here");
    }
    let total = content.len();
    let stated = pick!(faults, Total).unwrap_or(total as u64);
    let Some(mut span) = range.resolve((total as u64).min(stated)) else {
        return Answer::new(416).with("content-range", format!("bytes */{stated}"));
    };
    if faults.has(&Fault::Overlong) {
        span.end = total as u64;
    }
    let said = if faults.has(&Fault::UnknownTotal) { "*".to_owned() } else { stated.to_string() };
    let shift = u64::from(faults.has(&Fault::WrongRange));
    let body = content.slice(span.start as usize..span.end as usize);
    if faults.has(&Fault::NoContentRange) {
        return Answer::new(206).body(body);
    }
    Answer::new(206).with("content-range", format!("bytes {}-{}/{said}", span.start + shift, span.end - 1)).body(body)
}

fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
}

/// Returns a parameter of a query or a form, decoded.
pub fn parameter(query: &str, name: &str) -> Option<String> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
    Some(percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned())
}
