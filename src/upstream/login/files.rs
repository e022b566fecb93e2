//! Reads the files that an upstream's configuration names.

use std::path::{Path, PathBuf};

use super::docker_config::RegistryKeys;
use super::keyring::{self, LoginPlaces};
use crate::config::{self, LoginMethod, Trust};
use crate::outbound::pem::{self, IdentityFile};
use crate::sys::disk;

/// Holds the content of the files that an upstream's configuration names.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// The content of `ca`.
    pub(in crate::upstream) authorities: Option<Vec<u8>>,
    /// The content of `clientcert`, followed by that of `clientkey`.
    pub(in crate::upstream) identity: Option<Vec<u8>>,
    /// The places of this upstream's login that the file of `credentials` names.
    pub(in crate::upstream) places: Option<LoginPlaces>,
}

/// A file that cannot be used, with the key that names it. The error repeats nothing of the file's content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key} names {}: {reason}", path.display())]
pub struct FileError {
    pub key: &'static str,
    pub path: PathBuf,
    /// The fault and its remedy: `it does not exist; write …`.
    pub reason: String,
}

impl Files {
    /// Reads and checks the files, and returns every error it finds. It blocks.
    pub fn read(spec: &config::Upstream) -> Result<Self, Vec<FileError>> {
        let mut wrong = Vec::new();
        let authorities = match &spec.trust {
            Trust::Also(path) => collect(authorities(path), &mut wrong),
            Trust::System | Trust::Anything => None,
        };
        let identity = spec.identity.as_ref().and_then(|given| collect(identity(given), &mut wrong));
        let places = match &spec.credentials {
            Some(LoginMethod::File(path)) => collect(places(spec, path), &mut wrong),
            Some(LoginMethod::Written(_) | LoginMethod::Helper(_)) | None => None,
        };
        if wrong.is_empty() { Ok(Self { authorities, identity, places }) } else { Err(wrong) }
    }
}

fn collect<T>(read: Result<T, Vec<FileError>>, wrong: &mut Vec<FileError>) -> Option<T> {
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
    pem::identity(&certificate, &key).map_err(|errors| {
        let named = |(file, reason)| match file {
            IdentityFile::Certificate => FileError { key: "clientcert", path: given.certificate.clone(), reason },
            IdentityFile::Key => FileError { key: "clientkey", path: given.key.clone(), reason },
        };
        errors.into_iter().map(named).collect::<Vec<_>>()
    })?;
    // One file may hold both. Its certificates must not appear twice.
    if given.key != given.certificate {
        certificate.push(b'\n');
        certificate.extend(key);
    }
    Ok(certificate)
}

fn places(spec: &config::Upstream, path: &Path) -> Result<LoginPlaces, Vec<FileError>> {
    let wrong = |reason| vec![FileError { key: "credentials", path: disk::expand_home(path), reason }];
    keyring::read(path, &RegistryKeys::all(spec)).map_err(wrong)
}

fn content(key: &'static str, path: &Path) -> Result<Vec<u8>, FileError> {
    disk::read_named(path, disk::NAMED_BYTES).map_err(|error| FileError {
        key,
        path: path.to_owned(),
        reason: disk::explain(path, &error),
    })
}
