//! What is asked below `/api/v1/`.

use super::{Request, RouteError, Verb};
use crate::oci::{Digest, ImageRepository, ImageSelection};
use crate::registry::PageRequest;

/// What the user interface and the commands ask, below `/api/v1/`.
#[derive(Clone, Debug)]
pub enum Api {
    /// `upstreams`: their endpoints and limits.
    Upstreams,
    /// `fills`: what is arriving.
    Fills,
    /// `fills/DIGEST`, deleted: it is cancelled.
    CancelFill(Digest),
    /// `repositories`: what is held.
    Repositories(PageRequest),
    /// `repositories/NAME/tags`
    Tags { name: ImageRepository, page: PageRequest },
    /// `images/NAME[:TAG|@DIGEST]`, deleted.
    DeleteImage(ImageSelection),
    /// `usage`: what is taken in all.
    Usage,
    /// `usage/repositories`: what each repository takes.
    UsageByRepository,
    /// `repositories/NAME/usage`
    UsageOf(ImageRepository),
    /// `warm`: images are brought into the cache.
    Warm,
}

impl Request<'_> {
    pub(super) fn api(&self, path: &str) -> Result<Api, RouteError> {
        match path.split_once('/') {
            None if path == "upstreams" => self.reading().map(|()| Api::Upstreams),
            None if path == "fills" => self.reading().map(|()| Api::Fills),
            None if path == "warm" => match self.verb {
                Verb::Post => Ok(Api::Warm),
                _ => Err(RouteError::Method { allow: "POST" }),
            },
            None if path == "repositories" => self.reading().and_then(|()| Ok(Api::Repositories(self.page()?))),
            None if path == "usage" => self.reading().map(|()| Api::Usage),
            Some(("usage", "repositories")) => self.reading().map(|()| Api::UsageByRepository),
            Some(("repositories", rest)) => match rest.rsplit_once('/') {
                Some((name, "tags")) => {
                    self.reading().and_then(|()| Ok(Api::Tags { name: name.parse()?, page: self.page()? }))
                }
                Some((name, "usage")) => self.reading().and_then(|()| Ok(Api::UsageOf(name.parse()?))),
                _ => Err(RouteError::NoSuchPath),
            },
            Some(("images", selection)) => match self.verb {
                Verb::Delete => Ok(Api::DeleteImage(selection.parse()?)),
                _ => Err(RouteError::Method { allow: "DELETE" }),
            },
            Some(("fills", digest)) => match self.verb {
                Verb::Delete => Ok(Api::CancelFill(digest.parse()?)),
                _ => Err(RouteError::Method { allow: "DELETE" }),
            },
            _ => Err(RouteError::NoSuchPath),
        }
    }
}
