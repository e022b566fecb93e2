//! The pools of a client's idle connections.
//!
//! A connection may die without a sign: a NAT or a firewall that restarts forgets it, and neither data nor an end
//! arrives on it any more. All idle connections died with it. So a pool is left as a whole once one of its connections
//! is found dead: a successor takes its place, which begins without connections.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use reqwest::redirect::Policy;
use reqwest::{Certificate, ClientBuilder, Identity};
use tokio::sync::OnceCell;

use super::dial::DialLayer;
use super::error::{ClientError, causes};
use super::proxy::Proxies;
use super::resolver::NameResolver;
use crate::config::Trust;
use crate::sys::{Clock, Moment, blocking};

const USER_AGENT: &str = concat!("entrepot/", env!("CARGO_PKG_VERSION"));

/// A reused connection that brings nothing for this long is suspected to be dead.
pub(super) const SUSPECT_AFTER: Duration = Duration::from_secs(3);
/// A host that takes long is given this multiple of the time that its last answers took.
const SLOWER: u32 = 2;
/// The weight of an earlier latency when a shorter one is measured.
const OLD_WEIGHT: f64 = 0.7;
/// The most hosts whose latency is remembered.
const MOST_HOSTS: usize = 1000;

/// The kernel probes an idle connection after this time …
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// … and then in this interval, and closes it after this number of probes without an answer.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEP_ALIVE_PROBES: u32 = 3;

/// The options from which each pool is built. It may hold a private key and passwords.
pub(super) struct Recipe {
    pub(super) proxies: Proxies,
    pub(super) trust: Trust,
    pub(super) authorities: Option<Vec<u8>>,
    pub(super) identity: Option<Vec<u8>>,
    pub(super) connect: Duration,
    pub(super) resolver: Arc<NameResolver>,
}

impl Recipe {
    /// Builds an HTTP client. It reads the certificates of the system.
    fn build(&self, idle: usize) -> Result<reqwest::Client, ClientError> {
        let builder = reqwest::Client::builder()
            // HTTP/2 would merge several connections to a host into one, with one congestion window.
            .http1_only()
            .redirect(Policy::none())
            .referer(false)
            .user_agent(USER_AGENT)
            .connect_timeout(self.connect)
            .tcp_keepalive(KEEP_ALIVE)
            .tcp_keepalive_interval(KEEP_ALIVE_INTERVAL)
            .tcp_keepalive_retries(KEEP_ALIVE_PROBES)
            .pool_max_idle_per_host(idle)
            .connector_layer(DialLayer)
            .dns_resolver(Arc::clone(&self.resolver))
            .no_proxy();
        let builder = match self.proxies.rule() {
            Some(rule) => builder.proxy(rule),
            None => builder,
        };
        let builder = self.identified(self.trusting(builder)?)?;
        builder.build().map_err(|error| ClientError::of(&error, self.identity.is_some()))
    }

    fn identified(&self, builder: ClientBuilder) -> Result<ClientBuilder, ClientError> {
        let Some(pem) = &self.identity else { return Ok(builder) };
        let identity = Identity::from_pem(pem).map_err(|error| ClientError::Identity(causes(&error)))?;
        Ok(builder.identity(identity))
    }

    fn trusting(&self, builder: ClientBuilder) -> Result<ClientBuilder, ClientError> {
        match &self.trust {
            Trust::System => Ok(builder),
            Trust::Anything => Ok(builder.tls_danger_accept_invalid_certs(true)),
            Trust::Also(file) => {
                let missing = || ClientError::Authority(file.display().to_string());
                let certificates = Certificate::from_pem_bundle(self.authorities.as_deref().unwrap_or_default());
                let certificates = certificates.ok().filter(|found| !found.is_empty()).ok_or_else(missing)?;
                Ok(builder.tls_certs_merge(certificates))
            }
        }
    }
}

/// An HTTP client with its idle connections.
pub(super) struct Pool {
    pub(super) http: reqwest::Client,
    /// One of its connections was found dead.
    dead: AtomicBool,
    /// The pool that takes its place. It is built when it is first needed.
    successor: OnceCell<Option<Arc<Pool>>>,
}

impl Pool {
    fn new(http: reqwest::Client) -> Arc<Self> {
        Arc::new(Self { http, dead: AtomicBool::new(false), successor: OnceCell::new() })
    }
}

