//! The query of a request target.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// The query of a request, still encoded.
///
/// A malformed escape stays as it is written, so that parsing the value fails later.
#[derive(Clone, Copy, Debug)]
pub(in crate::web) struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    pub(in crate::web) fn of(uri: &'a http::Uri) -> Self {
        Self(uri.query().unwrap_or_default())
    }

    /// Returns the first value of a parameter, or `Some("")` if the parameter has no value.
    pub(in crate::web) fn get(self, name: &str) -> Option<Cow<'a, str>> {
        self.all(name).next()
    }

    /// Returns every value of a parameter, in order.
    pub(in crate::web) fn all(self, name: &str) -> impl Iterator<Item = Cow<'a, str>> {
        let pairs = self.0.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.filter(move |(key, _)| decode(key) == name).map(|(_, value)| decode(value))
    }

    /// Returns the value of a parameter that may occur once.
    pub(in crate::web) fn once(self, name: &'static str) -> Result<Option<Cow<'a, str>>, Repeated> {
        let mut values = self.all(name);
        let value = values.next();
        if values.next().is_some() { Err(Repeated(name)) } else { Ok(value) }
    }

    /// Returns the value of a parameter that may be repeated with the same value: clients add theirs to a `Location` that has it.
    pub(in crate::web) fn agreed(self, name: &'static str) -> Result<Option<Cow<'a, str>>, Repeated> {
        let value = self.get(name);
        if self.all(name).any(|other| Some(&other) != value.as_ref()) { Err(Repeated(name)) } else { Ok(value) }
    }
}

/// A parameter that occurs more than once, so that its value is ambiguous.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the query has the parameter {0} more than once; write it once")]
pub struct Repeated(pub(in crate::web) &'static str);

/// Decodes a part of a query (`application/x-www-form-urlencoded`, as written by clients in Go).
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
    fn parameters_are_decoded_and_counted() {
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
        assert_eq!(query.all("last").collect::<Vec<_>>(), ["a b", "c"]);
        assert_eq!(query.once("last"), Err(Repeated("last")));
        assert_eq!(query.once("n"), Ok(None));
        assert_eq!(query.once("ns").unwrap().as_deref(), Some("docker.io"));
        for (text, want) in [("ns=a&ns=a", Ok(Some("a"))), ("ns=a&ns=b", Err(Repeated("ns"))), ("", Ok(None))] {
            assert_eq!(
                Query(text).agreed("ns").map(|ns| ns.map(Cow::into_owned)),
                want.map(|ns| ns.map(str::to_owned)),
                "{text}"
            );
        }
    }
}
