//! The query of a request.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// The parameters of a request's query, as they came.
///
/// An escape that is none stays as it is written, and so fails where its value is parsed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    pub(super) fn of(uri: &'a http::Uri) -> Self {
        Self(uri.query().unwrap_or_default())
    }

    /// The first value of a parameter; `Some("")` when it stands there without one.
    pub(super) fn get(self, name: &str) -> Option<Cow<'a, str>> {
        let pairs = self.0.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.filter(|(key, _)| decode(key) == name).map(|(_, value)| decode(value)).next()
    }
}

/// Decodes a part of a query (`application/x-www-form-urlencoded`, which is what Go's clients write).
fn decode(text: &str) -> Cow<'_, str> {
    if text.contains('+') {
        let spaced = text.replace('+', " ");
        return Cow::Owned(percent_decode_str(&spaced).decode_utf8_lossy().into_owned());
    }
    percent_decode_str(text).decode_utf8_lossy()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters() {
        let query = Query("ns=docker.io&digest=sha256%3Aab&last=a+b&last=c&empty=&bare&bad=%zz&m%61il=x");
        for (name, want) in [
            ("ns", Some("docker.io")),
            ("digest", Some("sha256:ab")),
            ("last", Some("a b")),
            ("empty", Some("")),
            ("bare", Some("")),
            ("bad", Some("%zz")),
            ("mail", Some("x")),
            ("n", None),
            ("", None),
        ] {
            assert_eq!(query.get(name).as_deref(), want, "{name}");
        }
    }
}