/// The pool in use, and the latencies of the hosts that it leads to.
pub(super) struct Pools {
    recipe: Arc<Recipe>,
    current: ArcSwap<Pool>,
    /// A client that reuses no connection.
    unpooled: OnceCell<Option<reqwest::Client>>,
    /// The recent time to the head of an answer, by `HOST:PORT`. A std `Mutex`, since it is only held for map
    /// operations.
    latencies: Mutex<HashMap<String, Duration>>,
}

impl Pools {
    pub(super) fn new(recipe: Recipe) -> Result<Self, ClientError> {
        let first = Pool::new(recipe.build(usize::MAX)?);
        Ok(Self {
            recipe: Arc::new(recipe),
            current: ArcSwap::new(first),
            unpooled: OnceCell::new(),
            latencies: Mutex::default(),
        })
    }

    /// Returns the pool in use.
    pub(super) async fn current(&self) -> Arc<Pool> {
        let pool = self.current.load_full();
        if !pool.dead.load(Ordering::Relaxed) {
            return pool;
        }
        let Some(successor) = self.successor(&pool).await else { return pool };
        self.retire(&pool);
        successor
    }

    /// Returns the pool that follows this one. Its connections are opened after the ones of this pool. `None` if it
    /// cannot be built, which is logged.
    pub(super) async fn successor(&self, pool: &Pool) -> Option<Arc<Pool>> {
        let build = || async { self.build(usize::MAX).await.map(Pool::new) };
        pool.successor.get_or_init(build).await.clone()
    }

    /// Returns a client that opens a connection for each request. `None` if it cannot be built, which is logged.
    pub(super) async fn unpooled(&self) -> Option<reqwest::Client> {
        self.unpooled.get_or_init(|| self.build(0)).await.clone()
    }

    async fn build(&self, idle: usize) -> Option<reqwest::Client> {
        let recipe = Arc::clone(&self.recipe);
        match blocking(move || recipe.build(idle)).await {
            Ok(client) => Some(client),
            Err(error) => {
                tracing::warn!(%error, "no further pool of connections can be made; the first one stays in use");
                None
            }
        }
    }

    /// Leaves a pool, one of whose connections was found dead. Requests that are running on its other connections
    /// continue.
    pub(super) fn retire(&self, pool: &Arc<Pool>) {
        pool.dead.store(true, Ordering::Relaxed);
        if let Some(Some(successor)) = pool.successor.get() {
            // If the pool in use is another one, this one has been left already.
            self.current.compare_and_swap(pool, Arc::clone(successor));
        }
    }

    /// Returns how long a reused connection to this host may bring nothing before it is suspected.
    pub(super) fn suspect_after(&self, host: &str) -> Duration {
        let usual = self.latencies().get(host).copied().unwrap_or_default();
        SUSPECT_AFTER.max(usual.saturating_mul(SLOWER))
    }

    /// Records the time to the head of an answer.
    pub(super) fn answered(&self, host: &str, took: Duration) {
        let mut latencies = self.latencies();
        if latencies.len() >= MOST_HOSTS && !latencies.contains_key(host) {
            latencies.clear();
        }
        let known = latencies.entry(host.to_owned()).or_default();
        *known = took.max(known.mul_f64(OLD_WEIGHT) + took.mul_f64(1.0 - OLD_WEIGHT));
    }

    fn latencies(&self) -> MutexGuard<'_, HashMap<String, Duration>> {
        // Each change is one assignment, so a poisoned lock holds a complete map.
        self.latencies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Pools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pools").field("proxies", &self.recipe.proxies).finish_non_exhaustive()
    }
}

/// The connection that a response arrives on. It finds out whether the connection died.
pub(super) struct OpenConnection {
    pub(super) pools: Arc<Pools>,
    pub(super) pool: Arc<Pool>,
    pub(super) clock: Clock,
    pub(super) is_reused: bool,
    /// The time since when a reader has waited for the next bytes.
    pub(super) waiting: Option<Moment>,
}

impl OpenConnection {
    /// Records that the connection has brought nothing for as long as is allowed.
    pub(super) fn stalled(&mut self) {
        self.waiting = None;
        self.pools.retire(&self.pool);
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        // The reader gave up on a connection that had gone silent.
        let is_silent = self.waiting.is_some_and(|since| self.clock.since(since) >= SUSPECT_AFTER);
        if self.is_reused && is_silent {
            self.pools.retire(&self.pool);
        }
    }
}
