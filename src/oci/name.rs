//! The names of repositories, tags, and references to manifests.

use std::fmt;
use std::str::FromStr;

use super::digest::{Digest, DigestError};

/// The most bytes of a repository name, the limit of clients and `registry:2`.
const MAX_REPOSITORY: usize = 255;

/// The name of a repository (OCI distribution-spec, Pulling manifests: `<name>`).
///
/// It consists of parts separated by slashes. A part has lower-case letters and digits, joined by `.`, `_`, `__` or
/// dashes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepositoryName(String);

impl RepositoryName {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns its parts from left to right. There is at least one.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// Returns the name with `first/` before it. It is an error if that is no valid name.
    pub fn within(&self, first: &str) -> Result<Self, NameError> {
        format!("{first}/{self}").parse()
    }

    /// Returns true if `part` may appear between two slashes of a name.
    fn part_is_valid(part: &str) -> bool {
        let bytes = part.as_bytes();
        let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else { return false };
        if !alphanumeric(first) || !alphanumeric(last) {
            return false;
        }
        let separators = part.split(|c: char| c.is_ascii() && alphanumeric(c as u8)).filter(|run| !run.is_empty());
        separators.into_iter().all(|run| matches!(run, "." | "_" | "__") || run.bytes().all(|b| b == b'-'))
    }
}

impl FromStr for RepositoryName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.len() > MAX_REPOSITORY {
            return Err(NameError::RepositoryTooLong(text.len()));
        }
        if text.split('/').all(Self::part_is_valid) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError::Repository(text.to_owned()))
        }
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A tag (OCI distribution-spec: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(String);

impl Tag {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let mut bytes = text.bytes();
        let valid = bytes.next().is_some_and(word) && bytes.all(|b| word(b) || b == b'.' || b == b'-');
        if valid && text.len() <= 128 { Ok(Self(text.to_owned())) } else { Err(NameError::Tag(text.to_owned())) }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A reference to a manifest: a tag or a digest (OCI distribution-spec: `<reference>`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reference {
    Tag(Tag),
    Digest(Digest),
}

impl FromStr for Reference {
    type Err = NameError;

    /// Parses a text with a colon as a digest, since a tag cannot contain one.
    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.contains(':') { Ok(Self::Digest(text.parse()?)) } else { Ok(Self::Tag(text.parse()?)) }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(f),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

/// The error for a text that is not a name, a tag or a reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error(
        "{0:?} is not a repository name: lower-case letters and digits, joined by '.', '_', '__' or '-', in parts separated by '/'"
    )]
    Repository(String),
    #[error("a repository name has at most {MAX_REPOSITORY} characters, not {0}")]
    RepositoryTooLong(usize),
    #[error("{0:?} is not a tag: at most 128 letters, digits, '_', '.' and '-', not beginning with '.' or '-'")]
    Tag(String),
    #[error(transparent)]
    Digest(#[from] DigestError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repository_names_are_parsed_and_bad_ones_refused() {
        for good in ["a", "library/alpine", "a/b/c/d", "a.b", "a_b", "a__b", "a--b", "0/1", &"a".repeat(255)] {
            assert!(good.parse::<RepositoryName>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "/",
            "a/",
            "/a",
            "a//b",
            "A",
            "a/B",
            ".a",
            "a.",
            "-a",
            "a-",
            "_a",
            "a_",
            "a..b",
            "a___b",
            "a._b",
            "a b",
            "..",
            "a/../b",
            "a%2fb",
            "é",
            "a:b",
            &"a".repeat(256),
        ] {
            assert!(bad.parse::<RepositoryName>().is_err(), "{bad:?} was taken for a name");
        }
    }

    #[test]
    fn tags_and_references_are_parsed_and_bad_ones_refused() {
        for good in ["latest", "_", "1.0", "A-b_c.d", &"t".repeat(128)] {
            assert!(matches!(good.parse(), Ok(Reference::Tag(_))), "{good}");
        }
        for bad in ["", ".", "-a", "a/b", "a b", "é", "a@b", "sha256:0", ":", &"t".repeat(129)] {
            assert!(bad.parse::<Reference>().is_err(), "{bad:?} was taken for a reference");
        }
    }
}
