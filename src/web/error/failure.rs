//! Turns every error into an answer. Only this file decides the status of an error.

use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ALLOW, CONNECTION, CONTENT_RANGE, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::answer::{ErrorAnswer, ErrorEntry};
use super::detail;
use crate::auth::Refusal;
use crate::oci::{ErrorCode, ManifestError};
use crate::registry::{CacheStatus, RegistryError, UpstreamFailure};
use crate::web::exchange::{Facts, LoggedError};
use crate::web::guard::ForeignPage;
use crate::web::request::{BodyError, FramingError, Repeated, TooLarge};
use crate::web::response::{Body, headers};
use crate::web::route::RouteError;

/// The `Retry-After` for an unreachable upstream whose next attempt is not scheduled yet.
const UNREACHABLE_RETRY: Duration = Duration::from_secs(30);
/// The `Retry-After` for an upstream that throttles requests without saying for how long.
const THROTTLED_RETRY: Duration = Duration::from_secs(60);
/// The `Retry-After` for an upload that another request is writing. In most cases that is a connection that has already ended.
const BUSY_RETRY: Duration = Duration::from_secs(1);
/// The `Retry-After` for a login that found no place in the queue. The queue is done after about a second.
const LOGIN_RETRY: Duration = Duration::from_secs(2);
/// The `Retry-After` for a request beyond the budget of connections and requests.
const OVERLOAD_RETRY: Duration = Duration::from_secs(5);
/// The longest beginning and end of a message, in characters. A message may quote a long text of the client in its middle.
const MESSAGE_BEGIN: usize = 512;
const MESSAGE_END: usize = 256;

/// An answer that is an error.
#[derive(Debug)]
pub(in crate::web) struct Failure {
    status: StatusCode,
    code: ErrorCode,
    /// The message for the client.
    message: String,
    detail: Option<Box<Value>>,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// The cache status, if a mirrored repository failed.
    cache: Option<CacheStatus>,
    /// A text for the log, which the client must not see.
    internal: Option<String>,
}

impl Failure {
    pub(in crate::web) fn new(status: StatusCode, code: ErrorCode, message: impl Into<String>) -> Self {
        let message = shortened(message.into());
        Self { status, code, message, detail: None, headers: Vec::new(), cache: None, internal: None }
    }

    /// Adds a header.
    pub(in crate::web) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    fn detailed(mut self, detail: impl Into<Option<Value>>) -> Self {
        self.detail = detail.into().map(|mut detail| {
            shorten(&mut detail);
            Box::new(detail)
        });
        self
    }

    /// Adds the facts about the request as the detail, unless the failure has a detail.
    pub(in crate::web) fn about(self, facts: &Facts) -> Self {
        if self.detail.is_some() { self } else { self.detailed(detail::of_request(facts)) }
    }

    /// Returns the cache status, if a mirrored repository failed.
    pub(in crate::web) fn cache(&self) -> Option<CacheStatus> {
        self.cache
    }

    /// Adds the allowed methods, if the method of the request is not allowed (RFC 9110, section 15.5.6).
    pub(in crate::web) fn allowing(self, methods: &'static str) -> Self {
        if self.status != StatusCode::METHOD_NOT_ALLOWED {
            return self;
        }
        self.with(ALLOW, HeaderValue::from_static(methods))
    }

    fn retry_after(self, wait: Duration) -> Self {
        // Rounded up, because a client that retries at the stated second must not be too early.
        let seconds = wait.as_millis().div_ceil(1000).max(1);
        let seconds = u64::try_from(seconds).unwrap_or(u64::MAX);
        self.with(RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// The descriptors for clients are used up.
    pub(in crate::web) fn overloaded() -> Self {
        let message = "the server has as many connections and requests as it can; send this request again later";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Unavailable, message).retry_after(OVERLOAD_RETRY)
    }

    /// The input is not a readable HTTP/1.1 request. `status` is the status that HTTP has for it.
    pub(in crate::web) fn bad_request(status: StatusCode) -> Self {
        let message = match status {
            StatusCode::URI_TOO_LONG => "the address of the request is too long",
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
                "the head of the request is too large or has too many fields"
            }
            StatusCode::REQUEST_TIMEOUT => "the head of the request did not arrive in time; send it at once",
            _ => "this is not a valid HTTP/1.1 request: its first line, a header field or its length is malformed",
        };
        Self::new(status, ErrorCode::Unsupported, message)
    }

