//! The files that an upstream's configuration names.

use std::path::{Path, PathBuf};

use super::docker_config::Site;
use super::keyring::{self, Places};
use crate::config::{self, LoginMethod, Trust};
use crate::outbound::pem::{self, Half};
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

/// A file that cannot be used, under its key of the upstream; nothing of its content is in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key} names {}: {reason}", path.display())]
pub struct FileError {
    pub key: &'static str,
    pub path: PathBuf,
    /// What is wrong and what to do: `it does not exist; write …`.
    pub reason: String,
}

impl Files {
    /// Reads and examines them, or says all that is wrong; to be called where it may block.
    pub fn read(spec: &config::Upstream) -> Result<Self, Vec<FileError>> {
        let mut wrong = Vec::new();
        let authorities = match &spec.trust {
            Trust::Also(path) => kept(authorities(path), &mut wrong),
            Trust::System | Trust::Anything => None,
        };
        let identity = spec.identity.as_ref().and_then(|given| kept(identity(given), &mut wrong));
        let places = match &spec.credentials {
            Some(LoginMethod::File(path)) => kept(places(spec, path), &mut wrong),
            Some(LoginMethod::Written(_) | LoginMethod::Helper(_)) | None => None,
        };
        if wrong.is_empty() { Ok(Self { authorities, identity, places }) } else { Err(wrong) }
    }
}

fn kept<T>(read: Result<T, Vec<FileError>>, wrong: &mut Vec<FileError>) -> Option<T> {
    read.map_err(|errors| wrong.extend(errors)).ok()
}

fn authorities(path: &Path) -> Result<Vec<u8>, Vec<FileError>> {
    let content = content("ca", path).map_err(|error| vec![error])?;
    let wrong = |reason| vec![FileError { key: "ca", path: path.to_owned(), reason }];
    pem::authorities(&content).map_err(wrong)?;
    Ok(content)
}

fn identity(given: &config::Identity) -> Result<Vec<u8>, Vec<FileError>> {
    let (certificate, key) = (content("clientcert", &given.certificate), content("clientkey", &given.key));
    let (mut certificate, key) = match (certificate, key) {
        (Ok(certificate), Ok(key)) => (certificate, key),
        (certificate, key) => return Err([certificate.err(), key.err()].into_iter().flatten().collect()),
    };
    pem::identity(&certificate, &key).map_err(|halves| {
        let named = |(half, reason)| match half {
            Half::Certificate => FileError { key: "clientcert", path: given.certificate.clone(), reason },
            Half::Key => FileError { key: "clientkey", path: given.key.clone(), reason },
        };
        halves.into_iter().map(named).collect::<Vec<_>>()
    })?;
    // One file may hold both; its certificates must not be shown twice.
    if given.key != given.certificate {
        certificate.push(b'\n');
        certificate.extend(key);
    }
    Ok(certificate)
}

fn places(spec: &config::Upstream, path: &Path) -> Result<Places, Vec<FileError>> {
    let wrong = |reason| vec![FileError { key: "credentials", path: disk::expand_home(path), reason }];
    keyring::read(path, &Site::all(spec)).map_err(wrong)
}

fn content(key: &'static str, path: &Path) -> Result<Vec<u8>, FileError> {
    disk::read_named(path, disk::NAMED_BYTES).map_err(|error| FileError {
        key,
        path: path.to_owned(),
        reason: disk::why(path, &error),
    })
}
