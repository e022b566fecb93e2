//! A fill that cannot store its blob, and passes it through to its readers.

use std::sync::Arc;
use std::time::Duration;

use super::error::FillError;
use super::fill::{Fill, GivenUp};
use super::passing::{PassReader, Passes, Prefix};
use super::progress::Phase;
use super::shared::Shared;
use super::source::BlobSource;
use crate::oci::ByteRange;
use crate::upstream::UpstreamError;

impl Fill {
    /// Gives up storing the blob. The blob is passed through from the end of `stored` on, as long as there are readers.
    pub(super) fn give_up(&self, stored: Prefix, shared: &Shared) {
        let found = stored.digest();
        if found == self.digest && self.content().arrivals().is_some() {
            return self.end(Phase::Unkept);
        }
        if self.progress().size == Some(stored.end()) {
            return self.end_mismatched(UpstreamError::Mismatch { expected: self.digest, found });
        }
        let passes = Passes::new(shared, self.digest, stored);
        self.set_given_up(GivenUp { passes, since: shared.hosts.now() });
    }

    /// Returns the offset at which storing was given up, if it was.
    pub fn given_up_at(&self) -> Option<u64> {
        self.given_up.get().map(|given_up| given_up.passes.stored().end())
    }

    /// Returns true if the blob is passed through, because it cannot be stored.
    pub fn is_passing(&self) -> bool {
        self.progress().phase == Phase::Unstorable
    }

    /// Returns the time since which the blob is passed through, if it is.
    pub(super) fn passing_since(&self) -> Option<Duration> {
        self.given_up.get().map(|given_up| given_up.since)
    }

    /// Returns a reader of the bytes after the offset at which storing was given up, if it was. `size` is the size that the
    /// client was told.
    pub fn pass_reader(&self, source: &BlobSource, size: Option<u64>) -> Option<PassReader> {
        let is_proven = self.is_proven(&source.name).unwrap_or(false);
        let passes = Arc::clone(&self.given_up.get()?.passes);
        Some(PassReader::new(passes, source, size, is_proven))
    }

    /// Opens such a reader, and waits for the answer of an upstream. `range` is the part that the client asked for.
    pub async fn open_pass(&self, source: &BlobSource, range: Option<ByteRange>) -> Result<PassReader, FillError> {
        let reader = self.pass_reader(source, self.progress().size);
        let mut reader = reader.ok_or(FillError::Interrupted(self.digest))?;
        let opened = reader.open(range).await;
        opened.map_err(|error| FillError::upstream(&error, &self.digest, &source.name))?;
        self.passed(reader.answered_by().unwrap_or(&source.name), reader.size());
        Ok(reader)
    }
}
