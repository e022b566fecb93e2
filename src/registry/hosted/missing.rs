//! What a manifest names and its repository does not hold.

use std::collections::HashSet;
use std::fmt;

use super::Hosted;
use crate::config::Sparse;
use crate::oci::{Digest, Manifest};
use crate::registry::RegistryError;

/// How many are named: neither a header nor a line of a log is a place for a long list, and a manifest may name tens of thousands.
const NAMED: usize = 8;

/// Content that is not held: the first few of it by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    named: Vec<Digest>,
    more: More,
}

/// What is missing besides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum More {
    #[default]
    Nothing,
    Counted(usize),
    /// Nobody looked how many.
    Uncounted,
}

/// How much of what is named is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Looked {
    ForAll,
    /// Until so much is missing that it is enough to refuse the manifest.
    ForEnough,
}

impl Missing {
    fn new(mut absent: Vec<Digest>, looked: Looked) -> Self {
        let more = match (absent.len().saturating_sub(NAMED), looked) {
            (0, _) => More::Nothing,
            (more, Looked::ForAll) => More::Counted(more),
            (_, Looked::ForEnough) => More::Uncounted,
        };
        absent.truncate(NAMED);
        Self { named: absent, more }
    }

    pub fn is_empty(&self) -> bool {
        self.named.is_empty()
    }

    /// The first few.
    pub fn named(&self) -> &[Digest] {
        &self.named
    }

    /// Are those all?
    pub fn is_all_named(&self) -> bool {
        self.more == More::Nothing
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, digest) in self.named.iter().enumerate() {
            write!(f, "{}{digest}", if at == 0 { "" } else { ", " })?;
        }
        match self.more {
            More::Nothing => Ok(()),
            More::Counted(more) => write!(f, " and {more} more"),
            More::Uncounted => write!(f, " and more"),
        }
    }
}

/// What a manifest names, as far as it has to be held here: held or not, when it was last looked for.
pub(super) struct Named {
    config: Option<Digest>,
    held: Vec<Digest>,
    absent: Vec<Digest>,
}

impl Hosted {
    /// Looks for what the manifest names. An error where some is missing and must not be: of an image's configuration always.
    pub(super) async fn named_by(&self, manifest: &Manifest) -> Result<Named, RegistryError> {
        let mut seen = HashSet::new();
        let named = manifest.named().filter(|descriptor| !descriptor.foreign).map(|descriptor| descriptor.digest);
        let held = named.filter(|digest| seen.insert(*digest)).collect();
        let config = manifest.config().map(|config| config.digest);
        self.confirm(Named { config, held, absent: Vec::new() }).await
    }

    /// Looks whether what was held still is.
    pub(super) async fn confirm(&self, named: Named) -> Result<Named, RegistryError> {
        let Named { config, mut held, mut absent } = named;
        let refuse = self.registry.settings().sparse == Sparse::Refuse;
        let (looked, most) = if refuse { (Looked::ForEnough, NAMED + 1) } else { (Looked::ForAll, usize::MAX) };
        // A child of an index may be a blob (BuildKit's caches), and a layer may be anything that was pushed here.
        let gone = self.store().missing(&self.name, held.clone(), most).await?;
        if !gone.is_empty() {
            let lost: HashSet<&Digest> = gone.iter().collect();
            held.retain(|digest| !lost.contains(digest));
            absent.extend(gone);
        }
        if !absent.is_empty() && (refuse || config.is_some_and(|config| absent.contains(&config))) {
            let missing = Missing::new(absent, looked);
            return Err(RegistryError::ManifestBlobUnknown { repository: self.name.to_string(), missing });
        }
        Ok(Named { config, held, absent })
    }
}

impl Named {
    pub(super) fn missing(self) -> Missing {
        Missing::new(self.absent, Looked::ForAll)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Algorithm;

    #[test]
    fn the_first_few_are_named() {
        let digests =
            |count: usize| (0..count).map(|i| Digest::of(Algorithm::Sha256, &i.to_le_bytes())).collect::<Vec<_>>();
        for (count, looked, end) in [
            (1, Looked::ForAll, ""),
            (NAMED, Looked::ForEnough, ""),
            (NAMED + 1, Looked::ForEnough, " and more"),
            (NAMED + 1, Looked::ForAll, " and 1 more"),
            (44_500, Looked::ForAll, " and 44492 more"),
        ] {
            let missing = Missing::new(digests(count), looked);
            let named: Vec<String> = digests(count.min(NAMED)).iter().map(ToString::to_string).collect();
            assert_eq!(missing.to_string(), format!("{}{end}", named.join(", ")));
            assert_eq!((missing.named().len(), missing.is_all_named()), (count.min(NAMED), end.is_empty()));
        }
        assert!(Missing::new(Vec::new(), Looked::ForAll).is_empty());
    }
}
