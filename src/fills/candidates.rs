//! The sources of one fill. For each source, the list says whether it has proven its right or has failed.

use super::error::FillError;
use super::source::{BlobSource, Proof};
use crate::oci::{Digest, MirroredName};
use crate::upstream::UpstreamError;

/// The sources of a fill, in the order in which they joined.
pub struct Candidates {
    list: Vec<Candidate>,
    /// The reason why the fill failed as a whole, if no single source caused it.
    fatal: Option<Fatal>,
    ended: bool,
}

/// A failure of a fill as a whole.
pub enum Fatal {
    /// The content does not match the digest.
    Mismatch(UpstreamError),
    /// An operator cancelled the fill.
    Cancelled,
}

struct Candidate {
    source: BlobSource,
    proof: Proof,
    failed: Option<UpstreamError>,
}

/// The relation of a fill to a source that wants to join it.
pub enum Standing {
    /// The source is one of the fill's own. A proof of the fill is a proof of the joiner too.
    Member,
    /// The fill runs for other sources, or this source has failed. The joiner must prove its right first.
    Stranger,
    /// The fill has ended.
    Ended,
}

impl Candidate {
    /// Returns true if the source failed before it proved its right. That may have been long ago.
    fn has_no_right(&self) -> bool {
        self.proof == Proof::Pending && self.failed.is_some()
    }
}

impl Candidates {
    /// Returns the list of a new fill.
    pub fn new(source: BlobSource, proof: Proof) -> Self {
        Self { list: vec![Candidate { source, proof, failed: None }], fatal: None, ended: false }
    }

    /// Returns the relation of the fill to a source.
    pub fn standing(&self, name: &MirroredName) -> Standing {
        if self.ended {
            Standing::Ended
        } else if self.find(name).is_some_and(|candidate| !candidate.has_no_right()) {
            Standing::Member
        } else {
            Standing::Stranger
        }
    }

    /// Adds a source that has proven its right. Returns false if the fill has ended.
    pub fn add(&mut self, source: BlobSource) -> bool {
        if self.ended {
            return false;
        }
        match self.find_mut(&source.name) {
            Some(candidate) => (candidate.proof, candidate.failed) = (Proof::Given, None),
            None => self.list.push(Candidate { source, proof: Proof::Given, failed: None }),
        }
        true
    }

    /// Records that no source can join any more.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// Returns true if no source can join any more.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Records why the fill failed as a whole.
    pub fn set_fatal(&mut self, fatal: Fatal) {
        self.fatal = Some(fatal);
    }

    /// Records that a source has the blob.
    pub fn set_proven(&mut self, name: &MirroredName) {
        if let Some(candidate) = self.find_mut(name) {
            candidate.proof = Proof::Given;
        }
    }

    /// Records that a source failed.
    pub fn set_failed(&mut self, name: &MirroredName, error: UpstreamError) {
        if let Some(candidate) = self.find_mut(name) {
            candidate.failed = Some(error);
        }
    }

    /// Returns true if a source has proven its right, and false if that is not known yet. The error says that its
    /// upstream was asked and failed.
    pub fn is_proven(&self, name: &MirroredName, digest: &Digest) -> Result<bool, FillError> {
        let Some(candidate) = self.find(name) else { return Ok(false) };
        match (&candidate.proof, &candidate.failed) {
            (Proof::Given, _) => Ok(true),
            (Proof::Pending, Some(error)) => Err(FillError::upstream(error, digest, name)),
            (Proof::Pending, None) => Ok(false),
        }
    }

    /// Returns the reason of the failure for one source: the failure of the whole fill, else the source's own error,
    /// else that of another source.
    pub fn failure(&self, name: &MirroredName, digest: &Digest) -> FillError {
        let fatal = match &self.fatal {
            Some(Fatal::Cancelled) => return FillError::Cancelled(*digest),
            Some(Fatal::Mismatch(error)) => Some(error),
            None => None,
        };
        let error = fatal.or(self.find(name).and_then(|candidate| candidate.failed.as_ref()));
        let error = error.or_else(|| self.list.iter().find_map(|candidate| candidate.failed.as_ref()));
        match error {
            Some(error) => FillError::upstream(error, digest, name),
            None => FillError::Interrupted(*digest),
        }
    }

    /// Returns the sources that have not failed.
    pub fn usable(&self) -> impl Iterator<Item = &BlobSource> {
        self.list.iter().filter(|candidate| candidate.failed.is_none()).map(|candidate| &candidate.source)
    }

    /// Returns the sources that have proven their right.
    pub fn proven(&self) -> impl Iterator<Item = &BlobSource> {
        self.list.iter().filter(|candidate| candidate.proof == Proof::Given).map(|candidate| &candidate.source)
    }

    fn find(&self, name: &MirroredName) -> Option<&Candidate> {
        self.list.iter().find(|candidate| candidate.source.name == *name)
    }

    fn find_mut(&mut self, name: &MirroredName) -> Option<&mut Candidate> {
        self.list.iter_mut().find(|candidate| candidate.source.name == *name)
    }
}
