//! What a request asks for: strings become types here, and never turn back.

mod api;
mod refused;
mod shape;

use std::borrow::Cow;

use http::{Method, Uri};
use percent_encoding::percent_decode_str;

pub use self::api::Api;
pub use self::refused::{Refused, RouteError};
use self::shape::Shape;
use super::query::Query;
use crate::oci::{Algorithm, Digest, NameError, Reference, ReferrersQuery, RepositoryName, Tag};
use crate::registry::{PageRequest, UploadId};

/// So many tags may name a manifest that is pushed by its digest: the answer names them all, in headers that proxies bound.
pub(super) const MOST_TAGS: usize = 32;

/// What a listener answers.
#[derive(Clone, Debug)]
pub enum Site {
    Main {
        /// `http.prefix`: begins and ends with `/`.
        prefix: String,
        metrics: MetricsAt,
    },
    /// `http.debug`: its metrics and its health, nothing else.
    Debug { metrics: MetricsAt },
}

/// Where a listener shows the metrics.
#[derive(Clone, Debug)]
pub enum MetricsAt {
    Nowhere,
    Path(String),
}

/// A repository as the client names it: whose it is, the registry decides.
#[derive(Clone, Debug)]
pub struct At {
    /// `?ns=`
    pub ns: Option<String>,
    pub name: RepositoryName,
}

/// A request that makes sense, whether or not what it asks for exists.
#[derive(Clone, Debug)]
pub enum Route {
    Root,
    Live,
    Ready,
    Health,
    Metrics,
    Ping,
    Base,
    Catalog {
        page: PageRequest,
    },
    Tags {
        at: At,
        page: PageRequest,
    },
    Manifest {
        at: At,
        reference: Reference,
        verb: ManifestVerb,
    },
    Blob {
        at: At,
        digest: Digest,
        verb: BlobVerb,
    },
    Referrers {
        at: At,
        /// Of what, and with `?artifactType=`, `n` and `last` which of them.
        asked: ReferrersQuery,
    },
    StartUpload {
        at: At,
        start: Start,
    },
    Upload {
        at: At,
        id: UploadId,
        verb: UploadVerb,
    },
    Api(Api),
}

#[derive(Clone, Debug)]
pub enum ManifestVerb {
    Head,
    Get,
    Put {
        /// `?tag=`: what shall name it besides, each once.
        tags: Vec<Tag>,
    },
    Delete,
}

#[derive(Clone, Copy, Debug)]
pub enum BlobVerb {
    Head,
    Get,
    Delete,
}

/// How an upload begins.
#[derive(Clone, Debug)]
pub enum Start {
    /// The content comes later, and will be called by a digest of this algorithm (`?digest-algorithm=`).
    Empty(Algorithm),
    /// The content is this request's body (`?digest=`).
    Whole(Digest),
    /// The content may be here already (`?mount=`, `&from=`).
    Mount { digest: Digest, from: Option<RepositoryName> },
}

#[derive(Clone, Copy, Debug)]
pub enum UploadVerb {
    Status,
    Append,
    Finish(Digest),
    Cancel,
}

impl Route {
    pub fn parse(site: &Site, method: &Method, uri: &Uri) -> Result<Self, Refused> {
        let path = match decode(uri.path()) {
            Ok(path) => path,
            Err(why) => return Err(Refused { handler: Shape::Unknown.handler(), why }),
        };
        let shape = Shape::of(site, &path);
        let request = Request { verb: Verb::of(method), query: Query::of(uri) };
        request.route(&shape).map_err(|why| Refused { handler: shape.handler(), why })
    }

    /// Its name in metrics: distribution's names of routes.
    pub fn handler(&self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Live => "livez",
            Self::Ready => "readyz",
            Self::Health => "health",
            Self::Metrics => "metrics",
            Self::Ping => "ping",
            Self::Base => "base",
            Self::Catalog { .. } => "catalog",
            Self::Tags { .. } => "tags",
            Self::Manifest { .. } => "manifest",
            Self::Blob { .. } => "blob",
            Self::Referrers { .. } => "referrers",
            Self::StartUpload { .. } => "blob_upload",
            Self::Upload { .. } => "blob_upload_chunk",
            Self::Api(_) => "api",
        }
    }
}

