//! The kind of a fill.

/// A blob of up to this size is small: it needs one request, which costs more time than bytes.
const SMALL: u64 = 256 << 10;

/// The kind of a fill, which decides about its share of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FillKind {
    /// The blob is small.
    Small,
    /// Clients wait for the blob.
    Client,
    /// Only background work waits for the blob.
    Background,
}

impl FillKind {
    /// Returns the kind of the fill of a blob.
    pub fn of(size: Option<u64>, background: bool) -> Self {
        match (size, background) {
            (Some(..=SMALL), _) => Self::Small,
            (_, true) => Self::Background,
            (_, false) => Self::Client,
        }
    }
}
