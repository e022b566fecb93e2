//! Builds an upstream from its configuration.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::client::Upstream;
use super::endpoint::{Endpoint, EndpointId, Meter, Namespace, has_prefix};
use super::error::BuildError;
use super::login::{Account, Files, Keyring, LoginPlaces, LoginSource, RegistryLogin, TargetTokens, Tokens};
use crate::config;
use crate::metrics::Metrics;
use crate::outbound::{Client, Limits, LinkShare, Options, Url};
use crate::sys::Machine;

/// The limits on how slowly and how fast bodies may arrive.
#[derive(Clone, Debug)]
pub struct BodyPace {
    /// A body that brings no byte for this long has failed.
    pub stall: Duration,
    /// The share of a governed link.
    pub link: Option<LinkShare>,
}

impl Upstream {
    /// Builds the upstream without using the network. `files` is the content of the files that its configuration names.
    pub fn new(
        spec: &config::Upstream,
        pace: BodyPace,
        files: Files,
        machine: &Machine,
        metrics: Arc<Metrics>,
    ) -> Result<Self, BuildError> {
        let addresses = addresses(spec)?;
        let clock = machine.clock.clone();
        let client = Client::new(&Options {
            proxy: spec.proxy.as_ref().map(config::Secret::reveal),
            trust: &spec.trust,
            authorities: files.authorities.as_deref(),
            identity: files.identity.as_deref(),
            limits: Limits { connect: spec.connect_timeout, first_byte: spec.first_byte_timeout, stall: pace.stall },
            link: pace.link,
            clock: clock.clone(),
        })
        .map_err(|error| BuildError::Client { upstream: spec.name.clone(), error })?;
        let has_client_certificate = files.identity.is_some();
        let source = login_source(spec, files.places, machine);
        let account = Arc::new(Account::new(spec.name.clone(), source));
        let meter = Arc::new(Meter::new(spec.name.clone(), metrics, clock.clone()));
        let numbered = addresses.into_iter().enumerate();
        let endpoint = |(at, base): (usize, Url)| {
            let namespace = Namespace::of(spec, &base, has_prefix(&base));
            Endpoint::new(EndpointId(at), base, namespace, &clock, &meter)
        };
        let endpoints = numbered.map(endpoint).collect();
        let tokens = Tokens::new(client.clone(), Arc::clone(&account), Arc::clone(&meter), machine);
        let warned_of_withheld_password = AtomicBool::new(false);
        Ok(Self {
            account,
            has_client_certificate,
            endpoints,
            client,
            tokens,
            target_tokens: TargetTokens::default(),
            meter,
            clock,
            head_wait: spec.client_wait / 2,
            warned_of_withheld_password,
        })
    }
}

/// Reads the addresses of the configured endpoints; there is at least one.
fn addresses(spec: &config::Upstream) -> Result<Vec<Url>, BuildError> {
    let wrong = |reason| BuildError::Endpoint { upstream: spec.name.clone(), reason };
    let addresses: Result<Vec<_>, _> = spec.endpoints.iter().map(|address| Endpoint::parse(address)).collect();
    let addresses = addresses.map_err(wrong)?;
    if addresses.is_empty() { Err(wrong("the list is empty".to_owned())) } else { Ok(addresses) }
}

fn login_source(spec: &config::Upstream, places: Option<LoginPlaces>, machine: &Machine) -> LoginSource {
    match &spec.credentials {
        None => LoginSource::Nowhere,
        Some(config::LoginMethod::Written(written)) => {
            let login = RegistryLogin::password(&written.username, written.password.reveal());
            LoginSource::Written(Arc::new(login))
        }
        Some(config::LoginMethod::File(path)) => LoginSource::Kept(Keyring::of_file(spec, path, places, machine)),
        Some(config::LoginMethod::Helper(helper)) => LoginSource::Kept(Keyring::of_program(spec, helper, machine)),
    }
}
