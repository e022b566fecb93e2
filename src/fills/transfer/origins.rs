//! Which endpoint each byte of a blob came from.

use crate::fills::source::SourceKey;
use crate::oci::Span;
use crate::store::Extents;
use crate::upstream::EndpointId;

/// An endpoint of a source.
pub(super) type Origin = (SourceKey, EndpointId);

/// The stretches that each endpoint brought. What an earlier run of the server brought has none.
#[derive(Debug, Default)]
pub(super) struct Origins {
    brought: Vec<(Origin, Extents)>,
}

impl Origins {
    /// An endpoint brought a stretch; whoever had brought it before is forgotten for it, and returned.
    pub(super) fn set(&mut self, origin: &Origin, span: Span) -> Vec<Origin> {
        let mut before = Vec::new();
        for (other, extents) in &mut self.brought {
            if other != origin && extents.touches(span) {
                extents.remove(span);
                before.push(other.clone());
            }
        }
        match self.brought.iter_mut().find(|(known, _)| known == origin) {
            Some((_, extents)) => extents.insert(span),
            None => {
                let mut extents = Extents::default();
                extents.insert(span);
                self.brought.push((origin.clone(), extents));
            }
        }
        before
    }

    /// What an endpoint brought.
    pub(super) fn of(&self, origin: &Origin) -> Extents {
        self.brought.iter().find(|(known, _)| known == origin).map(|(_, extents)| extents.clone()).unwrap_or_default()
    }
}
