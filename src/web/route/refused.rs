//! The reasons why a request has no route.

use crate::oci::{DigestError, ImageError, NameError};
use crate::web::request::Repeated;

/// The number of tags that a manifest may be pushed with by digest. The answer names them all in headers, whose size proxies limit.
pub(in crate::web) const MAX_TAGS: usize = 32;

/// A request without a route.
#[derive(Debug)]
pub struct Refused {
    /// The handler that the path belongs to, as metrics name it.
    pub handler: &'static str,
    pub why: RouteError,
}

/// The reason why a request has no route. `Display` gives a message for the client.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    #[error("nothing is served at this path; repositories are under /v2/NAME/manifests, blobs, tags and referrers")]
    NoSuchPath,
    /// The path does not begin with `http.prefix`.
    #[error(
        "this server serves below {0} (http.prefix), and nothing at this path; write {0} at the end of its address"
    )]
    OutsidePrefix(String),
    #[error("this path accepts only {}", listed(allow))]
    Method { allow: &'static str },
    #[error("the path has a malformed percent escape, or bytes that are not UTF-8")]
    Escape,
    #[error("{0}{hint}", hint = port_hint(.0))]
    Name(NameError),
    /// The reference of a requested manifest is neither a tag nor a digest, so the manifest does not exist.
    #[error("the manifest does not exist: {0}")]
    NoSuchTag(NameError),
    #[error(transparent)]
    Tag(NameError),
    #[error("the request has {0} tags, more than the {MAX_TAGS} allowed; push the manifest again with the others")]
    TooManyTags(usize),
    #[error("?tag= requires a push by digest, as in PUT /v2/NAME/manifests/sha256:HEX?tag={0}")]
    TagsByTag(String),
    #[error(transparent)]
    Digest(#[from] DigestError),
    #[error(transparent)]
    Repeated(#[from] Repeated),
    #[error("the digest of the content is missing; add ?digest=ALGORITHM:HEX")]
    DigestMissing,
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error("n={0:?} is not a number of entries")]
    PageNumber(String),
    #[error("last={0:?} is not the digest of a referrer; follow the Link header of the previous page")]
    LastReferrer(String),
    #[error("there is no upload {0:?}; start one with POST")]
    NoUpload(String),
}

/// Returns a hint for a name like `r.corp:443/app`. Clients write it if the registry has a port in its name.
fn port_hint(error: &NameError) -> String {
    let NameError::Repository(name) = error else { return String::new() };
    match name.split_once('/') {
        Some((host, _)) if host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) => format!(
            "; a path cannot contain a port: use an alias of {host} without one (mirror.upstreams.{host}.aliases), or ?ns={host}"
        ),
        _ => String::new(),
    }
}

fn listed(methods: &str) -> String {
    match methods.rsplit_once(", ") {
        Some((first, last)) => format!("{first} and {last}"),
        None => methods.to_owned(),
    }
}