    /// The requested range contains no byte of a blob of `size` bytes (RFC 9110, section 15.5.17).
    pub(in crate::web) fn range_not_satisfiable(size: u64) -> Self {
        let message = format!("the blob has {size} bytes; the requested range contains none of them");
        let unsatisfied = headers::value(format_args!("bytes */{size}"));
        Self::new(StatusCode::RANGE_NOT_SATISFIABLE, ErrorCode::RangeInvalid, message)
            .detailed(json!({"size": size}))
            .with(CONTENT_RANGE, unsatisfied)
    }

    /// A chunk does not begin at the end of the upload.
    pub(in crate::web) fn out_of_order(expected: u64, first: u64) -> Self {
        let message = format!("the upload continues at byte {expected}, not {first}");
        Self::new(StatusCode::RANGE_NOT_SATISFIABLE, ErrorCode::RangeInvalid, message)
            .detailed(json!({"offset": expected}))
    }

    /// A length or a range contradicts another one or the content.
    pub(in crate::web) fn size_invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorCode::SizeInvalid, message)
    }

    /// The body of an API request is invalid.
    pub(in crate::web) fn order_invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorCode::Unsupported, message)
    }

    /// Returns the message for the client.
    pub(in crate::web) fn into_message(self) -> String {
        self.message
    }

    /// Returns the error for the access log.
    pub(in crate::web) fn logged(&self) -> LoggedError {
        let detail = self.internal.clone().or_else(|| self.detail.as_deref().map(detail::readable));
        LoggedError { code: self.code, message: self.message.clone(), detail }
    }

    pub(in crate::web) fn into_response(self) -> Response<Body> {
        self.into_json().map(Body::whole)
    }

    /// Returns the answer with a JSON body (OCI distribution-spec 1.1, "Error Codes").
    pub(in crate::web) fn into_json(self) -> Response<Bytes> {
        let detail = self.detail.map_or(Value::Null, |detail| detail::readable(&detail).into());
        let error = ErrorEntry { code: self.code.as_str().to_owned(), message: self.message, detail };
        let text = serde_json::to_vec(&ErrorAnswer { errors: vec![error] });
        let mut response = Response::new(Bytes::from(text.expect("the types of an answer are valid JSON")));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.extend(self.headers);
        response
    }
}

impl From<BodyError> for Failure {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Broken(reason) => {
                let message = format!("the body of the request could not be read to its end: {reason}");
                Self::new(StatusCode::BAD_REQUEST, ErrorCode::BlobUploadInvalid, message)
            }
            BodyError::Slow(limit) => {
                let seconds = limit.as_secs();
                let message = format!("the body of the request did not arrive within {seconds} s; send it again");
                Self::new(StatusCode::REQUEST_TIMEOUT, ErrorCode::Unsupported, message)
            }
            BodyError::Stalled(stall) => {
                let message = format!("nothing of the body arrived for {stall:?}; send the rest, or all of it again");
                Self::new(StatusCode::REQUEST_TIMEOUT, ErrorCode::BlobUploadInvalid, message)
                    .with(CONNECTION, HeaderValue::from_static("close"))
            }
            BodyError::Exhausted(wait) => {
                let message = "too many large manifests arrive at the same time; send this one again later";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Unavailable, message).retry_after(wait)
            }
        }
    }
}

impl From<FramingError> for Failure {
    fn from(error: FramingError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorCode::Unsupported, error.to_string())
            .with(CONNECTION, HeaderValue::from_static("close"))
    }
}

