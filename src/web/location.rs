//! Addresses that answers give: `Location` and `Link`. Relative, so that they are right behind any proxy; absolute only where
//! `http.host` says how.

use std::fmt::Write;

use http::HeaderValue;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::route::At;
use crate::oci::{Digest, ReferrersQuery};
use crate::registry::{Page, PageRequest, UploadId};

/// What need not be escaped in the value of a query's parameter.
const QUERY: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':').remove(b'/');

/// Where this registry is, as clients see it.
#[derive(Clone, Debug)]
pub(super) struct Base {
    /// Ends with `/v2/`.
    registry: String,
    /// Ends with `/api/v1/`.
    api: String,
}

impl Base {
    /// `host` is `http.host`, `prefix` begins and ends with `/`. `None` when they cannot stand in a header.
    pub(super) fn new(host: Option<&str>, prefix: &str) -> Option<Self> {
        let host = host.unwrap_or_default().trim_end_matches('/');
        let base = format!("{host}{prefix}");
        let base = base.bytes().all(|b| b.is_ascii_graphic()).then_some(base)?;
        Some(Self { registry: format!("{base}v2/"), api: format!("{base}api/v1/") })
    }

    pub(super) fn blob(&self, at: &At, digest: &Digest) -> HeaderValue {
        self.location(at, format_args!("blobs/{digest}"))
    }

    pub(super) fn manifest(&self, at: &At, digest: &Digest) -> HeaderValue {
        self.location(at, format_args!("manifests/{digest}"))
    }

    pub(super) fn upload(&self, at: &At, id: &UploadId) -> HeaderValue {
        self.location(at, format_args!("blobs/uploads/{}", id.as_str()))
    }

    /// `Link` to the page of tags after this one; `None` when this is the last.
    pub(super) fn more_tags(&self, at: &At, asked: &PageRequest, page: &Page) -> Option<HeaderValue> {
        let ns = at.ns.as_deref();
        self.next(&format!("{}/tags/list", at.name), asked, page, ns)
    }

    /// `Link` to the page of the catalog after this one.
    pub(super) fn more_repositories(&self, asked: &PageRequest, page: &Page) -> Option<HeaderValue> {
        self.next("_catalog", asked, page, None)
    }

    /// `Link` to the page of what refers to a manifest that comes after `last`.
    pub(super) fn more_referrers(&self, at: &At, asked: &ReferrersQuery, last: &Digest) -> HeaderValue {
        let path = format!("{}/referrers/{}", at.name, asked.subject);
        let mut link = begin(&self.registry, &path, asked.n, &last.to_string());
        if let Some(artifact_type) = &asked.artifact_type {
            add(&mut link, '&', "artifactType", artifact_type);
        }
        end(link, at.ns.as_deref())
    }

    /// `Link` to what comes after `last` in a list of the API.
    pub(super) fn more_of_api(&self, path: &str, n: Option<usize>, last: &str) -> HeaderValue {
        end(begin(&self.api, path, n, last), None)
    }

    fn location(&self, at: &At, tail: std::fmt::Arguments<'_>) -> HeaderValue {
        let mut url = format!("{}{}/{tail}", self.registry, at.name);
        if let Some(ns) = &at.ns {
            add(&mut url, '?', "ns", ns);
        }
        header(url)
    }

    fn next(&self, path: &str, asked: &PageRequest, page: &Page, ns: Option<&str>) -> Option<HeaderValue> {
        let last = page.entries.last().filter(|_| page.more)?;
        Some(end(begin(&self.registry, path, asked.n, last), ns))
    }
}

/// The beginning of a link to the entries after `last`, `n` at a time.
fn begin(base: &str, path: &str, n: Option<usize>, last: &str) -> String {
    let mut link = format!("<{base}{path}");
    add(&mut link, '?', "last", last);
    if let Some(n) = n {
        add(&mut link, '&', "n", &n.to_string());
    }
    link
}

/// The end of a `Link`.
fn end(mut link: String, ns: Option<&str>) -> HeaderValue {
    if let Some(ns) = ns {
        add(&mut link, '&', "ns", ns);
    }
    link.push_str(">; rel=\"next\"");
    header(link)
}

fn add(url: &mut String, separator: char, name: &str, value: &str) {
    write!(url, "{separator}{name}={}", utf8_percent_encode(value, QUERY)).expect("a String takes everything");
}

fn header(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("the base was checked, the rest are names or escaped")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ns: Option<&str>) -> At {
        At { ns: ns.map(str::to_owned), name: "team/app".parse().unwrap() }
    }

    #[test]
    fn where_things_are() {
        let digest: Digest = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
        let relative = Base::new(None, "/").unwrap();
        assert_eq!(relative.blob(&at(None), &digest), format!("/v2/team/app/blobs/{digest}").as_str());
        let elsewhere = Base::new(Some("https://r.lan:5000/"), "/x/").unwrap();
        assert_eq!(
            elsewhere.manifest(&at(Some("[::1]:5000")), &digest),
            format!("https://r.lan:5000/x/v2/team/app/manifests/{digest}?ns=%5B::1%5D:5000").as_str()
        );
        assert!(Base::new(Some("https://r\n"), "/").is_none());
    }

    #[test]
    fn the_next_page() {
        let base = Base::new(None, "/").unwrap();
        let page = |entries: &[&str], more| Page { entries: entries.iter().map(|&e| e.to_owned()).collect(), more };
        let asked = |n| PageRequest { n, last: None };
        let link = |n, page: &Page| base.more_tags(&at(None), &asked(n), page);
        assert_eq!(
            link(Some(2), &page(&["a", "b"], true)).unwrap(),
            "</v2/team/app/tags/list?last=b&n=2>; rel=\"next\""
        );
        assert_eq!(link(None, &page(&["a"], true)).unwrap(), "</v2/team/app/tags/list?last=a>; rel=\"next\"");
        assert!(link(Some(2), &page(&["a", "b"], false)).is_none());
        assert!(link(Some(0), &page(&[], true)).is_none());
        let repositories = base.more_repositories(&asked(Some(1)), &page(&["docker.io/library/a"], true)).unwrap();
        assert_eq!(repositories, "</v2/_catalog?last=docker.io/library/a&n=1>; rel=\"next\"");
        let held = base.more_of_api("repositories/r.lan:443/app/tags", Some(2), "1");
        assert_eq!(held, "</api/v1/repositories/r.lan:443/app/tags?last=1&n=2>; rel=\"next\"");
        let with_ns = base.more_tags(&at(Some("r.lan")), &asked(Some(1)), &page(&["a"], true)).unwrap();
        assert_eq!(with_ns, "</v2/team/app/tags/list?last=a&n=1&ns=r.lan>; rel=\"next\"");
        let digest: Digest = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
        let asked = ReferrersQuery { subject: digest, artifact_type: Some("a/b+c".to_owned()), n: Some(1), last: None };
        assert_eq!(
            base.more_referrers(&at(Some("r.lan")), &asked, &digest),
            format!("</v2/team/app/referrers/{digest}?last={digest}&n=1&artifactType=a/b%2Bc&ns=r.lan>; rel=\"next\"")
                .as_str()
        );
    }
}
