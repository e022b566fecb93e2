//! Budgets at the edge: clients that make no progress are given up, and a flood of connections or requests is refused while work that has
//! begun goes on.
#![expect(clippy::disallowed_methods, reason = "tests are outside the product, so the seams of sys do not apply")]

use std::io::{BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bytes::Bytes;
use socket2::{Domain, Socket, Type};

use crate::support::client::{Answer, noise};
use crate::support::fault::Fault;
use crate::support::mirror::blob;
use crate::support::registry::{Place, Registry, eventually};
use crate::support::upstream::Upstream;

/// More than the kernel buffers for a connection.
const LARGE: usize = 32 << 20;

fn usual(place: &Place, http: &str) -> String {
    format!("{}{}{http}\nstorage:{}\n  delete: {{enabled: true}}\n", place.version(), place.http(), place.root())
}

/// Starts a registry that gives up clients soon.
fn registry_with_short_stall() -> Registry {
    Registry::configured(|place| usual(place, "  stall: 1s"))
}

/// Waits until the server has given up this many clients.
fn wait_for_stalled(registry: &Registry, what: &str, count: usize) {
    let line = format!("entrepot_http_stalled_total{{what=\"{what}\"}} {count}\n");
    eventually(&line, || registry.client().get("/metrics").text().contains(&line).then_some(()));
}

#[test]
fn reader_that_takes_nothing_is_given_up_and_a_slow_one_is_not() {
    let registry = Registry::configured(|place| usual(place, "  stall: 3s"));
    let client = registry.client();
    let content = noise(1, LARGE);
    let target = blob("team/app", client.push_blob("team/app", &content));
    let mut stuck = client.request("GET", &target).send_head();
    let mut slow = BufReader::with_capacity(256 << 10, client.request("GET", &target).send_head());
    let mut answer = Answer::read_head(&mut slow).unwrap();
    let mut begun = vec![0; 2 << 20];
    slow.read_exact(&mut begun).unwrap();
    // The slow reader takes a little in each limit, for several limits.
    for _ in 0..55 {
        let mut piece = vec![0; 512 << 10];
        slow.read_exact(&mut piece).unwrap();
        begun.extend(piece);
        std::thread::sleep(Duration::from_millis(100));
    }
    wait_for_stalled(&registry, "connection", 1);
    let mut rest = Vec::new();
    let _ = stuck.read_to_end(&mut rest);
    assert!(rest.len() < LARGE, "the connection was cut");
    answer.body = begun;
    slow.read_to_end(&mut answer.body).unwrap();
    assert!(answer.body == content);
}

#[test]
fn body_that_stops_arriving_is_given_up_and_its_bytes_stay() {
    let registry = registry_with_short_stall();
    let client = registry.client();
    let upload = client.begin("team/app");
    for request in [
        client.request("PATCH", &upload).header("Content-Length", "100"),
        client.request("PUT", "/v2/team/app/manifests/1").header("Content-Length", "100"),
    ] {
        let mut stream = request.send_head();
        stream.write_all(b"0123456789").unwrap();
        let answer = Answer::read(&mut BufReader::new(stream), false).expect("an answer");
        assert_eq!(answer.status, 408, "{}", answer.text());
        assert!(!answer.code().is_empty());
    }
    let status = client.get(&upload);
    assert_eq!((status.status, status.header("range")), (204, Some("0-9")));
}

#[test]
fn waiting_for_an_upstream_never_counts() {
    let upstream = Upstream::start();
    let content = noise(2, 300_000);
    let digest = upstream.blob("library/app", &content);
    let late = noise(3, 300_000);
    let late_digest = upstream.blob("library/app", &late);
    let mirror = Registry::configured(|place| {
        let url = upstream.url();
        format!(
            "{}mirror:\n  upstreams:\n    docker.io: {{default: true, endpoints: [\"{url}\"]}}\n  cache: {{reserve: 0}}\n",
            usual(place, "  stall: 2s")
        )
    });
    upstream.fault("GET", &digest.to_string(), Fault::Latency(Duration::from_secs(5)));
    let answer = mirror.client().get(&blob("library/app", digest));
    assert!(answer.status == 200 && answer.whole && answer.body == content);
    // A body that arrives slowly: each piece is taken at once.
    upstream.fault("GET", &late_digest.to_string(), Fault::Throttle(60_000));
    let answer = mirror.client().get(&blob("library/app", late_digest));
    assert!(answer.status == 200 && answer.whole && answer.body == late);
    http2(async {
        let mut connection = Http2::open(mirror.addr(), None).await;
        let stream = connection.get(&blob("library/app", digest)).await;
        assert!(stream.whole().await.unwrap() == content);
    });
    assert!(!mirror.client().get("/metrics").text().contains("entrepot_http_stalled_total{"));
}

/// A connection of HTTP/2 whose streams the test reads as it likes.
struct Http2 {
    send: h2::client::SendRequest<Bytes>,
    driver: tokio::task::JoinHandle<Result<(), h2::Error>>,
}

struct Stream(http::Response<h2::RecvStream>);

impl Http2 {
    /// Opens a connection. `window` is that of each stream, in bytes.
    async fn open(addr: SocketAddr, window: Option<u32>) -> Self {
        let socket = tokio::net::TcpStream::connect(addr).await.unwrap();
        let mut builder = h2::client::Builder::new();
        window.map(|window| builder.initial_window_size(window));
        // A stream that is not read must not close the window of the whole connection.
        builder.initial_connection_window_size(64 << 20);
        let (send, connection) = builder.handshake(socket).await.unwrap();
        Self { send, driver: tokio::spawn(connection) }
    }

    async fn get(&mut self, target: &str) -> Stream {
        self.try_get(target).await.unwrap()
    }

    async fn try_get(&mut self, target: &str) -> Result<Stream, h2::Error> {
        self.send(http::Request::get(format!("http://registry{target}"))).await
    }

    /// Sends a request that names another client, as a proxy does.
    async fn get_for(&mut self, target: &str, client: &str) -> Stream {
        let request = http::Request::get(format!("http://registry{target}")).header("x-forwarded-for", client);
        self.send(request).await.unwrap()
    }

    async fn send(&mut self, request: http::request::Builder) -> Result<Stream, h2::Error> {
        let request = request.body(()).unwrap();
        self.send.clone().ready().await?;
        let (answer, _) = self.send.send_request(request, true)?;
        Ok(Stream(answer.await?))
    }
}

impl Stream {
    fn status(&self) -> u16 {
        self.0.status().as_u16()
    }

    /// Reads the body to its end.
    async fn whole(self) -> Result<Vec<u8>, h2::Error> {
        let (mut body, mut content) = (self.0.into_body(), Vec::new());
        while let Some(piece) = body.data().await {
            let piece = piece?;
            body.flow_control().release_capacity(piece.len())?;
            content.extend_from_slice(&piece);
        }
        Ok(content)
    }

    /// Waits for the end of the stream without opening its window.
    async fn reset(self) -> Option<h2::Reason> {
        let mut body = self.0.into_body();
        while let Some(piece) = body.data().await {
            if let Err(error) = piece {
                return error.reason();
            }
        }
        None
    }
}

fn http2(work: impl Future<Output = ()>) {
    tokio::runtime::Runtime::new().unwrap().block_on(work);
}

#[test]
fn streams_with_a_closed_window_are_reset_and_the_idle_connection_is_closed() {
    const STREAMS: usize = 10;
    let registry = registry_with_short_stall();
    let target = blob("team/app", registry.client().push_blob("team/app", &noise(4, 1 << 20)));
    http2(async {
        let mut connection = Http2::open(registry.addr(), Some(0)).await;
        let mut streams = Vec::new();
        for _ in 0..STREAMS {
            streams.push(connection.get(&target).await);
        }
        for stream in streams {
            assert_eq!(stream.status(), 200);
            assert_eq!(stream.reset().await, Some(h2::Reason::CANCEL));
        }
        wait_for_stalled(&registry, "stream", STREAMS);
        // The peer answers pings, and has no request.
        let Http2 { send: _send, driver } = connection;
        driver.await.unwrap().unwrap();
    });
    assert!(open_files(&registry, "blobs").is_empty(), "{:?}", open_files(&registry, "blobs"));
}

/// A stream that another stream of the same connection overtakes is not taken for a stalled one, and the other way round.
#[test]
fn closed_stream_is_reset_beside_one_that_is_read() {
    // Far longer than a busy machine keeps the reader from its work.
    let registry = Registry::configured(|place| usual(place, "  stall: 4s"));
    let content = noise(5, LARGE);
    let target = blob("team/app", registry.client().push_blob("team/app", &content));
    http2(async {
        let mut connection = Http2::open(registry.addr(), Some(64 << 10)).await;
        let closed = connection.get(&target).await;
        let read = connection.get(&target).await;
        let reading = tokio::spawn(async move {
            let (mut body, mut bytes) = (read.0.into_body(), 0);
            while let Some(piece) = body.data().await {
                let piece = piece.unwrap();
                body.flow_control().release_capacity(piece.len()).unwrap();
                bytes += piece.len();
                if bytes % (1 << 20) < piece.len() {
                    tokio::time::sleep(Duration::from_millis(250)).await;
                }
            }
            bytes
        });
        assert_eq!(closed.reset().await, Some(h2::Reason::CANCEL));
        assert_eq!(reading.await.unwrap(), content.len());
    });
}

/// Returns the files below a folder of this name that the server has open.
fn open_files(registry: &Registry, folder: &str) -> Vec<String> {
    let links = std::fs::read_dir(format!("/proc/{}/fd", registry.pid())).unwrap();
    let files = links.filter_map(|link| std::fs::read_link(link.ok()?.path()).ok());
    files.map(|file| file.display().to_string()).filter(|file| file.contains(&format!("/{folder}/"))).collect()
}

/// Connects from another address of this machine.
fn connect_from(registry: &Registry, last: u8) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(IpAddr::from([127, 0, 0, last]), 0).into()).unwrap();
    socket.connect(&registry.addr().into()).unwrap();
    let stream: TcpStream = socket.into();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

