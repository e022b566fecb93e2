//! HTTP in and out: routes, one module per noun of the API, bodies, errors.
//!
//! Floor 5. May import floors 0–2, `auth` and `registry`. It decides neither whose a name is (`registry`) nor who may (`auth`); it
//! must never reach past them to `store` or `upstream`. Status codes stand in `error` and in the handlers' good answers alone.

mod access_log;
mod api;
mod body;
mod call;
mod error;
mod exchange;
mod framing;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod headers;
mod limits;
mod location;
mod multipart;
mod ops;
mod query;
mod request;
mod room;
mod route;
mod unread;
mod v2;

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body::Body as _;

pub use access_log::AccessLog;
pub use api::{
    BlobState, BlobUsage, BudgetStatus, CacheTotals, CircuitStatus, DeletedImage, DiskUsage, EndpointStatus, FillList,
    FillState, FillStatus, RepositoryEntry, RepositoryKind, RepositoryList, StoredTags, TagEntry, UnfinishedUsage,
    UnlinkedUsage, UploadUsage, UpstreamList, UpstreamStatus, UsageEntry, UsageLine, UsageTotals, WarmLine, WarmOrder,
};
pub use body::{Body, Cut};
pub use error::{ErrorAnswer, ErrorEntry};
pub use route::{At, BlobVerb, ManifestVerb, MetricsAt, Refused, Route, RouteError, Site, Start, UploadVerb};
pub use unread::{Greeting, unreadable};

use self::call::{Answer, Call};
use self::exchange::Exchange;
use self::location::Base;
use self::request::RequestBody;
use self::room::Room;
use crate::auth::Gate;
use crate::config;
use crate::metrics::Metrics;
use crate::registry::Registry;
use crate::sys::{Clock, Tasks};

/// Which door a request came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// `http.addr`: everything.
    Main,
    /// `http.debug.addr`: metrics and health.
    Debug,
}

/// What the application is made of.
pub struct Parts {
    pub registry: Arc<Registry>,
    pub gate: Gate,
    pub metrics: Arc<Metrics>,
    pub clock: Clock,
    pub tasks: Tasks,
    pub http: config::Http,
    pub access_log: AccessLog,
}

/// The application: a request in, an answer out.
pub struct App {
    registry: Arc<Registry>,
    gate: Gate,
    metrics: Arc<Metrics>,
    clock: Clock,
    tasks: Tasks,
    access_log: AccessLog,
    room: Room,
    base: Base,
    main: Site,
    debug: Site,
    /// `http.headers`
    headers: HeaderMap,
}

/// A configured value that cannot stand in a header.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error(
        "http.headers: {name:?}: {value:?} cannot be a header; write a name of letters and dashes and a value of one line"
    )]
    Header { name: String, value: String },
    #[error(
        "http.host or http.prefix holds characters that cannot stand in an address; write them as in https://registry.corp/prefix/"
    )]
    Host,
}

impl App {
    pub fn new(parts: Parts) -> Result<Self, AppError> {
        let Parts { registry, gate, metrics, clock, tasks, http, access_log } = parts;
        let (shared, separate) = match &http.debug {
            None => (MetricsAt::Path("/metrics".to_owned()), MetricsAt::Nowhere),
            Some(debug) => (MetricsAt::Nowhere, debug.prometheus.clone().map_or(MetricsAt::Nowhere, MetricsAt::Path)),
        };
        Ok(Self {
            registry,
            gate,
            metrics,
            clock,
            tasks,
            access_log,
            room: Room::new(),
            base: Base::new(http.host.as_deref(), &http.prefix).ok_or(AppError::Host)?,
            main: Site::Main { prefix: http.prefix, metrics: shared },
            debug: Site::Debug { metrics: separate },
            headers: parse_headers(&http.headers)?,
        })
    }

    fn site(&self, listener: Listener) -> &Site {
        match listener {
            Listener::Main => &self.main,
            Listener::Debug => &self.debug,
        }
    }
}

fn parse_headers(configured: &[(String, String)]) -> Result<HeaderMap, AppError> {
    let mut headers = HeaderMap::new();
    for (name, value) in configured {
        match (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            (Ok(name), Ok(value)) => headers.append(name, value),
            _ => return Err(AppError::Header { name: name.clone(), value: value.clone() }),
        };
    }
    Ok(headers)
}

/// Answers a request. It never fails: what goes wrong is an answer too.
pub async fn handle<B>(app: &Arc<App>, listener: Listener, request: Request<B>, peer: SocketAddr) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let (head, body) = request.into_parts();
    let parsed = Route::parse(app.site(listener), &head.method, &head.uri);
    let framing = framing::check(&head);
    let handler = parsed.as_ref().map_or_else(|refused| refused.handler, Route::handler);
    let body = RequestBody::new(body, &head);
    let exchange = Box::new(Exchange::begin(app, head, peer, handler));
    let mut call = Call { exchange, body, listener, namespace: None };
    let answer = match (framing, limits::check(&call.exchange.head), parsed) {
        (Err(why), _, _) => Err(why.into()),
        (_, Err(too_large), _) => Err(too_large.into()),
        (_, _, Ok(route)) => answer(&mut call, route).await,
        (_, _, Err(refused)) => Err(refused.why.into()),
    };
    finish(call, answer)
}

async fn answer(call: &mut Call, route: Route) -> Answer {
    match route {
        Route::Root => Ok(ops::root()),
        Route::Live => Ok(ops::live()),
        Route::Ready => Ok(ops::ready(call)),
        Route::Health => Ok(ops::health(call)),
        Route::Metrics => ops::metrics(call).await,
        Route::Ping => Ok(ops::ping()),
        Route::Base => v2::base(call).await,
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

/// Adds what every answer carries, and sends what is counted and logged along with the body.
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
    if route::is_api(app.site(listener), &exchange.head.uri) {
        response.headers_mut().insert(headers::API_VERSION, HeaderValue::from_static("registry/2.0"));
    }
    if let Some(cache) = exchange.facts.cache {
        response.headers_mut().insert(headers::X_CACHE, HeaderValue::from_static(cache.as_str()));
    }
    if let Some(namespace) = namespace {
        response.headers_mut().insert(headers::OCI_NAMESPACE, namespace);
    }
    response.headers_mut().insert(headers::REQUEST_ID, headers::value(exchange.id()));
    add_configured(response.headers_mut(), &app.headers);
    announce_length(&mut response, &exchange.head.method);
    exchange.answered(response.status(), response.headers(), body.received());
    body.drain(&app.tasks);
    response.map(|body| body.ending(exchange))
}

/// `http.headers`: they never replace what an answer says itself.
fn add_configured(headers: &mut HeaderMap, configured: &HeaderMap) {
    for name in configured.keys().filter(|name| !headers.contains_key(*name)).cloned().collect::<Vec<_>>() {
        for value in configured.get_all(&name) {
            headers.append(name.clone(), value.clone());
        }
    }
}

/// Says how long the body is, and leaves it out of the answer to a HEAD, which says the same.
fn announce_length(response: &mut Response<Body>, method: &Method) {
    let is_head = *method == Method::HEAD;
    let silent = matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        || is_head && response.body().is_absent();
    if !silent && let Some(len) = response.body().size_hint().exact() {
        response.headers_mut().entry(CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(len));
    }
    if is_head {
        *response.body_mut() = Body::empty();
    }
}
