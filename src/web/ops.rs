//! What operators and probes ask: health, metrics, and that somebody is there.

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;

use super::body::Body;
use super::call::{Answer, Call};
use super::headers;
use crate::auth::Action;

const TEXT: &str = "text/plain; charset=utf-8";

/// `/`: probes rely on its 200.
pub(super) fn root() -> Response<Body> {
    let version = env!("CARGO_PKG_VERSION");
    typed(TEXT, Body::whole(format!("Entrepot {version}: a container registry. Its API is under /v2/.\n")))
}

/// `/livez`: the process answers.
pub(super) fn live() -> Response<Body> {
    typed(TEXT, Body::whole("ok\n"))
}

/// `/readyz`: requests can be served, or the reason why not.
pub(super) fn ready(call: &Call) -> Response<Body> {
    match call.app().registry.health() {
        Ok(()) => typed(TEXT, Body::whole("ok\n")),
        Err(reason) => unavailable(typed(TEXT, Body::whole(format!("{reason}\n")))),
    }
}

/// `/debug/health`: an object that is empty, or names what fails, as `registry:2` has it.
pub(super) fn health(call: &Call) -> Response<Body> {
    match call.app().registry.health() {
        Ok(()) => typed("application/json", Body::json(&json!({}))),
        Err(reason) => unavailable(typed("application/json", Body::json(&json!({"storagedriver_filesystem": reason})))),
    }
}

/// The metrics: for those who may log in, where they stand on the port that everybody reaches; `http.debug` gives them one of
/// their own, which is guarded by its address.
pub(super) async fn metrics(call: &mut Call) -> Answer {
    if call.listener == super::Listener::Main {
        call.allow(Action::Enter).await?;
    }
    let text = call.app().metrics.render();
    Ok(typed("text/plain; version=0.0.4; charset=utf-8", Body::whole(text)))
}

/// `/v1/_ping`: old clients, and `docker search`, ask it first.
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
