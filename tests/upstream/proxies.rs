//! Upstreams behind a proxy that the configuration or the environment names.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::{self, AddressFamily, SocketType};

use crate::support::client::Answer;
use crate::support::mirror::{blob, manifest, mirror_at, mirror_with};
use crate::support::proxy::Proxy;
use crate::support::registry::{Place, Registry, free_address};
use crate::support::tls::Authority;
use crate::support::upstream::{Auth, Bearer, Image, Upstream};

const LOGIN: Option<(&str, &str)> = Some(("me", "pr0xy pass"));
const WRITTEN: &str = "me:pr0xy%20pass";

fn filled(upstream: &Upstream) -> Image {
    upstream.set_auth(Auth::Bearer(Bearer::default()));
    upstream.set_cdn(true);
    upstream.image("library/app", "1", &[b"a layer"])
}

fn pull(registry: &Registry, image: &Image) {
    let client = registry.client();
    let answer = client.get(&manifest("app", 1));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = client.get(&blob("app", image.layers[0]));
    assert_eq!((answer.status, answer.text().as_str()), (200, "a layer"));
}

fn host(url: &str) -> &str {
    url.split_once("://").unwrap().1
}

fn ca(place: &Place, authorities: &[&Authority]) -> String {
    let pem: String = authorities.iter().map(|authority| authority.pem()).collect();
    format!(", ca: {}", place.write("ca.pem", &pem).display())
}

fn assert_unreachable(answer: &Answer, proxy: &str) {
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.text().contains(&format!("the proxy {proxy}")), "{}", answer.text());
    assert!(!answer.text().contains("pr0xy"), "{}", answer.text());
}

#[test]
fn proxy_carries_registry_token_server_and_cdn() {
    let tls = Upstream::start_tls();
    let plain = Upstream::start();
    let trusted = Authority::new();
    for upstream in [&plain, &tls] {
        let image = filled(upstream);
        let socks = || Proxy::socks(LOGIN, None);
        for (proxy, scheme) in [
            (Proxy::http(LOGIN), "http"),
            (Proxy::https(LOGIN, &trusted), "https"),
            (socks(), "socks5"),
            (socks(), "socks5h"),
        ] {
            upstream.forget_log();
            let url = proxy.url_as(scheme, WRITTEN);
            let over_tls = upstream.url().starts_with("https");
            let keys = |place: &Place| {
                let authorities = if over_tls { vec![upstream.authority(), &trusted] } else { vec![&trusted] };
                format!("{}, proxy: \"{url}\"", ca(place, &authorities))
            };
            pull(&mirror_at(upstream, keys, ""), &image);
            let what = format!("{scheme} to {}: {:?}", upstream.url(), proxy.log());
            assert!(proxy.uses(host(&upstream.url())) > 0 && proxy.uses(host(&upstream.cdn_url())) > 0, "{what}");
            let log = upstream.log();
            assert!(upstream.tokens() > 0 && upstream.requests("GET", "/cdn/") == 1, "{log:?}");
            // Every connection went through the proxy; other proxies count connections.
            if !over_tls && scheme == "http" {
                assert_eq!(proxy.log().len(), log.len(), "{what}");
            }
            // Headers for the proxy do not reach the upstream, and a tunnel does not see headers for the upstream.
            assert!(log.iter().all(|request| request.header("proxy-authorization").is_none()), "{log:?}");
            if over_tls {
                let received =
                    |secret: &str| proxy.log().iter().any(|asked| asked.received.to_lowercase().contains(secret));
                assert!(!received("\nauthorization:") && !received("token-") && !received("/v2/"), "{what}");
            }
        }
    }
}

#[test]
fn name_known_only_to_the_proxy_is_reached() {
    let upstream = Upstream::start();
    let image = upstream.image("library/app", "1", &[b"a layer"]);
    let addr: SocketAddr = host(&upstream.url()).parse().unwrap();
    let named = |proxy: &str| {
        Registry::configured(|place| {
            format!(
                "{}\nmirror:\n  cache: {{reserve: 0}}\n  upstreams:\n    docker.io: {{default: true, \
                 endpoints: [\"http://registry.test\"], proxy: \"{proxy}\"}}\n",
                place.usual()
            )
        })
    };
    let socks = Proxy::socks(None, Some(addr));
    pull(&named(&format!("socks5h://{}", socks.addr())), &image);
    assert!(socks.uses("registry.test:80") > 0, "{:?}", socks.log());
    // With `socks5` instead of `socks5h`, this process resolves the name.
    let here = Proxy::socks(None, Some(addr));
    assert_unreachable(&named(&here.url()).client().get(&manifest("app", 1)), &here.addr());
}

