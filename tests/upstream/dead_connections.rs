//! Connections that were kept open and died without a sign: a NAT or a firewall has forgotten them. Neither data nor an end arrives
//! on them, and new connections work.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use entrepot::config::{Link, NamespaceUse, Stale, Trust, Upstream as Spec};
use entrepot::metrics::Metrics;
use entrepot::oci::{Digest, Reference, RepositoryName};
use entrepot::sys::{Clock, Machine, Tasks};
use entrepot::upstream::{BodyPace, Files, Upstream, UpstreamError};
use futures_util::future::join_all;

use super::client::get_blob;
use crate::support::fault::{Fault, Rule};
use crate::support::upstream::{Auth, Bearer, Upstream as Remote};

/// Long enough for a request that is sent again, and short enough for one that fails.
const LIMIT: Duration = Duration::from_secs(12);
const HOUR: Duration = Duration::from_secs(3600);

struct Setting {
    remote: Remote,
    upstream: Arc<Upstream>,
    metrics: Arc<Metrics>,
    layer: Digest,
    name: RepositoryName,
}

/// Starts an upstream with one image, and a client for it.
fn setting(first_byte: Duration, stall: Duration) -> Setting {
    let remote = Remote::start();
    let layer = remote.image("a", "1", &[&[7; 100_000]]).layers[0];
    let spec = Spec {
        name: "test.example".parse().unwrap(),
        endpoints: vec![remote.url()],
        credentials: None,
        tag_ttl: HOUR,
        negative_ttl: HOUR,
        stale: Stale::Always,
        proxy: None,
        trust: Trust::System,
        identity: None,
        aliases: Vec::new(),
        ns: NamespaceUse::Never,
        connect_timeout: HOUR,
        first_byte_timeout: first_byte,
        client_wait: first_byte,
        link: Link::default(),
    };
    let metrics = Arc::new(Metrics::new());
    let machine = Machine { clock: Clock::system(), tasks: Tasks::new() };
    let upstream = Arc::new(
        Upstream::new(&spec, BodyPace { stall, link: None }, Files::default(), &machine, Arc::clone(&metrics)).unwrap(),
    );
    Setting { remote, upstream, metrics, layer, name: "a".parse().unwrap() }
}

impl Setting {
    async fn head(&self) -> Result<(), UpstreamError> {
        self.upstream.head_manifest(&self.name, &tag()).await.map(drop)
    }

    async fn manifest(&self) -> Result<(), UpstreamError> {
        self.upstream.get_manifest(&self.name, &tag()).await.map(drop)
    }

    async fn blob(&self) -> Result<(), UpstreamError> {
        let mut stream = get_blob(&self.upstream, &self.name, &self.layer, 0).await?;
        while stream.chunk().await?.is_some() {}
        Ok(())
    }

    /// Leaves this number of idle connections in the pool.
    async fn keep_open(&self, connections: usize) {
        self.remote.arm(Rule::new("HEAD", "", Fault::Latency(Duration::from_millis(400))).times(connections));
        for head in join_all((0..connections).map(|_| self.head())).await {
            head.unwrap();
        }
        assert_eq!(self.remote.connections(), connections);
    }

    fn counted(&self, kind: &str, status: &str) -> u64 {
        self.metrics.upstream_requests.with_label_values(&["test.example", kind, status]).get()
    }

    fn failures(&self) -> u32 {
        self.upstream.endpoint_reports()[0].health.failures
    }
}

fn tag() -> Reference {
    "1".parse().unwrap()
}

type Asking<'a> = Pin<Box<dyn Future<Output = Result<(), UpstreamError>> + 'a>>;

#[tokio::test]
async fn each_kind_of_request_outlives_a_restarted_nat() {
    type Ask = for<'a> fn(&'a Setting) -> Asking<'a>;
    let kinds: [(&str, Ask); 5] = [
        ("manifest", |s| Box::pin(s.head())),
        ("manifest", |s| Box::pin(s.manifest())),
        ("tags", |s| Box::pin(async { s.upstream.tags(&s.name, None, None).await.map(drop) })),
        ("blob", |s| Box::pin(async { s.upstream.head_blob(&s.name, &s.layer).await.map(drop) })),
        ("blob", |s| Box::pin(s.blob())),
    ];
    let all = kinds.into_iter().map(|(kind, ask)| async move {
        let s = setting(LIMIT, HOUR);
        s.keep_open(4).await;
        s.remote.restart_nat();
        ask(&s).await.unwrap();
        assert_eq!(s.counted(kind, "dead"), 1, "{kind}");
        // The other three died too, and are given up without a try.
        ask(&s).await.unwrap();
        // The connections were opened by four HEADs of a manifest.
        let before = if kind == "manifest" { 4 } else { 0 };
        assert_eq!((s.counted(kind, "dead"), s.counted(kind, "200") - before), (1, 2), "{kind}");
        assert_eq!((s.remote.connections(), s.failures()), (5, 0), "{kind}");
    });
    join_all(all).await;
}

