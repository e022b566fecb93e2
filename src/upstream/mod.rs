//! Asking a remote registry: its endpoints, tokens, ranges and limits.
//!
//! Floor 3. May import floors 0 to 2. It says what an upstream answered and keeps nothing of it but tokens; it must never
//! send a password or a token to anybody but the upstream's own site, put one into a log or an error, or hold a blob in memory.

mod account;
mod ask;
mod blob;
mod budget;
mod challenge;
mod circuit;
mod client_login;
mod docker_config;
mod endpoint;
mod error;
mod files;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod header;
mod health;
mod keyring;
mod login;
mod manifest;
mod meter;
mod order;
mod realm;
mod referrers;
mod report;
mod tags;
mod token;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

pub use blob::{BlobStream, Stretch, Trail};
pub use budget::BudgetReport;
pub use challenge::{Challenge, challenges};
pub use circuit::CircuitState;
pub use client_login::{ClientLogin, client_login};
pub use endpoint::EndpointId;
pub use error::{BuildError, UpstreamError};
pub use files::{FileError, Files};
pub use health::HealthReport;
pub use manifest::{FetchedManifest, ManifestHead};
pub use report::EndpointReport;
pub use tags::{TagList, TagPage};

use self::account::{Account, Source};
use self::endpoint::Endpoint;
use self::keyring::Keyring;
use self::login::Login;
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
    /// We show a certificate to whom asks for one.
    identified: bool,
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
    /// What the upstream's configuration names.
    pub files: Files,
}

impl Upstream {
    /// Builds it; nothing is asked of the network. A body that brings no byte for as long as `stall` has failed.
    pub fn new(spec: &config::Upstream, stall: Duration, machine: Machine) -> Result<Self, BuildError> {
        let upstream = || spec.name.clone();
        let endpoint = |reason| BuildError::Endpoint { upstream: upstream(), reason };
        let bases: Result<Vec<_>, _> = spec.endpoints.iter().map(|address| Endpoint::parse(address)).collect();
        let bases = bases.map_err(endpoint)?;
        if bases.is_empty() {
            return Err(endpoint("there is none".to_owned()));
        }
        let Machine { clock, tasks, metrics, files } = machine;
        let limits = Limits { connect: spec.connect_timeout, first_byte: spec.first_byte_timeout, stall };
        let client = Client::new(&Options {
            proxy: spec.proxy.as_ref().map(config::Secret::reveal),
            trust: &spec.trust,
            authorities: files.authorities.as_deref(),
            identity: files.identity.as_deref(),
            limits,
            clock: clock.clone(),
        })
        .map_err(|error| BuildError::Client { upstream: upstream(), error })?;
        let seams = (clock.clone(), tasks.clone());
        let source = match &spec.credentials {
            None => Source::Nowhere,
            Some(config::LoginMethod::Written(written)) => {
                Source::Written(Arc::new(Login::password(&written.username, written.password.reveal())))
            }
            Some(config::LoginMethod::File(path)) => Source::Kept(Keyring::of_file(spec, path, files.places, seams)),
            Some(config::LoginMethod::Helper(helper)) => Source::Kept(Keyring::of_program(spec, helper, seams)),
        };
        let (account, identified) = (Arc::new(Account::new(upstream(), source)), files.identity.is_some());
        let meter = Arc::new(Meter::new(upstream(), metrics, clock.clone()));
        let numbered = bases.into_iter().enumerate();
        let endpoints = numbered.map(|(at, base)| Endpoint::new(EndpointId(at), base, &clock, &meter)).collect();
        let tokens = Tokens::new(client.clone(), Arc::clone(&account), Arc::clone(&meter), clock.clone(), tasks);
        Ok(Self { account, identified, endpoints, client, tokens, meter, clock, warned: AtomicBool::new(false) })
    }

    /// The name that images and the configuration know it by.
    pub fn name(&self) -> &HostName {
        self.account.upstream()
    }

    /// `HOST:PORT` of an endpoint.
    pub fn host(&self, endpoint: EndpointId) -> String {
        self.endpoints[endpoint.0].host()
    }

    /// Few of the requests that it counts are left, as far as it says: what only makes newer what is held waits.
    pub fn spares_pulls(&self) -> bool {
        self.meter.budget().is_near_zero()
    }

    /// Content that came from this endpoint was not what its digest says, and another had it right.
    pub fn report_digest_mismatch(&self, endpoint: EndpointId) {
        self.endpoints[endpoint.0].health().digest_mismatch();
    }

    /// There were no credentials since the process began: what it answered, it answers to everybody.
    pub fn is_anonymous(&self) -> bool {
        self.account.is_anonymous() && !self.identified
    }
}
