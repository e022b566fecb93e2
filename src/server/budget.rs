//! The budget of connections and requests, counted in descriptors: each connection has one, and each request that is being answered may
//! have one for a file.
//!
//! No address gets more than half, so that one client cannot lock out the others. When the budget is used up, new work is refused; work
//! that has begun goes on.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
}

/// One descriptor of the budget, until it is dropped.
#[derive(Debug)]
pub(super) struct ClientShare {
    budget: Arc<ClientBudget>,
    address: IpAddr,
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
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Result<ClientShare, Exceeded> {
        let address = household(address);
        let taken = self.lock().take(address, self.total);
        match taken {
            Ok(()) => Ok(ClientShare { budget: Arc::clone(self), address }),
            Err(exceeded) => {
                self.report(exceeded, address);
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
    fn take(&mut self, address: IpAddr, total: u64) -> Result<(), Exceeded> {
        if self.all >= total {
            return Err(Exceeded::All);
        }
        let of_address = self.by_address.entry(address).or_default();
        if *of_address >= total / 2 {
            return Err(Exceeded::Address);
        }
        *of_address += 1;
        self.all += 1;
        Ok(())
    }
}

impl Drop for ClientShare {
    fn drop(&mut self) {
        let mut used = self.budget.lock();
        used.all -= 1;
        if let Some(of_address) = used.by_address.get_mut(&self.address) {
            *of_address -= 1;
            if *of_address == 0 {
                used.by_address.remove(&self.address);
            }
        }
    }
}

/// Returns the address that counts for a client. A client with IPv6 has a whole /64 of addresses.
fn household(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_gets_half_and_all_together_the_rest_of_the_reserve() {
        let budget = ClientBudget::new(40);
        let from = |last| IpAddr::from([192, 0, 2, last]);
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
    fn addresses_of_one_ipv6_network_count_together() {
        let address = |text: &str| household(text.parse().unwrap()).to_string();
        assert_eq!(address("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(address("192.0.2.1"), "192.0.2.1");
    }
}
