//! The places for connections to a host, and which fill gets the next one.
//!
//! A connection that brings nothing does not use the link. So it lends its place to a fill of another blob that waits,
//! and stays open. When it brings bytes again, its place counts again, even if that exceeds the limit for a while. A fill
//! never gets further connections because its own ones bring nothing: a slow link is not improved by more of them.
//!
//! Of the fills that wait, the first is one whose repository has the fewest connections. Of those, it is one whose
//! repository got its last place longest ago, then one whose blob has the fewest connections, then the one that has waited
//! longest. So one repository or blob cannot keep the host to itself.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::oci::{Digest, MirroredName};
use crate::sys::{Clock, Moment};

/// A connection lends its place if it needs this long …
const LENT_AFTER: Duration = Duration::from_secs(5);
/// … for this many bytes.
const PROGRESS: u64 = 4 << 10;

/// While fills wait, connections that have come to bring nothing are looked for this often, so that they lend their places.
const JUDGED_EVERY: Duration = Duration::from_millis(500);

/// The numbers of connections that may be open.
#[derive(Clone, Copy, Debug)]
pub struct PlaceBounds {
    /// The number of places, i.e. of connections that do not lend theirs.
    pub limit: usize,
    /// The number for one repository, including the connections that lend their places.
    pub of_repository: usize,
    /// The number for all repositories, including the connections that lend their places.
    pub in_all: usize,
}

/// The blob that a connection is for, and the repository that it is fetched from.
#[derive(Clone, Debug)]
pub struct Holder {
    pub repository: MirroredName,
    pub digest: Digest,
}

/// The places of one host.
#[derive(Debug)]
pub struct Places {
    bounds: PlaceBounds,
    clock: Clock,
    origin: Moment,
    /// A std `Mutex`: held for calculations only.
    book: Mutex<Book>,
}

/// The open connections and the fills that wait for one, each by the number that it was given when it began to wait.
#[derive(Debug)]
struct Book {
    bounds: PlaceBounds,
    next: u64,
    open: BTreeMap<u64, OpenPlace>,
    waiting: BTreeMap<u64, (Holder, oneshot::Sender<()>)>,
    judged: Duration,
    /// The number of the last place that each repository got, at least while it has one or fills wait.
    turns: HashMap<MirroredName, u64>,
    /// The number of places that were given.
    granted: u64,
}

#[derive(Debug)]
struct OpenPlace {
    holder: Holder,
    /// The bytes since the last progress.
    bytes: u64,
    /// The time of the last progress.
    progressed: Duration,
}

/// A place for one connection, or the request for one. Dropping it leaves the place to the fills that wait.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    number: u64,
}

/// The place for one connection to a host that passes a blob through.
pub struct PassPlace {
    pub passing: Place,
    pub connection: Place,
}

impl PassPlace {
    /// Records that the connection has brought bytes.
    pub fn received(&self, bytes: u64) {
        self.passing.received(bytes);
        self.connection.received(bytes);
    }
}

/// The connections that lend their places.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lent {
    pub connections: usize,
    /// The number of blobs of which each connection lends its place.
    pub blobs: usize,
}

/// The open connections, counted.
#[derive(Default)]
struct Count<'b> {
    open: usize,
    lent: usize,
    repositories: HashMap<&'b MirroredName, usize>,
    /// The number of connections for a blob, and how many of them lend their places.
    blobs: HashMap<&'b Digest, (usize, usize)>,
}

impl Places {
    pub fn new(bounds: PlaceBounds, clock: Clock) -> Arc<Self> {
        let (origin, judged) = (clock.moment(), Duration::ZERO);
        let (open, waiting, turns) = (BTreeMap::new(), BTreeMap::new(), HashMap::new());
        let book = Book { bounds, next: 0, open, waiting, judged, turns, granted: 0 };
        Arc::new(Self { bounds, clock, origin, book: Mutex::new(book) })
    }

    /// Waits for a place.
    pub async fn take(self: Arc<Self>, holder: Holder) -> Place {
        let (place, mut granted) = self.request(holder);
        while tokio::time::timeout(JUDGED_EVERY, &mut granted).await.is_err() {
            let now = self.now();
            let mut book = self.book();
            // One of the fills that wait judges for all of them.
            if now >= book.judged + JUDGED_EVERY {
                book.grant(now);
            }
        }
        place
    }

    fn request(self: &Arc<Self>, holder: Holder) -> (Place, oneshot::Receiver<()>) {
        let (grant, granted) = oneshot::channel();
        let mut book = self.book();
        let number = book.next;
        book.next += 1;
        book.waiting.insert(number, (holder, grant));
        book.grant(self.now());
        (Place { places: Arc::clone(self), number }, granted)
    }

