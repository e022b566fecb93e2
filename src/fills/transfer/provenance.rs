//! The endpoint that each byte of a blob came from.

use crate::oci::{MirroredName, Span};
use crate::store::Extents;
use crate::upstream::EndpointId;

/// An endpoint of a source.
pub(super) type Sender = (MirroredName, EndpointId);

/// The spans that each endpoint sent. Bytes that arrived in an earlier run of the server have no known sender.
#[derive(Debug, Default)]
pub(super) struct Provenance {
    sent: Vec<(Sender, Extents)>,
}

impl Provenance {
    /// Records that an endpoint sent a span. Returns the other endpoints that had sent bytes of it before.
    pub(super) fn set(&mut self, sender: &Sender, span: Span) -> Vec<Sender> {
        let mut before = Vec::new();
        for (other, extents) in &mut self.sent {
            if other != sender && extents.touches(span) {
                extents.remove(span);
                before.push(other.clone());
            }
        }
        match self.sent.iter_mut().find(|(known, _)| known == sender) {
            Some((_, extents)) => extents.insert(span),
            None => {
                let mut extents = Extents::default();
                extents.insert(span);
                self.sent.push((sender.clone(), extents));
            }
        }
        before
    }

    /// Returns the only endpoint that has sent anything, if there is only one.
    pub(super) fn only_sender(&self) -> Option<&Sender> {
        if let [(only, _)] = &self.sent[..] { Some(only) } else { None }
    }

    /// Returns the spans that an endpoint sent.
    pub(super) fn of(&self, sender: &Sender) -> Extents {
        self.sent.iter().find(|(known, _)| known == sender).map(|(_, extents)| extents.clone()).unwrap_or_default()
    }
}
