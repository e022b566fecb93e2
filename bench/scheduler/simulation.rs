//! A transfer in virtual time: the product's scheduler over a simulated network, without sockets.

use std::time::Duration;

use entrepot::config::FillConnections;
use entrepot::fills::schedule::{Assignment, Concurrency, Load, Needs, Scheduler};
use entrepot::oci::Span;
use entrepot::store::Extents;

use super::network::{Flow, Network};
use super::random::Random;

/// The time that one step simulates.
const STEP: Duration = Duration::from_millis(10);
/// The steps between two looks at the load, as in the product.
const TICK: u32 = 5;
const SEGMENT: u64 = 8 << 20;
/// The number of connections to an endpoint is never larger than this.
pub const MOST: usize = 16;

/// The result of a transfer.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub seconds: f64,
    pub requests: usize,
    /// The bytes that crossed the link although they were not needed any more.
    pub twice: f64,
    /// The part of the link's bytes that went to this transfer.
    pub share: f64,
    /// The times at which the number of connections to the first endpoint changed, and the number.
    pub counts: Vec<(f64, usize)>,
}

/// A transfer that is being simulated.
pub struct Simulation<'a> {
    network: &'a Network,
    scheduler: Scheduler,
    concurrency: Vec<Concurrency>,
    connections: Vec<Connection>,
    arrived: Extents,
    size: u64,
    now: Duration,
    /// The rates of connections to each endpoint that are open and free.
    idle: Vec<Vec<f64>>,
    random: Random,
    outcome: Outcome,
    others: f64,
}

struct Connection {
    assignment: Assignment,
    endpoint: usize,
    answers: Duration,
    answered: bool,
    most: f64,
    rate: f64,
    /// The bytes that have arrived, with fractions.
    position: f64,
}

impl<'a> Simulation<'a> {
    /// Prepares the transfer of a blob.
    pub fn new(network: &'a Network, size: u64, seed: u64, connections: FillConnections) -> Self {
        let endpoints = network.endpoints.len();
        Self {
            network,
            scheduler: Scheduler::new(Some(size), SEGMENT, vec![Default::default(); endpoints]),
            concurrency: (0..endpoints).map(|_| Concurrency::new(connections, MOST)).collect(),
            connections: Vec::new(),
            arrived: Extents::default(),
            size,
            now: Duration::ZERO,
            idle: vec![Vec::new(); endpoints],
            random: Random::new(seed),
            outcome: Outcome::default(),
            others: 0.0,
        }
    }

    /// Runs the transfer to its end. Panics if it does not end.
    pub fn run(mut self) -> Outcome {
        let mut steps: u32 = 0;
        while !self.scheduler.is_done(&self.arrived) {
            if steps.is_multiple_of(TICK) {
                self.tick();
            }
            if self.open() | self.answer() {
                self.share_rates();
            }
            self.now += STEP;
            if self.transfer() {
                self.share_rates();
            }
            steps += 1;
            assert!(steps < 100 * 3600, "{:?} ends after an hour: {:?}", self.network, self.arrived);
        }
        assert_eq!(self.arrived.prefix(), self.size);
        let seconds = self.now.as_secs_f64();
        let ours = self.size as f64 + self.outcome.twice;
        Outcome { seconds, share: ours / (ours + self.others), ..self.outcome }
    }

    fn needs<'n>(&self, wanted: &'n [Span], arrived: &'n Extents) -> Needs<'n> {
        let connections = self.concurrency.iter().map(Concurrency::count).sum();
        Needs { arrived, wanted, connections, now: self.now }
    }

    /// Opens as many connections as the scheduler wants.
    fn open(&mut self) -> bool {
        let (mut opened, arrived) = (false, self.arrived.clone());
        let wanted = [Span { start: arrived.prefix(), end: self.size }];
        loop {
            let needs = self.needs(&wanted, &arrived);
            let rooms: Vec<usize> = match self.connections.iter().any(|connection| connection.answered) {
                true => (0..self.idle.len()).filter(|at| self.has_room(*at, &needs)).collect(),
                // The product too waits for the first answer before it opens further connections.
                false if self.connections.is_empty() => vec![0],
                false => Vec::new(),
            };
            let Some(endpoint) = self.scheduler.best_endpoint(&rooms, &needs) else { return opened };
            let Some(assignment) = self.scheduler.take(endpoint, &needs) else { return opened };
            let spec = self.network.endpoints[endpoint];
            let most = self.idle[endpoint].pop().unwrap_or_else(|| {
                let slow = if self.random.part() < spec.slow.0 { spec.slow.1 } else { 1.0 };
                spec.each * slow
            });
            self.connections.push(Connection {
                assignment,
                endpoint,
                answers: self.now + spec.latency,
                answered: false,
                most,
                rate: 0.0,
                position: assignment.span.start as f64,
            });
            self.outcome.requests += 1;
            opened = true;
        }
    }

