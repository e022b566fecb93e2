//! The upstream client against a misbehaving registry.

use std::sync::Arc;
use std::time::Duration;

use entrepot::config::{Credentials, Link, LoginMethod, NamespaceUse, Secret, Stale, Trust, Upstream as Spec};
use entrepot::metrics::Metrics;
use entrepot::oci::{Algorithm, Digest, MediaType, Reference, RepositoryName};
use entrepot::sys::{Clock, Machine, Tasks};
use entrepot::upstream::{
    BlobRange, BlobStream, BodyPace, Files, ManifestHead, TagList, TagPage, Traffic, Upstream, UpstreamError,
};
use futures_util::future::join_all;

use crate::support::fault::Fault;
use crate::support::listing::Lists;
use crate::support::upstream::{Auth, Bearer, Upstream as Remote};

const PASSWORD: &str = "pa55:word";
const NEVER: Duration = Duration::from_secs(60);
/// A limit that is short enough for a test to reach it.
const SOON: Duration = Duration::from_millis(600);

struct Setting {
    upstream: Arc<Upstream>,
    metrics: Arc<Metrics>,
    clock: Clock,
}

fn spec(remote: &Remote) -> Spec {
    Spec {
        name: "test.example".parse().unwrap(),
        endpoints: vec![remote.url()],
        credentials: None,
        tag_ttl: NEVER,
        negative_ttl: NEVER,
        stale: Stale::Always,
        proxy: None,
        trust: Trust::System,
        identity: None,
        aliases: Vec::new(),
        ns: NamespaceUse::Never,
        connect_timeout: NEVER,
        first_byte_timeout: NEVER,
        client_wait: NEVER,
        link: Link::default(),
    }
}

fn named(mut spec: Spec) -> Spec {
    let password = Secret::new(PASSWORD.to_owned());
    spec.credentials = Some(LoginMethod::Written(Credentials { username: "me".to_owned(), password }));
    spec
}

fn build(spec: &Spec, stall: Duration) -> Setting {
    let (metrics, clock) = (Arc::new(Metrics::new()), Clock::system());
    let machine = Machine { clock: clock.clone(), tasks: Tasks::new() };
    let upstream =
        Upstream::new(spec, BodyPace { stall, link: None }, Files::default(), &machine, Arc::clone(&metrics));
    let upstream = Arc::new(upstream.unwrap());
    Setting { upstream, metrics, clock }
}

fn client(remote: &Remote) -> Arc<Upstream> {
    build(&spec(remote), NEVER).upstream
}

fn repository(name: &str) -> RepositoryName {
    name.parse().unwrap()
}

fn reference(text: impl ToString) -> Reference {
    text.to_string().parse().unwrap()
}

async fn read(mut stream: BlobStream) -> Result<Vec<u8>, UpstreamError> {
    let mut whole = Vec::new();
    while let Some(chunk) = stream.chunk().await? {
        whole.extend_from_slice(&chunk);
    }
    Ok(whole)
}

/// Fetches a blob from an offset on, from the first endpoint that has it.
pub async fn get_blob(
    upstream: &Upstream,
    repository: &RepositoryName,
    digest: &Digest,
    from: u64,
) -> Result<BlobStream, UpstreamError> {
    let traffic = &Traffic::client();
    let range = BlobRange { repository, digest, from, to: None, traffic, on_redirect: None };
    let mut failed = None;
    for endpoint in upstream.endpoints(repository) {
        match upstream.get_range(endpoint, &range, None).await {
            Err(error) if error.is_of_endpoint() || error == UpstreamError::NotFound => failed = Some(error),
            other => return other,
        }
    }
    Err(failed.unwrap())
}

async fn blob(upstream: &Upstream, name: &str, digest: &Digest) -> Result<Vec<u8>, UpstreamError> {
    read(get_blob(upstream, &repository(name), digest, 0).await?).await
}

