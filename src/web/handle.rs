//! Handles a request: checks it, finds its route, calls the handler, and returns the answer.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_LENGTH, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body::Body as _;

use super::app::{App, Listener, RequestRoom};
use super::call::{Answer, Call};
use super::error::Failure;
use super::exchange::Exchange;
use super::guard;
use super::request::{RequestBody, check_framing, check_limits};
use super::response::{Body, bare, headers};
use super::route::{Refused, Route, RouteError, is_api, is_registry_api};
use super::{api, ops, v2};

/// Answers a request. It never fails: an error is an answer too.
pub async fn handle<B>(
    app: &Arc<App>,
    (listener, room): (Listener, RequestRoom),
    request: Request<B>,
    peer: SocketAddr,
) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (head, body) = request.into_parts();
    let parsed = Route::parse(app.site(listener), &head.method, &head.uri);
    let framing = check_framing(&head);
    let handler = parsed.as_ref().map_or_else(|refused| refused.handler, Route::handler);
    let body = RequestBody::new(body, &head, app.stall);
    let exchange = Box::new(Exchange::begin(app, head, peer, handler));
    let mut call = Call { exchange, body, listener, namespace: None };
    let answer = match framing.map_err(Failure::from).and_then(|()| check(app, &call.exchange.head)) {
        Err(failure) => Err(failure),
        Ok(()) if room == RequestRoom::Full && !is_probe(&parsed) => Err(Failure::overloaded()),
        Ok(()) if is_preflight(app, &call) => Ok(preflight(&parsed)),
        Ok(()) => match parsed {
            Ok(route) => answer(&mut call, route).await,
            Err(refused) => Err(refused.why.into()),
        },
    };
    finish(call, answer)
}

/// Returns true for the probes. They open no file, and a supervisor that gets no answer restarts the server.
fn is_probe(parsed: &Result<Route, Refused>) -> bool {
    matches!(parsed, Ok(Route::Root | Route::Live | Route::Ready | Route::Health | Route::Metrics))
}

/// Checks what is decided before any route.
fn check(app: &App, head: &Parts) -> Result<(), Failure> {
    check_limits(head)?;
    guard::check_page(&app.names, &app.cors, head)?;
    Ok(())
}

/// Returns true for OPTIONS below `/v2/` and `/api/v1/`. A browser sends it before a request with a login, and without the login (Fetch
/// Standard, "CORS-preflight request"), so it is answered before authentication.
fn is_preflight(app: &App, call: &Call) -> bool {
    let head = &call.exchange.head;
    head.method == Method::OPTIONS && is_api(app.site(call.listener), &head.uri)
}

/// Answers OPTIONS with the methods of the path. It says nothing about content.
fn preflight(parsed: &Result<Route, Refused>) -> Response<Body> {
    let allow = match parsed {
        Err(Refused { why: RouteError::Method { allow }, .. }) => format!("{allow}, OPTIONS"),
        _ => "OPTIONS".to_owned(),
    };
    bare(StatusCode::NO_CONTENT, HeaderMap::from_iter([(ALLOW, headers::value(allow))]))
}

async fn answer(call: &mut Call, route: Route) -> Answer {
    match route {
        Route::Root => Ok(ops::root(call)),
        Route::Live => Ok(ops::live()),
        Route::Ready => Ok(ops::ready(call)),
        Route::Health => Ok(ops::health(call)),
        Route::Metrics => ops::metrics(call).await,
        Route::Ping => Ok(ops::ping()),
        Route::Base => v2::base::base(call).await,
        Route::Catalog { page } => v2::catalog::list(call, &page).await,
        Route::Tags { at, page } => v2::tags::list(call, &at, &page).await,
        Route::Manifest { at, reference, verb } => {
            call.exchange.facts.reference = Some(reference.to_string());
            v2::manifests::answer(call, &at, &reference, verb).await
        }
        Route::Blob { at, digest, verb } => {
            call.exchange.facts.digest = Some(digest.to_string());
            v2::blobs::answer(call, &at, &digest, verb).await
        }
        Route::Referrers { at, asked } => {
            call.exchange.facts.digest = Some(asked.subject.to_string());
            v2::referrers::list(call, &at, &asked).await
        }
        Route::StartUpload { at, start } => v2::uploads::start(call, &at, start).await,
        Route::Upload { at, id, verb } => {
            call.exchange.facts.upload = Some(id.as_str().to_owned());
            v2::uploads::answer(call, &at, &id, verb).await
        }
        Route::Api(route) => api::answer(call, route).await,
    }
}

/// Adds the headers that every answer carries, and attaches the exchange to the body.
fn finish(call: Call, answer: Answer) -> Response<Body> {
    let Call { mut exchange, body, listener, namespace } = call;
    let mut response = match answer {
        Ok(response) => response,
        Err(failure) => {
            let failure = failure.about(&exchange.facts);
            exchange.facts.cache = exchange.facts.cache.or(failure.cache());
            exchange.facts.error = Some(failure.logged());
            failure.into_response()
        }
    };
    let app = Arc::clone(&exchange.app);
    if is_registry_api(app.site(listener), &exchange.head.uri) {
        response.headers_mut().insert(headers::API_VERSION, HeaderValue::from_static("registry/2.0"));
        // A server without upstreams is an ordinary registry to the mirror that asks it.
        let proxy = if app.registry.naming().has_upstreams() { "ns" } else { "none" };
        response.headers_mut().insert(headers::REGISTRY_PROXY, HeaderValue::from_static(proxy));
        guard::sandbox(response.headers_mut());
    } else {
        guard::fix_headers(response.headers_mut());
    }
    if let Some(cache) = exchange.facts.cache {
        response.headers_mut().insert(headers::X_CACHE, HeaderValue::from_static(cache.as_str()));
    }
    if let Some(namespace) = namespace {
        response.headers_mut().insert(headers::OCI_NAMESPACE, namespace);
    }
    response.headers_mut().insert(headers::REQUEST_ID, headers::value(exchange.id()));
    app.cors.add_to(response.headers_mut(), &exchange.head.headers);
    announce_length(&mut response, &exchange.head.method);
    exchange.answered(response.status(), response.headers(), body.received());
    body.drain(&app.machine.tasks);
    response.map(|body| body.with_exchange(exchange))
}

/// Announces the length of the body. The answer to a HEAD announces the same length and has no body.
fn announce_length(response: &mut Response<Body>, method: &Method) {
    let is_head = *method == Method::HEAD;
    let has_no_length = matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        || is_head && response.body().is_absent();
    if !has_no_length && let Some(len) = response.body().size_hint().exact() {
        response.headers_mut().entry(CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(len));
    }
    if is_head {
        *response.body_mut() = Body::empty();
    }
}
