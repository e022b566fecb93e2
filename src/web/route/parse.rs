//! Parsing a request into a route.

use http::{Method, Uri};

use super::params::{Params, Verb};
use super::parse_api;
use super::path::path_of;
use super::refused::{MAX_TAGS, Refused, RouteError};
use super::routes::{BlobVerb, ManifestVerb, Route, Start, UploadVerb};
use super::shape::Shape;
use super::site::Site;
use crate::oci::{Algorithm, NameError, Reference, Tag};

impl Route {
    /// Parses a request into a route of this site.
    pub fn parse(site: &Site, method: &Method, uri: &Uri) -> Result<Self, Refused> {
        let path = match path_of(uri) {
            Ok(path) => path,
            Err(why) => return Err(Refused { handler: Shape::Unknown.handler(), why }),
        };
        let shape = Shape::of(site, &path);
        route(&shape, &Params::of(method, uri)).map_err(|why| Refused { handler: shape.handler(), why })
    }
}

fn route(shape: &Shape<'_>, params: &Params<'_>) -> Result<Route, RouteError> {
    match *shape {
        Shape::Plain(ref route) => {
            params.read_only()?;
            Ok(route.clone())
        }
        Shape::Catalog => {
            params.read_only()?;
            Ok(Route::Catalog { page: params.page()? })
        }
        Shape::Tags { name } => {
            params.read_only()?;
            Ok(Route::Tags { at: params.at(name)?, page: params.page()? })
        }
        Shape::Manifest { name, reference } => manifest(params, name, reference),
        Shape::Blob { name, digest } => {
            let verb = match params.verb {
                Verb::Head => BlobVerb::Head,
                Verb::Get => BlobVerb::Get,
                Verb::Delete => BlobVerb::Delete,
                _ => return Err(RouteError::Method { allow: "GET, HEAD, DELETE" }),
            };
            Ok(Route::Blob { at: params.at(name)?, digest: digest.parse()?, verb })
        }
        Shape::Referrers { name, digest } => {
            params.read_only()?;
            Ok(Route::Referrers { at: params.at(name)?, asked: params.referrers(digest)? })
        }
        Shape::Uploads { name } => {
            let Verb::Post = params.verb else { return Err(RouteError::Method { allow: "POST" }) };
            Ok(Route::StartUpload { at: params.at(name)?, start: start(params)? })
        }
        Shape::Upload { name, id } => upload(params, name, id),
        Shape::Api(path) => parse_api::parse(params, path).map(Route::Api),
        Shape::Unknown => Err(RouteError::NoSuchPath),
        Shape::Outside(prefix) => Err(RouteError::OutsidePrefix(prefix.to_owned())),
    }
}

fn manifest(params: &Params<'_>, name: &str, reference: &str) -> Result<Route, RouteError> {
    let verb = match params.verb {
        Verb::Head => ManifestVerb::Head,
        Verb::Get => ManifestVerb::Get,
        Verb::Put => ManifestVerb::Put { tags: tags(params)? },
        Verb::Delete => ManifestVerb::Delete,
        _ => return Err(RouteError::Method { allow: "GET, HEAD, PUT, DELETE" }),
    };
    let at = params.at(name)?;
    let reference = reference.parse().map_err(|error| match error {
        NameError::Digest(error) => RouteError::Digest(error),
        // Clients and the conformance suite ask for impossible tags and expect 404.
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

fn tags(params: &Params<'_>) -> Result<Vec<Tag>, RouteError> {
    let mut tags: Vec<Tag> = Vec::new();
    for text in params.query.all("tag") {
        let tag = text.parse().map_err(RouteError::Tag)?;
        if !tags.contains(&tag) {
            tags.push(tag);
        }
        if tags.len() > MAX_TAGS {
            return Err(RouteError::TooManyTags(params.query.all("tag").count()));
        }
    }
    Ok(tags)
}

fn upload(params: &Params<'_>, name: &str, id: &str) -> Result<Route, RouteError> {
    let verb = match params.verb {
        Verb::Head | Verb::Get => UploadVerb::Status,
        Verb::Patch => UploadVerb::Append,
        Verb::Put => UploadVerb::Finish(params.digest("digest")?.ok_or(RouteError::DigestMissing)?),
        Verb::Delete => UploadVerb::Cancel,
        _ => return Err(RouteError::Method { allow: "GET, HEAD, PATCH, PUT, DELETE" }),
    };
    let at = params.at(name)?;
    let id = id.parse().map_err(|_| RouteError::NoUpload(id.to_owned()))?;
    Ok(Route::Upload { at, id, verb })
}

fn start(params: &Params<'_>) -> Result<Start, RouteError> {
    if let Some(digest) = params.digest("mount")? {
        // A source with an impossible name has no content, but the blob may be in another repository.
        let from = params.query.once("from")?.and_then(|from| from.parse().ok());
        return Ok(Start::Mount { digest, from });
    }
    let algorithm = params.query.once("digest-algorithm")?.map(|text| text.parse::<Algorithm>()).transpose()?;
    let empty = Start::Empty(algorithm.unwrap_or(Algorithm::Sha256));
    Ok(params.digest("digest")?.map_or(empty, Start::Whole))
}

#[cfg(test)]
mod tests;
