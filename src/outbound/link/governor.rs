//! The limits of the link at the present time, and the transfers that use it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::bucket::Bucket;
use super::queue::{Granted, LinkQueue, LinkRequest, Ticket};
use super::traffic::Traffic;
use crate::config::{Link, LinkLimit, Mirror};
use crate::metrics::Metrics;
use crate::oci::HostName;
use crate::sys::{Clock, Moment};

/// The schedule is looked at this often while transfers wait.
const RECHECK: Duration = Duration::from_millis(500);

/// The value of the metrics' label `upstream` for all upstreams together.
const ALL: &str = "*";

/// Governs the rate at which the bodies of all upstreams arrive.
#[derive(Debug)]
pub struct LinkGovernor {
    clock: Clock,
    metrics: Arc<Metrics>,
    began: Moment,
    total: Link,
    parts: Vec<(HostName, Link)>,
    /// A std `Mutex`: held for operations in memory only.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    queue: LinkQueue,
    /// The time at which the schedule was last looked at.
    checked: Duration,
}

/// The part of the link that one upstream uses.
#[derive(Clone, Debug)]
pub struct LinkShare {
    governor: Arc<LinkGovernor>,
    part: usize,
}

/// One transfer over the link.
#[derive(Debug)]
pub struct LinkUse {
    share: LinkShare,
    traffic: Traffic,
    tag: u64,
}

/// A request for bytes that waits. Dropping it ends the wait.
struct Turn<'a> {
    governor: &'a LinkGovernor,
    ticket: Ticket,
    wake: Arc<Notify>,
}

impl LinkGovernor {
    /// Returns the governor of the configured limits; `None` if there are none.
    pub fn new(mirror: &Mirror, clock: Clock, metrics: Arc<Metrics>) -> Option<Arc<Self>> {
        let parts: Vec<_> = mirror.upstreams.values().map(|spec| (spec.name.clone(), spec.link.clone())).collect();
        let total = mirror.link.clone();
        if !total.is_limited() && !parts.iter().any(|(_, link)| link.is_limited()) {
            return None;
        }
        let seconds = clock.unix_seconds();
        let bucket = |link: &Link| Bucket::new(link.at(seconds).rate(), Duration::ZERO);
        let queue = LinkQueue::new(bucket(&total), parts.iter().map(|(_, link)| bucket(link)).collect());
        let (began, state) = (clock.moment(), Mutex::new(State { queue, checked: Duration::ZERO }));
        let governor = Self { clock, metrics, began, total, parts, state };
        governor.links().for_each(|(name, link)| governor.set_gauge(name, link.at(seconds)));
        Some(Arc::new(governor))
    }

    /// Returns the share of an upstream; `None` if no limit ever concerns it.
    pub fn share(self: &Arc<Self>, upstream: &HostName) -> Option<LinkShare> {
        let part = self.parts.iter().position(|(name, _)| name == upstream)?;
        let is_limited = self.total.is_limited() || self.parts[part].1.is_limited();
        is_limited.then(|| LinkShare { governor: Arc::clone(self), part })
    }

    /// Adopts the limits of the present time. Call it at least once a second.
    pub fn refresh(&self) {
        let mut state = self.state();
        self.adopt(&mut state, self.now());
        state.queue.dispatch(self.now());
    }

    /// Adopts the limits of the present time.
    fn adopt(&self, state: &mut State, now: Duration) {
        let seconds = self.clock.unix_seconds();
        state.checked = now;
        for (at, (name, link)) in self.links().enumerate() {
            let limit = link.at(seconds);
            let bucket = if at == 0 { &mut state.queue.total } else { &mut state.queue.parts[at - 1] };
            if bucket.rate() == limit.rate() {
                continue;
            }
            bucket.set_rate(limit.rate(), now);
            self.set_gauge(name, limit);
            let upstream = if name == ALL { "all" } else { name };
            tracing::info!(upstream, %limit, "the limit of the link has changed, as its schedule says");
        }
    }

    /// Returns the configured limits with their names: first that of all upstreams, then those of each.
    fn links(&self) -> impl Iterator<Item = (&str, &Link)> {
        let parts = self.parts.iter().map(|(name, link)| (name.as_str(), link));
        std::iter::once((ALL, &self.total)).chain(parts)
    }

    fn set_gauge(&self, upstream: &str, limit: LinkLimit) {
        let bytes = limit.rate().map_or(0, |rate| i64::try_from(rate.bytes()).unwrap_or(i64::MAX));
        self.metrics.link_limit.with_label_values(&[upstream]).set(bytes);
    }

    fn now(&self) -> Duration {
        self.clock.since(self.began)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic between two changes may lose bytes of a bucket, which time replaces.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LinkShare {
    /// Returns true if bytes have to wait for the link now.
    pub(in crate::outbound) fn is_limited_now(&self) -> bool {
        !self.governor.state().queue.is_unlimited(self.part)
    }

    /// Begins a transfer.
    pub(in crate::outbound) fn begin(&self, traffic: Traffic) -> LinkUse {
        LinkUse { share: self.clone(), traffic, tag: 0 }
    }
}

impl LinkUse {
    /// Changes the class of the transfer.
    pub(in crate::outbound) fn set_traffic(&mut self, traffic: Traffic) {
        self.traffic = traffic;
    }

    /// Waits until some of `bytes` may be received. Returns their number, which is zero only if `bytes` is.
    pub(in crate::outbound) async fn grant(&mut self, bytes: usize) -> usize {
        let governor = &self.share.governor;
        let began = governor.clock.moment();
        let Some(turn) = self.enter(bytes) else { return bytes };
        let granted = turn.granted().await;
        self.tag = granted.tag;
        let label = &[self.traffic.label()];
        governor.metrics.link_bytes.with_label_values(label).inc_by(granted.bytes as u64);
        governor.metrics.link_wait.with_label_values(label).inc_by(governor.clock.since(began).as_secs_f64());
        granted.bytes
    }

    /// Begins to wait; `None` if there is no limit now.
    fn enter(&self, bytes: usize) -> Option<Turn<'_>> {
        let LinkShare { governor, part } = &self.share;
        let (mut state, now) = (governor.state(), governor.now());
        if now.saturating_sub(state.checked) >= RECHECK {
            governor.adopt(&mut state, now);
        }
        if bytes == 0 || state.queue.is_unlimited(*part) {
            return None;
        }
        let (traffic, wake) = (self.traffic.clone(), Arc::new(Notify::new()));
        let request = LinkRequest { part: *part, bytes, tag: self.tag, traffic, wake: Arc::clone(&wake) };
        let ticket = state.queue.enter(request);
        Some(Turn { governor, ticket, wake })
    }
}

impl Turn<'_> {
    async fn granted(self) -> Granted {
        loop {
            let wait = {
                let (mut state, now) = (self.governor.state(), self.governor.now());
                if now.saturating_sub(state.checked) >= RECHECK {
                    self.governor.adopt(&mut state, now);
                }
                let wait = state.queue.dispatch(now).unwrap_or(RECHECK);
                if let Some(granted) = state.queue.collect(self.ticket) {
                    return granted;
                }
                // Only one request wakes up when the next grant is due, so that they do not all wake up for each slice.
                if state.queue.keeps_time(self.ticket) { wait.min(RECHECK) } else { RECHECK }
            };
            tokio::select! {
                () = self.wake.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let (mut state, now) = (self.governor.state(), self.governor.now());
        state.queue.leave(self.ticket);
        // Another request keeps the time from now on.
        state.queue.dispatch(now);
    }
}
