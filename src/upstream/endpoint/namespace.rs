//! Decides whether requests to an endpoint name the upstream in `?ns=` (OCI distribution-spec 1.1, "Registry Proxying").
//!
//! A mirror of several registries answers a name without `?ns=` from its default registry, so it would serve the content of
//! one registry under the name of another. A registry that is no mirror ignores the parameter, or matches the path together with
//! its query, and then does not know it. So the first requests to an endpoint on another host than the upstream's own carry the
//! parameter. Later ones leave it out while the endpoint says that it mirrors nothing, or once it has shown that it does not read the
//! parameter: it answers the same for a registry that does not exist, or refuses every parameter in the same way (see
//! `upstream::ask::parameters`). An answer for another registry is never used.

use std::sync::atomic::{AtomicU8, Ordering};

use http::{HeaderMap, HeaderName, StatusCode};

use crate::config::{self, NamespaceUse};
use crate::oci::HostName;
use crate::outbound::{Response, Url, authority};

/// The registry that an answer is for.
const OCI_NAMESPACE: HeaderName = HeaderName::from_static("oci-namespace");
/// An Entrepot sends it with every answer below `/v2/`.
const REGISTRY_PROXY: HeaderName = HeaderName::from_static("x-registry-proxy");
/// The value of an Entrepot without upstreams: all its content is its own. Any other value means that it understands `?ns=`.
const NO_PROXY: &str = "none";
const X_CACHE: HeaderName = HeaderName::from_static("x-cache");
/// The values of `X-Cache` in answers of Entrepot.
const CACHE_STATES: [&str; 5] = ["hit", "revalidated", "stale", "miss", "fill"];
/// The hosts of Docker Hub.
const HUB: (&str, [&str; 3]) = ("docker.io", ["registry-1.docker.io", "index.docker.io", "docker.io"]);

/// Whether requests to one endpoint name the upstream in `?ns=`.
#[derive(Debug)]
pub(in crate::upstream) struct Namespace {
    /// The value of the parameter.
    name: String,
    rule: Rule,
    known: AtomicU8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    Never,
    Always,
    /// As the endpoint's answers show.
    Learn,
}

/// The kind of an endpoint, as its answers have shown it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Unknown = 0,
    /// It reads the parameter, as far as can be told.
    Named = 1,
    /// Each of its answers says that it mirrors nothing. It knows no registry that the parameter could name.
    Private = 2,
    /// It serves requests with the parameter. Whether it reads it is not known: not every mirror echoes the name.
    Served = 3,
    /// It does not read the parameter.
    Unread = 4,
}

/// The meaning of an answer's headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::upstream) enum NamespaceVerdict {
    /// The answer is for this upstream, as far as can be told.
    Ours,
    /// The answer does not count. The request must be sent again with the parameter.
    RepeatNamed,
    /// The answer does not count. The endpoint mirrors nothing, so the request must be sent again without the parameter.
    RepeatPlain,
    /// The endpoint has served the request, and may not read the parameter.
    MayIgnoreNamespace,
    /// The endpoint may refuse the request only because of the parameter. If so, the refusal says nothing about the content.
    MayRefuseNamespace,
    /// The answer is for another registry. The text says why.
    Foreign(String),
}

impl Namespace {
    /// Returns the rule for an endpoint. `has_prefix` means that its address names repositories after `/v2/`, which tells a
    /// mirror the registry.
    pub(in crate::upstream) fn of(spec: &config::Upstream, base: &Url, has_prefix: bool) -> Self {
        let is_registry = spec.name.as_str().contains(['.', ':']) || spec.name.as_str() == "localhost";
        let rule = match spec.ns {
            NamespaceUse::Never => Rule::Never,
            NamespaceUse::Always => Rule::Always,
            NamespaceUse::Auto if has_prefix || !is_registry || is_own(&spec.name, base) => Rule::Never,
            NamespaceUse::Auto => Rule::Learn,
        };
        Self { name: spec.name.to_string(), rule, known: AtomicU8::new(Kind::Unknown as u8) }
    }

    #[cfg(test)]
    pub(in crate::upstream) fn never() -> Self {
        Self { name: String::new(), rule: Rule::Never, known: AtomicU8::new(Kind::Unknown as u8) }
    }

    /// Returns true if the next request should carry the parameter.
    pub(in crate::upstream) fn is_sent(&self) -> bool {
        match self.rule {
            Rule::Never => false,
            Rule::Always => true,
            Rule::Learn => !matches!(self.known(), Kind::Private | Kind::Unread),
        }
    }

    /// Returns the value of the parameter.
    pub(in crate::upstream) fn name(&self) -> &str {
        &self.name
    }