fn ask(mut stream: &TcpStream, target: &str) -> Option<Answer> {
    let head = format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n");
    // The server may have refused and closed the connection already. Then its answer counts.
    let _ = stream.write_all(head.as_bytes());
    Answer::read(&mut BufReader::new(stream), false)
}

#[test]
fn one_address_gets_half_of_the_descriptors_and_running_work_goes_on() {
    let registry = Registry::limited("ulimit -n 128", |place| usual(place, ""));
    let content = noise(6, LARGE);
    let target = blob("team/app", registry.client().push_blob("team/app", &content));
    let mut running = BufReader::new(registry.client().request("GET", &target).send_head());
    let mut answer = Answer::read_head(&mut running).unwrap();
    // 128 less a quarter for the store; half of that for each address.
    let held: Vec<TcpStream> = (0..96 / 2 - 2).map(|_| connect_from(&registry, 1)).collect();
    let refused = ask(&connect_from(&registry, 1), "/v2/").expect("an answer");
    assert_eq!((refused.status, refused.code().as_str()), (503, "UNAVAILABLE"), "{}", refused.text());
    assert!(refused.header("retry-after").is_some());
    let other = connect_from(&registry, 2);
    assert_eq!(ask(&other, "/v2/").unwrap().status, 200, "another address");
    assert_eq!(ask(&other, &target).map(|answer| answer.body == content), Some(true));
    answer.read_body(&mut running);
    assert!(answer.whole && answer.body == content, "work that has begun goes on");
    drop((held, running));
    eventually("a free place", || {
        ask(&connect_from(&registry, 1), "/v2/").filter(|answer| answer.status == 200).map(drop)
    });
    assert!(other.peer_addr().is_ok());
    registry.wait_for_log("limit of open files");
}

