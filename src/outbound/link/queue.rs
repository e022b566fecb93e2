//! The order in which transfers get bytes of the link.
//!
//! Transfers that clients wait for come first. Background transfers get the bytes that clients leave, and at least one
//! byte in [`BACKGROUND`], so that upstreams do not cut their connections as idle. Within a class all transfers get
//! equally many bytes (start-time fair queueing): each has a tag that grows with its bytes, and the lowest tag is next.
//! The bucket of an upstream is nested in that of all upstreams: a transfer needs bytes of both. A transfer whose
//! upstream has used up its part does not hold up the others.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::bucket::Bucket;
use super::traffic::Traffic;

/// While clients wait, background transfers get one byte in this many.
const BACKGROUND: u64 = 20;

/// The transfers that wait for bytes, and the buckets.
#[derive(Debug)]
pub(super) struct LinkQueue {
    pub(super) total: Bucket,
    /// The bucket of each upstream.
    pub(super) parts: Vec<Bucket>,
    waiting: Vec<Waiting>,
    /// The grants that their transfers have not seen yet.
    granted: HashMap<Ticket, Granted>,
    next_ticket: u64,
    /// The highest tag of all grants. A transfer that begins to wait gets no lower one, so it cannot catch up on the
    /// time in which it did not wait.
    reached: u64,
    /// The bytes that clients got while background transfers waited.
    passed_over: u64,
    /// The only waiting transfer that wakes up when the next grant is due.
    timekeeper: Option<Ticket>,
}

/// Names a waiting transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Ticket(u64);

/// A transfer that asks for bytes.
#[derive(Debug)]
pub(super) struct LinkRequest {
    /// The index of the upstream.
    pub(super) part: usize,
    /// The bytes that have arrived and wait to be counted.
    pub(super) bytes: usize,
    /// The tag that the last grant returned.
    pub(super) tag: u64,
    pub(super) traffic: Traffic,
    /// Notified when the request is granted, or has to keep the time.
    pub(super) wake: Arc<Notify>,
}

/// A grant of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Granted {
    pub(super) bytes: usize,
    /// The tag for the transfer's next request.
    pub(super) tag: u64,
    part: usize,
}

#[derive(Debug)]
struct Waiting {
    ticket: Ticket,
    request: LinkRequest,
}

/// The result of a look at the queue.
enum Next {
    /// The waiting transfer at this index gets its bytes.
    Grant(usize),
    /// No transfer can get bytes before this time has passed.
    Wait(Duration),
    /// No transfer waits.
    Idle,
}

impl LinkQueue {
    pub(super) fn new(total: Bucket, parts: Vec<Bucket>) -> Self {
        Self {
            total,
            parts,
            waiting: Vec::new(),
            granted: HashMap::new(),
            next_ticket: 0,
            reached: 0,
            passed_over: 0,
            timekeeper: None,
        }
    }

    /// Returns true if neither the upstream nor all together have a limit now.
    pub(super) fn is_unlimited(&self, part: usize) -> bool {
        self.total.rate().is_none() && self.parts[part].rate().is_none()
    }

    /// Adds a request. It is granted a slice of its bytes at most.
    pub(super) fn enter(&mut self, mut request: LinkRequest) -> Ticket {
        request.bytes = request.bytes.min(self.total.slice()).min(self.parts[request.part].slice());
        request.tag = request.tag.max(self.reached);
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.waiting.push(Waiting { ticket, request });
        ticket
    }

    /// Takes the grant of a ticket, if there is one.
    pub(super) fn collect(&mut self, ticket: Ticket) -> Option<Granted> {
        self.granted.remove(&ticket)
    }

    /// Removes a request whose transfer has gone.
    pub(super) fn leave(&mut self, ticket: Ticket) {
        self.waiting.retain(|waiting| waiting.ticket != ticket);
        if let Some(granted) = self.granted.remove(&ticket) {
            self.total.put_back(granted.bytes);
            self.parts[granted.part].put_back(granted.bytes);
        }
    }

    /// Grants all requests that can be granted now. Returns the time until the next one can be; `None` if none waits.
    pub(super) fn dispatch(&mut self, now: Duration) -> Option<Duration> {
        self.total.fill(now);
        self.parts.iter_mut().for_each(|part| part.fill(now));
        let wait = loop {
            match self.next() {
                Next::Grant(index) => self.grant(index),
                Next::Wait(wait) => break Some(wait),
                Next::Idle => break None,
            }
        };
        let first = self.waiting.iter().min_by_key(|waiting| waiting.ticket);
        let timekeeper = first.map(|waiting| waiting.ticket);
        if timekeeper != self.timekeeper {
            first.inspect(|waiting| waiting.request.wake.notify_one());
            self.timekeeper = timekeeper;
        }
        wait
    }

    /// Returns true if this request has to look at the queue when the time of the next grant has come.
    pub(super) fn keeps_time(&self, ticket: Ticket) -> bool {
        self.timekeeper == Some(ticket)
    }

