//! How many connections may go to one host, and who is next.
//!
//! Each stretch of a blob needs a place. Places are given in the order in which they were asked for, and a fill asks for one at
//! a time: so a small layer comes in between the stretches of a large one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The hosts that fills connect to.
#[derive(Debug)]
pub struct Hosts {
    most: usize,
    /// A std `Mutex`: held for map operations only.
    known: Mutex<HashMap<String, Arc<Host>>>,
}

/// One host.
#[derive(Debug)]
pub struct Host {
    most: usize,
    places: Arc<Semaphore>,
    /// Fills that clients wait for, and those that are fetched beforehand.
    clients: AtomicUsize,
    background: AtomicUsize,
}

/// A fill that uses a host; until it is dropped.
#[derive(Debug)]
pub struct Usage {
    host: Arc<Host>,
    background: bool,
}

/// A connection's place.
pub type Place = OwnedSemaphorePermit;

impl Hosts {
    pub fn new(most: usize) -> Self {
        Self { most, known: Mutex::default() }
    }

    /// A host by its name. There are as many as the configuration has endpoints: none is forgotten.
    pub fn host(&self, name: &str) -> Arc<Host> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let host = known.entry(name.to_owned()).or_insert_with(|| {
            let (clients, background) = (AtomicUsize::new(0), AtomicUsize::new(0));
            Arc::new(Host { most: self.most, places: Arc::new(Semaphore::new(self.most)), clients, background })
        });
        Arc::clone(host)
    }
}

impl Host {
    /// A fill begins to use it.
    pub fn enter(self: &Arc<Self>, background: bool) -> Usage {
        let counter = if background { &self.background } else { &self.clients };
        counter.fetch_add(1, Ordering::Relaxed);
        Usage { host: Arc::clone(self), background }
    }

    /// A place for one connection, when it is this fill's turn.
    pub async fn place(self: Arc<Self>) -> Place {
        Arc::clone(&self.places).acquire_owned().await.expect("the semaphore is never closed")
    }
}

impl Usage {
    /// How many connections this fill may have at once while others use the host too: an equal share, at least one; and only
    /// one for what is fetched beforehand while clients wait for other fills.
    pub fn share(&self) -> usize {
        let clients = self.host.clients.load(Ordering::Relaxed);
        let background = self.host.background.load(Ordering::Relaxed);
        match (self.background, clients) {
            (true, 1..) => 1,
            (true, 0) => (self.host.most / background.max(1)).max(1),
            (false, _) => (self.host.most / clients.max(1)).max(1),
        }
    }
}

impl Drop for Usage {
    fn drop(&mut self) {
        let counter = if self.background { &self.host.background } else { &self.host.clients };
        counter.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares() {
        let hosts = Hosts::new(16);
        let first = hosts.host("a").enter(false);
        assert_eq!(first.share(), 16);
        let second = hosts.host("a").enter(false);
        let beforehand = hosts.host("a").enter(true);
        assert_eq!((first.share(), second.share(), beforehand.share()), (8, 8, 1));
        drop((first, second));
        assert_eq!(beforehand.share(), 16);
        assert_eq!(hosts.host("b").enter(false).share(), 16);
    }
}
