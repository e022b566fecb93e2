//! The records of pulls by clients, and the trust in tags that `mirror.follow` has confirmed.

use std::time::Duration;

use super::repository::MirrorRepository;
use crate::oci::{Reference, Tag};
use crate::store::TagRecord;

/// A followed tag is trusted without a question for at most this long after its confirmation. By then the next window has
/// opened.
const LONGEST_TRUST: Duration = Duration::from_secs(86_400);

impl MirrorRepository {
    /// Notes that a client has pulled a manifest. The pull does not wait for the record.
    pub(in crate::registry) fn note_pull(&self, reference: &Reference) {
        let context = &self.cached.context;
        if !context.pulls.as_ref().is_some_and(|pulls| pulls.claim(self.name(), reference)) {
            return;
        }
        let (mirror, reference) = (self.clone(), reference.clone());
        context.machine.tasks.spawn(async move {
            if let Err(error) = mirror.store().record_pull(mirror.name(), &reference).await {
                tracing::warn!(%error, repository = %mirror.name(), %reference, "the pull of a manifest could not be recorded");
            }
        });
    }

    /// Returns true if a tag is served without a question because `mirror.follow` has confirmed it. That holds
    /// for its first pull after the confirmation, and for further pulls until `tagttl` has passed since that pull.
    pub(super) fn trusts_followed(&self, tag: &Tag, record: &TagRecord) -> bool {
        let Some(pulls) = self.cached.context.pulls.as_ref().filter(|_| record.followed) else { return false };
        let is_recent = self.age(record.seen) <= LONGEST_TRUST;
        is_recent && pulls.since_first(self.name(), tag, record.seen) <= self.remote.tag_ttl
    }
}