    fn has_room(&self, endpoint: usize, needs: &Needs<'_>) -> bool {
        let open = self.scheduler.open(endpoint);
        open < self.concurrency[endpoint].count() + usize::from(self.scheduler.is_urgent(needs))
    }

    fn answer(&mut self) -> bool {
        let mut changed = false;
        for connection in self.connections.iter_mut().filter(|connection| !connection.answered) {
            if connection.answers <= self.now {
                connection.answered = true;
                self.scheduler.answered(connection.assignment.ticket, self.now);
                changed = true;
            }
        }
        changed
    }

    fn share_rates(&mut self) {
        let receiving: Vec<usize> = (0..self.connections.len()).filter(|at| self.connections[*at].answered).collect();
        let flow =
            |at: &usize| Flow { endpoint: Some(self.connections[*at].endpoint), most: self.connections[*at].most };
        let mut flows: Vec<Flow> = receiving.iter().map(flow).collect();
        flows.extend((0..self.network.others).map(|_| Flow { endpoint: None, most: f64::INFINITY }));
        let rates = self.network.rates(&flows);
        receiving.iter().zip(rates).for_each(|(at, rate)| self.connections[*at].rate = rate);
    }

    /// Moves the bytes of one step. Returns true if a connection has ended.
    fn transfer(&mut self) -> bool {
        let (mut ended, mut ours) = (Vec::new(), 0.0);
        for connection in self.connections.iter_mut().filter(|connection| connection.answered) {
            let end = self.scheduler.end_of(connection.assignment);
            let moved = connection.rate * STEP.as_secs_f64();
            let (before, after) = (connection.position as u64, (connection.position + moved).min(end as f64));
            ours += moved;
            let after = after.max(connection.position);
            connection.position = after;
            self.arrived.insert(Span { start: before.min(end), end: (after as u64).min(end) });
            self.scheduler.received(connection.assignment.ticket, after as u64, self.now);
            if after as u64 >= end {
                if end < connection.assignment.span.end {
                    // Bytes that are on their way when the connection is dropped cross in vain.
                    let latency = self.network.endpoints[connection.endpoint].latency.as_secs_f64();
                    let left = (connection.assignment.span.end - end) as f64;
                    self.outcome.twice += (connection.rate * latency).min(left);
                } else {
                    self.idle[connection.endpoint].push(connection.most);
                }
                ended.push(connection.assignment.ticket);
            }
        }
        let everything = if self.network.others > 0 { self.network.link * STEP.as_secs_f64() } else { ours };
        self.others += everything - ours;
        self.drop_connections(&ended);
        !ended.is_empty()
    }

    fn drop_connections(&mut self, tickets: &[u64]) {
        for ticket in tickets {
            self.scheduler.release(*ticket, self.now);
        }
        self.connections.retain(|connection| !tickets.contains(&connection.assignment.ticket));
    }

    fn tick(&mut self) {
        let faults: Vec<u64> = self.scheduler.faults(self.now).into_iter().map(|(ticket, _)| ticket).collect();
        self.drop_connections(&faults);
        for endpoint in 0..self.idle.len() {
            let before = self.concurrency[endpoint].count();
            let (bytes, busy) = self.scheduler.sent(endpoint, self.now);
            self.concurrency[endpoint].observe(&Load {
                now: self.now,
                bytes,
                busy,
                open: self.scheduler.open(endpoint),
                receiving: self.scheduler.receiving(endpoint),
                latency: self.scheduler.pace(endpoint).latency(),
            });
            let count = self.concurrency[endpoint].count();
            if count < before {
                self.scheduler.shed(endpoint, count);
            }
            if endpoint == 0 && (count != before || self.outcome.counts.is_empty()) {
                self.outcome.counts.push((self.now.as_secs_f64(), count));
            }
        }
        if !faults.is_empty() {
            self.share_rates();
        }
    }
}
