//! The budget of connections and requests, counted in descriptors: each connection has one, and each request that is being answered may
//! have one for a file.
//!
//! No address gets more than half, and no proxy gets more than half for the requests that it passes on, so that one client cannot lock out
//! the others, even if it invents addresses of clients. When the budget is used up, new work is refused; work
//! that has begun goes on.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::sys::ClientAddress;

/// The largest number of descriptors that is left to the store, the upstreams and the password file, and the least part of all.
const MOST_RESERVED: u64 = 1024;
const RESERVED_PART: u64 = 4;

/// The descriptors for clients.
#[derive(Debug)]
pub(super) struct ClientBudget {
    total: u64,
    /// A std mutex, because it is held for a few steps in memory and never across an await.
    used: Mutex<Used>,
    refused: AtomicU64,
}

#[derive(Debug, Default)]
struct Used {
    all: u64,
    by_address: HashMap<IpAddr, u64>,
    /// The requests that each proxy has passed on.
    by_proxy: HashMap<IpAddr, u64>,
}

/// One descriptor of the budget, until it is dropped.
#[derive(Debug)]
pub(super) struct ClientShare {
    budget: Arc<ClientBudget>,
    address: ClientAddress,
}

/// The budget that is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exceeded {
    All,
    Address,
}

impl Exceeded {
    /// Returns the name in metrics and log lines.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Address => "address",
        }
    }
}

impl ClientBudget {
    /// Makes the budget of a process that may have this many descriptors.
    pub(super) fn new(descriptors: u64) -> Arc<Self> {
        let reserved = reserve(descriptors);
        Arc::new(Self {
            total: (descriptors - reserved).max(2),
            used: Mutex::new(Used::default()),
            refused: AtomicU64::new(0),
        })
    }

    /// Takes one descriptor for a client.
    pub(super) fn take(self: &Arc<Self>, address: ClientAddress) -> Result<ClientShare, Exceeded> {
        let taken = self.lock().take(address, self.total);
        match taken {
            Ok(()) => Ok(ClientShare { budget: Arc::clone(self), address }),
            Err(exceeded) => {
                self.report(exceeded, address.client());
                Err(exceeded)
            }
        }
    }

    /// Logs a refusal, more rarely the more there are.
    fn report(&self, exceeded: Exceeded, address: IpAddr) {
        let count = self.refused.fetch_add(1, Ordering::Relaxed) + 1;
        if count.is_power_of_two() {
            tracing::warn!(
                limit = exceeded.as_str(),
                %address,
                refused = count,
                total = self.total,
                "connections or requests are refused with 503, because clients use all descriptors of their budget; a higher limit of open \
                 files (LimitNOFILE, ulimit -Hn) raises it"
            );
        }
    }

    fn lock(&self) -> MutexGuard<'_, Used> {
        // Each holder leaves valid counts, so a panic of another one changes nothing.
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the number of descriptors that are not for clients.
fn reserve(descriptors: u64) -> u64 {
    (descriptors / RESERVED_PART).min(MOST_RESERVED)
}

/// Returns the number of refused connections that may be answered at a time. They use a quarter of the reserve.
pub(super) fn refusals(descriptors: u64) -> usize {
    (reserve(descriptors) / 4).try_into().unwrap_or(1)
}

impl Used {
    fn take(&mut self, address: ClientAddress, total: u64) -> Result<(), Exceeded> {
        if self.all >= total {
            return Err(Exceeded::All);
        }
        let is_full = |counts: &HashMap<IpAddr, u64>, key| counts.get(&key).is_some_and(|count| *count >= total / 2);
        if is_full(&self.by_address, address.client())
            || address.is_forwarded() && is_full(&self.by_proxy, address.peer())
        {
            return Err(Exceeded::Address);
        }
        *self.by_address.entry(address.client()).or_default() += 1;
        if address.is_forwarded() {
            *self.by_proxy.entry(address.peer()).or_default() += 1;
        }
        self.all += 1;
        Ok(())
    }

    fn give_back(&mut self, address: ClientAddress) {
        self.all -= 1;
        decrement(&mut self.by_address, address.client());
        if address.is_forwarded() {
            decrement(&mut self.by_proxy, address.peer());
        }
    }
}

impl Drop for ClientShare {
    fn drop(&mut self) {
        self.budget.lock().give_back(self.address);
    }
}

fn decrement(counts: &mut HashMap<IpAddr, u64>, address: IpAddr) {
    if let Some(count) = counts.get_mut(&address) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_gets_half_and_all_together_the_rest_of_the_reserve() {
        let budget = ClientBudget::new(40);
        let from = |last| ClientAddress::new(IpAddr::from([192, 0, 2, last]), None);
        let mut first: Vec<ClientShare> = (0..15).map(|_| budget.take(from(1)).unwrap()).collect();
        assert_eq!(budget.take(from(1)).unwrap_err(), Exceeded::Address);
        let second: Vec<ClientShare> = (2..17).map(|last| budget.take(from(last)).unwrap()).collect();
        assert_eq!(budget.take(from(99)).unwrap_err(), Exceeded::All);
        first.pop();
        drop(budget.take(from(99)).unwrap());
        assert!(budget.take(from(1)).is_ok());
        drop((first, second));
        assert!(budget.lock().all == 0 && budget.lock().by_address.is_empty());
    }

    #[test]
    fn reserve_is_a_quarter_and_at_most_a_thousand() {
        for (descriptors, total) in
            [(1024, 768), (1 << 20, (1 << 20) - 1024), (4, 3), (1, 2), (u64::MAX, u64::MAX - 1024)]
        {
            assert_eq!(ClientBudget::new(descriptors).total, total, "{descriptors}");
        }
    }

    #[test]
    fn proxy_gets_half_for_the_addresses_that_it_names() {
        let budget = ClientBudget::new(40);
        let through = |proxy: u8, client: u8| {
            ClientAddress::new(IpAddr::from([10, 0, 0, proxy]), Some(IpAddr::from([192, 0, 2, client])))
        };
        let named: Vec<ClientShare> = (0..15).map(|client| budget.take(through(1, client)).unwrap()).collect();
        assert_eq!(budget.take(through(1, 99)).unwrap_err(), Exceeded::Address);
        // The proxy itself, another proxy and other clients have the other half.
        drop((
            budget.take(through(2, 99)).unwrap(),
            budget.take(ClientAddress::new([10, 0, 0, 1].into(), None)).unwrap(),
        ));
        drop(named);
        assert!(budget.take(through(1, 99)).is_ok());
        assert!(budget.lock().all == 0 && budget.lock().by_address.is_empty() && budget.lock().by_proxy.is_empty());
    }
}