    fn next(&self) -> Next {
        let mut order: Vec<usize> = (0..self.waiting.len()).collect();
        let favours_background = self.favours_background();
        order.sort_unstable_by_key(|at| {
            let Waiting { ticket, request } = &self.waiting[*at];
            (request.traffic.is_background() != favours_background, request.tag, *ticket)
        });
        let (mut exhausted, mut soonest): (Vec<usize>, Option<Duration>) = (Vec::new(), None);
        for at in order {
            let LinkRequest { part, bytes, .. } = self.waiting[at].request;
            if exhausted.contains(&part) {
                continue;
            }
            let (of_part, of_total) = (self.parts[part].wait_for(bytes), self.total.wait_for(bytes));
            if of_part.is_zero() && of_total.is_zero() {
                return Next::Grant(at);
            }
            let wait = of_part.max(of_total);
            soonest = Some(soonest.map_or(wait, |soonest| soonest.min(wait)));
            if of_part.is_zero() {
                // The bytes that all share go to this transfer next.
                break;
            }
            exhausted.push(part);
        }
        soonest.map_or(Next::Idle, Next::Wait)
    }

    /// Returns true if background transfers have been passed over for long enough.
    fn favours_background(&self) -> bool {
        self.background().min().is_some_and(|bytes| self.passed_over >= bytes * (BACKGROUND - 1))
    }

    /// Returns the bytes that each background transfer waits for.
    fn background(&self) -> impl Iterator<Item = u64> {
        let background = self.waiting.iter().filter(|waiting| waiting.request.traffic.is_background());
        background.map(|waiting| waiting.request.bytes as u64)
    }