#[test]
fn all_addresses_together_leave_a_reserve_to_the_store() {
    let registry = Registry::limited("ulimit -n 128", |place| usual(place, ""));
    let held: Vec<TcpStream> =
        (2..6).flat_map(|last| (0..40).map(move |_| last)).map(|last| connect_from(&registry, last)).collect();
    let refused = |last| ask(&connect_from(&registry, last), "/v2/").is_none_or(|answer| answer.status == 503);
    eventually("refusals", || refused(9).then_some(()));
    let metrics = held.iter().find_map(|stream| ask(stream, "/metrics").filter(|answer| answer.status == 200));
    assert!(metrics.expect("probes are answered").text().contains("entrepot_http_refused_total{limit=\"all\"}"));
    assert_eq!(registry.log().matches("cannot accept connections").count(), 0, "{}", registry.log());
    drop(held);
    eventually("free places", || (!refused(9)).then_some(()));
    registry.client().push_image("team/app", "1", b"layer");
}

/// Starts a registry that may open 128 files: 96 of them are for clients, and half of those for each address. Returns it with
/// the path of a blob that is larger than a window.
fn registry_with_few_descriptors() -> (Registry, String) {
    let registry = Registry::limited("ulimit -n 128", |place| usual(place, "  stall: 5m"));
    let target = blob("team/app", registry.client().push_blob("team/app", &noise(7, 1 << 20)));
    (registry, target)
}

