//! The routes below `/api/v1/`.

use crate::oci::{Digest, ImageRepository, ImageSelection};
use crate::registry::PageRequest;

/// A route below `/api/v1/`, as the user interface and the commands use it.
#[derive(Clone, Debug)]
pub enum Api {
    /// `GET upstreams`: the state of the upstreams.
    Upstreams,
    /// `GET fills`: the running fills.
    Fills,
    /// `DELETE fills/DIGEST`: cancels a fill.
    CancelFill(Digest),
    /// `GET repositories`: the repositories with stored content.
    Repositories(PageRequest),
    /// `GET repositories/NAME/tags`: the stored tags of a repository.
    Tags { name: ImageRepository, page: PageRequest },
    /// `DELETE images/NAME[:TAG|@DIGEST]`: deletes a tag, a manifest or a repository.
    DeleteImage(ImageSelection),
    /// `GET usage`: the usage of the whole disk.
    Usage,
    /// `GET usage/repositories`: the usage of each repository.
    UsageByRepository,
    /// `GET repositories/NAME/usage`: the usage of one repository.
    UsageOf(ImageRepository),
    /// `POST warm`: pulls images into the cache.
    Warm,
}