/// Is this path part of the registry's API, where every answer says so?
pub(super) fn is_api(site: &Site, uri: &Uri) -> bool {
    let Site::Main { prefix, .. } = site else { return false };
    let rest = uri.path().strip_prefix(prefix.as_str());
    rest.is_some_and(|rest| rest == "v2" || rest.starts_with("v2/"))
}

/// Decodes a path once. Slashes that were escaped separate like others, as they do for `registry:2`.
fn decode(path: &str) -> Result<Cow<'_, str>, RouteError> {
    let hex = |b: Option<&u8>| b.is_some_and(u8::is_ascii_hexdigit);
    let bytes = path.as_bytes();
    let escapes = bytes.iter().enumerate().filter(|(_, b)| **b == b'%').map(|(at, _)| at);
    if escapes.into_iter().any(|at| !hex(bytes.get(at + 1)) || !hex(bytes.get(at + 2))) {
        return Err(RouteError::Escape);
    }
    percent_decode_str(path).decode_utf8().map_err(|_| RouteError::Escape)
}

/// The methods that mean something here.
#[derive(Clone, Copy)]
enum Verb {
    Head,
    Get,
    Post,
    Put,
    Patch,
    Delete,
    Other,
}

impl Verb {
    fn of(method: &Method) -> Self {
        match *method {
            Method::HEAD => Self::Head,
            Method::GET => Self::Get,
            Method::POST => Self::Post,
            Method::PUT => Self::Put,
            Method::PATCH => Self::Patch,
            Method::DELETE => Self::Delete,
            _ => Self::Other,
        }
    }
}

/// All of a request but its path.
struct Request<'a> {
    verb: Verb,
    query: Query<'a>,
}

