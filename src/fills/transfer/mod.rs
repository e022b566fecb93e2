//! Bringing a blob to the disk: over several connections, from several endpoints, through cuts and stalls, until it is whole.
//!
//! Three things go on at once, in the one task of a fill: connections bring stretches ([`lane`]), each where the [`plan`] sends
//! it; the hash follows what has arrived without a hole; and the journal writes down what has ([`beside`]). Nothing here decides whether
//! the content is right: that is for whoever compares the hash; where it is not, [`repair`] finds out who was wrong.

mod beside;
mod lane;
mod origins;
mod pace;
mod plan;
mod repair;
mod routes;
mod silence;

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use self::lane::Ended;
use self::origins::Origins;
use self::pace::Pace;
use self::plan::{Manner, Needs, Plan};
use self::routes::{RouteId, Routes};
use self::silence::Silence;
use super::fill::{Fill, State};
use super::hosts::{Hosts, Place, Usage};
use super::source::Source;
use crate::cache::{Quota, Reservation};
use crate::config::{self, Unattended};
use crate::metrics::Metrics;
use crate::oci::Span;
use crate::store::{Partial, PrefixHash, StoreError};
use crate::sys::Clock;
use crate::upstream::UpstreamError;

/// The throughput is looked at this often.
const TICK: Duration = Duration::from_millis(500);

/// As long as nothing has come and nobody was told anything, an endpoint that answers 5xx is asked so often; no other error is
/// waited out, so that clients hear of it soon.
const TRIES_BEFORE_ANSWER: u32 = 3;

/// Why a transfer ended before the blob was whole.
#[derive(Debug)]
pub(super) enum Broken {
    /// This source failed; another may go on.
    Source(UpstreamError),
    /// The upstream has nothing after what is held: what is held is not a beginning of this blob.
    Unresumable,
    /// The disk, or the quota.
    Storage(Option<StoreError>),
    /// Nobody waits for it any more, or it was cancelled.
    Stopped,
}

/// What all transfers share.
#[derive(Clone)]
pub struct Means {
    pub(super) quota: Arc<Quota>,
    pub(super) hosts: Arc<Hosts>,
    pub(super) settings: config::Fill,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
}

impl Means {
    /// Bundles what the fills of one server share.
    pub fn new(quota: Arc<Quota>, settings: config::Fill, clock: Clock, metrics: Arc<Metrics>) -> Self {
        let hosts = Arc::new(Hosts::new(settings.per_host));
        Self { quota, hosts, settings, clock, metrics }
    }
}

/// One blob's way to the disk.
pub(super) struct Transfer<'a> {
    means: &'a Means,
    fill: &'a Fill,
    partial: &'a Partial,
    /// An async lock: the hash goes on across awaits, and only one may drive it.
    hash: tokio::sync::Mutex<PrefixHash>,
    /// Likewise: writing more than was expected waits for room. `None` until a size is known.
    room: tokio::sync::Mutex<Option<Reservation>>,
    /// Std locks, each held for one operation.
    plan: Mutex<Plan>,
    origins: Mutex<Origins>,
    /// Who brought what a repair has replaced.
    suspects: Mutex<Vec<origins::Origin>>,
    silence: Silence,
    /// An answer has come: there may be work for more connections.
    answered: Notify,
}

/// A connection that waits for its turn.
type Turn = (RouteId, Pin<Box<dyn Future<Output = Place> + Send>>);

impl<'a> Transfer<'a> {
    pub(super) fn new(means: &'a Means, fill: &'a Fill, partial: &'a Partial) -> Self {
        let plan = Plan::new(None, means.settings.segment);
        Self {
            means,
            fill,
            partial,
            hash: tokio::sync::Mutex::new(PrefixHash::new(fill.digest.algorithm())),
            room: tokio::sync::Mutex::default(),
            plan: Mutex::new(plan),
            origins: Mutex::default(),
            suspects: Mutex::default(),
            silence: Silence::new(means.clock.clone()),
            answered: Notify::new(),
        }
    }

    /// Fetches from one source until everything is there.
    pub(super) async fn fetch(&self, source: &Source) -> Result<(), Broken> {
        let routes = Routes::of(source, self.means.clock.clone());
        self.fetch_through(source, &routes).await
    }

