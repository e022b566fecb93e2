//! The hosts that fills connect to: how many connections each may have, how fast it is, and how fills share it.
//!
//! Each connection needs a place of its host ([`Places`]). A fill waits for one place at a time. So a small layer gets its
//! place between two segments of a large one. The number of connections that is best for a host is searched for all its
//! fills together, and kept between fills.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::host_report::HostReport;
use super::kind::FillKind;
use super::places::{Holder, Lent, PassPlace, Place, PlaceBounds, Places};
use super::schedule::{Concurrency, EndpointPace, Load};
use crate::config;
use crate::metrics::Metrics;
use crate::sys::{Clock, Moment};

/// Small blobs have places of their own: this many times `perhost`. They carry as many bytes at once as `perhost / 4`
/// segments of 8 MiB at most.
const SMALL_PER_HOST: usize = 8;

/// Connections that pass blobs through last as long as their clients read. They have at most this part of the places.
const PASSING_PART: usize = 2;

/// Some connections lend their places, so more connections than places may be open. There are this many times `perhost` more
/// at most, for one repository and in all.
const LENT_BY_REPOSITORY: usize = 1;
const LENT_IN_ALL: usize = 3;

/// The limits of all hosts that fills connect to.
#[derive(Debug)]
pub struct HostLimits {
    settings: config::Fill,
    clock: Clock,
    origin: Moment,
    metrics: Arc<Metrics>,
    /// A std `Mutex`: held for map operations only.
    hosts: Mutex<HashMap<String, Arc<HostLimit>>>,
}

/// The limit of one host.
#[derive(Debug)]
pub struct HostLimit {
    name: String,
    per_host: usize,
    places: Arc<Places>,
    small_places: Arc<Places>,
    passing_places: Arc<Places>,
    metrics: Arc<Metrics>,
    /// A std `Mutex`: held for calculations only.
    state: Mutex<HostState>,
}

/// The state of one host, from the reports of all fills that use it.
#[derive(Debug)]
struct HostState {
    concurrency: Concurrency,
    pace: EndpointPace,
    total: HostReport,
    /// The number of fills that clients wait for.
    client_fills: usize,
    /// The number of fills that only background work waits for.
    background_fills: usize,
}

/// A fill that uses a host. Dropping it leaves the host to the other fills.
#[derive(Debug)]
pub struct HostUse {
    host: Arc<HostLimit>,
    kind: FillKind,
    holder: Holder,
    reported: HostReport,
    /// The number of connections to the host at the last report.
    known_count: usize,
}

impl HostLimits {
    /// Creates the limits that the configuration names.
    pub fn new(settings: config::Fill, clock: Clock, metrics: Arc<Metrics>) -> Self {
        let origin = clock.moment();
        Self { settings, clock, origin, metrics, hosts: Mutex::default() }
    }

    /// Returns the time since the limits were created, in which the state of hosts is told.
    pub fn now(&self) -> Duration {
        self.clock.since(self.origin)
    }

    /// Returns the limit of a host. The configuration bounds the number of hosts, so none is ever removed.
    pub fn host(&self, name: &str) -> Arc<HostLimit> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let host = hosts.entry(name.to_owned()).or_insert_with(|| {
            let per_host = self.settings.per_host;
            let state = HostState {
                concurrency: Concurrency::new(self.settings.connections, per_host),
                pace: EndpointPace::default(),
                total: HostReport::default(),
                client_fills: 0,
                background_fills: 0,
            };
            Arc::new(HostLimit {
                name: name.to_owned(),
                per_host,
                places: self.places(per_host),
                small_places: self.places(per_host * SMALL_PER_HOST),
                passing_places: self.places((per_host / PASSING_PART).max(1)),
                metrics: Arc::clone(&self.metrics),
                state: Mutex::new(state),
            })
        });
        Arc::clone(host)
    }

    fn places(&self, limit: usize) -> Arc<Places> {
        let per_host = self.settings.per_host;
        let of_repository = limit + per_host * LENT_BY_REPOSITORY;
        let bounds = PlaceBounds { limit, of_repository, in_all: limit + per_host * LENT_IN_ALL };
        Places::new(bounds, self.clock.clone())
    }
}

impl HostLimit {
    /// Records that a fill begins to use the host.
    pub fn enter(self: &Arc<Self>, kind: FillKind, holder: Holder) -> HostUse {
        self.state().count(kind, 1);
        HostUse { host: Arc::clone(self), kind, holder, reported: HostReport::default(), known_count: 0 }
    }

    /// Returns the speed of the host as far as it is known.
    pub fn pace(&self) -> EndpointPace {
        self.state().pace
    }

    /// Returns true if a connection that passes a blob through need not wait for its place.
    pub fn may_pass(&self, holder: &Holder) -> bool {
        self.passing_places.is_free(holder) && self.places.is_free(holder)
    }

    /// Takes account of the time after which the host redirected a first request.
    pub fn expect_latency(&self, latency: Duration) {
        self.state().concurrency.expect_latency(latency.as_secs_f64());
    }

    fn state(&self) -> MutexGuard<'_, HostState> {
        // A panic between two assignments leaves a count that is slightly wrong, which does no harm.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HostState {
    fn count(&mut self, kind: FillKind, by: isize) {
        let fills = match kind {
            FillKind::Small => return,
            FillKind::Client => &mut self.client_fills,
            FillKind::Background => &mut self.background_fills,
        };
        *fills = fills.saturating_add_signed(by);
    }
}