impl Request<'_> {
    fn route(&self, shape: &Shape<'_>) -> Result<Route, RouteError> {
        match *shape {
            Shape::Plain(ref route) => {
                self.reading()?;
                Ok(route.clone())
            }
            Shape::Catalog => {
                self.reading()?;
                Ok(Route::Catalog { page: self.page()? })
            }
            Shape::Tags { name } => {
                self.reading()?;
                Ok(Route::Tags { at: self.at(name)?, page: self.page()? })
            }
            Shape::Manifest { name, reference } => self.manifest(name, reference),
            Shape::Blob { name, digest } => {
                let verb = match self.verb {
                    Verb::Head => BlobVerb::Head,
                    Verb::Get => BlobVerb::Get,
                    Verb::Delete => BlobVerb::Delete,
                    _ => return Err(RouteError::Method { allow: "GET, HEAD, DELETE" }),
                };
                Ok(Route::Blob { at: self.at(name)?, digest: digest.parse()?, verb })
            }
            Shape::Referrers { name, digest } => {
                self.reading()?;
                Ok(Route::Referrers { at: self.at(name)?, asked: self.referrers(digest)? })
            }
            Shape::Uploads { name } => {
                let Verb::Post = self.verb else { return Err(RouteError::Method { allow: "POST" }) };
                Ok(Route::StartUpload { at: self.at(name)?, start: self.start()? })
            }
            Shape::Upload { name, id } => self.upload(name, id),
            Shape::Api(path) => self.api(path).map(Route::Api),
            Shape::Unknown => Err(RouteError::NoSuchPath),
        }
    }

    fn manifest(&self, name: &str, reference: &str) -> Result<Route, RouteError> {
        let verb = match self.verb {
            Verb::Head => ManifestVerb::Head,
            Verb::Get => ManifestVerb::Get,
            Verb::Put => ManifestVerb::Put { tags: self.tags()? },
            Verb::Delete => ManifestVerb::Delete,
            _ => return Err(RouteError::Method { allow: "GET, HEAD, PUT, DELETE" }),
        };
        let at = self.at(name)?;
        let reference = reference.parse().map_err(|error| match error {
            NameError::Digest(error) => RouteError::Digest(error),
            // Clients and the conformance suite ask for impossible tags to see a 404.
            error if !matches!(verb, ManifestVerb::Put { .. }) => RouteError::NoSuchTag(error),
            error => RouteError::Tag(error),
        })?;
        match (&reference, &verb) {
            (Reference::Tag(_), ManifestVerb::Put { tags }) if !tags.is_empty() => {
                Err(RouteError::TagsByTag(tags[0].to_string()))
            }
            _ => Ok(Route::Manifest { at, reference, verb }),
        }
    }

    fn tags(&self) -> Result<Vec<Tag>, RouteError> {
        let mut tags: Vec<Tag> = Vec::new();
        for text in self.query.all("tag") {
            let tag = text.parse().map_err(RouteError::Tag)?;
            if !tags.contains(&tag) {
                tags.push(tag);
            }
            if tags.len() > MOST_TAGS {
                return Err(RouteError::TooManyTags(self.query.all("tag").count()));
            }
        }
        Ok(tags)
    }

    fn upload(&self, name: &str, id: &str) -> Result<Route, RouteError> {
        let verb = match self.verb {
            Verb::Head | Verb::Get => UploadVerb::Status,
            Verb::Patch => UploadVerb::Append,
            Verb::Put => UploadVerb::Finish(self.digest("digest")?.ok_or(RouteError::DigestMissing)?),
            Verb::Delete => UploadVerb::Cancel,
            _ => return Err(RouteError::Method { allow: "GET, HEAD, PATCH, PUT, DELETE" }),
        };
        let at = self.at(name)?;
        let id = id.parse().map_err(|_| RouteError::NoUpload(id.to_owned()))?;
        Ok(Route::Upload { at, id, verb })
    }

    fn start(&self) -> Result<Start, RouteError> {
        if let Some(digest) = self.digest("mount")? {
            // A source that cannot be a name holds nothing: what is asked for may still be elsewhere.
            let from = self.query.once("from")?.and_then(|from| from.parse().ok());
            return Ok(Start::Mount { digest, from });
        }
        let algorithm = self.query.once("digest-algorithm")?.map(|text| text.parse::<Algorithm>()).transpose()?;
        let later = Start::Empty(algorithm.unwrap_or(Algorithm::Sha256));
        Ok(self.digest("digest")?.map_or(later, Start::Whole))
    }

    fn reading(&self) -> Result<(), RouteError> {
        match self.verb {
            Verb::Head | Verb::Get => Ok(()),
            _ => Err(RouteError::Method { allow: "GET, HEAD" }),
        }
    }

    fn at(&self, name: &str) -> Result<At, RouteError> {
        let name = name.parse().map_err(RouteError::Name)?;
        let ns = self.query.agreed("ns")?.filter(|ns| !ns.is_empty());
        Ok(At { ns: ns.map(Cow::into_owned), name })
    }

    fn digest(&self, parameter: &'static str) -> Result<Option<Digest>, RouteError> {
        Ok(self.query.once(parameter)?.map(|text| text.parse()).transpose()?)
    }

    fn referrers(&self, subject: &str) -> Result<ReferrersQuery, RouteError> {
        // Who writes `+json` as it is means no blank: no media type has one.
        let artifact_type = self.query.get("artifactType").map(|text| text.replace(' ', "+"));
        let artifact_type = artifact_type.filter(|text| !text.is_empty());
        let PageRequest { n, last } = self.page()?;
        let last = last.filter(|text| !text.is_empty());
        let last = last.map(|text| text.parse().map_err(|_| RouteError::LastReferrer(text))).transpose()?;
        Ok(ReferrersQuery { subject: subject.parse()?, artifact_type, n, last })
    }

    fn page(&self) -> Result<PageRequest, RouteError> {
        let n = self.query.once("n")?.map(|text| {
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            let number = digits.then(|| text.parse().ok()).flatten();
            number.ok_or_else(|| RouteError::PageNumber(text.into_owned()))
        });
        Ok(PageRequest { n: n.transpose()?, last: self.query.once("last")?.map(Cow::into_owned) })
    }
}

#[cfg(test)]
mod tests;