    async fn fetch_through(&self, source: &Source, routes: &Routes) -> Result<(), Broken> {
        let size = self.plan().size().or(source.expected_size).or(self.fill.progress().size);
        *self.plan() = Plan::new(size, self.means.settings.segment);
        // In doubt nobody is given anything, and so they leave: it is found out all the same.
        let unattended = match self.fill.progress().state {
            State::Doubted => Unattended::Finish,
            _ => self.means.settings.unattended,
        };
        let over = CancellationToken::new();
        let drive = async {
            let driven = self.drive(source, routes).await;
            over.cancel();
            driven
        };
        let work = async { tokio::try_join!(drive, self.hash_along(&over), self.write_down(&over)).map(|_| ()) };
        tokio::select! {
            outcome = work => outcome,
            () = self.fill.stopped(unattended) => Err(Broken::Stopped),
        }
    }

    /// The room that was taken; given back when dropped.
    pub(super) fn into_room(self) -> Option<Reservation> {
        self.room.into_inner()
    }

    /// Begins anew: what had arrived is no beginning of this blob.
    pub(super) async fn restart(&self) -> Result<(), StoreError> {
        self.forget_hash().await;
        *self.plan() = Plan::new(None, self.means.settings.segment);
        self.partial.restart().await?;
        self.fill.arrived();
        Ok(())
    }

    /// Keeps as many connections busy as help, until all has arrived.
    async fn drive(&self, source: &Source, routes: &Routes) -> Result<(), Broken> {
        let mut usages = self.usages(source, routes);
        let mut pace = Pace::new(self.means.settings.connections);
        let mut lanes = FuturesUnordered::new();
        let mut turn: Option<Turn> = None;
        let mut tick = tokio::time::interval(TICK);
        let mut seen = (self.means.clock.moment(), self.partial.arrivals().total());
        while !self.is_done() {
            if turn.is_none() && lanes.len() < self.most(&pace, &usages) && self.has_work() {
                turn = self.queue(source, routes);
            }
            if turn.is_none() && lanes.is_empty() && routes.until_next().is_none() {
                let nothing = || UpstreamError::Protocol {
                    host: source.upstream.name().to_string(),
                    reason: "no endpoint could be asked".to_owned(),
                };
                return Err(Broken::Source(routes.error().unwrap_or_else(nothing)));
            }
            tokio::select! {
                place = granted(&mut turn) => lanes.extend(self.begin(source, routes, place)),
                Some(ended) = lanes.next() => self.ended(routes, &mut pace, ended)?,
                // A client may have come for what was fetched beforehand.
                () = self.fill.audience().changed() => usages = self.usages(source, routes),
                () = self.answered.notified() => {}
                () = due(routes), if turn.is_none() => {}
                _ = tick.tick() => seen = self.measure(&mut pace, lanes.len(), seen),
            }
        }
        Ok(())
    }

    fn usages(&self, source: &Source, routes: &Routes) -> Vec<Usage> {
        let background = self.fill.audience().is_background();
        let endpoints = routes.endpoints().into_iter();
        endpoints.map(|endpoint| self.host_of(source, endpoint).enter(background)).collect()
    }

    fn host_of(&self, source: &Source, endpoint: crate::upstream::EndpointId) -> Arc<super::hosts::Host> {
        self.means.hosts.host(&source.upstream.host(endpoint))
    }

    /// How many connections there may be now: one until it is known that there is something to fetch; and one more than else
    /// while somebody waits for a part that none of them fetches.
    fn most(&self, pace: &Pace, usages: &[Usage]) -> usize {
        if self.fill.progress().state == State::Asking {
            return 1;
        }
        let share: usize = usages.iter().map(Usage::share).sum();
        let urgent = self.with_needs(None, |plan, needs| plan.is_urgent(needs));
        pace.count().min(share) + usize::from(urgent)
    }

    /// Waits in line for one more connection, if an endpoint can be asked now.
    fn queue(&self, source: &Source, routes: &Routes) -> Option<Turn> {
        let route = routes.begin()?;
        let host = self.host_of(source, routes.endpoint(route));
        Some((route, Box::pin(host.place())))
    }

