//! The `Access-Control-*` headers of `http.headers`, which let pages of other origins use this server.

use http::header::{
    ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, HeaderMap, HeaderName, HeaderValue, ORIGIN, VARY,
};
use http::{Method, header};

/// The headers of `http.headers`.
#[derive(Debug)]
pub(in crate::web) struct Cors {
    headers: HeaderMap,
}

impl Cors {
    pub(in crate::web) fn new(headers: HeaderMap) -> Self {
        Self { headers }
    }

    /// Returns true if `http.headers` lets pages of this origin change content with this method.
    ///
    /// `*` and `null` stand for pages that the operator does not know, so they admit only a method that the operator lists, and never
    /// POST, PUT or PATCH: with those, every page on the web could push.
    pub(super) fn admits(&self, origin: &HeaderValue, method: &Method) -> bool {
        let same = |allowed: &str| allowed.as_bytes().eq_ignore_ascii_case(origin.as_bytes());
        if origin != "null" && self.origins().any(same) {
            return true;
        }
        let any = self.origins().any(|allowed| allowed == "*" || allowed == "null" && same(allowed));
        let is_upload = matches!(*method, Method::POST | Method::PUT | Method::PATCH);
        any && !is_upload && self.items(ACCESS_CONTROL_ALLOW_METHODS).any(|allowed| allowed == method.as_str())
    }

    /// Adds the headers to an answer. They never replace a header that the answer already has.
    ///
    /// Browsers accept only one allowed origin, so of several the one of the request is sent, if the operator has written it. For `*` a
    /// `*` is sent, with which browsers send no login.
    pub(in crate::web) fn add_to(&self, answer: &mut HeaderMap, request: &HeaderMap) {
        let missing: Vec<HeaderName> =
            self.headers.keys().filter(|name| !answer.contains_key(*name)).cloned().collect();
        let several = self.origins().nth(1).is_some();
        for name in missing {
            if several && name == ACCESS_CONTROL_ALLOW_ORIGIN {
                self.allowed(request.get(ORIGIN)).map(|origin| answer.insert(name, origin));
                answer.append(VARY, HeaderValue::from_name(header::ORIGIN));
                continue;
            }
            for value in self.headers.get_all(&name) {
                answer.append(name.clone(), value.clone());
            }
        }
    }

    /// Returns the allowed origin that a request of this origin is told.
    fn allowed(&self, origin: Option<&HeaderValue>) -> Option<HeaderValue> {
        let is_written = |origin: &&HeaderValue| {
            self.origins().any(|allowed| allowed.as_bytes().eq_ignore_ascii_case(origin.as_bytes()))
        };
        let any = || self.origins().any(|allowed| allowed == "*").then(|| HeaderValue::from_static("*"));
        origin.filter(is_written).cloned().or_else(any)
    }

    fn origins(&self) -> impl Iterator<Item = &str> {
        self.items(ACCESS_CONTROL_ALLOW_ORIGIN)
    }

    /// Returns the items of a header, which may be written as one text or as several.
    fn items(&self, name: HeaderName) -> impl Iterator<Item = &str> {
        let texts = self.headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
        texts.flat_map(|text| text.split([',', ' '])).filter(|item| !item.is_empty())
    }
}
