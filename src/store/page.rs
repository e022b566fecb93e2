//! One page of a longer list.

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
