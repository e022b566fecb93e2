//! The repositories that may hold a digest, for a mount that does not name its source.
//!
//! The entries are hints: the caller reads the repository's link, and that decides.

use std::collections::BTreeSet;
use std::ops::Bound::{Included, Unbounded};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::oci::Digest;

/// The repositories that may hold each digest.
#[derive(Default)]
pub struct Holders {
    /// The first bytes of a digest with a repository's name, which all entries of the repository share: about 40 bytes
    /// for each entry. Two digests that begin alike cost one more look at a link. A std `Mutex`: held only for
    /// operations on the set.
    hints: Mutex<BTreeSet<(u64, Arc<str>)>>,
    /// True once everything was entered that was stored when the process started.
    complete: AtomicBool,
}

impl Holders {
    /// Enters a repository for several digests.
    pub fn add(&self, name: &str, digests: &[Digest]) {
        let name: Arc<str> = name.into();
        self.hints().extend(digests.iter().map(|digest| (digest.prefix(), Arc::clone(&name))));
    }

    pub fn remove(&self, name: &str, digest: &Digest) {
        self.hints().remove(&(digest.prefix(), name.into()));
    }

    /// Removes a repository from several digests.
    pub fn remove_all(&self, name: &str, digests: &[Digest]) {
        let name: Arc<str> = name.into();
        let mut hints = self.hints();
        for digest in digests {
            hints.remove(&(digest.prefix(), Arc::clone(&name)));
        }
    }

    /// Returns the number of entries. A digest that several repositories may hold counts several times.
    pub fn len(&self) -> usize {
        self.hints().len()
    }

    /// Declares that everything was entered.
    pub fn completed(&self) {
        self.complete.store(true, Ordering::Release);
    }

    /// Returns the repositories that may hold a digest, sorted by name; `None` before everything was entered.
    pub fn of(&self, digest: &Digest) -> Option<Vec<Arc<str>>> {
        self.complete.load(Ordering::Acquire).then(|| self.known_of(digest))
    }

    /// Returns the repositories that are known to hold a digest, sorted by name. Others may not be entered yet.
    pub fn known_of(&self, digest: &Digest) -> Vec<Arc<str>> {
        let (hints, prefix) = (self.hints(), digest.prefix());
        let from = hints.range((Included((prefix, Arc::from(""))), Unbounded));
        from.take_while(|(other, _)| *other == prefix).map(|(_, name)| Arc::clone(name)).collect()
    }

    fn hints(&self) -> MutexGuard<'_, BTreeSet<(u64, Arc<str>)>> {
        self.hints.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Algorithm;

    #[test]
    fn holders_are_sorted_and_can_be_removed() {
        let (one, two) = (Digest::of(Algorithm::Sha256, b"1"), Digest::of(Algorithm::Sha512, b"2"));
        let holders = Holders::default();
        holders.add("b", &[one, two]);
        holders.add("a", &[one]);
        assert_eq!(holders.of(&one), None, "not everything was entered yet");
        holders.completed();
        let of = |digest| holders.of(digest).unwrap().iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!((of(&one), of(&two)), (vec!["a".to_owned(), "b".to_owned()], vec!["b".to_owned()]));
        holders.remove("b", &one);
        assert_eq!((of(&one).len(), of(&two).len(), of(&Digest::of(Algorithm::Sha256, b"3")).len()), (1, 1, 0));
    }
}
