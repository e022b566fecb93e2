//! The application: everything that a request may need.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::guard::{Cors, OwnNames, TrustedProxies};
use super::request::BodyBudget;
use super::route::{Base, MetricsAt, Site};
use crate::auth::Gate;
use crate::config;
use crate::metrics::Metrics;
use crate::oci::HostName;
use crate::registry::Registry;
use crate::sys::{ClientAddress, Machine};

/// The listener that a request arrived at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// `http.addr` serves everything.
    Main,
    /// `http.debug.addr` serves metrics and health.
    Debug,
}

/// Tells whether the budget has a place for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestRoom {
    Free,
    /// The request is refused, unless it is a probe.
    Full,
}

/// The requests that are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessLog {
    All,
    /// With `log.accesslog.disabled`, only requests that failed because of this server.
    Failures,
}

/// The parts of an [`App`].
pub struct Parts {
    pub registry: Arc<Registry>,
    pub gate: Gate,
    pub metrics: Arc<Metrics>,
    pub machine: Machine,
    pub http: config::Http,
    /// The names of this server.
    pub names: Vec<HostName>,
    pub access_log: AccessLog,
}

/// The application. It is shared by all requests.
pub struct App {
    pub(super) registry: Arc<Registry>,
    pub(super) gate: Gate,
    pub(super) metrics: Arc<Metrics>,
    pub(super) machine: Machine,
    pub(super) access_log: AccessLog,
    pub(super) body_budget: BodyBudget,
    pub(super) base: Base,
    main: Site,
    debug: Site,
    pub(super) names: OwnNames,
    pub(super) proxies: TrustedProxies,
    pub(super) stall: Duration,
    /// The headers of `http.headers`, which every answer carries.
    pub(super) cors: Cors,
}

/// A configured value that cannot be written in a header.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error(
        "http.headers: {name:?}: {value:?} cannot be a header; write a name of letters and dashes and a value of one line"
    )]
    Header { name: String, value: String },
    #[error(
        "http.host or http.prefix contains characters that an address cannot have; write them as in https://registry.corp/prefix/"
    )]
    Host,
}

impl App {
    pub fn new(parts: Parts) -> Result<Self, AppError> {
        let Parts { registry, gate, metrics, machine, http, names, access_log } = parts;
        let (shared, separate) = match &http.debug {
            None => (MetricsAt::Path("/metrics".to_owned()), MetricsAt::Nowhere),
            Some(debug) => (MetricsAt::Nowhere, debug.prometheus.clone().map_or(MetricsAt::Nowhere, MetricsAt::Path)),
        };
        Ok(Self {
            registry,
            gate,
            metrics,
            machine,
            access_log,
            body_budget: BodyBudget::new(),
            base: Base::new(http.host.as_deref(), &http.prefix).ok_or(AppError::Host)?,
            main: Site::Main { prefix: http.prefix, metrics: shared },
            debug: Site::Debug { metrics: separate },
            names: OwnNames::new(names),
            proxies: TrustedProxies::new(http.trusted_proxies),
            stall: http.stall,
            cors: Cors::new(parse_headers(&http.headers)?),
        })
    }

    /// Returns the addresses of the client that sent a request, for a fair share of the server.
    pub fn client(&self, peer: SocketAddr, headers: &HeaderMap) -> ClientAddress {
        ClientAddress::new(peer.ip(), self.proxies.forwarded(peer, headers))
    }

    /// Reads the users again.
    pub async fn reload_users(&self) {
        self.gate.reload_users().await;
    }

    /// Returns the metrics, for what the server counts itself.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Returns the time after which a client without progress is given up.
    pub fn stall(&self) -> Duration {
        self.stall
    }

    /// Returns the paths that a listener serves.
    pub(super) fn site(&self, listener: Listener) -> &Site {
        match listener {
            Listener::Main => &self.main,
            Listener::Debug => &self.debug,
        }
    }
}

fn parse_headers(configured: &[(String, String)]) -> Result<HeaderMap, AppError> {
    let mut headers = HeaderMap::new();
    for (name, value) in configured {
        match (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            (Ok(name), Ok(value)) => headers.append(name, value),
            _ => return Err(AppError::Header { name: name.clone(), value: value.clone() }),
        };
    }
    Ok(headers)
}