#[tokio::test]
async fn image_arrives_unchanged() {
    let remote = Remote::start();
    let image = remote.image("library/app", "1", &[b"layer one", b"layer two"]);
    let index = remote.index("library/app", "all", &[("amd64", &image)]);
    remote.set_ratelimit("76;w=21600");
    let Setting { upstream, metrics, .. } = build(&spec(&remote), NEVER);
    let name = repository("library/app");
    assert!(upstream.is_anonymous());

    let head = upstream.head_manifest(&name, &reference("1")).await.unwrap();
    let media_type = Some(MediaType::known(MediaType::OCI_MANIFEST));
    let (digest, size) = (Some(image.manifest_digest), Some(image.manifest.len() as u64));
    assert_eq!(head, ManifestHead { digest, media_type: media_type.clone(), size, stale: None });
    let manifest = upstream.get_manifest(&name, &reference("1")).await.unwrap();
    assert_eq!((manifest.body, manifest.digest), (image.manifest, image.manifest_digest));
    assert_eq!(manifest.media_type, media_type);
    assert_eq!(upstream.get_manifest(&name, &reference(index)).await.unwrap().digest, index);
    assert_eq!(blob(&upstream, "library/app", &image.layers[1]).await.unwrap(), b"layer two");
    assert_eq!(upstream.head_blob(&name, &image.layers[0]).await, Ok(Some(9)));

    assert_eq!(upstream.get_manifest(&name, &reference("2")).await, Err(UpstreamError::NotFound));
    let absent = Digest::of(Algorithm::Sha256, b"absent");
    assert_eq!(upstream.head_blob(&name, &absent).await, Err(UpstreamError::NotFound));
    let log = remote.log();
    assert!(log.iter().all(|request| request.header("accept-encoding") == Some("identity")));
    let manifests = log.iter().filter(|request| request.path.contains("/manifests/"));
    assert!(manifests.into_iter().all(|request| request.header("accept").unwrap().contains(MediaType::DOCKER_LIST)));
    let counted = metrics.render();
    for line in [
        r#"entrepot_upstream_requests_total{kind="manifest",status="200",upstream="test.example"} 3"#,
        r#"entrepot_upstream_requests_total{kind="manifest",status="404",upstream="test.example"} 1"#,
        r#"entrepot_upstream_requests_total{kind="blob",status="200",upstream="test.example"} 2"#,
        r#"registry_proxy_pulled_bytes_total{type="blob"} 9"#,
        r#"entrepot_ratelimit_remaining{upstream="test.example"} 76"#,
        r#"entrepot_upstream_first_byte_seconds_count{upstream="test.example"} 8"#,
    ] {
        assert!(counted.contains(line), "{line} is not in\n{counted}");
    }
}

#[tokio::test]
async fn one_token_serves_all_waiters_and_the_next_repository_needs_no_401() {
    let remote = Remote::start();
    remote.set_auth(Auth::Bearer(Bearer { login: Some(("me", PASSWORD)), ..Bearer::default() }));
    remote.fault("GET", "/token", Fault::Latency(Duration::from_millis(100)));
    let layers: Vec<Vec<u8>> = (0..8u8).map(|layer| vec![layer; 100]).collect();
    let layers: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
    let image = remote.image("team/app", "1", &layers);
    let other = remote.image("team/other", "1", &[b"x"]);
    let upstream = build(&named(spec(&remote)), NEVER).upstream;

    let pulls = join_all(image.layers.iter().map(|layer| blob(&upstream, "team/app", layer))).await;
    assert!(pulls.iter().all(Result::is_ok), "{pulls:?}");
    assert_eq!(remote.tokens(), 1);
    let asked = remote.log().into_iter().find(|request| request.path == "/token").unwrap().query;
    for part in ["service=test", "scope=repository%3Ateam%2Fapp%3Apull", "account=me"] {
        assert!(asked.split('&').any(|pair| pair == part), "{asked}");
    }

    remote.forget_log();
    blob(&upstream, "team/app", &image.layers[0]).await.unwrap();
    blob(&upstream, "team/other", &other.layers[0]).await.unwrap();
    assert_eq!((remote.requests("GET", "/blobs/"), remote.tokens()), (2, 1));
}

