//! What a request asks for: strings become types here, and never turn back.

mod api;
mod shape;

use std::borrow::Cow;

use http::{Method, Uri};
use percent_encoding::percent_decode_str;

pub use self::api::Api;

use self::shape::Shape;
use super::query::Query;
use crate::oci::{Digest, DigestError, ImageError, NameError, Reference, RepositoryName};
use crate::registry::{PageRequest, UploadId};

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
    /// With `?artifactType=`, only those of that type.
    Referrers {
        at: At,
        subject: Digest,
        artifact_type: Option<String>,
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

#[derive(Clone, Copy, Debug)]
pub enum ManifestVerb {
    Head,
    Get,
    Put,
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
    /// The content comes later.
    Empty,
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

/// A request that makes no sense, and the handler it was meant for (as metrics name it).
#[derive(Debug)]
pub struct Refused {
    pub handler: &'static str,
    pub why: RouteError,
}

/// Why a request makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    #[error("nothing is served at this path; repositories are under /v2/NAME/manifests, blobs, tags and referrers")]
    NoSuchPath,
    #[error("this path answers {allow}, not the method that was used")]
    Method { allow: &'static str },
    #[error("the path holds a percent sign that begins no escape, or bytes that are not UTF-8")]
    Escape,
    #[error(transparent)]
    Name(NameError),
    /// A manifest is looked for by what can be no tag, so that there is none.
    #[error("there is no such manifest: {0}")]
    NoSuchTag(NameError),
    #[error(transparent)]
    Tag(NameError),
    #[error(transparent)]
    Digest(#[from] DigestError),
    #[error("the digest of the content is missing; add ?digest=ALGORITHM:HEX")]
    DigestMissing,
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error("n={0:?} is not a number of entries")]
    PageNumber(String),
    #[error("{0:?} names no upload; start one with POST")]
    NoUpload(String),
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
                let artifact_type = self.query.get("artifactType").filter(|text| !text.is_empty());
                let artifact_type = artifact_type.map(Cow::into_owned);
                Ok(Route::Referrers { at: self.at(name)?, subject: digest.parse()?, artifact_type })
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
            Verb::Put => ManifestVerb::Put,
            Verb::Delete => ManifestVerb::Delete,
            _ => return Err(RouteError::Method { allow: "GET, HEAD, PUT, DELETE" }),
        };
        let at = self.at(name)?;
        let reference = reference.parse().map_err(|error| match error {
            NameError::Digest(error) => RouteError::Digest(error),
            // Clients and the conformance suite ask for impossible tags to see a 404.
            error if !matches!(verb, ManifestVerb::Put) => RouteError::NoSuchTag(error),
            error => RouteError::Tag(error),
        })?;
        Ok(Route::Manifest { at, reference, verb })
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
            let from = self.query.get("from").and_then(|from| from.parse().ok());
            return Ok(Start::Mount { digest, from });
        }
        Ok(self.digest("digest")?.map_or(Start::Empty, Start::Whole))
    }

    fn reading(&self) -> Result<(), RouteError> {
        match self.verb {
            Verb::Head | Verb::Get => Ok(()),
            _ => Err(RouteError::Method { allow: "GET, HEAD" }),
        }
    }

    fn at(&self, name: &str) -> Result<At, RouteError> {
        let name = name.parse().map_err(RouteError::Name)?;
        let ns = self.query.get("ns").filter(|ns| !ns.is_empty());
        Ok(At { ns: ns.map(Cow::into_owned), name })
    }

    fn digest(&self, parameter: &str) -> Result<Option<Digest>, RouteError> {
        Ok(self.query.get(parameter).map(|text| text.parse()).transpose()?)
    }

    fn page(&self) -> Result<PageRequest, RouteError> {
        let n = self.query.get("n").map(|text| {
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            let number = digits.then(|| text.parse().ok()).flatten();
            number.ok_or_else(|| RouteError::PageNumber(text.into_owned()))
        });
        Ok(PageRequest { n: n.transpose()?, last: self.query.get("last").map(Cow::into_owned) })
    }
}

#[cfg(test)]
mod tests;
