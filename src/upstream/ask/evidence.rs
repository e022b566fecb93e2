//! Tells the answers of a registry from those of anything else in its place: a proxy, a captive portal, a web site, or a load
//! balancer whose back end restarts.
//!
//! Such an answer is a failure of the upstream. It never means that content is absent, or that a client may not read it.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, WWW_AUTHENTICATE};
use http::{HeaderMap, Method, StatusCode};
use serde_json::Value;

use super::request::{Reply, UpstreamRequest, means_unsupported};
use crate::outbound::{Hop, Request, Response};
use crate::upstream::client::Upstream;
use crate::upstream::endpoint::{Challenge, Endpoint, RequestKind, challenges};
use crate::upstream::error::UpstreamError;
use crate::upstream::failed_server::FailedServer;
use crate::upstream::words::UpstreamWords;

/// A registry's answers carry it (distribution's API).
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
/// The most bytes of an error that are read.
const MAX_ERROR: usize = 64 << 10;
/// The most bytes of the answer of `/v2/` that are read.
const MAX_PING: usize = 4 << 10;
/// The longest wait for such a body as a whole. The errors of registries are short, and all requests for the
/// same content wait with this one.
const LONGEST_READ: Duration = Duration::from_secs(5);
/// The longest wait for the words of an error. They explain the error, and decide nothing.
const WORDS_WAIT: Duration = Duration::from_secs(2);