impl From<ForeignPage> for Failure {
    fn from(page: ForeignPage) -> Self {
        let detail = detail::of_page(&page);
        Self::new(StatusCode::FORBIDDEN, ErrorCode::Denied, page.to_string()).detailed(detail)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let (message, detail) = (refusal.to_string(), detail::of_refusal(&refusal));
        let failure = match refusal {
            // Docker and podman want the challenge on every 401.
            Refusal::Unauthorized { challenge, .. } => {
                let challenge = HeaderValue::try_from(challenge);
                let challenge = challenge.unwrap_or_else(|_| HeaderValue::from_static("Basic realm=\"registry\""));
                Self::new(StatusCode::UNAUTHORIZED, ErrorCode::Unauthorized, message).with(WWW_AUTHENTICATE, challenge)
            }
            Refusal::Denied { .. } => Self::new(StatusCode::FORBIDDEN, ErrorCode::Denied, message),
            Refusal::Crowded => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, ErrorCode::TooManyRequests, message).retry_after(LOGIN_RETRY)
            }
        };
        failure.detailed(detail)
    }
}

impl From<RouteError> for Failure {
    fn from(error: RouteError) -> Self {
        let (status, code) = match &error {
            RouteError::NoSuchPath | RouteError::OutsidePrefix(_) => (StatusCode::NOT_FOUND, ErrorCode::Unsupported),
            RouteError::Method { .. } => (StatusCode::METHOD_NOT_ALLOWED, ErrorCode::Unsupported),
            RouteError::Escape | RouteError::Name(_) | RouteError::Image(_) => {
                (StatusCode::BAD_REQUEST, ErrorCode::NameInvalid)
            }
            RouteError::NoSuchTag(_) => (StatusCode::NOT_FOUND, ErrorCode::ManifestUnknown),
            RouteError::Tag(_) | RouteError::TagsByTag(_) => (StatusCode::BAD_REQUEST, ErrorCode::TagInvalid),
            RouteError::TooManyTags(_) => (StatusCode::URI_TOO_LONG, ErrorCode::TagInvalid),
            RouteError::Repeated(repeated) => (StatusCode::BAD_REQUEST, code_of_parameter(*repeated)),
            RouteError::Digest(_) | RouteError::DigestMissing | RouteError::LastReferrer(_) => {
                (StatusCode::BAD_REQUEST, ErrorCode::DigestInvalid)
            }
            RouteError::PageNumber(_) => (StatusCode::BAD_REQUEST, ErrorCode::PaginationNumberInvalid),
            RouteError::NoUpload(_) => (StatusCode::NOT_FOUND, ErrorCode::BlobUploadUnknown),
        };
        let failure = Self::new(status, code, error.to_string()).detailed(detail::of_route(&error));
        match error {
            RouteError::Method { allow } => failure.with(ALLOW, HeaderValue::from_static(allow)),
            _ => failure,
        }
    }
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Self {
        let (status, code) = classify(&error);
        let mut failure = Self::new(status, code, error.to_string()).detailed(detail::of_registry(&error));
        failure.cache = error.cache();
        match error {
            RegistryError::UploadBusy { .. } => failure.retry_after(BUSY_RETRY),
            RegistryError::Upstream { failure: upstream, .. } => match upstream {
                UpstreamFailure::TooManyRequests { retry_after } => {
                    failure.retry_after(retry_after.unwrap_or(THROTTLED_RETRY))
                }
                UpstreamFailure::Unreachable { retry_after } => {
                    failure.retry_after(retry_after.unwrap_or(UNREACHABLE_RETRY))
                }
                UpstreamFailure::TimedOut { retry_after: Some(wait) }
                | UpstreamFailure::Bad { retry_after: Some(wait) } => failure.retry_after(wait),
                UpstreamFailure::TimedOut { retry_after: None }
                | UpstreamFailure::Bad { retry_after: None }
                | UpstreamFailure::Denied
                | UpstreamFailure::NoLogin => failure,
            },
            // The error of the disk names paths, so only the log gets it.
            RegistryError::Storage(_) | RegistryError::BadEntry(_) => Self {
                message: "the registry's storage failed; its log has the reason, under the X-Request-Id of this answer"
                    .to_owned(),
                internal: Some(error.to_string()),
                ..failure
            },
            _ => failure,
        }
    }
}