    /// It is this fill's turn: one more connection, unless there is nothing left to do for it.
    fn begin<'f>(
        &'f self,
        source: &'f Source,
        routes: &'f Routes,
        (route, place): (RouteId, Place),
    ) -> Option<impl Future<Output = Ended> + 'f> {
        let reach = routes.reach(route);
        let Some(assignment) = self.take(reach) else {
            routes.release(route);
            return None;
        };
        Some(async move {
            let _place = place;
            self.lane(source, routes, route, assignment).await
        })
    }

    fn ended(&self, routes: &Routes, pace: &mut Pace, ended: Ended) -> Result<(), Broken> {
        let Ended { route, assignment, began, brought, outcome } = ended;
        self.plan().release(assignment);
        let (from, took) = (assignment.span.start, self.means.clock.since(began).as_millis());
        tracing::debug!(digest = %self.fill.digest, from, brought, took, "a connection of a fill has ended");
        let error = match outcome {
            Ok(()) => None,
            Err(Broken::Source(error)) => Some(error),
            Err(other) => {
                routes.ended(route, began, brought, None);
                return Err(other);
            }
        };
        if let Some(error) = &error {
            if matches!(error, UpstreamError::TooManyRequests { .. } | UpstreamError::Status { status: 503, .. }) {
                pace.refused();
            }
            let asked = !matches!(error, UpstreamError::Silent { .. });
            if asked && self.fill.progress().state != State::Asking {
                self.means.metrics.fill_resumes.inc();
                // One that was worth its while is no news on a link where each is.
                match brought {
                    0 => {
                        tracing::info!(digest = %self.fill.digest, %error, "a connection of a fill failed; another goes on")
                    }
                    _ => tracing::debug!(digest = %self.fill.digest, %error, brought, "a connection of a fill was cut"),
                }
            }
        }
        routes.ended(route, began, brought, error);
        if self.fill.progress().state == State::Asking {
            routes.give_up_failed(TRIES_BEFORE_ANSWER);
        }
        Ok(())
    }

    fn measure(
        &self,
        pace: &mut Pace,
        lanes: usize,
        (since, before): (crate::sys::Moment, u64),
    ) -> (crate::sys::Moment, u64) {
        let total = self.partial.arrivals().total();
        self.silence.leave_silent(total);
        if lanes >= pace.count() {
            pace.measured(total.saturating_sub(before), self.means.clock.since(since));
        } else {
            pace.idle();
        }
        (self.means.clock.moment(), total)
    }

    fn is_done(&self) -> bool {
        let plan = self.plan();
        // Of an empty blob nothing is missing, and yet its source has to vouch for it.
        let unasked = plan.size() == Some(0) && self.fill.progress().state == State::Asking;
        !unasked && plan.is_done(&self.partial.arrivals().snapshot())
    }

    fn has_work(&self) -> bool {
        self.with_needs(None, |plan, needs| plan.has_work(needs))
    }

    fn take(&self, reach: Option<u64>) -> Option<plan::Assignment> {
        self.with_needs(reach, |plan, needs| plan.take(needs))
    }

    fn with_needs<T>(&self, reach: Option<u64>, choose: impl FnOnce(&mut Plan, &Needs<'_>) -> T) -> T {
        let mut plan = self.plan();
        let wanted: Vec<Span> = self.fill.audience().wanted(plan.size());
        let arrived = self.partial.arrivals().snapshot();
        let connections = match self.means.settings.connections {
            config::FillConnections::Auto => pace::FIRST,
            config::FillConnections::Fixed(count) => count,
        };
        choose(&mut plan, &Needs { arrived: &arrived, wanted: &wanted, connections, reach })
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        // Its changes are single pushes and assignments.
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn origins(&self) -> MutexGuard<'_, Origins> {
        // Likewise.
        self.origins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place that is waited for; never, while none is.
async fn granted(turn: &mut Option<Turn>) -> (RouteId, Place) {
    let Some((route, place)) = turn else { return std::future::pending().await };
    let granted = (*route, place.await);
    *turn = None;
    granted
}

/// Ends when some endpoint may be asked again that may not be now.
async fn due(routes: &Routes) {
    match routes.until_next() {
        Some(wait) if !wait.is_zero() => tokio::time::sleep(wait).await,
        _ => std::future::pending().await,
    }
}
