//! The name of an object in a storage.

use std::fmt;

/// The place of an object below the root of a storage: one or more names with slashes between them, or nothing for the
/// root itself. A key is relative, and no name in it is empty, `.` or `..`, so a driver may use it as a path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey(String);

impl ObjectKey {
    /// Makes a key of names with slashes between them.
    ///
    /// # Panics
    /// Panics if `names` is not a valid key. The callers build keys of digests, repository names, tags and names that a
    /// driver listed, all of which are valid.
    pub fn new(names: &str) -> Self {
        Self::default().join(names)
    }

    /// Returns the key of an object below this one. Panics as [`ObjectKey::new`] does.
    pub fn join(&self, below: &str) -> Self {
        assert!(is_valid(below), "{below:?} is not a storage key");
        if self.0.is_empty() { Self(below.to_owned()) } else { Self(format!("{}/{below}", self.0)) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_valid(names: &str) -> bool {
    names.split('/').all(|name| !matches!(name, "" | "." | "..") && !name.contains('\0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_joins_names_with_slashes() {
        assert_eq!(ObjectKey::new("a").join("b/c").as_str(), "a/b/c");
        assert_eq!(ObjectKey::default().join("a"), ObjectKey::new("a"));
    }

    #[test]
    fn key_never_leaves_the_root() {
        for bad in ["", "/a", "a/", "a//b", ".", "..", "a/../b", "a/./b", "a\0"] {
            assert!(!is_valid(bad), "{bad:?}");
        }
        for good in ["a", "a/b", "a..b", ".tmp-1", "_layers", "..."] {
            assert!(is_valid(good), "{good:?}");
        }
    }
}