#[tokio::test]
async fn token_server_behind_a_restarted_nat_is_asked_over_a_new_connection() {
    let s = setting(LIMIT, HOUR);
    s.remote.set_auth(Auth::Bearer(Bearer::default()));
    s.head().await.unwrap();
    s.remote.revoke_tokens();
    s.remote.restart_nat();
    s.head().await.unwrap();
    assert_eq!((s.failures(), s.remote.tokens()), (0, 2));
}

#[tokio::test]
async fn dead_connections_never_open_the_circuit() {
    let s = setting(LIMIT, HOUR);
    s.keep_open(8).await;
    s.remote.restart_nat();
    let heads = join_all((0..8).map(|_| s.head())).await;
    assert!(heads.iter().all(Result::is_ok), "{heads:?}");
    assert_eq!((s.counted("manifest", "dead"), s.failures()), (8, 0));
    assert_eq!(s.counted("manifest", "error"), 0);
}

#[tokio::test]
async fn new_connection_that_stays_silent_is_not_raced_and_counts() {
    let s = setting(Duration::from_secs(8), HOUR);
    s.remote.fault("*", "", Fault::Hang);
    assert!(matches!(s.manifest().await, Err(UpstreamError::Timeout { .. })));
    assert_eq!((s.remote.requests("GET", ""), s.failures()), (1, 1));
    // A GET decides, so a HEAD counts against no endpoint.
    s.head().await.unwrap();
    assert_eq!((s.remote.requests("HEAD", ""), s.failures()), (1, 1));
}

#[tokio::test]
async fn answer_on_the_reused_connection_counts_if_it_comes_first() {
    let s = setting(HOUR, HOUR);
    s.keep_open(1).await;
    s.remote.arm(Rule::new("HEAD", "", Fault::Latency(Duration::from_secs(5))).times(1));
    s.remote.arm(Rule::new("HEAD", "", Fault::Hang).after(1).times(1));
    s.head().await.unwrap();
    assert_eq!((s.counted("manifest", "abandoned"), s.counted("manifest", "dead")), (1, 0));
    // The pool stays in use, and the upstream is known to be slow: it is not asked twice again.
    s.remote.arm(Rule::new("HEAD", "", Fault::Latency(Duration::from_secs(5))).times(1));
    s.head().await.unwrap();
    assert_eq!((s.counted("manifest", "abandoned"), s.counted("manifest", "200")), (1, 3));
    assert_eq!((s.remote.connections(), s.remote.requests("HEAD", "")), (2, 4));
}

#[tokio::test]
async fn firewall_that_forgets_idle_connections_costs_no_failure() {
    let s = setting(LIMIT, HOUR);
    s.remote.fault("*", "", Fault::HangReused);
    for _ in 0..2 {
        s.blob().await.unwrap();
    }
    assert_eq!((s.counted("blob", "dead"), s.counted("blob", "200"), s.failures()), (1, 2, 0));
}

#[tokio::test]
async fn body_that_goes_silent_on_a_reused_connection_empties_the_pool() {
    let s = setting(HOUR, Duration::from_millis(500));
    s.keep_open(3).await;
    s.remote.fault_once("GET", "/blobs/", Fault::Stall(100));
    assert!(matches!(s.blob().await, Err(UpstreamError::Timeout { .. })));
    assert_eq!(s.failures(), 0, "a reused connection says nothing about the endpoint");
    s.blob().await.unwrap();
    assert_eq!(s.remote.connections(), 4, "the two idle connections are given up");
}

#[tokio::test]
async fn body_that_trickles_ends_in_an_error() {
    let s = setting(HOUR, Duration::from_secs(1));
    s.remote.set_auth(Auth::Bearer(Bearer::default()));
    s.head().await.unwrap();
    // Each byte comes in time.
    s.remote.fault("GET", "", Fault::Throttle(10));
    let manifest = s.manifest().await;
    let tags = s.upstream.tags(&s.name, None, None).await.map(drop);
    s.remote.revoke_tokens();
    for (kind, trickled) in [("manifest", manifest), ("tags", tags), ("token", s.manifest().await)] {
        assert!(matches!(trickled, Err(UpstreamError::Protocol { .. })), "{kind}: {trickled:?}");
    }
    s.remote.heal();
    s.manifest().await.unwrap();
}