impl HostUse {
    /// Waits for the place for one connection.
    pub fn place(&self) -> impl Future<Output = Place> + Send + use<> {
        Arc::clone(self.places()).take(self.holder.clone())
    }

    /// Waits for the place for one connection that passes a blob through.
    pub async fn passing_place(&self) -> PassPlace {
        let passing = Arc::clone(&self.host.passing_places).take(self.holder.clone()).await;
        PassPlace { passing, connection: self.place().await }
    }

    /// Returns true if one more connection need not wait for its place.
    pub fn is_free(&self) -> bool {
        self.places().is_free(&self.holder)
    }

    fn places(&self) -> &Arc<Places> {
        match self.kind {
            FillKind::Small => &self.host.small_places,
            FillKind::Client | FillKind::Background => &self.host.places,
        }
    }

    /// Returns the connections of other fills that lend their places to this one.
    fn lent(&self) -> Lent {
        self.host.places.lent_beside(&self.holder.digest)
    }

    /// Returns the speed of the host as far as it is known.
    pub fn pace(&self) -> EndpointPace {
        self.host.pace()
    }

    /// Returns how many connections this fill may have at once. It is an equal share of the host, at least one. Fills that
    /// lend all their places have no share. A background fill gets only one while clients wait for other fills.
    pub fn share(&self) -> usize {
        let lent = self.lent().blobs;
        let state = self.host.state();
        let at_work = |fills: usize| fills.saturating_sub(lent).max(1);
        let (clients, background) = (at_work(state.client_fills), at_work(state.background_fills));
        let fills = match (self.kind, state.client_fills) {
            (FillKind::Small, _) | (FillKind::Background, 1..) => return 1,
            (FillKind::Background, 0) => background,
            (FillKind::Client, _) => clients,
        };
        match state.concurrency.is_fixed() {
            true => state.concurrency.count().min((self.host.per_host / fills).max(1)),
            false => state.concurrency.count().div_ceil(fills),
        }
    }

    /// Returns true if this fill may have one more connection now. `spare` connections are allowed in addition.
    pub fn has_room(&self, open: usize, spare: usize) -> bool {
        let (share, lent) = (self.share(), self.lent().connections);
        let state = self.host.state();
        let at_work = state.total.open.saturating_sub(lent);
        let free = state.concurrency.is_fixed() || at_work < state.concurrency.count() + spare;
        open == 0 || (open < share + spare && free)
    }

    /// Changes the kind of this fill.
    pub fn set_kind(&mut self, kind: FillKind) {
        let mut state = self.host.state();
        state.count(self.kind, -1);
        state.count(kind, 1);
        self.kind = kind;
    }

    /// Reports the connections of this fill, and lets the host judge the number of its connections if it is time to.
    /// Returns true if the number has fallen since the last report.
    pub fn report(&mut self, report: HostReport, pace: EndpointPace, now: Duration) -> bool {
        if self.kind == FillKind::Small {
            return false;
        }
        let mut state = self.host.state();
        state.total.replace(&self.reported, &report);
        self.reported = report;
        state.pace = pace;
        let HostReport { bytes, busy, open, receiving } = state.total;
        let before = state.concurrency.count();
        state.concurrency.observe(&Load { now, bytes, busy, open, receiving, latency: pace.latency() });
        let count = state.concurrency.count();
        drop(state);
        self.host.show(before, count, open, pace);
        std::mem::replace(&mut self.known_count, count) > count
    }

    /// Reports a connection that passes a blob through.
    pub fn report_pass(&mut self, report: HostReport, now: Duration) {
        self.report(report, self.pace(), now);
    }

    /// Records that a request that began at `opened` was refused.
    pub fn refused(&self, opened: Duration, now: Duration) {
        let mut state = self.host.state();
        let before = state.concurrency.count();
        let receiving = state.total.receiving;
        state.concurrency.refused(opened, receiving, now);
        let (count, open, pace) = (state.concurrency.count(), state.total.open, state.pace);
        drop(state);
        self.host.show(before, count, open, pace);
    }

    /// Records that a request that began at `opened` was answered.
    pub fn answered(&self, opened: Duration) {
        self.host.state().concurrency.answered(opened);
    }
}

impl HostLimit {
    /// Shows the connections of the host to operators.
    fn show(&self, before: usize, count: usize, open: usize, pace: EndpointPace) {
        let rate = pace.rate().unwrap_or_default();
        let host = &[self.name.as_str()];
        self.metrics.host_connections.with_label_values(host).set(open as i64);
        self.metrics.host_connections_wanted.with_label_values(host).set(count as i64);
        self.metrics.host_connection_rate.with_label_values(host).set(rate as i64);
        if before != count {
            let (host, latency) = (&self.name, pace.latency());
            tracing::debug!(host, before, count, rate, latency, "the number of connections to a host has changed");
        }
    }
}

impl Drop for HostUse {
    fn drop(&mut self) {
        let mut state = self.host.state();
        state.count(self.kind, -1);
        let gone = HostReport { open: 0, receiving: 0, ..self.reported };
        state.total.replace(&self.reported, &gone);
        self.host.metrics.host_connections.with_label_values(&[&self.host.name]).set(state.total.open as i64);
    }
}

#[cfg(test)]
mod tests;
