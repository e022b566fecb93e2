//! Proxies: HTTP (tunnels and whole addresses), HTTP over TLS, and SOCKS5. Each records its uses.
#![expect(
    clippy::disallowed_methods,
    reason = "the test upstream is no part of the product, and has a thread of its own"
)]

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::tls::{Authority, Guests};

/// The login that the proxy requires.
type Login = Option<(&'static str, &'static str)>;

/// One use of the proxy.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The destination, `HOST:PORT`.
    pub target: String,
    /// The request to the proxy: the head of an HTTP request, or the login of SOCKS.
    pub received: String,
}

/// A running proxy. Dropping it stops it.
pub struct Proxy {
    addr: SocketAddr,
    scheme: &'static str,
    log: Arc<Mutex<Vec<Asked>>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone)]
struct Place {
    login: Login,
    /// The address to which all host names lead.
    names: Option<SocketAddr>,
    log: Arc<Mutex<Vec<Asked>>>,
    tls: Option<TlsAcceptor>,
    socks: bool,
}

impl Proxy {
    pub fn http(login: Login) -> Self {
        Self::start("http", login, None, None)
    }

    /// Starts an HTTP proxy over TLS, with a certificate of `authority`.
    pub fn https(login: Login, authority: &Authority) -> Self {
        Self::start("https", login, None, Some(authority.acceptor_with(Guests::Anybody, &["http/1.1"])))
    }

    /// Leads host names to `names`, whatever their port.
    pub fn socks(login: Login, names: Option<SocketAddr>) -> Self {
        Self::start("socks5", login, names, None)
    }

    /// Like [`Proxy::http`]; host names lead to `names`, whatever their port.
    pub fn http_to(names: SocketAddr) -> Self {
        Self::start("http", None, Some(names), None)
    }

    fn start(scheme: &'static str, login: Login, names: Option<SocketAddr>, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let log = Arc::default();
        let place = Place { login, names, log: Arc::clone(&log), tls, socks: scheme == "socks5" };
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = accept(listener, place) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { addr, scheme, log, stop: Some(stop), thread: Some(thread) }
    }

    /// Returns `HOST:PORT`.
    pub fn addr(&self) -> String {
        self.addr.to_string()
    }

    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.addr)
    }

    /// Returns its URL with `login`, and with the other scheme if there are two for it.
    pub fn url_as(&self, scheme: &str, login: &str) -> String {
        format!("{scheme}://{login}@{}", self.addr)
    }

    pub fn log(&self) -> Vec<Asked> {
        self.log.lock().unwrap().clone()
    }

    /// Returns the number of uses for `target`.
    pub fn uses(&self, target: &str) -> usize {
        self.log().iter().filter(|asked| asked.target == target).count()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.stop.take());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

async fn accept(listener: TcpListener, place: Place) {
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        connections.spawn(connection(stream, place.clone()));
    }
}

/// An error ends the connection, as at a real proxy.
async fn connection(stream: TcpStream, place: Place) -> io::Result<()> {
    match &place.tls {
        Some(tls) => http(tls.accept(stream).await?, &place).await,
        None if place.socks => socks(stream, &place).await,
        None => http(stream, &place).await,
    }
}

impl Place {
    fn note(&self, target: &str, received: String) {
        self.log.lock().unwrap().push(Asked { target: target.to_owned(), received });
    }

    async fn reach(&self, target: &str) -> io::Result<TcpStream> {
        match (target.parse::<SocketAddr>(), self.names) {
            (Ok(addr), _) | (Err(_), Some(addr)) => TcpStream::connect(addr).await,
            (Err(_), None) => Err(io::Error::other("no such name")),
        }
    }
}

async fn http(mut stream: impl AsyncRead + AsyncWrite + Unpin, place: &Place) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    let (line, fields) = head.split_once("\r\n").unwrap();
    let mut words = line.split(' ');
    let (method, address) = (words.next().unwrap(), words.next().unwrap());
    let target = address.strip_prefix("http://").unwrap_or(address).split('/').next().unwrap();
    place.note(target, head.clone());
    let wanted = place.login.map(|(user, password)| STANDARD.encode(format!("{user}:{password}")));
    let proof = |encoded: &String| fields.lines().any(|field| field == format!("proxy-authorization: Basic {encoded}"));
    if !wanted.as_ref().is_none_or(proof) {
        let refusal = b"HTTP/1.1 407 No\r\nproxy-authenticate: Basic realm=\"p\"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        return stream.write_all(refusal).await;
    }
    let Ok(mut there) = place.reach(target).await else {
        return stream.write_all(b"HTTP/1.1 502 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
    };
    if method == "CONNECT" {
        stream.write_all(b"HTTP/1.1 200 Go\r\n\r\n").await?;
    } else {
        let path = &address["http://".len() + target.len()..];
        // Headers for the proxy are not passed on. There is one request for each connection.
        let fields = fields.lines().filter(|field| !field.starts_with("proxy-") && !field.starts_with("connection:"));
        let fields: String = fields.filter(|field| !field.is_empty()).map(|field| format!("{field}\r\n")).collect();
        there.write_all(format!("{method} {path} HTTP/1.1\r\n{fields}connection: close\r\n\r\n").as_bytes()).await?;
    }
    copy_bidirectional(&mut stream, &mut there).await.map(|_| ())
}

/// Serves SOCKS5 (RFC 1928) with logins (RFC 1929).
async fn socks(mut stream: TcpStream, place: &Place) -> io::Result<()> {
    let methods = read_counted(&mut stream, 1).await?;
    let method = if place.login.is_some() { 2 } else { 0 };
    if !methods.contains(&method) {
        return stream.write_all(&[5, 0xff]).await;
    }
    stream.write_all(&[5, method]).await?;
    let mut received = String::new();
    if let Some((user, password)) = place.login {
        let name = read_counted(&mut stream, 1).await?;
        let secret = read_counted(&mut stream, 0).await?;
        received = format!("{}:{}", String::from_utf8_lossy(&name), String::from_utf8_lossy(&secret));
        let good = received == format!("{user}:{password}");
        stream.write_all(&[1, u8::from(!good)]).await?;
        if !good {
            return Ok(());
        }
    }
    let mut request = [0; 4];
    stream.read_exact(&mut request).await?;
    let host = match request[3] {
        1 => Ipv4Addr::from(stream.read_u32().await?).to_string(),
        3 => String::from_utf8_lossy(&read_counted(&mut stream, 0).await?).into_owned(),
        _ => return Err(io::Error::other("no such kind of address here")),
    };
    let target = format!("{host}:{}", stream.read_u16().await?);
    place.note(&target, received);
    let there = place.reach(&target).await;
    let answer = [5, if there.is_ok() { 0 } else { 4 }, 0, 1, 0, 0, 0, 0, 0, 0];
    stream.write_all(&answer).await?;
    copy_bidirectional(&mut stream, &mut there?).await.map(|_| ())
}

/// Skips bytes, then reads a length of one byte and that many bytes.
async fn read_counted(stream: &mut TcpStream, skip: usize) -> io::Result<Vec<u8>> {
    for _ in 0..skip {
        stream.read_u8().await?;
    }
    let mut content = vec![0; usize::from(stream.read_u8().await?)];
    stream.read_exact(&mut content).await?;
    Ok(content)
}
