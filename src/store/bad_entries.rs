//! The entries of the storage that cannot be used: what cannot be read, and what does not belong there.
//!
//! One of them must not keep the rest from being served, listed and counted. So a walk notes it and goes on. The log names each
//! once; an operator can ask for all of them.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::StoreError;
use crate::oci::MAX_MANIFEST_BYTES;
use crate::sys::{blocking, disk};

/// The most entries that are kept. The log names the others too, but perhaps more than once.
const MOST: usize = 1000;

/// An entry of the storage that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadEntry {
    /// The path, or another description of the place.
    pub place: String,
    pub problem: String,
}

/// The kind of thing that belongs at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    Folder,
    Object,
    /// An object that is read whole, such as a link: it is short.
    Record,
    /// The bytes of an object that can be opened. They are not read again until the object is replaced.
    Content,
    Nothing,
}

/// All entries that walks have found.
#[derive(Debug, Default)]
pub struct BadEntries {
    /// A std `Mutex`: held only for operations on the map.
    known: Mutex<BTreeMap<String, (Wanted, String)>>,
}

impl BadEntries {
    /// Returns the value, or notes the error. `place` is described for an error that does not know its path.
    pub fn accept<T>(&self, wanted: Wanted, place: impl FnOnce() -> String, result: io::Result<T>) -> Option<T> {
        let error = match result {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        let exact = disk::place_of(&error).map(|path| path.display().to_string());
        self.note(exact.unwrap_or_else(place), wanted, &error);
        None
    }

    /// Returns the entries of a directory of the cache, sorted by name; none if it cannot be read, which is noted.
    pub fn entries(&self, directory: &Path) -> Vec<disk::DirEntry> {
        let listed = disk::list(directory);
        self.accept(Wanted::Folder, || directory.display().to_string(), listed).unwrap_or_default()
    }

    /// Notes an error that knows its path, and returns true. Any other error may be about the storage as a whole, and so is one
    /// of a full disk. A lack of descriptors or memory tells nothing about an entry.
    pub fn note_error(&self, error: &io::Error) -> bool {
        let about_all = disk::is_full(error) || disk::is_shortage(error);
        let Some(path) = disk::place_of(error).filter(|_| !about_all) else { return false };
        let is_folder =
            error.kind() != io::ErrorKind::IsADirectory && disk::metadata(path).is_ok_and(|found| found.is_dir());
        let wanted = match error.kind() {
            _ if is_folder => Wanted::Folder,
            io::ErrorKind::FileTooLarge => Wanted::Record,
            _ => Wanted::Object,
        };
        self.note(path.display().to_string(), wanted, error);
        true
    }

    /// Notes an error of the store as [`Self::note_error`] does.
    pub fn explains(&self, error: &StoreError) -> bool {
        match error {
            StoreError::Io { source, .. } => self.note_error(source),
            _ => false,
        }
    }

    /// Notes an error of reading the content of a file that is open.
    pub fn note_content(&self, path: &Path, error: &io::Error) {
        if !disk::is_shortage(error) {
            self.note(path.display().to_string(), Wanted::Content, error);
        }
    }

    /// Returns true if the content of this file could not be read. It is still there.
    pub fn has_content(&self, path: &Path) -> bool {
        let known = self.known();
        !known.is_empty() && matches!(known.get(&*path.to_string_lossy()), Some((Wanted::Content, _)))
    }

    /// Forgets a file, since it was replaced or removed.
    pub fn forget(&self, path: &Path) {
        let mut known = self.known();
        if !known.is_empty() {
            known.remove(&*path.to_string_lossy());
        }
    }

    /// Notes an entry that does not belong where it is. Temporary files do, for a time.
    pub fn foreign(&self, place: String, name: &str) {
        if !name.starts_with(".tmp-") && !name.starts_with(".probe-") {
            self.note(place, Wanted::Nothing, "it does not belong there");
        }
    }

    fn note(&self, place: String, wanted: Wanted, problem: impl Display) {
        let mut known = self.known();
        if known.contains_key(&place) {
            return;
        }
        let problem = problem.to_string();
        if known.len() < MOST {
            known.insert(place.clone(), (wanted, problem.clone()));
        }
        drop(known);
        match wanted {
            Wanted::Nothing => {
                tracing::warn!(place, problem, "an entry does not belong in the store; it is not changed")
            }
            _ => tracing::error!(place, problem, "an entry of the store cannot be used; everything else is served"),
        }
    }

    /// Returns the entries that still cannot be used, sorted by place.
    pub async fn list(&self) -> Vec<BadEntry> {
        let known: Vec<_> = self.known().iter().map(|(place, (wanted, _))| (place.clone(), *wanted)).collect();
        let is_mended = |(place, wanted): &(String, Wanted)| {
            let path = Path::new(place);
            match wanted {
                Wanted::Folder => disk::is_usable_directory(path),
                Wanted::Object => disk::is_usable_file(path),
                Wanted::Record => disk::is_usable_record(path, MAX_MANIFEST_BYTES as u64),
                Wanted::Content | Wanted::Nothing => !disk::exists(path),
            }
        };
        let mended = blocking(move || known.into_iter().filter(is_mended).collect::<Vec<_>>()).await;
        let mut known = self.known();
        for (place, _) in mended {
            known.remove(&place);
        }
        let entry = |(place, (_, problem)): (&String, &(Wanted, String))| BadEntry {
            place: place.clone(),
            problem: problem.clone(),
        };
        known.iter().map(entry).collect()
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, (Wanted, String)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
