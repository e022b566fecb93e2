//! The parts that all fills of a server share.

use std::sync::Arc;

use super::host_limits::HostLimits;
use crate::cache::Ledger;
use crate::config;
use crate::metrics::Metrics;
use crate::sys::Machine;

/// Holds the parts that all fills of a server share.
#[derive(Clone)]
pub struct Shared {
    pub(super) ledger: Arc<Ledger>,
    pub(super) hosts: Arc<HostLimits>,
    pub(super) settings: config::Fill,
    pub(super) machine: Machine,
    pub(super) metrics: Arc<Metrics>,
}

impl Shared {
    /// Bundles the parts, and creates the limits for the hosts.
    pub fn new(ledger: Arc<Ledger>, settings: config::Fill, machine: &Machine, metrics: Arc<Metrics>) -> Self {
        let hosts = Arc::new(HostLimits::new(settings.clone(), machine.clock.clone(), Arc::clone(&metrics)));
        Self { ledger, hosts, settings, machine: machine.clone(), metrics }
    }
}
