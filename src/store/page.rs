//! Values that describe lists: one page of a list, and sums over one.

/// Holds the entries of one page, in the order of the list, and says whether the list goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    pub entries: Vec<T>,
    /// True if further entries follow the last one of this page.
    pub more: bool,
}

impl<T> Default for Page<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), more: false }
    }
}

/// A number of files, and their size together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    pub count: u64,
    pub bytes: u64,
}

impl Amount {
    /// Counts one file of this size.
    pub fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
    }
}
