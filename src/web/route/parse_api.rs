//! Parsing the routes below `/api/v1/`.

use super::api::Api;
use super::params::{Params, Verb};
use super::refused::RouteError;

/// Parses a path below `/api/v1/`.
pub(super) fn parse(params: &Params<'_>, path: &str) -> Result<Api, RouteError> {
    let path = match params.verb {
        // A list may end with a slash. The name of an image that is deleted may not.
        Verb::Head | Verb::Get => path.strip_suffix('/').unwrap_or(path),
        _ => path,
    };
    match path.split_once('/') {
        None if path == "upstreams" => params.read_only().map(|()| Api::Upstreams),
        None if path == "fills" => params.read_only().map(|()| Api::Fills),
        None if path == "warm" => match params.verb {
            Verb::Post => Ok(Api::Warm),
            _ => Err(RouteError::Method { allow: "POST" }),
        },
        None if path == "repositories" => params.read_only().and_then(|()| Ok(Api::Repositories(params.page()?))),
        None if path == "usage" => params.read_only().map(|()| Api::Usage),
        Some(("usage", "repositories")) => params.read_only().map(|()| Api::UsageByRepository),
        Some(("repositories", rest)) => match rest.rsplit_once('/') {
            Some((name, "tags")) => {
                params.read_only().and_then(|()| Ok(Api::Tags { name: name.parse()?, page: params.page()? }))
            }
            Some((name, "usage")) => params.read_only().and_then(|()| Ok(Api::UsageOf(name.parse()?))),
            _ => Err(RouteError::NoSuchPath),
        },
        Some(("images", selection)) => match params.verb {
            Verb::Delete => Ok(Api::DeleteImage(selection.parse()?)),
            _ => Err(RouteError::Method { allow: "DELETE" }),
        },
        Some(("fills", digest)) => match params.verb {
            Verb::Delete => Ok(Api::CancelFill(digest.parse()?)),
            _ => Err(RouteError::Method { allow: "DELETE" }),
        },
        _ => Err(RouteError::NoSuchPath),
    }
}