    /// Decides about an answer to a request that was sent with the parameter, or without it, and learns from it. `repeated`
    /// means that the request was sent both ways now.
    pub(in crate::upstream) fn judge(&self, response: &Response, sent: bool, repeated: bool) -> NamespaceVerdict {
        if self.rule == Rule::Never {
            return NamespaceVerdict::Ours;
        }
        if !sent && self.known() == Kind::Private && !mirrors_nothing(&response.headers) {
            // A mirror may have passed on the statement of one of its upstreams.
            self.learn(Kind::Unknown);
            return if repeated { self.not_mirrored() } else { NamespaceVerdict::RepeatNamed };
        }
        if response.redirected {
            // The redirect may have kept the parameter, and the target may refuse it.
            let is_refusal = response.status.is_client_error() && response.status != StatusCode::TOO_MANY_REQUESTS;
            if sent && !repeated && is_refusal && self.rule == Rule::Learn && self.known() == Kind::Unknown {
                return NamespaceVerdict::MayRefuseNamespace;
            }
            return match sent && response.status.is_success() {
                true => self.served(repeated),
                false => NamespaceVerdict::Ours,
            };
        }
        self.judge_head(response.status, &response.headers, sent, repeated)
    }

    fn judge_head(&self, status: StatusCode, headers: &HeaderMap, sent: bool, repeated: bool) -> NamespaceVerdict {
        let echo = headers.get(OCI_NAMESPACE).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        if let Some(echo) = echo.as_deref().filter(|echo| !echo.eq_ignore_ascii_case(&self.name)) {
            return NamespaceVerdict::Foreign(format!("it answered for {echo} when it was asked for {}", self.name));
        }
        let is_refusal =
            status.is_client_error() && !matches!(status, StatusCode::UNAUTHORIZED | StatusCode::TOO_MANY_REQUESTS);
        let is_private = mirrors_nothing(headers);
        let is_proxy = headers.contains_key(REGISTRY_PROXY) && !is_private;
        match (sent, echo.is_some()) {
            (true, true) => self.learn(Kind::Named),
            (true, false) if is_proxy && (is_refusal || status.is_success()) => return self.not_mirrored(),
            (true, false) if self.rule == Rule::Always => {}
            (true, false) if is_refusal && is_private && !repeated && self.known() == Kind::Unknown => {
                self.learn(Kind::Private);
                return NamespaceVerdict::RepeatPlain;
            }
            (true, false) if status.is_success() => return self.served(repeated),
            (true, false) if is_refusal && !repeated && self.known() == Kind::Unknown => {
                return NamespaceVerdict::MayRefuseNamespace;
            }
            (true, false) => {}
            (false, _) if repeated && (is_proxy || is_cached(headers)) => return self.not_mirrored(),
            (false, _) if is_proxy || echo.is_some() => {
                self.learn(Kind::Unknown);
                return NamespaceVerdict::RepeatNamed;
            }
            (false, _) => {}
        }
        NamespaceVerdict::Ours
    }

    /// Decides about an answer that has the content, to a request with the parameter, and does not name the registry.
    fn served(&self, repeated: bool) -> NamespaceVerdict {
        if self.rule != Rule::Learn || repeated || !matches!(self.known(), Kind::Unknown | Kind::Served) {
            return NamespaceVerdict::Ours;
        }
        self.learn(Kind::Served);
        NamespaceVerdict::MayIgnoreNamespace
    }

    /// Returns true if an answer to a request without the parameter has no sign of a mirror or of another registry.
    pub(in crate::upstream) fn is_ours(&self, response: &Response) -> bool {
        let headers = &response.headers;
        !headers.contains_key(OCI_NAMESPACE)
            && (!headers.contains_key(REGISTRY_PROXY) || mirrors_nothing(headers))
            && !is_cached(headers)
    }

    /// Remembers whether the endpoint reads the parameter.
    pub(in crate::upstream) fn learn_reading(&self, is_read: bool) {
        self.learn(if is_read { Kind::Named } else { Kind::Unread });
    }

    /// Says that an endpoint refuses the parameter, and what to do.
    pub(in crate::upstream) fn refused(&self) -> String {
        let name = &self.name;
        format!(
            "it refuses requests with ?ns={name}, so it does not know the parameter, or is a mirror without an upstream {name}. \
             If all content there is that of {name}, set `ns: never` in mirror.upstreams.{name} here. If it is a mirror of \
             several registries, add {name} there, or write the prefix that {name} has there after /v2/ in `endpoints`"
        )
    }

    fn not_mirrored(&self) -> NamespaceVerdict {
        let name = &self.name;
        NamespaceVerdict::Foreign(format!(
            "it is a mirror, and has no upstream {name}: add the key mirror.upstreams.{name} there, or write the prefix that \
             {name} has there after /v2/ in `endpoints`. If it hosts these repositories itself, set `ns: never` here"
        ))
    }

    fn known(&self) -> Kind {
        match self.known.load(Ordering::Relaxed) {
            1 => Kind::Named,
            2 => Kind::Private,
            3 => Kind::Served,
            4 => Kind::Unread,
            _ => Kind::Unknown,
        }
    }

    fn learn(&self, kind: Kind) {
        if self.rule == Rule::Learn {
            self.known.store(kind as u8, Ordering::Relaxed);
        }
    }
}

/// Returns true if an answer says that its server mirrors no registry.
fn mirrors_nothing(headers: &HeaderMap) -> bool {
    headers.get(REGISTRY_PROXY).is_some_and(|value| value == NO_PROXY)
}