impl Upstream {
    /// Decides whether a registry gave an answer, and notes the words of an error. It may read the body of an error.
    pub(super) async fn weigh(
        &self,
        request: &UpstreamRequest<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<(), UpstreamError> {
        let mut read = None;
        reply.vouched = self.is_vouched(reply.endpoint, request, &mut reply.response, &mut read).await?;
        self.hear(request, reply, read).await;
        Ok(())
    }

    /// Notes the words of an error. `read` is its body, if it has been read. No words are noted that contain the password.
    pub(super) async fn hear(&self, request: &UpstreamRequest<'_>, reply: &mut Reply<'_>, read: Option<Bytes>) {
        let response = &mut reply.response;
        let is_error = response.status.is_client_error() || response.status.is_server_error();
        if !is_error || request.is_hint() || response.status == StatusCode::RANGE_NOT_SATISFIABLE {
            return;
        }
        let body = match read {
            Some(body) => Some(body),
            None if is_json(response) => response.body.start(MAX_ERROR, WORDS_WAIT).await.ok().flatten(),
            None => None,
        };
        let Some(words) = body.and_then(|body| UpstreamWords::of_error(&body)) else { return };
        // The password was not sent to an endpoint that has asked for none.
        let login = match reply.endpoint.scheme() {
            Some(_) => self.account.login().await,
            None => None,
        };
        reply.said = (!login.is_some_and(|login| login.is_in(words.as_str()))).then_some(words);
    }

    /// Returns true if a registry gave this answer to a GET. It may read the body of an error into `read`.
    async fn is_vouched(
        &self,
        endpoint: &Endpoint,
        request: &UpstreamRequest<'_>,
        response: &mut Response,
        read: &mut Option<Bytes>,
    ) -> Result<bool, UpstreamError> {
        if !request.is_claim(response.status) {
            return Ok(true);
        }
        if request.is_hint() {
            return Ok(has_registry_headers(response));
        }
        if is_of_registry(response, read).await? {
            return Ok(true);
        }
        // Registries answer unknown routes in any form, so their `/v2/` tells whether this is one.
        Ok(request.kind == RequestKind::Referrers
            && means_unsupported(response.status)
            && self.is_registry(endpoint).await)
    }

    /// Returns true if the endpoint's `/v2/` answers without credentials now.
    pub(super) async fn is_open(&self, endpoint: &Endpoint) -> bool {
        let observe = |hop: &Hop<'_>| self.meter.hop(RequestKind::Token, hop);
        let request = Request { method: Method::GET, url: endpoint.ping_url(), headers: HeaderMap::new() };
        self.client.send(request, &observe).await.is_ok_and(|response| response.status == StatusCode::OK)
    }

    /// Returns true if a registry answers at the endpoint's `/v2/` now.
    pub(super) async fn is_registry(&self, endpoint: &Endpoint) -> bool {
        let observe = |hop: &Hop<'_>| self.meter.hop(RequestKind::Referrers, hop);
        let mut headers = HeaderMap::new();
        // A server in front of a registry lets only its logins see the registry.
        if let Some(basic) = self.basic_for(endpoint).await {
            headers.insert(AUTHORIZATION, basic);
        }
        let request = Request { method: Method::GET, url: endpoint.ping_url(), headers };
        let Ok(mut response) = self.client.send(request, &observe).await else { return false };
        if response.status == StatusCode::OK && !has_registry_headers(&response) {
            // Some registries answer only an empty object.
            let body = response.body.start(MAX_PING, LONGEST_READ).await;
            return body.is_ok_and(|body| body.is_some_and(|body| is_object(&body)));
        }
        matches!(response.status, StatusCode::OK | StatusCode::UNAUTHORIZED)
            && is_of_registry(&mut response, &mut None).await.unwrap_or(false)
    }
}

/// Returns the error for an answer that no registry gave.
pub(super) fn foreign(response: &Response, host: FailedServer) -> UpstreamError {
    let kind = response.header(&CONTENT_TYPE).unwrap_or_else(|| "no Content-Type".to_owned());
    let reason = format!(
        "it answered {} with {kind}, and not as a registry answers: a proxy, a captive portal or a restarting server is in \
         its place, or the path in `endpoints` is wrong (a prefix of repositories belongs after /v2/)",
        response.status.as_u16()
    );
    UpstreamError::Foreign { host, reason }
}

/// Returns true if the body is labelled as a web page.
pub(super) fn is_page(response: &Response) -> bool {
    let kind = response.header(&CONTENT_TYPE).unwrap_or_default().to_ascii_lowercase();
    ["text/html", "application/xhtml"].iter().any(|page| kind.trim_start().starts_with(page))
}

/// Returns true if the body is labelled as JSON.
fn is_json(response: &Response) -> bool {
    response.header(&CONTENT_TYPE).unwrap_or_default().to_ascii_lowercase().contains("json")
}

fn has_registry_headers(response: &Response) -> bool {
    response.headers.contains_key(&API_VERSION)
        || (response.status == StatusCode::UNAUTHORIZED && names_token_server(&response.headers))
}

/// Returns true if a challenge names a token server, as only registries do. Any server in front of a registry sends the
/// challenges of other schemes.
fn names_token_server(headers: &HeaderMap) -> bool {
    let fields = headers.get_all(WWW_AUTHENTICATE).iter();
    let fields: Vec<_> = fields.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    let challenges = challenges(fields.iter().map(AsRef::as_ref));
    challenges.iter().any(|challenge| matches!(challenge, Challenge::Bearer { .. }))
}

/// Returns true if a registry gave this answer. The JSON of a 404 must say that content is absent: a registry answers 404 with
/// other codes too, such as UNSUPPORTED for a path that it does not serve.
pub(super) async fn is_of_registry(response: &mut Response, read: &mut Option<Bytes>) -> Result<bool, UpstreamError> {
    let is_marked = has_registry_headers(response);
    let is_absence = response.status == StatusCode::NOT_FOUND;
    if is_marked && !is_absence {
        return Ok(true);
    }
    let body = match response.body.start(MAX_ERROR, LONGEST_READ).await {
        // A body that trickles does not come from a registry.
        Ok(body) => body.unwrap_or_default(),
        Err(_) if is_marked => return Ok(true),
        Err(error) => return Err(error.into()),
    };
    *read = Some(body.clone());
    match is_registry_error(&body) {
        true => Ok(!is_absence || says_absent(&body)),
        false => Ok(is_marked),
    }
}

/// Returns true if an error has a code for absent content, or no code. Harbor writes NOT_FOUND, Quay writes TAG_EXPIRED, and
/// Artifactory leaves the code out.
fn says_absent(body: &[u8]) -> bool {
    let error: Value = serde_json::from_slice(body).unwrap_or_default();
    let entries = error.get("errors").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let of_absence = |code: &str| {
        let code = code.to_ascii_uppercase();
        code.ends_with("_UNKNOWN") || ["NOT_FOUND", "NAME_INVALID", "TAG_INVALID", "TAG_EXPIRED"].contains(&&*code)
    };
    entries.iter().any(|entry| entry.get("code").and_then(Value::as_str).is_none_or(of_absence))
}

/// Returns true for the JSON of an error (OCI distribution-spec 1.1, "Error Codes").
fn is_registry_error(body: &[u8]) -> bool {
    let Ok(Value::Object(error)) = serde_json::from_slice(body) else { return false };
    let is_entry = |entry: &Value| entry.get("code").is_some() || entry.get("message").is_some();
    error.get("errors").and_then(Value::as_array).is_some_and(|errors| errors.iter().any(is_entry))
}

fn is_object(body: &[u8]) -> bool {
    matches!(serde_json::from_slice(body), Ok(Value::Object(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_absent_content_are_told_from_others() {
        for (code, is_absent) in [
            (r#""code":"MANIFEST_UNKNOWN""#, true),
            (r#""code":"BLOB_UNKNOWN""#, true),
            (r#""code":"NOT_FOUND""#, true),
            (r#""code":"TAG_EXPIRED""#, true),
            (r#""status":404,"message":"The named manifest is not known""#, true),
            (r#""code":"UNSUPPORTED""#, false),
            (r#""code":"UNKNOWN""#, false),
            (r#""code":"UNAVAILABLE""#, false),
        ] {
            assert_eq!(says_absent(format!(r#"{{"errors":[{{{code}}}]}}"#).as_bytes()), is_absent, "{code}");
        }
    }

    #[test]
    fn json_of_an_error_is_told_from_other_bodies() {
        for good in [
            r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#,
            r#"{"errors":[{"code":"NAME_UNKNOWN","message":"","detail":{}}]}"#,
            r#" {"errors" : [ {"status":404,"message":"The named manifest is not known"} ] } "#,
        ] {
            assert!(is_registry_error(good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            "404 page not found\n",
            "<html></html>",
            "{}",
            r#"{"message":"no Route matched with those values"}"#,
            r#"{"error":"not found"}"#,
            r#"{"errors":[]}"#,
            r#"{"errors":["no"]}"#,
            r#"{"errors":{"code":"X"}}"#,
            r#"[{"code":"X"}]"#,
        ] {
            assert!(!is_registry_error(bad.as_bytes()), "{bad}");
        }
    }
}