#[tokio::test]
async fn tokens_are_renewed_before_they_expire_and_after_they_were_rejected() {
    let remote = Remote::start();
    remote.set_auth(Auth::Bearer(Bearer { expires_in: Some(100), oauth: true, ..Bearer::default() }));
    remote.image("a", "1", &[]);
    let Setting { upstream, clock, .. } = build(&spec(&remote), NEVER);
    let (name, tag) = (repository("a"), reference("1"));
    let pull = || upstream.get_manifest(&name, &tag);
    for (advance, tokens) in [(0, 1), (60, 1), (30, 2)] {
        clock.advance(Duration::from_secs(advance));
        pull().await.unwrap();
        assert_eq!(remote.tokens(), tokens, "{advance} seconds later");
    }
    remote.revoke_tokens();
    let pulls = join_all((0..8).map(|_| pull())).await;
    assert!(pulls.iter().all(Result::is_ok));
    assert_eq!(remote.tokens(), 3, "one for all rejected requests");

    remote.set_auth(Auth::Bearer(Bearer { forbids: true, ..Bearer::default() }));
    remote.revoke_tokens();
    remote.forget_log();
    pull().await.unwrap();
    assert_eq!(
        (remote.requests("GET", "/manifests/"), remote.tokens()),
        (2, 1),
        "a 403 to a kept token is asked about"
    );
    remote.fault("GET", "/manifests/", Fault::Status(403));
    remote.forget_log();
    assert!(matches!(pull().await, Err(UpstreamError::Denied { status: 403, .. })));
    assert_eq!((remote.requests("GET", "/manifests/"), remote.tokens()), (2, 1), "once");
    remote.heal();

    pull().await.unwrap();
    remote.fault("GET", "/manifests/", Fault::Status(401));
    remote.forget_log();
    assert!(matches!(pull().await, Err(UpstreamError::Denied { status: 401, .. })));
    let asked = (remote.requests("GET", "/manifests/"), remote.tokens());
    assert_eq!(asked, (2, 1), "a token that has worked may have expired");
}

#[tokio::test]
async fn refusals_name_the_key_but_no_secret() {
    let remote = Remote::start();
    let image = remote.image("a", "1", &[b"layer"]);
    let name = repository("a");
    for auth in [Auth::Basic("you", "else"), Auth::Bearer(Bearer { login: Some(("you", "else")), ..Bearer::default() })]
    {
        remote.set_auth(auth);
        for spec in [spec(&remote), named(spec(&remote))] {
            let upstream = build(&spec, NEVER).upstream;
            let error = upstream.get_manifest(&name, &reference("1")).await.unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(matches!(error, UpstreamError::Denied { status: 401, .. }), "{text}");
            assert!(text.contains("mirror.upstreams.test.example.password"), "{text}");
            assert!(!text.contains(PASSWORD) && !text.contains("Basic "), "{text}");
        }
    }
    // No registry answers with this challenge alone.
    remote.set_auth(Auth::Bearer(Bearer { challenges: vec!["Negotiate"], ..Bearer::default() }));
    let foreign = client(&remote).get_manifest(&name, &reference("1")).await;
    assert!(matches!(foreign, Err(UpstreamError::Foreign { .. })));
    remote.set_auth(Auth::Open);
    remote.fault_once("GET", "/manifests/", Fault::Status(403));
    let refused = client(&remote).get_manifest(&name, &reference("1")).await;
    assert!(matches!(refused, Err(UpstreamError::Denied { status: 403, .. })));

    // A refusal by the CDN says nothing about our rights.
    remote.set_cdn(true);
    remote.fault("GET", "/cdn/", Fault::Status(403));
    let refused = blob(&client(&remote), "a", &image.layers[0]).await.unwrap_err();
    assert!(matches!(refused, UpstreamError::Status { status: 403, .. }), "{refused}");
    assert!(refused.to_string().contains("127.0.0.2") && !refused.to_string().contains("signature"), "{refused}");
}

#[tokio::test]
async fn basic_authentication_is_learned_once() {
    let remote = Remote::start();
    remote.set_auth(Auth::Basic("me", PASSWORD));
    remote.image("a", "1", &[]);
    let upstream = build(&named(spec(&remote)), NEVER).upstream;
    for _ in 0..3 {
        upstream.head_manifest(&repository("a"), &reference("1")).await.unwrap();
    }
    assert_eq!(remote.requests("HEAD", "/manifests/"), 4);
}

