//! Asking a remote registry: its endpoints, tokens, ranges and limits.
//!
//! Floor 3. May import floors 0 to 2. It says what an upstream answered and keeps nothing of it but tokens; it must never
//! send a password or a token to anybody but the upstream's own site, put one into a log or an error, or hold a blob in memory.

mod account;
mod ask;
mod blob;
mod challenge;
mod endpoint;
mod error;
mod header;
mod health;
mod manifest;
mod meter;
mod realm;
mod referrers;
mod tags;
mod token;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

pub use blob::BlobStream;
pub use challenge::{Challenge, challenges};
pub use endpoint::EndpointId;
pub use error::{BuildError, UpstreamError};
pub use manifest::{FetchedManifest, ManifestHead};
pub use tags::{TagList, TagPage};

use self::account::Account;
use self::endpoint::Endpoint;
use self::meter::Meter;
use self::token::Tokens;
use crate::config;
use crate::metrics::Metrics;
use crate::oci::HostName;
use crate::outbound::{Client, Limits, Options};
use crate::sys::{Clock, Tasks};

/// A remote registry that is mirrored. Meant to be shared in an `Arc`.
///
/// Nothing is asked before somebody asks for something: how an endpoint wants to be asked is learned from its first 401.
#[derive(Debug)]
pub struct Upstream {
    account: Arc<Account>,
    /// In the configured order; at least one.
    endpoints: Vec<Endpoint>,
    client: Client,
    tokens: Tokens,
    meter: Arc<Meter>,
    clock: Clock,
    /// It was said once that the password is kept back.
    warned: AtomicBool,
}

/// What an upstream needs of the process it lives in.
#[derive(Clone, Debug)]
pub struct Machine {
    pub clock: Clock,
    pub tasks: Tasks,
    pub metrics: Arc<Metrics>,
    /// The content of the PEM file that the upstream's `trust` names.
    pub ca: Option<Vec<u8>>,
}

impl Upstream {
    /// Builds it; nothing is asked of the network.
    pub fn new(spec: &config::Upstream, fill: &config::Fill, machine: Machine) -> Result<Self, BuildError> {
        let upstream = || spec.name.clone();
        let endpoint = |reason| BuildError::Endpoint { upstream: upstream(), reason };
        let endpoints: Result<Vec<_>, _> = spec.endpoints.iter().map(|address| Endpoint::new(address)).collect();
        let endpoints = endpoints.map_err(endpoint)?;
        if endpoints.is_empty() {
            return Err(endpoint("there is none".to_owned()));
        }
        let Machine { clock, tasks, metrics, ca } = machine;
        let limits = Limits { connect: spec.connect_timeout, first_byte: spec.first_byte_timeout, stall: fill.stall };
        let (proxy, trust) = (spec.proxy.as_deref(), &spec.trust);
        let client = Client::new(&Options { proxy, trust, authorities: ca.as_deref(), limits, clock: clock.clone() })
            .map_err(|error| BuildError::Client { upstream: upstream(), error })?;
        let account = Arc::new(Account::new(upstream(), spec.credentials.as_ref()));
        let meter = Arc::new(Meter::new(upstream(), metrics));
        let tokens = Tokens::new(client.clone(), Arc::clone(&account), Arc::clone(&meter), clock.clone(), tasks);
        Ok(Self { account, endpoints, client, tokens, meter, clock, warned: AtomicBool::new(false) })
    }

    /// The name that images and the configuration know it by.
    pub fn name(&self) -> &HostName {
        self.account.upstream()
    }

    /// Its endpoints, those that are likeliest to answer well first. Each may be asked for any blob; whoever asks one that has
    /// failed lately helps to find out whether it is back.
    pub fn endpoints(&self) -> Vec<EndpointId> {
        (0..self.endpoints.len()).map(EndpointId).collect()
    }

    /// `HOST:PORT` of an endpoint.
    pub fn host(&self, endpoint: EndpointId) -> String {
        self.endpoints[endpoint.0].host()
    }

    /// Few of the requests that it counts are left, as far as it says: what only makes newer what is held waits.
    pub fn spares_pulls(&self) -> bool {
        false
    }

    /// Content that came from this endpoint was not what its digest says, and another had it right.
    pub fn blame(&self, endpoint: EndpointId) {
        self.endpoints[endpoint.0].health().lied();
    }

    /// No credentials are configured: what it answers, it answers to everybody.
    pub fn is_anonymous(&self) -> bool {
        self.account.is_anonymous()
    }
}