/// Returns true for an answer of a mirrored repository of Entrepot.
fn is_cached(headers: &HeaderMap) -> bool {
    headers.get(X_CACHE).and_then(|value| value.to_str().ok()).is_some_and(|state| CACHE_STATES.contains(&state))
}

/// Returns true if an endpoint is the upstream's own host.
fn is_own(name: &HostName, base: &Url) -> bool {
    let (hub, hosts) = HUB;
    let host = base.host_str().unwrap_or_default();
    if name.as_str() == hub {
        return hosts.contains(&host);
    }
    let with_port = format!("{host}:{}", base.port_or_known_default().unwrap_or_default());
    [host, &with_port, &authority(base)].contains(&name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace(rule: Rule) -> Namespace {
        Namespace { name: "ghcr.io".to_owned(), rule, known: AtomicU8::new(Kind::Unknown as u8) }
    }

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn own_hosts_are_told_from_others() {
        for (name, base, own) in [
            ("docker.io", "https://registry-1.docker.io", true),
            ("docker.io", "https://mirror.lan:5000", false),
            ("ghcr.io", "https://ghcr.io", true),
            ("ghcr.io", "https://ghcr.io:443/x", true),
            ("ghcr.io:443", "https://ghcr.io", true),
            ("r.corp:5000", "http://r.corp:5000", true),
            ("r.corp:5000", "http://r.corp:5001", false),
            ("ghcr.io", "https://pkg.ghcr.io", false),
        ] {
            assert_eq!(is_own(&name.parse().unwrap(), &base.parse().unwrap()), own, "{name} {base}");
        }
    }

    #[test]
    fn answers_show_whether_an_endpoint_is_a_mirror() {
        let (echo, other, proxy) = (
            &[("oci-namespace", "GHCR.io")][..],
            &[("oci-namespace", "docker.io")][..],
            &[("x-registry-proxy", "ns")][..],
        );
        let may_refuse = || Some(NamespaceVerdict::MayRefuseNamespace);
        for (status, fields, sent, repeated, want, known) in [
            (200, echo, true, false, Some(NamespaceVerdict::Ours), Kind::Named),
            (404, echo, true, false, Some(NamespaceVerdict::Ours), Kind::Named),
            (200, &[][..], true, false, Some(NamespaceVerdict::MayIgnoreNamespace), Kind::Served),
            (200, &[], true, true, Some(NamespaceVerdict::Ours), Kind::Unknown),
            (404, &[], true, false, may_refuse(), Kind::Unknown),
            (400, &[], true, false, may_refuse(), Kind::Unknown),
            (401, &[], true, false, Some(NamespaceVerdict::Ours), Kind::Unknown),
            (503, &[], true, false, Some(NamespaceVerdict::Ours), Kind::Unknown),
            (200, &[], false, true, Some(NamespaceVerdict::Ours), Kind::Unknown),
            (404, &[], false, true, Some(NamespaceVerdict::Ours), Kind::Unknown),
            (200, proxy, false, false, Some(NamespaceVerdict::RepeatNamed), Kind::Unknown),
            (404, &[("x-registry-proxy", "none")], true, false, Some(NamespaceVerdict::RepeatPlain), Kind::Private),
            (404, &[("x-registry-proxy", "none")], false, true, Some(NamespaceVerdict::Ours), Kind::Unknown),
            // It has the name of another registry, or no such upstream.
            (200, other, true, false, None, Kind::Unknown),
            (200, other, false, false, None, Kind::Unknown),
            (404, proxy, true, false, None, Kind::Unknown),
            (200, proxy, true, false, None, Kind::Unknown),
            (200, proxy, false, true, None, Kind::Unknown),
            (200, &[("x-cache", "miss")], false, true, None, Kind::Unknown),
        ] {
            let namespace = namespace(Rule::Learn);
            let verdict = namespace.judge_head(StatusCode::from_u16(status).unwrap(), &headers(fields), sent, repeated);
            match want {
                Some(want) => assert_eq!(verdict, want, "{status} {fields:?} {sent}"),
                None => assert!(matches!(verdict, NamespaceVerdict::Foreign(_)), "{status} {fields:?} {sent}"),
            }
            assert_eq!(namespace.known(), known, "{status} {fields:?} {sent}");
        }
    }

    #[test]
    fn refusal_never_leads_to_requests_without_the_parameter() {
        for (status, fields) in
            [(404, &[][..]), (400, &[]), (403, &[]), (405, &[]), (404, &[("x-registry-proxy", "ns")])]
        {
            let asked = namespace(Rule::Learn);
            for repeated in [false, true] {
                asked.judge_head(StatusCode::from_u16(status).unwrap(), &headers(fields), true, repeated);
                assert!(asked.is_sent(), "{status} {fields:?}");
            }
        }
    }

    #[test]
    fn parameter_that_is_always_sent_needs_no_answer_with_it() {
        let always = namespace(Rule::Always);
        let found = StatusCode::NOT_FOUND;
        assert_eq!(always.judge_head(found, &headers(&[]), true, false), NamespaceVerdict::Ours);
        assert!(always.is_sent() && !namespace(Rule::Never).is_sent());
    }
}
