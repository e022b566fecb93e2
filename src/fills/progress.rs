//! The progress of a fill, which its readers and waiters follow.

/// The progress of a fill.
#[derive(Clone, Copy, Debug, Default)]
pub struct FillProgress {
    /// `None` until a source has answered, and when its answer has no size.
    pub size: Option<u64>,
    /// The number of bytes on the disk, in whatever order they arrived.
    pub arrived: u64,
    pub phase: Phase,
}

/// The phase that a fill is in. `docs/fills.md` shows the transitions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// No source has answered yet.
    #[default]
    Asking,
    Arriving,
    /// The blob arrives in an encoded form, and is decoded at the end. Until then, neither its size nor any byte is known.
    Encoded,
    /// Everything has arrived and does not match the digest. The fill is finding out which endpoint sent wrong bytes.
    Repairing,
    /// Everything has arrived and matches the digest. The blob is being stored in the cache, and the rights to it are
    /// being recorded.
    Verified,
    /// The blob is verified and stored in the cache.
    Complete,
    /// Every source has failed, or the content does not match the digest, or the fill was stopped.
    Failed,
    /// The blob cannot be stored. Readers read the stored part, and then continue from streams that they share.
    Unstorable,
    /// The blob is complete and verified, but could not be stored. The present readers are the last.
    Unkept,
}

impl Phase {
    /// Returns true if all bytes have arrived and are right.
    pub fn is_verified(self) -> bool {
        matches!(self, Self::Verified | Self::Complete | Self::Unkept)
    }

    /// Returns true if it is not known yet whether the blob will arrive.
    pub fn is_undecided(self) -> bool {
        matches!(self, Self::Asking | Self::Arriving | Self::Encoded | Self::Repairing)
    }
}
