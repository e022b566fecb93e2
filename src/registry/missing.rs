//! The content that a manifest names and its repository does not hold.

use std::fmt;

use crate::oci::Digest;

/// The highest number of digests that are named. A manifest may name tens of thousands, which is too long for a header or a
/// log line.
const MOST_NAMED: usize = 8;

/// Content that is not stored here: the first digests by name, and whether there are more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    named: Vec<Digest>,
    more: More,
}

/// The missing content that is not named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum More {
    #[default]
    Nothing,
    Counted(usize),
    /// The search ended before everything was counted.
    Uncounted,
}

/// How far the search for missing content goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Search {
    /// Looks for every digest.
    Full,
    /// Ends when enough is missing to refuse the manifest with a useful message.
    UntilRefused,
}

impl Search {
    /// Returns the number of missing digests after which the search ends.
    pub(super) fn most(self) -> usize {
        match self {
            Self::Full => usize::MAX,
            Self::UntilRefused => MOST_NAMED + 1,
        }
    }
}

impl Missing {
    pub(super) fn new(mut absent: Vec<Digest>, search: Search) -> Self {
        let more = match (absent.len().saturating_sub(MOST_NAMED), search) {
            (0, _) => More::Nothing,
            (more, Search::Full) => More::Counted(more),
            (_, Search::UntilRefused) => More::Uncounted,
        };
        absent.truncate(MOST_NAMED);
        Self { named: absent, more }
    }

    pub fn is_empty(&self) -> bool {
        self.named.is_empty()
    }

    /// Returns the first missing digests.
    pub fn named(&self) -> &[Digest] {
        &self.named
    }

    /// Returns true if [`Missing::named`] is the complete list.
    pub fn is_all_named(&self) -> bool {
        self.more == More::Nothing
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, digest) in self.named.iter().enumerate() {
            write!(f, "{}{digest}", if index == 0 { "" } else { ", " })?;
        }
        match self.more {
            More::Nothing => Ok(()),
            More::Counted(more) => write!(f, " and {more} more"),
            More::Uncounted => write!(f, " and more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Algorithm;

    #[test]
    fn missing_content_is_named_up_to_a_limit() {
        let digests =
            |count: usize| (0..count).map(|i| Digest::of(Algorithm::Sha256, &i.to_le_bytes())).collect::<Vec<_>>();
        for (count, search, end) in [
            (1, Search::Full, ""),
            (MOST_NAMED, Search::UntilRefused, ""),
            (MOST_NAMED + 1, Search::UntilRefused, " and more"),
            (MOST_NAMED + 1, Search::Full, " and 1 more"),
            (44_500, Search::Full, " and 44492 more"),
        ] {
            let missing = Missing::new(digests(count), search);
            let named: Vec<String> = digests(count.min(MOST_NAMED)).iter().map(ToString::to_string).collect();
            assert_eq!(missing.to_string(), format!("{}{end}", named.join(", ")));
            assert_eq!((missing.named().len(), missing.is_all_named()), (count.min(MOST_NAMED), end.is_empty()));
        }
        assert!(Missing::new(Vec::new(), Search::Full).is_empty());
    }
}
