//! The addresses in `Location` and `Link`. They are relative, so that they are right behind any proxy, and absolute only if
//! `http.host` is set.

use std::fmt::Write;

use http::HeaderValue;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::at::At;
use crate::oci::{Digest, ReferrersQuery};
use crate::registry::{Page, PageRequest, UploadId};

/// The characters that are escaped in the value of a query parameter.
const QUERY: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':').remove(b'/');

/// The address of this registry as clients see it.
#[derive(Clone, Debug)]
pub(in crate::web) struct Base {
    /// The address that ends with `/v2/`.
    registry: String,
    /// The address that ends with `/api/v1/`.
    api: String,
}

impl Base {
    /// Builds the addresses from `http.host` and `http.prefix`, which begins and ends with `/`. Returns `None` if they cannot be
    /// written in a header.
    pub(in crate::web) fn new(host: Option<&str>, prefix: &str) -> Option<Self> {
        let host = host.unwrap_or_default().trim_end_matches('/');
        let base = format!("{host}{prefix}");
        let base = base.bytes().all(|b| b.is_ascii_graphic()).then_some(base)?;
        Some(Self { registry: format!("{base}v2/"), api: format!("{base}api/v1/") })
    }

    pub(in crate::web) fn blob(&self, at: &At, digest: &Digest) -> HeaderValue {
        self.location(at, format_args!("blobs/{digest}"))
    }

    pub(in crate::web) fn manifest(&self, at: &At, digest: &Digest) -> HeaderValue {
        self.location(at, format_args!("manifests/{digest}"))
    }

    pub(in crate::web) fn upload(&self, at: &At, id: &UploadId) -> HeaderValue {
        self.location(at, format_args!("blobs/uploads/{}", id.as_str()))
    }

    /// Returns the `Link` to the page of tags after this one, or `None` if this is the last.
    pub(in crate::web) fn more_tags(&self, at: &At, asked: &PageRequest, page: &Page<String>) -> Option<HeaderValue> {
        let ns = at.ns.as_deref();
        self.next(&format!("{}/tags/list", at.name), asked, page, ns)
    }

    /// Returns the `Link` to the page of the catalog after this one, or `None` if this is the last.
    pub(in crate::web) fn more_repositories(&self, asked: &PageRequest, page: &Page<String>) -> Option<HeaderValue> {
        self.next("_catalog", asked, page, None)
    }

    /// Returns the `Link` to the page of referrers after `last`.
    pub(in crate::web) fn more_referrers(&self, at: &At, asked: &ReferrersQuery, last: &Digest) -> HeaderValue {
        let path = format!("{}/referrers/{}", at.name, asked.subject);
        let mut link = begin(&self.registry, &path, asked.n, &last.to_string());
        if let Some(artifact_type) = &asked.artifact_type {
            add(&mut link, '&', "artifactType", artifact_type);
        }
        end(link, at.ns.as_deref())
    }

    /// Returns the `Link` to the page after `last` in a list below `/api/v1/`.
    pub(in crate::web) fn more_of_api(&self, path: &str, n: Option<usize>, last: &str) -> HeaderValue {
        end(begin(&self.api, path, n, last), None)
    }

    fn location(&self, at: &At, tail: std::fmt::Arguments<'_>) -> HeaderValue {
        let mut url = format!("{}{}/{tail}", self.registry, at.name);
        if let Some(ns) = &at.ns {
            add(&mut url, '?', "ns", ns);
        }
        header(url)
    }

    fn next(&self, path: &str, asked: &PageRequest, page: &Page<String>, ns: Option<&str>) -> Option<HeaderValue> {
        let last = page.entries.last().filter(|_| page.more)?;
        Some(end(begin(&self.registry, path, asked.n, last), ns))
    }
}

/// Begins a `Link` to the `n` entries after `last`.
fn begin(base: &str, path: &str, n: Option<usize>, last: &str) -> String {
    let mut link = format!("<{base}{path}");
    add(&mut link, '?', "last", last);
    if let Some(n) = n {
        add(&mut link, '&', "n", &n.to_string());
    }
    link
}

/// Ends a `Link`.
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
    HeaderValue::try_from(text).expect("the base is checked, and the rest are names or escaped")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ns: Option<&str>) -> At {
        At { ns: ns.map(str::to_owned), name: "team/app".parse().unwrap() }
    }

    #[test]
    fn locations_are_relative_unless_a_host_is_configured() {
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
    fn links_lead_to_the_next_page() {
        let base = Base::new(None, "/").unwrap();
        let page = |entries: &[&str], more| Page { entries: entries.iter().map(|&e| e.to_owned()).collect(), more };
        let asked = |n| PageRequest { n, last: None };
        let link = |n, page: &Page<String>| base.more_tags(&at(None), &asked(n), page);
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
