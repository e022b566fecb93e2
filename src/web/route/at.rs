//! The name of a repository as a client writes it.

use crate::oci::RepositoryName;

/// A repository as the client names it. The registry decides which target it is.
#[derive(Clone, Debug)]
pub struct At {
    /// The value of `?ns=`.
    pub ns: Option<String>,
    pub name: RepositoryName,
}
