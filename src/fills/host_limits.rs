//! The limit on connections to one host, and how fills share it.
//!
//! Each connection needs a permit of its host. Permits are granted in the order of the requests, and a fill requests
//! one at a time. So a small layer gets its permit between two segments of a large one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The limits of all hosts that fills connect to.
#[derive(Debug)]
pub struct HostLimits {
    per_host: usize,
    /// A std `Mutex`: held for map operations only.
    hosts: Mutex<HashMap<String, Arc<HostLimit>>>,
}

/// The limit of one host.
#[derive(Debug)]
pub struct HostLimit {
    per_host: usize,
    permits: Arc<Semaphore>,
    /// The number of fills that clients wait for.
    client_fills: AtomicUsize,
    /// The number of fills that only background work waits for.
    background_fills: AtomicUsize,
}

/// A fill that uses a host. Dropping it leaves the host to the other fills.
#[derive(Debug)]
pub struct HostUse {
    host: Arc<HostLimit>,
    background: bool,
}

/// The permit for one connection to a host.
pub type HostPermit = OwnedSemaphorePermit;

impl HostLimits {
    /// Creates the limits: at most `per_host` connections to each host.
    pub fn new(per_host: usize) -> Self {
        Self { per_host, hosts: Mutex::default() }
    }

    /// Returns the limit of a host. The configuration bounds the number of hosts, so none is ever removed.
    pub fn host(&self, name: &str) -> Arc<HostLimit> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let host = hosts.entry(name.to_owned()).or_insert_with(|| {
            let (client_fills, background_fills) = (AtomicUsize::new(0), AtomicUsize::new(0));
            let permits = Arc::new(Semaphore::new(self.per_host));
            Arc::new(HostLimit { per_host: self.per_host, permits, client_fills, background_fills })
        });
        Arc::clone(host)
    }
}

impl HostLimit {
    /// Records that a fill begins to use the host.
    pub fn enter(self: &Arc<Self>, background: bool) -> HostUse {
        let counter = if background { &self.background_fills } else { &self.client_fills };
        counter.fetch_add(1, Ordering::Relaxed);
        HostUse { host: Arc::clone(self), background }
    }

    /// Waits for the permit for one connection.
    pub async fn permit(self: Arc<Self>) -> HostPermit {
        Arc::clone(&self.permits).acquire_owned().await.expect("the semaphore is never closed")
    }
}

impl HostUse {
    /// Returns how many connections this fill may have at once while other fills use the host too. It is an equal
    /// share, at least one. A background fill gets only one while clients wait for other fills.
    pub fn share(&self) -> usize {
        let clients = self.host.client_fills.load(Ordering::Relaxed);
        let background = self.host.background_fills.load(Ordering::Relaxed);
        match (self.background, clients) {
            (true, 1..) => 1,
            (true, 0) => (self.host.per_host / background.max(1)).max(1),
            (false, _) => (self.host.per_host / clients.max(1)).max(1),
        }
    }
}

impl Drop for HostUse {
    fn drop(&mut self) {
        let counter = if self.background { &self.host.background_fills } else { &self.host.client_fills };
        counter.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_share_a_host_equally_and_background_fills_yield() {
        let limits = HostLimits::new(16);
        let first = limits.host("a").enter(false);
        assert_eq!(first.share(), 16);
        let second = limits.host("a").enter(false);
        let background = limits.host("a").enter(true);
        assert_eq!((first.share(), second.share(), background.share()), (8, 8, 1));
        drop((first, second));
        assert_eq!(background.share(), 16);
        assert_eq!(limits.host("b").enter(false).share(), 16);
    }
}
