//! Chooses the endpoint of one more connection, and queues for the place of its host.

use std::pin::Pin;

use super::endpoints::{EndpointIndex, Endpoints};
use super::hosts::Hosts;
use super::state::Transfer;
use crate::fills::places::Place;
use crate::fills::progress::Phase;

/// A connection that waits for the place of its host.
pub(super) type QueuedConnection = (EndpointIndex, Pin<Box<dyn Future<Output = Place> + Send>>);

/// Whether a connection may be queued whose place is not free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaited {
    Allowed,
    Excluded,
}

/// The facts that decide about one more connection of a transfer.
pub(super) struct Queue<'q> {
    pub(super) transfer: &'q Transfer<'q>,
    pub(super) endpoints: &'q Endpoints,
    pub(super) hosts: &'q Hosts,
    /// The number of open connections.
    pub(super) open: usize,
    /// An early connection has failed, so no more of them are opened.
    pub(super) early_failed: bool,
}

impl Queue<'_> {
    /// Queues for the place for one more connection, if there is work for it at an endpoint that can be asked now. An
    /// endpoint whose place is free comes first: the host of another one may be busy for long.
    pub(super) fn next(&self, awaited: Awaited) -> Option<QueuedConnection> {
        let asked = self.askable()?;
        let endpoint = self.transfer.schedule(self.hosts.most(&self.endpoints.usable()), |scheduler, needs| {
            scheduler.set_out_of_order(|endpoint| self.endpoints.is_out_of_order(endpoint));
            // While a reader waits for bytes that no connection fetches, there may be one connection more.
            let spare = usize::from(scheduler.is_urgent(needs));
            let has_room = |endpoint: &usize| {
                let open = scheduler.open(*endpoint);
                // One connection finds out whether an endpoint that fails works again.
                let probes = scheduler.receiving(*endpoint) == 0 && self.endpoints.is_failing(*endpoint);
                self.hosts.has_room(*endpoint, open, spare) && !(probes && open > 0)
            };
            let (free, busy): (Vec<usize>, Vec<usize>) =
                asked.iter().copied().filter(has_room).partition(|endpoint| self.hosts.is_free(*endpoint));
            let awaited = || scheduler.best_endpoint(&busy, needs).filter(|_| awaited == Awaited::Allowed);
            scheduler.best_endpoint(&free, needs).or_else(awaited)
        })?;
        Some((EndpointIndex::new(endpoint), Box::pin(self.hosts.place(endpoint))))
    }

    /// Returns the endpoints that may be asked now. Until a source has answered, there is only one connection, unless the
    /// registry has redirected it.
    fn askable(&self) -> Option<Vec<usize>> {
        let usable = self.endpoints.usable();
        let first = *usable.first()?;
        if self.transfer.fill.progress().phase != Phase::Asking {
            return Some(usable.iter().map(|endpoint| endpoint.at()).collect());
        }
        if self.open == 0 {
            let free = usable.iter().find(|endpoint| self.hosts.is_free(endpoint.at()));
            return Some(vec![free.unwrap_or(&first).at()]);
        }
        let redirected = self.endpoints.resume_hint(first).is_some() && !self.early_failed;
        redirected.then(|| vec![first.at()])
    }
}

/// Waits for the place of the queued connection. Never completes if none is queued.
pub(super) async fn granted(queued: &mut Option<QueuedConnection>) -> (EndpointIndex, Place) {
    let Some((endpoint, place)) = queued else { return std::future::pending().await };
    let granted = (*endpoint, place.await);
    *queued = None;
    granted
}