#[test]
fn streams_of_one_connection_are_counted_too() {
    let (registry, target) = registry_with_few_descriptors();
    http2(async {
        let mut connection = Http2::open(registry.addr(), Some(0)).await;
        let mut streams = Vec::new();
        for _ in 0..80 {
            streams.push(connection.get(&target).await);
        }
        let refused: Vec<&Stream> = streams.iter().filter(|stream| stream.status() == 503).collect();
        assert_eq!(refused.len(), 80 - (48 - 1), "half of 96, less the connection itself");
        assert!(refused.iter().all(|stream| stream.0.headers().contains_key("retry-after")));
        // A probe is answered all the same, since its failure would restart the server.
        assert_eq!(connection.get("/livez").await.status(), 200);
        assert_eq!(ask(&connect_from(&registry, 2), &target).unwrap().status, 200, "another address");
    });
}

/// Every program on this machine is a trusted proxy by default, and can invent clients.
#[test]
fn invented_clients_of_one_proxy_get_half_together() {
    let (registry, target) = registry_with_few_descriptors();
    http2(async {
        let mut connection = Http2::open(registry.addr(), Some(0)).await;
        let mut streams = Vec::new();
        for number in 0..80 {
            streams.push(connection.get_for(&target, &format!("203.0.113.{number}")).await);
        }
        let refused = streams.iter().filter(|stream| stream.status() == 503).count();
        assert_eq!(refused, 80 - 48, "half of 96");
        assert_eq!(ask(&connect_from(&registry, 2), &target).unwrap().status, 200, "another address");
    });
}

#[test]
fn limit_of_open_files_is_raised() {
    let registry = Registry::limited("ulimit -Sn 64; ulimit -Hn 512", |place| usual(place, ""));
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", registry.pid())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let numbers: Vec<&str> = line.split_whitespace().skip(3).take(2).collect();
    assert_eq!(numbers, ["512", "512"], "{line}");
}

/// Prints the rates, which no test may assert: they were measured once for the decision page.
#[test]
fn pulls_and_pushes_go_on_beside_connections_that_read_nothing() {
    const CONNECTIONS: usize = 20;
    const STREAMS: usize = 10;
    let registry = Registry::limited("ulimit -n 1024", |place| usual(place, "  stall: 30s"));
    let client = registry.client();
    let content = noise(8, LARGE);
    let target = blob("team/app", client.push_blob("team/app", &content));
    let work = |seed: u64| {
        let begun = Instant::now();
        for round in 0..4 {
            assert!(client.get(&target).body == content);
            client.push_blob("team/app", &noise(100 + seed * 10 + round, 8 << 20));
        }
        begun.elapsed().as_secs_f64()
    };
    work(0);
    let alone = work(1);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let held: Vec<(Http2, Vec<Stream>)> = runtime.block_on(async {
        let mut held = Vec::new();
        for _ in 0..CONNECTIONS {
            let mut connection = Http2::open(registry.addr(), Some(0)).await;
            let mut streams = Vec::new();
            for _ in 0..STREAMS {
                // A refused connection gets an answer of HTTP/1.1.
                streams.extend(connection.try_get(&target).await);
            }
            held.push((connection, streams));
        }
        held
    });
    let served = held.iter().flat_map(|(_, streams)| streams).filter(|stream| stream.status() == 200).count();
    let beside = work(2);
    println!("{served} streams read nothing; the same work took {alone:.2} s alone, {beside:.2} s beside them");
    assert_eq!(served, CONNECTIONS * STREAMS);
    drop(held);
}

/// Returns the number of writes of the server's process, to files and sockets.
fn writes(registry: &Registry) -> u64 {
    let io = std::fs::read_to_string(format!("/proc/{}/io", registry.pid())).unwrap();
    io.lines().find_map(|line| line.strip_prefix("syscw: ")).unwrap().parse().unwrap()
}

#[test]
fn chunks_of_one_byte_are_not_written_one_by_one() {
    const CHUNKS: usize = 20_000;
    let registry = Registry::configured(|place| usual(place, ""));
    let client = registry.client();
    let upload = client.begin("team/app");
    let before = writes(&registry);
    let content = noise(9, CHUNKS);
    let pieces: Vec<&[u8]> = content.chunks(1).collect();
    let answer = client.request("PATCH", &upload).chunked(&pieces).send();
    assert_eq!((answer.status, answer.header("range")), (202, Some("0-19999")));
    let writes = writes(&registry) - before;
    // Wake-ups of threads count too, and a busy machine needs more of them.
    assert!(writes < CHUNKS as u64, "{writes} writes");
    let target = format!("{upload}?digest={}", crate::support::client::digest_of(&content));
    assert_eq!(client.request("PUT", &target).body(b"").send().status, 201);
}
