//! Errors that know the path that they are about. A walk over many directories fails at one of them.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// An error about one path.
#[derive(Debug)]
struct LocatedError {
    path: PathBuf,
    /// The step that failed. Without one, the text is that of the system alone.
    step: Option<&'static str>,
    source: io::Error,
}

impl fmt::Display for LocatedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.step {
            Some(step) => write!(f, "cannot {step} {}: {}", self.path.display(), self.source),
            None => self.source.fmt(f),
        }
    }
}

impl Error for LocatedError {}

/// Adds the path to an error. Errors that mean "not found" stay as they are: in most cases they are no errors.
pub fn located<T>(path: &Path, result: io::Result<T>) -> io::Result<T> {
    use io::ErrorKind::{InvalidFilename, NotADirectory, NotFound};
    result.map_err(|source| match source.kind() {
        NotFound | NotADirectory | InvalidFilename => source,
        _ if place_of(&source).is_some() => source,
        _ => wrap(path, None, source),
    })
}

/// Returns true if the error says that a disk, or a quota on it, is full.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Returns true if the error says that this process or the machine has no descriptors or no memory left. It tells nothing about
/// a file.
pub fn is_shortage(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let source = error.get_ref().and_then(|inner| inner.downcast_ref::<LocatedError>());
    let number = source.map_or(error, |located| &located.source).raw_os_error();
    number.is_some_and(|number| [Errno::MFILE, Errno::NFILE, Errno::NOMEM].map(Errno::raw_os_error).contains(&number))
}

/// Adds the path to an error that says that a disk is full, so that space is made on that disk.
pub(super) fn located_full<T>(path: &Path, result: io::Result<T>) -> io::Result<T> {
    match result {
        Err(error) if is_full(&error) => located(path, Err(error)),
        result => result,
    }
}

/// Adds the path and the step that failed to an error.
pub(super) fn located_step<T>(step: &'static str, path: &Path, result: io::Result<T>) -> io::Result<T> {
    result.map_err(|source| wrap(path, Some(step), source))
}

fn wrap(path: &Path, step: Option<&'static str>, source: io::Error) -> io::Error {
    io::Error::new(source.kind(), LocatedError { path: path.to_owned(), step, source })
}

/// Returns the path that an error is about, if it is known.
pub fn place_of(error: &io::Error) -> Option<&Path> {
    Some(&error.get_ref()?.downcast_ref::<LocatedError>()?.path)
}
