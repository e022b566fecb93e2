//! The memory of absent content: an upstream's 404 counts for `negativettl`.
//!
//! Only a 404 counts as an absence. An error or a refusal says nothing about the content.

use std::time::Duration;

use crate::oci::{Digest, MirroredName, Reference, Tag};
use crate::state::Notes;
use crate::sys::Clock;

/// The highest number of notes of each kind.
const MOST_NOTES: u64 = 10_000;

/// Facts about upstreams that are kept in memory only.
pub struct NegativeCache {
    absent: Notes<(MirroredName, Asked)>,
    unkept: Notes<(MirroredName, Asked)>,
    postponed: Notes<(MirroredName, Tag)>,
}

/// The content of a repository that an upstream was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Asked {
    Manifest(Reference),
    Blob(Digest),
    Tags,
    /// The list of the manifests that refer to this one.
    Referrers(Digest),
}

impl NegativeCache {
    pub fn new(clock: &Clock) -> Self {
        let (absent, unkept) = (Notes::new(MOST_NOTES, clock.clone()), Notes::new(MOST_NOTES, clock.clone()));
        Self { absent, unkept, postponed: Notes::new(MOST_NOTES, clock.clone()) }
    }

    /// Returns true if the upstream has said within `ttl` that this is absent.
    pub async fn is_absent(&self, name: MirroredName, asked: Asked, ttl: Duration) -> bool {
        self.absent.holds(&(name, asked), ttl).await
    }

    /// Notes that the upstream does not have this.
    pub async fn note_absent(&self, name: MirroredName, asked: Asked) {
        self.absent.note((name, asked)).await;
    }

    /// Forgets that this is absent.
    pub async fn forget_absent(&self, name: MirroredName, asked: Asked) {
        self.absent.forget(&(name, asked)).await;
    }

    /// Forgets that these tags are absent. `tags` is sorted in byte order.
    pub async fn forget_absent_tags(&self, name: &MirroredName, tags: &[String]) {
        let is_listed = |tag: &Tag| tags.binary_search_by(|listed| listed.as_str().cmp(tag.as_str())).is_ok();
        let is_meant = |(of, asked): &(MirroredName, Asked)| {
            of == name && matches!(asked, Asked::Manifest(Reference::Tag(tag)) if is_listed(tag))
        };
        self.absent.forget_where(is_meant).await;
    }

    /// Returns true if this list was asked for within `ttl` and not kept: it is too large, or nothing stored here needs it.
    pub async fn is_unkept(&self, name: MirroredName, asked: Asked, ttl: Duration) -> bool {
        self.unkept.holds(&(name, asked), ttl).await
    }

    /// Notes that a list was not kept.
    pub async fn note_unkept(&self, name: MirroredName, asked: Asked) {
        self.unkept.note((name, asked)).await;
    }

    /// Forgets that a list was not kept.
    pub async fn forget_unkept(&self, name: MirroredName, asked: Asked) {
        self.unkept.forget(&(name, asked)).await;
    }

    /// Returns true if this tag has changed within `period` and its new content waits until the upstream allows more pulls.
    pub async fn is_postponed(&self, name: MirroredName, tag: Tag, period: Duration) -> bool {
        self.postponed.holds(&(name, tag), period).await
    }

    /// Notes that the new content of a tag waits.
    pub async fn note_postponed(&self, name: MirroredName, tag: Tag) {
        self.postponed.note((name, tag)).await;
    }
}
