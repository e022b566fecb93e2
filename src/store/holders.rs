//! Which repositories hold a digest, for a mount that does not say from where.
//!
//! Hints, no answers: whoever uses one reads the repository's link, which is what counts.

use std::collections::BTreeSet;
use std::ops::Bound::{Included, Unbounded};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::oci::Digest;

/// Who may hold what.
#[derive(Default)]
pub struct Holders {
    /// The beginning of a digest and a repository's name, which is shared by all that it holds: about 40 bytes for each. That
    /// two digests begin alike costs a look at a link. A std `Mutex`: held for operations of the set only.
    hints: Mutex<BTreeSet<(u64, Arc<str>)>>,
    /// Has everything been entered that lay in the directories when we started?
    complete: AtomicBool,
}

impl Holders {
    pub fn add(&self, name: &str, digests: &[Digest]) {
        let name: Arc<str> = name.into();
        self.hints().extend(digests.iter().map(|digest| (digest.prefix(), Arc::clone(&name))));
    }

    pub fn remove(&self, name: &str, digest: &Digest) {
        self.hints().remove(&(digest.prefix(), name.into()));
    }

    pub fn completed(&self) {
        self.complete.store(true, Ordering::Release);
    }

    /// Those that may hold it, in byte order of their names; `None` before everything has been entered.
    pub fn of(&self, digest: &Digest) -> Option<Vec<Arc<str>>> {
        if !self.complete.load(Ordering::Acquire) {
            return None;
        }
        let (hints, prefix) = (self.hints(), digest.prefix());
        let after = hints.range((Included((prefix, Arc::from(""))), Unbounded));
        Some(after.take_while(|(other, _)| *other == prefix).map(|(_, name)| Arc::clone(name)).collect())
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
    fn hints() {
        let (one, two) = (Digest::of(Algorithm::Sha256, b"1"), Digest::of(Algorithm::Sha512, b"2"));
        let holders = Holders::default();
        holders.add("b", &[one, two]);
        holders.add("a", &[one]);
        assert_eq!(holders.of(&one), None, "not everything is entered yet");
        holders.completed();
        let of = |digest| holders.of(digest).unwrap().iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!((of(&one), of(&two)), (vec!["a".to_owned(), "b".to_owned()], vec!["b".to_owned()]));
        holders.remove("b", &one);
        assert_eq!((of(&one).len(), of(&two).len(), of(&Digest::of(Algorithm::Sha256, b"3")).len()), (1, 1, 0));
    }
}
