//! The files that an upstream's configuration names.

use std::path::{Path, PathBuf};

use super::docker_config::Site;
use super::keyring::{self, Places};
use crate::config::{self, Login, Trust};
use crate::sys::disk;

/// What is in the files that an upstream's configuration names.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// `ca`.
    pub(super) authorities: Option<Vec<u8>>,
    /// `clientcert`, and after it `clientkey`.
    pub(super) identity: Option<Vec<u8>>,
    /// What `credentials` says of this upstream.
    pub(super) places: Option<Places>,
}

/// A file that cannot be used; nothing of its content is in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: cannot use {}: {reason}", path.display())]
pub struct FileError {
    pub key: &'static str,
    pub path: PathBuf,
    pub reason: String,
}

impl Files {
    /// Reads them; to be called where it may block.
    pub fn read(spec: &config::Upstream) -> Result<Self, FileError> {
        let authorities = match &spec.trust {
            Trust::Also(path) => Some(content("ca", path)?),
            Trust::System | Trust::Anything => None,
        };
        let identity = spec.identity.as_ref().map(identity).transpose()?;
        let places = match &spec.credentials {
            Some(Login::File(path)) => {
                let wrong = |reason| FileError { key: "credentials", path: disk::expand_home(path), reason };
                Some(keyring::read(path, &Site::all(spec)).map_err(wrong)?)
            }
            Some(Login::Written(_) | Login::Helper(_)) | None => None,
        };
        Ok(Self { authorities, identity, places })
    }
}

fn identity(identity: &config::Identity) -> Result<Vec<u8>, FileError> {
    let mut pem = content("clientcert", &identity.certificate)?;
    // One file may hold both; its certificates must not be shown twice.
    if identity.key != identity.certificate {
        pem.push(b'\n');
        pem.extend(content("clientkey", &identity.key)?);
    }
    Ok(pem)
}

fn content(key: &'static str, path: &Path) -> Result<Vec<u8>, FileError> {
    disk::read(path).map_err(|error| FileError { key, path: path.to_owned(), reason: error.to_string() })
}