    fn grant(&mut self, index: usize) {
        let Waiting { ticket, request } = self.waiting.swap_remove(index);
        let LinkRequest { part, bytes, tag, traffic, wake } = request;
        self.total.take(bytes);
        self.parts[part].take(bytes);
        self.reached = self.reached.max(tag);
        let amount = bytes as u64;
        if traffic.is_background() {
            self.passed_over = self.passed_over.saturating_sub(amount * (BACKGROUND - 1));
        } else {
            // A background transfer whose upstream has used up its part is not owed bytes for this time.
            let most = self.background().max().unwrap_or(0) * (BACKGROUND - 1);
            self.passed_over = (self.passed_over + amount).min(most);
        }
        self.granted.insert(ticket, Granted { bytes, tag: tag + amount, part });
        wake.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Rate;

    /// A transfer that asks for more as soon as it got bytes.
    struct Transfer {
        part: usize,
        bytes: usize,
        traffic: Traffic,
        tag: u64,
        ticket: Option<Ticket>,
        received: usize,
    }

    fn transfer(part: usize, traffic: &Traffic) -> Transfer {
        Transfer { part, bytes: 64 << 10, traffic: traffic.clone(), tag: 0, ticket: None, received: 0 }
    }

    fn queue(total: Option<u64>, parts: &[Option<u64>]) -> LinkQueue {
        let bucket = |rate: &Option<u64>| Bucket::new(rate.and_then(Rate::of_bytes), Duration::ZERO);
        LinkQueue::new(bucket(&total), parts.iter().map(bucket).collect())
    }

    /// Runs the transfers for a time, in steps of a millisecond. Returns the bytes that each got.
    fn run(queue: &mut LinkQueue, transfers: &mut [Transfer], millis: std::ops::Range<u64>) -> Vec<usize> {
        transfers.iter_mut().for_each(|transfer| transfer.received = 0);
        for at in millis {
            let now = Duration::from_millis(at);
            queue.dispatch(now);
            // A transfer may get several slices in one step.
            let mut moved = true;
            while moved {
                moved = false;
                for transfer in transfers.iter_mut() {
                    moved |= step(queue, transfer, now);
                }
            }
        }
        transfers.iter().map(|transfer| transfer.received).collect()
    }

    fn step(queue: &mut LinkQueue, transfer: &mut Transfer, now: Duration) -> bool {
        let Some(ticket) = transfer.ticket else {
            let Transfer { part, bytes, tag, .. } = *transfer;
            let (traffic, wake) = (transfer.traffic.clone(), Arc::new(Notify::new()));
            transfer.ticket = Some(queue.enter(LinkRequest { part, bytes, tag, traffic, wake }));
            queue.dispatch(now);
            return true;
        };
        let Some(granted) = queue.collect(ticket) else { return false };
        (transfer.tag, transfer.ticket) = (granted.tag, None);
        transfer.received += granted.bytes;
        true
    }

    fn share(received: &[usize], at: usize) -> f64 {
        received[at] as f64 / received.iter().sum::<usize>() as f64
    }

    #[test]
    fn transfers_of_one_class_share_the_rate_equally() {
        let mut queue = queue(Some(1_000_000), &[None]);
        let client = Traffic::client();
        let mut transfers = [transfer(0, &client), transfer(0, &client), transfer(0, &client)];
        // One of them gets its bytes in small pieces.
        transfers[2].bytes = 1400;
        let received = run(&mut queue, &mut transfers, 0..4000);
        assert!(received.iter().sum::<usize>() <= 4_125_000, "{received:?}");
        assert!((0..3).all(|at| (0.32..0.35).contains(&share(&received, at))), "{received:?}");
        // A transfer that begins later gets its share at once, and no more.
        let mut late = transfers.into_iter().chain([transfer(0, &client)]).collect::<Vec<_>>();
        let received = run(&mut queue, &mut late, 4000..5000);
        assert!((0.23..0.27).contains(&share(&received, 3)), "{received:?}");
    }

    #[test]
    fn clients_come_before_background_work_and_leave_it_a_twentieth() {
        let mut queue = queue(Some(1_000_000), &[None]);
        let (client, joined) = (Traffic::client(), Traffic::background());
        let mut transfers = [transfer(0, &client), transfer(0, &Traffic::background()), transfer(0, &joined)];
        let received = run(&mut queue, &mut transfers, 0..4000);
        assert!((0.93..0.97).contains(&share(&received, 0)), "{received:?}");
        assert!(received[1] > 0 && received[2] > 0, "{received:?}");
        // A client joins one of the background transfers while it waits.
        joined.client_joined();
        let received = run(&mut queue, &mut transfers, 4000..8000);
        assert!((0.45..0.5).contains(&share(&received, 2)), "{received:?}");
        // Without clients, background work gets the whole rate.
        let mut background = [transfers.into_iter().nth(1).unwrap()];
        let waiting: Vec<Ticket> = queue.waiting.iter().map(|waiting| waiting.ticket).collect();
        waiting
            .into_iter()
            .filter(|ticket| Some(*ticket) != background[0].ticket)
            .for_each(|ticket| queue.leave(ticket));
        let received = run(&mut queue, &mut background, 8000..9000);
        assert!((900_000..=1_125_000).contains(&received[0]), "{received:?}");
    }

    #[test]
    fn bucket_of_an_upstream_is_nested_in_that_of_all() {
        let client = Traffic::client();
        let mut narrow = queue(Some(1_000_000), &[Some(200_000), None]);
        let received = run(&mut narrow, &mut [transfer(0, &client), transfer(1, &client)], 0..4000);
        assert!((760_000..=825_000).contains(&received[0]), "{received:?}");
        assert!((3_000_000..=3_400_000).contains(&received[1]), "{received:?}");
        let received = run(&mut queue(None, &[Some(200_000)]), &mut [transfer(0, &client)], 0..4000);
        assert!((760_000..=825_000).contains(&received[0]), "{received:?}");
        // A client of an exhausted upstream does not hold up background work of another one.
        let mut both = queue(Some(1_000_000), &[Some(100_000), None]);
        let received = run(&mut both, &mut [transfer(0, &client), transfer(1, &Traffic::background())], 0..4000);
        assert!(received[1] >= 3_300_000, "{received:?}");
    }

    #[test]
    fn change_of_the_rate_takes_effect_while_transfers_wait() {
        let mut queue = queue(Some(10_000), &[None]);
        let mut transfers = [transfer(0, &Traffic::client())];
        run(&mut queue, &mut transfers, 0..1000);
        queue.total.set_rate(Rate::of_bytes(1_000_000), Duration::from_secs(1));
        assert!(run(&mut queue, &mut transfers, 1000..2000)[0] >= 900_000);
        queue.total.set_rate(None, Duration::from_secs(2));
        assert!(queue.is_unlimited(0));
        queue.dispatch(Duration::from_secs(2));
        assert!(transfers[0].ticket.is_none_or(|ticket| queue.collect(ticket).is_some()));
    }

    #[test]
    fn request_that_leaves_gives_its_bytes_back_and_hands_the_time_on() {
        let mut queue = queue(Some(1000), &[None]);
        let enter = |queue: &mut LinkQueue| {
            let (traffic, wake) = (Traffic::client(), Arc::new(Notify::new()));
            queue.enter(LinkRequest { part: 0, bytes: 1000, tag: 0, traffic, wake })
        };
        let tickets: Vec<Ticket> = (0..6).map(|_| enter(&mut queue)).collect();
        let wait = queue.dispatch(Duration::ZERO).unwrap();
        // The bucket holds four slices of 31 bytes.
        assert!(wait > Duration::ZERO && queue.keeps_time(tickets[4]), "{wait:?}");
        queue.leave(tickets[0]);
        queue.leave(tickets[4]);
        queue.dispatch(Duration::ZERO);
        assert_eq!(queue.collect(tickets[0]), None);
        assert_eq!(queue.collect(tickets[5]).map(|granted| granted.bytes), Some(31));
    }
}