    /// Returns true if a fill need not wait for a place.
    pub fn is_free(&self, holder: &Holder) -> bool {
        let now = self.now();
        let mut book = self.book();
        if now >= book.judged + JUDGED_EVERY {
            book.grant(now);
        }
        book.has_free(now) && book.count(now).admits(holder, self.bounds)
    }

    /// Returns the connections of other blobs that lend their places to this one. A blob of which each connection lends
    /// its own place borrows none.
    pub fn lent_beside(&self, digest: &Digest) -> Lent {
        let (book, now) = (self.book(), self.now());
        if !book.open.values().any(|place| place.lends(now)) {
            return Lent::default();
        }
        let count = book.count(now);
        if count.blobs.get(digest).is_some_and(|(open, lent)| open == lent) {
            return Lent::default();
        }
        let others = count.blobs.iter().filter(|(blob, _)| **blob != digest);
        others.fold(Lent::default(), |sum, (_, (open, lent))| Lent {
            connections: sum.connections + lent,
            blobs: sum.blobs + usize::from(open == lent),
        })
    }

    fn now(&self) -> Duration {
        self.clock.since(self.origin)
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // A panic between two changes leaves a place that is counted slightly wrong, until its connection ends.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Records that the connection has brought bytes.
    pub fn received(&self, bytes: u64) {
        let now = self.places.now();
        let mut book = self.places.book();
        let Some(place) = book.open.get_mut(&self.number) else { return };
        place.bytes += bytes;
        if place.bytes >= PROGRESS {
            (place.bytes, place.progressed) = (0, now);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let now = self.places.now();
        let mut book = self.places.book();
        book.waiting.remove(&self.number);
        book.open.remove(&self.number);
        book.grant(now);
    }
}

impl Book {
    /// Gives the places that are free to fills that wait.
    fn grant(&mut self, now: Duration) {
        self.judged = now;
        while let Some((number, borrowed)) = self.next(now) {
            let Some((holder, grant)) = self.waiting.remove(&number) else { return };
            if borrowed {
                let Holder { repository, digest } = &holder;
                tracing::debug!(%repository, %digest, open = self.open.len(), "connections to a host bring nothing; a blob gets one beyond their number");
            }
            self.granted += 1;
            self.turns.insert(holder.repository.clone(), self.granted);
            self.open.insert(number, OpenPlace { holder, bytes: 0, progressed: now });
            // A fill that does not wait any more drops its place.
            let _ = grant.send(());
        }
        if self.waiting.is_empty() && self.turns.len() > self.open.len() {
            let open: HashSet<_> = self.open.values().map(|place| &place.holder.repository).collect();
            self.turns.retain(|repository, _| open.contains(repository));
        }
    }

    /// Returns the number of the request that is granted next, and whether it gets a place that is lent.
    fn next(&self, now: Duration) -> Option<(u64, bool)> {
        if self.waiting.is_empty() || !self.has_free(now) {
            return None;
        }
        let count = self.count(now);
        let admitted = self.waiting.iter().filter(|(_, (holder, _))| count.admits(holder, self.bounds));
        let next = admitted.min_by_key(|(number, (holder, _))| {
            let turn = self.turns.get(&holder.repository).copied().unwrap_or_default();
            (count.of_repository(holder), turn, count.of_blob(holder), **number)
        });
        next.map(|(number, _)| (*number, count.open >= self.bounds.limit))
    }

    /// Returns true if there may be a place for some blob. It is asked often, and [`Self::count`] takes longer.
    fn has_free(&self, now: Duration) -> bool {
        self.open.values().filter(|place| !place.lends(now)).count() < self.bounds.limit
    }

    fn count(&self, now: Duration) -> Count<'_> {
        let mut count = Count::default();
        for place in self.open.values() {
            let (holder, lends) = (&place.holder, usize::from(place.lends(now)));
            count.open += 1;
            count.lent += lends;
            *count.repositories.entry(&holder.repository).or_default() += 1;
            let blob = count.blobs.entry(&holder.digest).or_default();
            *blob = (blob.0 + 1, blob.1 + lends);
        }
        count
    }
}

impl OpenPlace {
    fn lends(&self, now: Duration) -> bool {
        now.saturating_sub(self.progressed) >= LENT_AFTER
    }
}

impl Count<'_> {
    /// Returns true if one more connection for this blob may be opened.
    fn admits(&self, holder: &Holder, bounds: PlaceBounds) -> bool {
        let lent_by_itself = self.blobs.get(&holder.digest).map_or(0, |(_, lent)| *lent);
        self.open - self.lent + lent_by_itself < bounds.limit
            && self.open < bounds.in_all
            && self.of_repository(holder) < bounds.of_repository
    }

    fn of_repository(&self, holder: &Holder) -> usize {
        self.repositories.get(&holder.repository).copied().unwrap_or_default()
    }

    fn of_blob(&self, holder: &Holder) -> usize {
        self.blobs.get(&holder.digest).map_or(0, |(open, _)| *open)
    }
}

#[cfg(test)]
mod tests;