#[test]
fn failing_proxy_is_named_without_its_password() {
    let upstreams = [Upstream::start(), Upstream::start_tls()];
    for upstream in &upstreams {
        let dead = free_address();
        for scheme in ["http", "https", "socks5", "socks5h"] {
            let proxy = format!(", insecure: true, proxy: \"{scheme}://me:pr0xy@{dead}\"");
            let registry = mirror_with(upstream, &proxy, "");
            assert_unreachable(&registry.client().get(&manifest("app", 1)), &dead.to_string());
            assert!(!registry.log().contains("pr0xy"));
        }
        for proxy in [Proxy::http(LOGIN), Proxy::socks(LOGIN, None)] {
            let keys = format!(
                ", insecure: true, proxy: \"{}\"",
                proxy.url_as(&proxy.url()[..proxy.url().find(':').unwrap()], "me:pr0xy")
            );
            let registry = mirror_with(upstream, &keys, "");
            let answer = registry.client().get(&manifest("app", 1));
            assert_unreachable(&answer, &proxy.addr());
            if proxy.url().starts_with("http:") {
                assert!(answer.text().contains("USER:PASSWORD@"), "{}", answer.text());
            }
        }
        assert_eq!(upstream.requests("*", ""), 0);
    }
}

#[test]
fn proxies_of_the_environment_are_used() {
    let upstream = Upstream::start();
    let image = upstream.image("library/app", "1", &[b"a layer"]);
    let addr: SocketAddr = host(&upstream.url()).parse().unwrap();
    let (first, second) = (Proxy::http_to(addr), Proxy::http_to(addr));
    let with = |endpoint: &str, environment: &[(&str, String)]| {
        Registry::configured_in(environment, |place| {
            format!(
                "{}\nmirror:\n  cache: {{reserve: 0}}\n  upstreams:\n    docker.io: {{default: true, \
                 endpoints: [\"{endpoint}\"]}}\n",
                place.usual()
            )
        })
    };
    let uses = || (first.log().len(), second.log().len());
    let name = "http://registry.test";
    for variables in [
        [("HTTP_PROXY", first.url()), ("ALL_PROXY", second.url())],
        [("http_proxy", first.addr()), ("HTTP_PROXY", second.url())],
        [("all_proxy", first.url()), ("HTTPS_PROXY", second.url())],
        [("http_proxy", first.url()), ("NO_PROXY", "other.test,.io".to_owned())],
    ] {
        let before = uses();
        pull(&with(name, &variables), &image);
        assert!(uses().0 > before.0 && uses().1 == before.1, "{variables:?}");
    }
    // HTTPS has its own variable. The proxy reaches a listener without TLS, but it is asked for a tunnel.
    let before = uses();
    let variables = [("HTTP_PROXY", first.url()), ("https_proxy", second.url())];
    let registry = with("https://registry.test", &variables);
    assert_eq!(registry.client().get(&manifest("app", 1)).status, 503);
    assert!(uses().0 == before.0 && second.log().last().unwrap().received.starts_with("CONNECT registry.test:443"));

    let before = uses();
    for direct in ["registry.test", "test", ".test", "*"] {
        let variables = [("ALL_PROXY", first.url()), ("NO_PROXY", direct.to_owned())];
        let answer = with(name, &variables).client().get(&manifest("app", 1));
        assert_eq!(answer.status, 503, "{direct}: {}", answer.text());
        assert!(!answer.text().contains("proxy"), "{direct}: {}", answer.text());
    }
    // Hosts on this machine are reached directly, and an invalid variable does no harm.
    pull(&with(&upstream.url(), &[("ALL_PROXY", first.url()), ("http_proxy", "ftp://me:pr0xy@p".to_owned())]), &image);
    assert_eq!(uses(), before);
    let registry = with(&upstream.url(), &[("http_proxy", "ftp://me:pr0xy@p".to_owned())]);
    registry.wait_for_log("http_proxy is ignored");
    assert!(!registry.log().contains("pr0xy"));
}

/// A listener with a full queue: a connection to it gets no answer at all.
struct FullQueue {
    addr: SocketAddr,
    _held: (OwnedFd, Vec<TcpStream>),
}

impl FullQueue {
    fn new() -> Self {
        let socket = net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        net::bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        net::listen(&socket, 0).unwrap();
        let addr = SocketAddr::try_from(net::getsockname(&socket).unwrap()).unwrap();
        let limit = Duration::from_millis(500);
        let connect = || TcpStream::connect_timeout(&addr, limit).ok();
        let queued: Vec<TcpStream> = std::iter::from_fn(connect).take(64).collect();
        assert!(queued.len() < 64, "the queue of the listener was not full");
        Self { addr, _held: (socket, queued) }
    }
}

#[test]
fn unanswered_connection_attempt_times_out() {
    let full = FullQueue::new();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mirror = |endpoint: &str, keys: &str| {
        Registry::with(&format!(
            "mirror:\n  upstreams:\n    docker.io: {{default: true, endpoints: [\"{endpoint}\"], connecttimeout: 600ms, \
             firstbytetimeout: 25s{keys}}}"
        ))
    };
    // The other limit would lead to a 504.
    let answer = mirror(&format!("http://{}", full.addr), "").client().get(&manifest("app", 1));
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.text().contains(&full.addr.to_string()), "{}", answer.text());
    // The second listener accepts the connection and then sends nothing.
    for (scheme, proxy) in
        [("http", full.addr), ("http", silent.local_addr().unwrap()), ("socks5h", silent.local_addr().unwrap())]
    {
        let registry = mirror("https://registry.test", &format!(", proxy: \"{scheme}://{proxy}\""));
        assert_unreachable(&registry.client().get(&manifest("app", 1)), &proxy.to_string());
    }
}
