//! The routes for operators and probes: health, metrics, liveness and readiness.

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;

use super::app::Listener;
use super::call::{Answer, Call};
use super::response::{Body, headers};
use super::route::Site;
use crate::auth::Action;
use crate::registry::{DiskSpace, FULL_DISK};

const TEXT: &str = "text/plain; charset=utf-8";

/// Answers `/`. Probes rely on its 200.
pub(super) fn root(call: &Call) -> Response<Body> {
    let (version, site) = (env!("CARGO_PKG_VERSION"), call.app().site(call.listener));
    let prefix = if let Site::Main { prefix, .. } = site { prefix } else { "/" };
    typed(TEXT, Body::whole(format!("Entrepot {version}: a container registry. Its API is under {prefix}v2/.\n")))
}

/// Answers `/livez`: the process is running.
pub(super) fn live() -> Response<Body> {
    typed(TEXT, Body::whole("ok\n"))
}

/// Answers `/readyz`: 200 if requests can be served, else 503 with the reason. On a full disk, pulls can be served.
pub(super) fn ready(call: &Call) -> Response<Body> {
    match call.app().registry.health() {
        Ok(DiskSpace::Free) => typed(TEXT, Body::whole("ok\n")),
        Ok(DiskSpace::Full) => typed(TEXT, Body::whole(format!("ok, but {FULL_DISK}\n"))),
        Err(reason) => unavailable(typed(TEXT, Body::whole(format!("{reason}\n")))),
    }
}

/// Answers `/debug/health` as `registry:2` does: with an empty object, or with an object that names the failure.
pub(super) fn health(call: &Call) -> Response<Body> {
    match call.app().registry.health() {
        Ok(_) => typed("application/json", Body::json(&json!({}))),
        Err(reason) => unavailable(typed("application/json", Body::json(&json!({"storagedriver_filesystem": reason})))),
    }
}

/// Answers with the metrics. On the main port they require a login if one is configured. On the port of `http.debug` they do not,
/// because its address protects it.
pub(super) async fn metrics(call: &mut Call) -> Answer {
    if call.listener == Listener::Main {
        call.allow(Action::Enter).await?;
    }
    let text = call.app().metrics.render();
    Ok(typed("text/plain; version=0.0.4; charset=utf-8", Body::whole(text)))
}

/// Answers `/v1/_ping`, which old clients and `docker search` ask first.
pub(super) fn ping() -> Response<Body> {
    let mut response = typed("application/json", Body::whole("true"));
    response.headers_mut().insert(headers::REGISTRY_STANDALONE, HeaderValue::from_static("true"));
    response
}

fn typed(content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn unavailable(mut response: Response<Body>) -> Response<Body> {
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response
}