#[tokio::test]
async fn challenges_of_every_kind_are_answered() {
    for challenges in [
        vec![r#"bearer REALM="{realm}" , Service="a, b", scope="repository:{name}:pull,push""#],
        vec!["Bearer realm={realm},service=test,scope=repository:{name}:pull,push"],
        vec![r#"Basic realm="test", Bearer realm="{realm}""#],
        vec![r#"Negotiate"#, r#"Basic realm="test""#, r#"Bearer realm="{realm}",service="te\st""#],
        vec![r#"Bearer realm="/token""#],
    ] {
        let remote = Remote::start();
        remote.set_auth(Auth::Bearer(Bearer { challenges: challenges.clone(), ..Bearer::default() }));
        remote.image("a", "1", &[]);
        let got = client(&remote).get_manifest(&repository("a"), &reference("1")).await;
        assert!(got.is_ok(), "{challenges:?}: {got:?}");
    }
}

#[tokio::test]
async fn password_stays_on_its_site() {
    let remote = Remote::start();
    let image = remote.image("a", "1", &[b"layer"]);
    let elsewhere = Some(format!("http://localhost:{}/token", remote.port()));
    remote.set_auth(Auth::Bearer(Bearer { realm: elsewhere.clone(), ..Bearer::default() }));
    let upstream = build(&named(spec(&remote)), NEVER).upstream;
    assert!(blob(&upstream, "a", &image.layers[0]).await.is_ok(), "an anonymous token is enough here");
    let asked = remote.log().into_iter().find(|request| request.path == "/token").unwrap();
    assert_eq!((asked.header("authorization"), asked.query.contains("account")), (None, false));

    remote.set_auth(Auth::Bearer(Bearer { login: Some(("me", PASSWORD)), realm: elsewhere, ..Bearer::default() }));
    remote.revoke_tokens();
    let refused = upstream.get_manifest(&repository("a"), &reference("1")).await.unwrap_err();
    assert!(refused.to_string().contains("another site"), "{refused}");
    let log = remote.log();
    assert!(
        log.iter().filter(|request| request.path == "/token").all(|request| request.header("authorization").is_none())
    );
}

#[tokio::test]
async fn redirects_carry_the_range_but_no_secret() {
    let remote = Remote::start();
    remote.set_auth(Auth::Bearer(Bearer { login: Some(("me", PASSWORD)), ..Bearer::default() }));
    remote.set_cdn(true);
    let image = remote.image("a", "1", &[b"0123456789"]);
    let layer = &image.layers[0];
    let Setting { upstream, metrics, .. } = build(&named(spec(&remote)), NEVER);
    let name = repository("a");
    let part = get_blob(&upstream, &name, layer, 4).await.unwrap();
    assert_eq!((part.start(), part.total()), (4, Some(10)));
    assert_eq!(read(part).await.unwrap(), b"456789");
    let redirected = remote.log().into_iter().find(|request| request.path.starts_with("/cdn/")).unwrap();
    assert_eq!((redirected.header("authorization"), redirected.header("range")), (None, Some("bytes=4-")));
    assert!(metrics.render().contains(r#"{kind="redirect",status="206",upstream="test.example"} 1"#));

    assert_eq!(upstream.head_blob(&name, layer).await, Ok(Some(10)));
    for refusal in [403, 405] {
        remote.fault_once("HEAD", "/cdn/", Fault::Status(refusal));
        assert_eq!(upstream.head_blob(&name, layer).await, Ok(Some(10)), "{refusal}: a GET of one byte tells the size");
    }
}

#[tokio::test]
async fn ranges() {
    let remote = Remote::start();
    let layer = remote.blob("a", b"0123456789");
    let upstream = client(&remote);
    let name = repository("a");
    let from = |offset| get_blob(&upstream, &name, &layer, offset);

    remote.fault_once("GET", "/blobs/", Fault::IgnoreRange);
    let whole = from(3).await.unwrap();
    assert_eq!((whole.start(), whole.total()), (0, Some(10)));
    assert_eq!(read(whole).await.unwrap(), b"0123456789");

    remote.fault_once("GET", "/blobs/", Fault::WrongRange);
    let whole = from(3).await.unwrap();
    assert_eq!((whole.start(), whole.total()), (0, Some(10)), "asked again without a range");
    assert!(matches!(from(10).await, Err(UpstreamError::Unsatisfiable { total: Some(_), .. })));
}

#[tokio::test]
async fn early_end_of_a_body_is_an_error() {
    let remote = Remote::start();
    let layer = remote.blob("a", &[7; 1000]);
    let upstream = client(&remote);
    for fault in [Fault::Cut(300), Fault::Length(2000)] {
        remote.fault_once("GET", "/blobs/", fault.clone());
        let mut stream = get_blob(&upstream, &repository("a"), &layer, 0).await.unwrap();
        let mut received = 0;
        let error = loop {
            match stream.chunk().await {
                Ok(Some(chunk)) => received += chunk.len(),
                Ok(None) => unreachable!("{fault:?} ended cleanly"),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, UpstreamError::Protocol { .. }), "{error}");
        assert_eq!(received, if fault == Fault::Cut(300) { 300 } else { 1000 });
    }
    // Without a length the size is unknown, and a cut still does not count as the end.
    remote.fault("GET", "/blobs/", Fault::NoLength);
    let stream = get_blob(&upstream, &repository("a"), &layer, 0).await.unwrap();
    assert_eq!(stream.total(), None);
    assert_eq!(read(stream).await.unwrap().len(), 1000);
    remote.fault("GET", "/blobs/", Fault::Cut(300));
    assert!(matches!(blob(&upstream, "a", &layer).await, Err(UpstreamError::Protocol { .. })));
    remote.heal();
    remote.fault_once("GET", "/blobs/", Fault::Encoded);
    assert_eq!(blob(&upstream, "a", &layer).await.unwrap().len(), 1000, "a label does not change the bytes");
}

#[tokio::test]
async fn manifests_are_verified() {
    let remote = Remote::start();
    let image = remote.image("a", "1", &[]);
    let name = repository("a");
    let upstream = client(&remote);
    let by_digest = reference(image.manifest_digest);
    let expected = image.manifest_digest;

    remote.fault("GET", "/manifests/", Fault::Corrupt);
    let error = upstream.get_manifest(&name, &by_digest).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Mismatch { expected: asked, .. } if asked == expected), "{error}");
    // A tag gives no digest to compare with, so only the shape of the received bytes tells.
    let error = upstream.get_manifest(&name, &reference("1")).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Foreign { .. }), "{error}");
    remote.heal();

    let sha512 = Digest::of(Algorithm::Sha512, &image.manifest);
    remote.manifest_as("a", "sha512", &image.manifest, sha512);
    for asked in [reference("sha512"), reference(sha512)] {
        assert_eq!(upstream.get_manifest(&name, &asked).await.unwrap().digest, sha512);
    }
    remote.manifest_as("a", "wrong", b"{}", expected);
    let wrong = Digest::of(Algorithm::Sha256, b"{}");
    assert_eq!(upstream.get_manifest(&name, &reference("wrong")).await.unwrap().digest, wrong);

    remote.manifest("a", "large", MediaType::OCI_MANIFEST, &vec![b' '; (4 << 20) + 1]);
    let is_too_large = |found| matches!(found, Err(UpstreamError::TooLarge { answer: "a manifest", .. }));
    assert!(is_too_large(upstream.get_manifest(&name, &reference("large")).await));
    remote.fault_once("GET", "/manifests/", Fault::NoLength);
    assert!(is_too_large(upstream.get_manifest(&name, &reference("large")).await));

    remote.fault_once("HEAD", "/manifests/", Fault::NoDigest);
    assert_eq!(upstream.head_manifest(&name, &by_digest).await.unwrap().digest, None);
    remote.fault_once("HEAD", "/manifests/", Fault::Status(405));
    assert_eq!(upstream.head_manifest(&name, &by_digest).await, Ok(ManifestHead::default()));
}

#[tokio::test]
async fn throttling_and_server_errors_are_waited_out() {
    let remote = Remote::start();
    remote.image("a", "1", &[]);
    let Setting { upstream, clock, .. } = build(&spec(&remote), NEVER);
    let later = httpdate::fmt_http_date(Clock::system().now() + Duration::from_secs(3600));
    let later: &'static str = later.leak();
    for (said, at_least, at_most) in [("7", 7, 7), (later, 3500, 3600)] {
        remote.fault("GET", "/manifests/", Fault::Status(429));
        remote.fault("GET", "/manifests/", Fault::RetryAfter(said));
        let error = upstream.get_manifest(&repository("a"), &reference("1")).await.unwrap_err();
        let UpstreamError::TooManyRequests { retry_after: Some(wait), .. } = error else { panic!("{error}") };
        assert!((at_least..=at_most).contains(&wait.as_secs()), "{wait:?}");
        remote.heal();
        // No request is sent until then, neither GET nor HEAD. The wait is five minutes at most.
        let asked = remote.log().len();
        for _ in 0..2 {
            let refused = upstream.head_manifest(&repository("a"), &reference("1")).await.unwrap_err();
            assert!(matches!(refused, UpstreamError::TooManyRequests { retry_after: Some(_), .. }), "{refused}");
        }
        assert_eq!(remote.log().len(), asked);
        clock.advance(wait.min(Duration::from_secs(300)));
    }
    upstream.get_manifest(&repository("a"), &reference("1")).await.unwrap();
    for status in [500, 502, 503, 418, 204] {
        remote.fault_once("GET", "/manifests/", Fault::Status(status));
        let error = upstream.get_manifest(&repository("a"), &reference("1")).await.unwrap_err();
        assert!(matches!(error, UpstreamError::Status { status: found, .. } if found == status), "{error}");
    }
}

#[tokio::test]
async fn hanging_requests_time_out() {
    let remote = Remote::start();
    let image = remote.image("a", "1", &[&[7; 1000]]);
    let mut spec = spec(&remote);
    spec.first_byte_timeout = SOON;
    let upstream = build(&spec, SOON).upstream;
    let manifest = || async { upstream.get_manifest(&repository("a"), &reference("1")).await };

    remote.fault("*", "", Fault::Hang);
    assert!(matches!(manifest().await, Err(UpstreamError::Timeout { .. })));
    remote.heal();
    remote.fault("GET", "/manifests/", Fault::Stall(10));
    assert!(matches!(manifest().await, Err(UpstreamError::Timeout { .. })));
    remote.fault("GET", "/blobs/", Fault::Stall(10));
    let mut stream = get_blob(&upstream, &repository("a"), &image.layers[0], 0).await.unwrap();
    assert_eq!(stream.chunk().await.unwrap().unwrap().len(), 10);
    assert!(matches!(stream.chunk().await, Err(UpstreamError::Timeout { .. })));
    remote.heal();
    // A slow transfer is not a stalled one. The whole takes longer than either limit.
    remote.fault("GET", "/blobs/", Fault::Throttle(1000));
    assert_eq!(blob(&upstream, "a", &image.layers[0]).await.unwrap().len(), 1000);
    remote.set_auth(Auth::Bearer(Bearer::default()));
    remote.fault("GET", "/token", Fault::Hang);
    assert!(matches!(manifest().await, Err(UpstreamError::Timeout { .. })));
}

#[tokio::test]
async fn upstream_recovers_after_an_outage() {
    let remote = Remote::start();
    remote.image("a", "1", &[]);
    let upstream = client(&remote);
    let manifest = || async { upstream.get_manifest(&repository("a"), &reference("1")).await };
    manifest().await.unwrap();
    remote.gone();
    let error = manifest().await.unwrap_err();
    assert!(matches!(error, UpstreamError::Connect { .. }), "{error}");
    assert!(error.to_string().contains(&format!("127.0.0.1:{}", remote.port())), "{error}");
    remote.back();
    manifest().await.unwrap();
}

#[tokio::test]
async fn next_endpoint_answers_for_a_failing_one() {
    let (first, second) = (Remote::start(), Remote::start());
    first.image("a", "1", &[]);
    second.image("a", "1", &[]);
    second.image("a", "2", &[]);
    let mut spec = spec(&first);
    spec.endpoints.push(second.url());
    let upstream = build(&spec, NEVER).upstream;
    let manifest = |tag: &'static str| {
        let upstream = &upstream;
        async move { upstream.get_manifest(&repository("a"), &reference(tag)).await.map(|_| ()) }
    };
    assert_eq!(manifest("1").await, Ok(()));
    assert_eq!(manifest("2").await, Err(UpstreamError::NotFound), "a 404 is an answer");
    assert_eq!(second.requests("*", ""), 0);
    first.fault("*", "", Fault::Status(503));
    assert_eq!(manifest("2").await, Ok(()));
    first.gone();
    assert_eq!(manifest("2").await, Ok(()));
    assert_eq!(second.requests("*", ""), 2);
}

#[tokio::test]
async fn configured_proxy_is_used() {
    let proxy = Remote::start();
    let image = proxy.image("a", "1", &[]);
    let mut spec = spec(&proxy);
    spec.endpoints = vec!["http://registry.invalid".to_owned()];
    spec.proxy = Some(Secret::new(proxy.url()));
    let manifest = build(&spec, NEVER).upstream.get_manifest(&repository("a"), &reference("1")).await;
    assert_eq!(manifest.unwrap().digest, image.manifest_digest);
    assert_eq!(proxy.log()[0].header("host"), Some("registry.invalid"));
}

#[test]
fn invalid_settings_are_refused_without_their_secrets() {
    let remote = Remote::start();
    let broken: [fn(&mut Spec); 5] = [
        |spec| spec.endpoints.clear(),
        |spec| spec.endpoints.push("ghcr.io".to_owned()),
        |spec| spec.endpoints = vec!["https://me:secret@ghcr.io".to_owned()],
        |spec| spec.proxy = Some(Secret::new("ftp://me:secret@proxy".to_owned())),
        |spec| spec.trust = Trust::Also("ca.pem".into()),
    ];
    for breaking in broken {
        let mut spec = spec(&remote);
        breaking(&mut spec);
        let refused = Upstream::new(
            &spec,
            BodyPace { stall: NEVER, link: None },
            Files::default(),
            &Machine::system(),
            Arc::default(),
        )
        .unwrap_err()
        .to_string();
        assert!(refused.starts_with("mirror.upstreams.test.example") && !refused.contains("secret"), "{refused}");
    }
}

/// The clock stands for pages that arrive slowly.
#[tokio::test]
async fn list_that_takes_too_long_is_not_read_to_its_end() {
    let remote = Remote::start();
    let image = remote.image("a", "1", &[b"layer"]);
    for number in 0..100 {
        remote.image("a", &format!("tag-{number:03}"), &[b"layer"]);
        remote.refer("a", image.manifest_digest, &format!("type/{number}"));
    }
    remote.set_lists(Lists { page: Some(2), ..Lists::default() });
    let Setting { upstream, clock, .. } = build(&spec(&remote), NEVER);
    let slow = || clock.advance(Duration::from_secs(60));
    assert_eq!(upstream.tag_list(&repository("a"), &slow).await, Ok(TagList::TooLarge));
    let pages = remote.requests("GET", "/tags/list");
    assert!(pages <= 11, "{pages} pages");
    let referrers = upstream.referrers(&repository("a"), &image.manifest_digest, &slow).await;
    assert!(matches!(referrers, Err(UpstreamError::Slow { .. })), "{referrers:?}");
    assert!(matches!(upstream.tag_list(&repository("a"), &|| ()).await, Ok(TagList::Whole(tags)) if tags.len() == 101));
}

#[tokio::test]
async fn tag_lists_are_read_in_pages() {
    let remote = Remote::start();
    for tag in ["a", "b", "c"] {
        remote.image("app", tag, &[]);
    }
    let upstream = client(&remote);
    let name = repository("app");
    let page = |tags: &[&str], more| Ok(TagPage { tags: tags.iter().map(ToString::to_string).collect(), more });
    assert_eq!(upstream.tags(&name, None, None).await, page(&["a", "b", "c"], false));
    assert_eq!(upstream.tags(&name, Some(2), None).await, page(&["a", "b"], true));
    assert_eq!(upstream.tags(&name, Some(2), Some("b")).await, page(&["c"], false));
    assert_eq!(upstream.tags(&repository("absent"), None, None).await, Err(UpstreamError::NotFound));
}