/// Shortens the texts in a detail, which may come from the client.
fn shorten(detail: &mut Value) {
    match detail {
        Value::String(text) => *text = shortened(std::mem::take(text)),
        Value::Array(values) => values.iter_mut().for_each(shorten),
        Value::Object(fields) => fields.values_mut().for_each(shorten),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Cuts the middle out of a message that is too long.
fn shortened(message: String) -> String {
    let mut cuts = message.char_indices().map(|(at, _)| at);
    let (Some(begin), Some(end)) = (cuts.nth(MESSAGE_BEGIN), cuts.nth_back(MESSAGE_END)) else { return message };
    format!("{} … {}", &message[..begin], &message[end..])
}

impl From<TooLarge> for Failure {
    fn from(error: TooLarge) -> Self {
        let status = match error {
            TooLarge::Target(_) => StatusCode::URI_TOO_LONG,
            TooLarge::Fields(_) | TooLarge::Count(_) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        };
        let (found, limit) = error.numbers();
        Self::new(status, ErrorCode::Unsupported, error.to_string()).detailed(json!({"found": found, "limit": limit}))
    }
}

/// Returns the code for a request with a repeated parameter.
fn code_of_parameter(Repeated(parameter): Repeated) -> ErrorCode {
    match parameter {
        "n" | "last" => ErrorCode::PaginationNumberInvalid,
        "from" | "ns" => ErrorCode::NameInvalid,
        _ => ErrorCode::DigestInvalid,
    }
}

fn classify(error: &RegistryError) -> (StatusCode, ErrorCode) {
    match error {
        RegistryError::NameUnknown(_) | RegistryError::RepositoryUnknown { .. } => {
            (StatusCode::NOT_FOUND, ErrorCode::NameUnknown)
        }
        RegistryError::ManifestUnknown { .. } => (StatusCode::NOT_FOUND, ErrorCode::ManifestUnknown),
        RegistryError::BlobUnknown { .. } => (StatusCode::NOT_FOUND, ErrorCode::BlobUnknown),
        RegistryError::UploadUnknown { .. } => (StatusCode::NOT_FOUND, ErrorCode::BlobUploadUnknown),
        RegistryError::NoFill(_) => (StatusCode::NOT_FOUND, ErrorCode::BlobUnknown),
        // Clients retry after 409. They would take 416 for a wrong offset and 404 for a lost upload.
        RegistryError::UploadBusy { .. } => (StatusCode::CONFLICT, ErrorCode::BlobUploadInvalid),
        RegistryError::NotLocal { .. } => (StatusCode::FORBIDDEN, ErrorCode::Denied),
        RegistryError::DeleteDisabled => (StatusCode::METHOD_NOT_ALLOWED, ErrorCode::Unsupported),
        RegistryError::ManifestInvalid(ManifestError::TooLarge(_)) => {
            (StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::ManifestInvalid)
        }
        RegistryError::ManifestInvalid(_) => (StatusCode::BAD_REQUEST, ErrorCode::ManifestInvalid),
        RegistryError::ManifestBlobUnknown { .. } => (StatusCode::BAD_REQUEST, ErrorCode::ManifestBlobUnknown),
        RegistryError::DigestMismatch { .. } => (StatusCode::BAD_REQUEST, ErrorCode::DigestInvalid),
        RegistryError::Changed { .. } => (StatusCode::PRECONDITION_FAILED, ErrorCode::Denied),
        RegistryError::NotMirrored(_) => (StatusCode::BAD_REQUEST, ErrorCode::Unsupported),
        RegistryError::NoPlatform { .. } => (StatusCode::NOT_FOUND, ErrorCode::ManifestUnknown),
        RegistryError::NoRoom(_) => (StatusCode::INSUFFICIENT_STORAGE, ErrorCode::Unavailable),
        RegistryError::Upstream { failure, .. } => classify_upstream(*failure),
        RegistryError::Storage(_) | RegistryError::BadEntry(_) => {
            (StatusCode::INTERNAL_SERVER_ERROR, ErrorCode::Unknown)
        }
        RegistryError::DiskFull => (StatusCode::INSUFFICIENT_STORAGE, ErrorCode::Unavailable),
    }
}

/// Keeps the meaning of the upstream's answer. An upstream's 401 never becomes a 401 to the client, which would ask its user to log
/// in to this registry.
fn classify_upstream(failure: UpstreamFailure) -> (StatusCode, ErrorCode) {
    match failure {
        UpstreamFailure::Denied | UpstreamFailure::NoLogin => (StatusCode::FORBIDDEN, ErrorCode::Denied),
        UpstreamFailure::TooManyRequests { .. } => (StatusCode::TOO_MANY_REQUESTS, ErrorCode::TooManyRequests),
        UpstreamFailure::Bad { .. } => (StatusCode::BAD_GATEWAY, ErrorCode::Unavailable),
        UpstreamFailure::Unreachable { .. } => (StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Unavailable),
        UpstreamFailure::TimedOut { .. } => (StatusCode::GATEWAY_TIMEOUT, ErrorCode::Unavailable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::{Algorithm, Digest};
    use crate::registry::Missing;

    fn header<'a>(response: &'a Response<Body>, name: &HeaderName) -> Option<&'a str> {
        response.headers().get(name).and_then(|value| value.to_str().ok())
    }

    #[test]
    fn registry_errors_have_a_status_a_code_and_a_retry() {
        let digest = Digest::of(Algorithm::Sha256, b"");
        let repository = || "team/app".to_owned();
        let upstream = |failure| RegistryError::Upstream {
            upstream: Some("docker.io".parse().unwrap()),
            failure,
            message: "it failed".to_owned(),
        };
        let unreachable = |retry_after| upstream(UpstreamFailure::Unreachable { retry_after });
        let timed_out = |retry_after| upstream(UpstreamFailure::TimedOut { retry_after });
        let throttled = |retry_after| upstream(UpstreamFailure::TooManyRequests { retry_after });
        for (error, status, code, retry) in [
            (RegistryError::NameUnknown("x".to_owned()), 404, "NAME_UNKNOWN", None),
            (
                RegistryError::RepositoryUnknown { repository: repository(), cache: CacheStatus::Miss },
                404,
                "NAME_UNKNOWN",
                None,
            ),
            (
                RegistryError::ManifestUnknown {
                    repository: repository(),
                    reference: "1".to_owned(),
                    hint: String::new(),
                    cache: None,
                },
                404,
                "MANIFEST_UNKNOWN",
                None,
            ),
            (RegistryError::BlobUnknown { repository: repository(), digest, cache: None }, 404, "BLOB_UNKNOWN", None),
            (RegistryError::UploadUnknown { id: "1".to_owned() }, 404, "BLOB_UPLOAD_UNKNOWN", None),
            (RegistryError::UploadBusy { id: "1".to_owned() }, 409, "BLOB_UPLOAD_INVALID", Some("1")),
            (
                RegistryError::NotLocal { repository: repository(), patterns: "local/**".to_owned() },
                403,
                "DENIED",
                None,
            ),
            (RegistryError::DeleteDisabled, 405, "UNSUPPORTED", None),
            (RegistryError::ManifestInvalid(ManifestError::Shape), 400, "MANIFEST_INVALID", None),
            (RegistryError::ManifestInvalid(ManifestError::TooLarge(5 << 20)), 413, "MANIFEST_INVALID", None),
            (
                RegistryError::ManifestBlobUnknown { repository: repository(), missing: Missing::default() },
                400,
                "MANIFEST_BLOB_UNKNOWN",
                None,
            ),
            (RegistryError::DigestMismatch { expected: digest, found: digest }, 400, "DIGEST_INVALID", None),
            (upstream(UpstreamFailure::Denied), 403, "DENIED", None),
            (throttled(Some(Duration::from_millis(1500))), 429, "TOOMANYREQUESTS", Some("2")),
            (throttled(Some(Duration::ZERO)), 429, "TOOMANYREQUESTS", Some("1")),
            (throttled(None), 429, "TOOMANYREQUESTS", Some("60")),
            (upstream(UpstreamFailure::Bad { retry_after: None }), 502, "UNAVAILABLE", None),
            (
                upstream(UpstreamFailure::Bad { retry_after: Some(Duration::from_secs(7)) }),
                502,
                "UNAVAILABLE",
                Some("7"),
            ),
            (unreachable(None), 503, "UNAVAILABLE", Some("30")),
            (unreachable(Some(Duration::from_secs(4))), 503, "UNAVAILABLE", Some("4")),
            (timed_out(None), 504, "UNAVAILABLE", None),
            (timed_out(Some(Duration::ZERO)), 504, "UNAVAILABLE", Some("1")),
            (RegistryError::Changed { reference: "1".to_owned(), current: Some(digest) }, 412, "DENIED", None),
            (RegistryError::Storage("/secret/path: gone".to_owned()), 500, "UNKNOWN", None),
            (RegistryError::NotMirrored(repository()), 400, "UNSUPPORTED", None),
            (
                RegistryError::NoPlatform {
                    image: repository(),
                    wanted: "linux/s390x".to_owned(),
                    offered: "linux/amd64".to_owned(),
                },
                404,
                "MANIFEST_UNKNOWN",
                None,
            ),
            (RegistryError::NoRoom(digest), 507, "UNAVAILABLE", None),
            (RegistryError::DiskFull, 507, "UNAVAILABLE", None),
        ] {
            let told = error.to_string();
            let failure = Failure::from(error);
            assert!(!failure.message.contains("/secret"), "{told} reached the client");
            assert_eq!((failure.status.as_u16(), failure.code.as_str()), (status, code), "{told}");
            let response = failure.into_response();
            assert_eq!(header(&response, &RETRY_AFTER), retry, "{told}");
            assert_eq!(header(&response, &CONTENT_TYPE), Some("application/json"));
        }
    }

    #[test]
    fn disk_errors_are_only_logged() {
        let logged = Failure::from(RegistryError::Storage("/secret/path: gone".to_owned())).logged();
        assert!(logged.detail.is_some_and(|detail| detail.contains("/secret/path")));
        assert!(!logged.message.contains("/secret"));
    }

    #[test]
    fn long_message_is_cut_in_the_middle() {
        for len in [0, 1, 767, 768, 769] {
            assert!(shortened("é".repeat(len)).chars().count() <= 769, "{len}");
            assert!(!shortened("é".repeat(len)).contains('…'), "{len}");
        }
        let name = "é".repeat(1 << 20);
        let message = shortened(format!("the name {name:?} is none: write another"));
        assert!(message.starts_with("the name \"é") && message.ends_with("é\" is none: write another"), "{message}");
        assert_eq!(message.chars().count(), MESSAGE_BEGIN + 3 + MESSAGE_END + 1);
    }

    #[test]
    fn wrong_method_names_the_allowed_methods() {
        let response = Failure::from(RouteError::Method { allow: "GET, HEAD" }).into_response();
        assert_eq!(response.status(), 405);
        assert_eq!(header(&response, &ALLOW), Some("GET, HEAD"));
        for (allow, want) in [("POST", "accepts only POST"), ("GET, HEAD, DELETE", "accepts only GET, HEAD and DELETE")]
        {
            assert!(RouteError::Method { allow }.to_string().contains(want), "{allow}");
        }
    }
}
