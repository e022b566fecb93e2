//! The hosts of a transfer's endpoints: the transfer's share of each, and its reports to each.

use std::time::Duration;

use super::endpoints::{EndpointIndex, Endpoints};
use super::state::Transfer;
use crate::fills::host_limits::HostUse;
use crate::fills::host_report::HostReport;
use crate::fills::kind::FillKind;
use crate::fills::places::{Holder, Place};
use crate::fills::schedule::EndpointPace;
use crate::fills::source::BlobSource;

/// The hosts of the endpoints of a source, in the order of the endpoints.
pub(super) struct Hosts {
    uses: Vec<HostUse>,
    size: Option<u64>,
}

impl Hosts {
    /// Begins to use the hosts. `size` is the size of the blob, as far as it is known.
    pub(super) fn of(transfer: &Transfer<'_>, source: &BlobSource, endpoints: &Endpoints, size: Option<u64>) -> Self {
        let kind = FillKind::of(size, transfer.fill.waiters().is_background());
        let limits = &transfer.shared.hosts;
        let hosts = endpoints.ids().into_iter().map(|id| limits.host(&source.upstream.host(id)));
        let holder = Holder { repository: source.name.clone(), digest: transfer.fill.digest };
        Self { uses: hosts.map(|host| host.enter(kind, holder.clone())).collect(), size }
    }

    /// Takes account of a waiter that has joined.
    pub(super) fn rejoin(&mut self, transfer: &Transfer<'_>) {
        let kind = FillKind::of(self.size, transfer.fill.waiters().is_background());
        self.uses.iter_mut().for_each(|host| host.set_kind(kind));
    }

    /// Returns the speed of each endpoint, as other transfers have found it.
    pub(super) fn paces(&self) -> Vec<EndpointPace> {
        self.uses.iter().map(HostUse::pace).collect()
    }

    /// Returns the number of connections that the transfer may have to these endpoints, all together.
    pub(super) fn most(&self, endpoints: &[EndpointIndex]) -> usize {
        endpoints.iter().map(|endpoint| self.uses[endpoint.at()].share()).sum()
    }

    /// Returns true if the transfer may have one more connection to an endpoint, besides `open`. `spare` connections are
    /// allowed in addition.
    pub(super) fn has_room(&self, endpoint: usize, open: usize, spare: usize) -> bool {
        self.uses[endpoint].has_room(open, spare)
    }

    /// Returns true if one more connection to an endpoint need not wait for its place.
    pub(super) fn is_free(&self, endpoint: usize) -> bool {
        self.uses[endpoint].is_free()
    }

    /// Waits for the place for one connection to an endpoint.
    pub(super) fn place(&self, endpoint: usize) -> impl Future<Output = Place> + Send + use<> {
        self.uses[endpoint].place()
    }

    /// Reports the connections of the transfer, and ends surplus ones if the number of connections has fallen.
    pub(super) fn report(&mut self, transfer: &Transfer<'_>) {
        let now = transfer.shared.hosts.now();
        for (endpoint, host) in self.uses.iter_mut().enumerate() {
            let mut scheduler = transfer.scheduler();
            let (bytes, busy) = scheduler.sent(endpoint, now);
            let (open, receiving) = (scheduler.open(endpoint), scheduler.receiving(endpoint));
            if let Some(opened) = scheduler.last_answered(endpoint) {
                host.answered(opened);
            }
            let report = HostReport { bytes, busy, open, receiving };
            if host.report(report, scheduler.pace(endpoint), now) {
                scheduler.shed(endpoint, host.share());
            }
        }
    }

    /// Records that an endpoint refused a request that began at `opened`.
    pub(super) fn refused(&mut self, endpoint: usize, opened: Duration, now: Duration) {
        self.uses[endpoint].refused(opened, now);
    }
}
