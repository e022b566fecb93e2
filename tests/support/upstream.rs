//! An upstream registry that misbehaves on demand, with real sockets, and a thread and a runtime of its own. Everything is in memory.
//! It speaks plain HTTP, or TLS with HTTP/2 on offer.
//!
//! It listens on 127.0.0.1, and its CDN on 127.0.0.2. All settings can be changed while it runs.
#![expect(
    clippy::disallowed_methods,
    reason = "the test upstream is no part of the product, and has a thread of its own"
)]

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use entrepot::oci::{Algorithm, ByteRange, Digest, MediaType};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::json;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc as commands;
use tokio::task::JoinSet;

use super::fault::{Body, Fault, Faults, Rule, pick};
use super::line::{Line, Pace};
use super::listing::{self, Lists};
use super::tls::{Authority, Guests};

/// The bytes that the kernel, and hyper before it, buffer on a connection.
const SEND_BUFFER: usize = 64 << 10;

/// The authentication that the registry requires.
#[derive(Clone, Debug, Default)]
pub(crate) enum Auth {
    #[default]
    Open,
    /// Name and password in each request.
    Basic(&'static str, &'static str),
    Bearer(Bearer),
}

/// Token authentication. The default gives a token to every client.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bearer {
    /// The name and password that are required for a token.
    pub(crate) login: Option<(&'static str, &'static str)>,
    /// The identity token that is also exchanged for a token, by POST.
    pub(crate) identity: Option<&'static str>,
    /// The realm, if it is not the upstream's own `/token`.
    pub(crate) realm: Option<String>,
    pub(crate) expires_in: Option<u64>,
    /// The challenges, if they are not the usual one. `{realm}` and `{name}` are replaced.
    pub(crate) challenges: Vec<&'static str>,
    /// The answer has `access_token` instead of `token`.
    pub(crate) oauth: bool,
    /// An invalid token leads to a 403 without a challenge.
    pub(crate) forbids: bool,
}

/// The lifetime of the CDN's signed links. An expired link leads to a 403.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Links {
    #[default]
    Lasting,
    /// For one GET.
    Once,
    /// For this long after the link was issued.
    For(Duration),
}

/// An image in the upstream.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) manifest: Bytes,
    pub(crate) manifest_digest: Digest,
    pub(crate) config: Digest,
    pub(crate) layers: Vec<Digest>,
}

/// A received request.
#[derive(Clone, Debug)]
pub(crate) struct Logged {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) version: Version,
    pub(crate) headers: hyper::HeaderMap,
    /// The body of a POST.
    pub(crate) form: String,
    /// The bytes of the body that have been sent so far.
    sent: Arc<AtomicU64>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Repository {
    manifests: HashMap<String, (Bytes, String)>,
    pub(super) tags: BTreeMap<String, String>,
    /// The referrers, by their subject.
    pub(super) referrers: HashMap<String, Vec<serde_json::Value>>,
    blobs: HashMap<String, Bytes>,
}

#[derive(Debug, Default)]
pub(super) struct Inner {
    pub(super) lists: Lists,
    repositories: HashMap<String, Repository>,
    auth: Auth,
    /// The valid tokens and their scopes.
    tokens: HashMap<String, String>,
    issued: usize,
    cdn: bool,
    /// The CDN, if it is not the upstream's own.
    cdn_at: Option<String>,
    links: Links,
    /// The time at which each link was issued, and the number of its uses, by the number of the link.
    given: Vec<(Instant, usize)>,
    ratelimit: Option<&'static str>,
    rules: Vec<Rule>,
    log: Vec<Logged>,
}

#[derive(Debug)]
struct State {
    inner: Mutex<Inner>,
    registry: SocketAddr,
    cdn: SocketAddr,
    /// The pace of all connections together.
    pace: Arc<Pace>,
    /// With a value, all connections use TLS.
    tls: Option<(Authority, Guests)>,
}

enum Command {
    Gone(mpsc::Sender<()>),
    Back(mpsc::Sender<()>),
}

/// A running upstream. Dropping it stops it.
pub(crate) struct Upstream {
    state: Arc<State>,
    commands: Option<commands::UnboundedSender<Command>>,
    thread: Option<JoinHandle<()>>,
}

impl Upstream {
    pub(crate) fn start() -> Self {
        Self::launch(None)
    }

    /// Starts an upstream with TLS, also for the CDN, with certificates of a private [`Upstream::authority`] and with HTTP/2.
    pub(crate) fn start_tls() -> Self {
        Self::launch(Some((Authority::new(), Guests::Anybody)))
    }

    /// Like [`Upstream::start_tls`], but accepts only clients that show a certificate of its authority.
    pub(crate) fn start_tls_with_client_certificates() -> Self {
        Self::launch(Some((Authority::new(), Guests::Certified)))
    }

    fn launch(tls: Option<(Authority, Guests)>) -> Self {
        let listeners = [TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.2:0").unwrap()];
        let [registry, cdn] = [0, 1].map(|which: usize| listeners[which].local_addr().unwrap());
        let state = Arc::new(State { inner: Mutex::default(), registry, cdn, pace: Arc::default(), tls });
        let (sender, receiver) = commands::unbounded_channel();
        let shared = Arc::clone(&state);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(serve(shared, listeners, receiver));
        });
        Self { state, commands: Some(sender), thread: Some(thread) }
    }

    /// Returns its URL: `http://127.0.0.1:PORT`, or `https://…`.
    pub(crate) fn url(&self) -> String {
        self.state.url(self.state.registry)
    }

    /// Returns the URL of its CDN.
    pub(crate) fn cdn_url(&self) -> String {
        self.state.url(self.state.cdn)
    }

    /// Returns the authority of its certificates, which exists only with TLS.
    pub(crate) fn authority(&self) -> &Authority {
        &self.state.tls.as_ref().unwrap().0
    }

    pub(crate) fn port(&self) -> u16 {
        self.state.registry.port()
    }

    /// Adds all content of the other upstream, without a copy in memory.
    pub(crate) fn hold_what(&self, other: &Self) {
        let repositories = other.state.lock().repositories.clone();
        self.state.lock().repositories.extend(repositories);
    }

    /// Adds a blob to a repository.
    pub(crate) fn blob(&self, repository: &str, content: &[u8]) -> Digest {
        let digest = Digest::of(Algorithm::Sha256, content);
        let content = Bytes::copy_from_slice(content);
        self.repository(repository, |held| held.blobs.insert(digest.to_string(), content));
        digest
    }

    /// Adds a manifest to a repository, by its digest and, unless it is empty, by a tag.
    pub(crate) fn manifest(&self, repository: &str, tag: &str, media_type: &str, body: &[u8]) -> Digest {
        let digest = Digest::of(Algorithm::Sha256, body);
        self.put(repository, tag, (Bytes::copy_from_slice(body), media_type.to_owned()), digest);
        digest
    }

    /// Adds an OCI manifest under a given digest, which may have another algorithm or be wrong.
    pub(crate) fn manifest_as(&self, repository: &str, tag: &str, body: &[u8], digest: Digest) {
        self.put(repository, tag, (Bytes::copy_from_slice(body), MediaType::OCI_MANIFEST.to_owned()), digest);
    }

    fn put(&self, repository: &str, tag: &str, content: (Bytes, String), digest: Digest) {
        self.repository(repository, |held| {
            held.manifests.insert(digest.to_string(), content);
            if !tag.is_empty() {
                held.tags.insert(tag.to_owned(), digest.to_string());
            }
        });
    }

    /// Adds an image with these layers to a repository.
    pub(crate) fn image(&self, repository: &str, tag: &str, layers: &[&[u8]]) -> Image {
        let config = json!({"architecture": "amd64", "os": "linux", "of": format!("{repository}:{tag}")}).to_string();
        let descriptor = |media_type: &str, digest: Digest, size: usize| json!({"mediaType": media_type, "digest": digest.to_string(), "size": size});
        let layer_type = "application/vnd.oci.image.layer.v1.tar+gzip";
        let digests: Vec<Digest> = layers.iter().map(|layer| self.blob(repository, layer)).collect();
        let config_digest = self.blob(repository, config.as_bytes());
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MediaType::OCI_MANIFEST,
            "config": descriptor("application/vnd.oci.image.config.v1+json", config_digest, config.len()),
            "layers": digests.iter().zip(layers).map(|(digest, layer)| descriptor(layer_type, *digest, layer.len())).collect::<Vec<_>>(),
        });
        let manifest = Bytes::from(manifest.to_string());
        let manifest_digest = self.manifest(repository, tag, MediaType::OCI_MANIFEST, &manifest);
        Image { manifest, manifest_digest, config: config_digest, layers: digests }
    }

    /// Adds an index to a repository, with an image for each architecture.
    pub(crate) fn index(&self, repository: &str, tag: &str, images: &[(&str, &Image)]) -> Digest {
        let children = images.iter().map(|(architecture, image)| {
            json!({
                "mediaType": MediaType::OCI_MANIFEST,
                "digest": image.manifest_digest.to_string(),
                "size": image.manifest.len(),
                "platform": {"os": "linux", "architecture": architecture},
            })
        });
        let index =
            json!({"schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": children.collect::<Vec<_>>()});
        self.manifest(repository, tag, MediaType::OCI_INDEX, index.to_string().as_bytes())
    }

    /// Removes a tag; its manifest stays.
    pub(crate) fn untag(&self, repository: &str, tag: &str) {
        self.repository(repository, |held| held.tags.remove(tag));
    }

    pub(crate) fn set_auth(&self, auth: Auth) {
        self.state.lock().auth = auth;
    }

    /// Invalidates all tokens.
    pub(crate) fn revoke_tokens(&self) {
        self.state.lock().tokens.clear();
    }

    /// Sets whether blobs are redirected to the CDN.
    pub(crate) fn set_cdn(&self, redirects: bool) {
        self.state.lock().cdn = redirects;
    }

    /// Redirects blobs to this URL: another upstream's [`Upstream::cdn_url`], or a proxy's.
    pub(crate) fn set_cdn_at(&self, url: &str) {
        let mut inner = self.state.lock();
        (inner.cdn, inner.cdn_at) = (true, Some(url.to_owned()));
    }

    /// Sets the lifetime of links to the CDN.
    pub(crate) fn set_links(&self, links: Links) {
        self.state.lock().links = links;
    }

    /// Sets `ratelimit-remaining` of manifests; `ratelimit-limit` is 100 in six hours.
    pub(crate) fn set_ratelimit(&self, text: &'static str) {
        self.state.lock().ratelimit = Some(text);
    }

    /// Affects every further request of `method` (`*`: any) whose path contains `path`.
    pub(crate) fn fault(&self, method: &str, path: &str, fault: Fault) {
        self.arm(Rule::new(method, path, fault));
    }

    /// Affects only the next such request.
    pub(crate) fn fault_once(&self, method: &str, path: &str, fault: Fault) {
        self.arm(Rule::new(method, path, fault).times(1));
    }

    pub(crate) fn arm(&self, rule: Rule) {
        self.state.lock().rules.push(rule);
    }

    /// Removes all faults.
    pub(crate) fn heal(&self) {
        self.state.lock().rules.clear();
    }

    /// Closes every connection and refuses new ones.
    pub(crate) fn gone(&self) {
        self.command(Command::Gone);
    }

    /// Listens again, with the same ports.
    pub(crate) fn back(&self) {
        self.command(Command::Back);
    }

    pub(crate) fn log(&self) -> Vec<Logged> {
        self.state.lock().log.clone()
    }

    pub(crate) fn forget_log(&self) {
        self.state.lock().log.clear();
    }

    /// Returns the number of requests of `method` (`*`: any) whose path contained `path`.
    pub(crate) fn requests(&self, method: &str, path: &str) -> usize {
        let log = &self.state.lock().log;
        log.iter().filter(|logged| (method == "*" || logged.method == method) && logged.path.contains(path)).count()
    }

    /// Returns the bytes of this blob or manifest that were sent so far, in all answers together.
    pub(crate) fn bytes_sent(&self, digest: &Digest) -> u64 {
        let digest = digest.to_string();
        let log = &self.state.lock().log;
        log.iter().filter(|logged| logged.path.contains(&digest)).map(Logged::sent).sum()
    }

    /// Returns the requests to the token server.
    pub(crate) fn tokens(&self) -> usize {
        self.requests("*", "/token")
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Inner)) {
        change(&mut self.state.lock());
    }

    pub(super) fn repository<T>(&self, name: &str, change: impl FnOnce(&mut Repository) -> T) -> T {
        change(self.state.lock().repositories.entry(name.to_owned()).or_default())
    }

    fn command(&self, command: fn(mpsc::Sender<()>) -> Command) {
        let (done, wait) = mpsc::channel();
        self.commands.as_ref().unwrap().send(command(done)).ok().unwrap();
        wait.recv().unwrap();
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        drop(self.commands.take());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Logged {
    /// Counts the bytes of the body as they are sent.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    fn url(&self, address: SocketAddr) -> String {
        format!("{}://{address}", if self.tls.is_some() { "https" } else { "http" })
    }
}

async fn serve(state: Arc<State>, listeners: [TcpListener; 2], mut commands: commands::UnboundedReceiver<Command>) {
    let mut listeners = listeners.map(|listener| {
        listener.set_nonblocking(true).unwrap();
        tokio::net::TcpListener::from_std(listener).unwrap()
    });
    loop {
        let [registry, cdn] = listeners;
        let mut connections = JoinSet::new();
        let command = loop {
            let stream = tokio::select! {
                command = commands.recv() => break command,
                accepted = registry.accept() => accepted.unwrap().0,
                accepted = cdn.accept() => accepted.unwrap().0,
            };
            connections.spawn(connection(Arc::clone(&state), stream));
        };
        drop((registry, cdn));
        // The ports stay bound without an accept, so that no other test is given them meanwhile.
        let mut held = Some([state.registry, state.cdn].map(hold));
        connections.shutdown().await;
        let mut command = command;
        loop {
            match command {
                None => return,
                Some(Command::Gone(done)) => done.send(()).unwrap(),
                Some(Command::Back(done)) => {
                    listeners = held.take().unwrap().map(|socket| socket.listen(1024).unwrap());
                    done.send(()).unwrap();
                    break;
                }
            }
            command = commands.recv().await;
        }
    }
}

fn hold(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    socket
}

async fn connection(state: Arc<State>, stream: TcpStream) {
    // By default the kernel buffers megabytes, so sent bytes would differ from received bytes by that.
    SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER).unwrap();
    match &state.tls {
        None => exchange(Arc::clone(&state), stream).await,
        Some((authority, guests)) => {
            match authority.acceptor(*guests).accept(stream).into_fallible().await {
                Ok(stream) => exchange(Arc::clone(&state), stream).await,
                // The connection is closed without a reset, so that the TLS alert arrives.
                Err((_, mut stream)) => {
                    let _ = stream.shutdown().await;
                    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
                }
            }
        }
    }
}

async fn exchange(state: Arc<State>, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    let line = Arc::<Line>::default();
    let service = service_fn(|request| {
        let (state, line) = (Arc::clone(&state), Arc::clone(&line));
        async move { Ok::<_, Infallible>(handle(&state, request, &line).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().max_buf_size(SEND_BUFFER);
    builder.http2().max_send_buf_size(SEND_BUFFER);
    tokio::select! {
        _ = builder.serve_connection(TokioIo::new(stream), service) => {}
        () = line.ended() => {}
    }
}

/// An answer before faults apply: its status, headers and body.
pub(super) struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
}

impl Answer {
    pub(super) fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::new() }
    }

    pub(super) fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }

    pub(super) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }
}

async fn handle(state: &State, request: Request<Incoming>, line: &Arc<Line>) -> Response<Body> {
    let (method, path) = (request.method().as_str().to_owned(), request.uri().path().to_owned());
    let (version, headers, query) =
        (request.version(), request.headers().clone(), request.uri().query().map(str::to_owned));
    let body = if method == "POST" { request.collect().await.unwrap().to_bytes() } else { Bytes::new() };
    let form = String::from_utf8_lossy(&body).into_owned();
    let sent = Arc::new(AtomicU64::new(0));
    let (faults, answer) = {
        let mut inner = state.lock();
        let faults = Faults::of(&mut inner.rules, &method, &path);
        let query = query.unwrap_or_default();
        let logged = Logged { method: method.clone(), path, query, version, headers, form, sent: Arc::clone(&sent) };
        inner.log.push(logged.clone());
        let answer = pick!(faults, Status).map_or_else(|| answer(state, &mut inner, &logged, &faults), Answer::new);
        (faults, answer)
    };
    faults.before_head().await;
    let mut headers = answer.headers;
    if let Some(value) = pick!(faults, RetryAfter) {
        headers.push(("retry-after", value.to_owned()));
    }
    if faults.has(&Fault::NoDigest) {
        headers.retain(|(name, _)| *name != "docker-content-digest");
    }
    if faults.has(&Fault::Encoded) {
        headers.push(("content-encoding", "gzip".to_owned()));
    }
    if !faults.has(&Fault::NoLength) {
        let length = pick!(faults, Length).unwrap_or(answer.body.len() as u64);
        headers.push(("content-length", length.to_string()));
    }
    // Clients must not send it back.
    headers.push(("set-cookie", "session=c00kie; Path=/".to_owned()));
    let body = if method == "HEAD" { Bytes::new() } else { answer.body };
    let mut response = Response::new(faults.body(body, sent, line, &state.pace));
    *response.status_mut() = answer.status.try_into().unwrap();
    for (name, value) in headers {
        response.headers_mut().append(HeaderName::from_static(name), HeaderValue::try_from(value).unwrap());
    }
    response
}

fn answer(state: &State, inner: &mut Inner, request: &Logged, faults: &Faults) -> Answer {
    if request.path == "/token" {
        return token(state, inner, request);
    }
    if let Some(digest) = request.path.strip_prefix("/cdn/blobs/") {
        if ["authorization", "cookie"].iter().any(|name| request.headers.contains_key(*name)) {
            return Answer::new(400);
        }
        if !good_link(inner, request) {
            return Answer::new(403);
        }
        let held = inner.repositories.values().find_map(|repository| repository.blobs.get(digest));
        return held.map_or(Answer::new(404), |content| ranged(content, request, faults));
    }
    let Some(rest) = request.path.strip_prefix("/v2/") else {
        return Answer::new(404);
    };
    let parts: Vec<&str> = rest.rsplitn(3, '/').collect();
    let name = parts.get(2).copied().unwrap_or_default();
    if let Some(refusal) = refuse(state, inner, name, request) {
        return refusal;
    }
    let Some(repository) = inner.repositories.get(name) else {
        return Answer::new(404);
    };
    match parts[..] {
        [reference, "manifests", _] => {
            let digest = repository.tags.get(reference).map_or(reference, String::as_str);
            let Some((body, media_type)) = repository.manifests.get(digest) else {
                return Answer::new(404);
            };
            let answer = Answer::new(200).with("content-type", media_type).with("docker-content-digest", digest);
            let answer = answer.body(body.clone());
            match inner.ratelimit {
                Some(text) => answer.with("ratelimit-limit", "100;w=21600").with("ratelimit-remaining", text),
                None => answer,
            }
        }
        [digest, "blobs", _] if repository.blobs.contains_key(digest) && inner.cdn => {
            inner.given.push((Instant::now(), 0));
            let link = inner.given.len() - 1;
            let cdn = inner.cdn_at.clone().unwrap_or_else(|| state.url(state.cdn));
            Answer::new(307).with("location", format!("{cdn}/cdn/blobs/{digest}?signature=secret&link={link}"))
        }
        [digest, "blobs", _] => match repository.blobs.get(digest) {
            Some(content) => ranged(content, request, faults).with("docker-content-digest", digest),
            None => Answer::new(404),
        },
        ["list", "tags", _] => listing::tags(name, repository, inner.lists, request),
        [subject, "referrers", _] => listing::referrers(repository, subject, inner.lists, request),
        _ => Answer::new(404),
    }
}

/// Returns true if the link of this request to the CDN is still valid.
fn good_link(inner: &mut Inner, request: &Logged) -> bool {
    if matches!(inner.links, Links::Lasting) {
        return true;
    }
    let number = parameter(&request.query, "link").and_then(|number| number.parse::<usize>().ok());
    let Some((given, used)) = number.and_then(|number| inner.given.get_mut(number)) else {
        return false;
    };
    *used += usize::from(request.method == "GET");
    match inner.links {
        Links::Lasting => true,
        Links::Once => *used <= 1,
        Links::For(time) => given.elapsed() <= time,
    }
}

fn token(state: &State, inner: &mut Inner, request: &Logged) -> Answer {
    let Auth::Bearer(auth) = inner.auth.clone() else {
        return Answer::new(404);
    };
    let asked = |name: &str| parameter(&request.query, name).or_else(|| parameter(&request.form, name));
    let identified = request.method == "POST"
        && asked("grant_type").as_deref() == Some("refresh_token")
        && auth.identity.is_some_and(|identity| asked("refresh_token").as_deref() == Some(identity));
    let named =
        auth.login.is_none_or(|(name, password)| request.header("authorization") == Some(&basic(name, password)));
    if !(identified || (named && request.method == "GET" && (auth.login.is_some() || auth.identity.is_none()))) {
        return Answer::new(401);
    }
    inner.issued += 1;
    // Another upstream's token is not valid here.
    let token = format!("token-{}-{}", state.registry.port(), inner.issued);
    inner.tokens.insert(token.clone(), asked("scope").unwrap_or_default());
    let mut answer = json!({});
    answer[if auth.oauth { "access_token" } else { "token" }] = token.into();
    if let Some(seconds) = auth.expires_in {
        answer["expires_in"] = seconds.into();
    }
    Answer::new(200).with("content-type", "application/json").body(answer.to_string())
}

/// Returns the 401 for a client that may not read this repository.
fn refuse(state: &State, inner: &Inner, name: &str, request: &Logged) -> Option<Answer> {
    let sent = request.header("authorization").unwrap_or_default();
    match &inner.auth {
        Auth::Open => None,
        Auth::Basic(user, password) if sent == basic(user, password) => None,
        Auth::Basic(..) => Some(Answer::new(401).with("www-authenticate", r#"Basic realm="test""#)),
        Auth::Bearer(auth) => {
            let scope = sent.strip_prefix("Bearer ").and_then(|token| inner.tokens.get(token));
            if scope.is_some_and(|scope| *scope == format!("repository:{name}:pull")) {
                return None;
            }
            if auth.forbids && !sent.is_empty() {
                return Some(Answer::new(403));
            }
            let usual = [r#"Bearer realm="{realm}",service="test",scope="repository:{name}:pull""#];
            let written = if auth.challenges.is_empty() { &usual[..] } else { &auth.challenges };
            let realm = auth.realm.clone().unwrap_or_else(|| format!("{}/token", state.url(state.registry)));
            let fields = written.iter().map(|text| text.replace("{realm}", &realm).replace("{name}", name));
            Some(fields.fold(Answer::new(401), |answer, field| answer.with("www-authenticate", field)))
        }
    }
}

fn ranged(content: &Bytes, request: &Logged, faults: &Faults) -> Answer {
    let range = request.header("range").and_then(|text| text.parse::<ByteRange>().ok());
    let Some(range) = range.filter(|_| !faults.has(&Fault::IgnoreRange)) else {
        return Answer::new(200).body(content.clone());
    };
    let total = content.len();
    let Some(mut span) = range.resolve(total as u64) else {
        return Answer::new(416).with("content-range", format!("bytes */{total}"));
    };
    if faults.has(&Fault::Overlong) {
        span.end = total as u64;
    }
    let said = if faults.has(&Fault::UnknownTotal) { "*".to_owned() } else { total.to_string() };
    let shift = u64::from(faults.has(&Fault::WrongRange));
    let body = content.slice(span.start as usize..span.end as usize);
    Answer::new(206).with("content-range", format!("bytes {}-{}/{said}", span.start + shift, span.end - 1)).body(body)
}

fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
}

/// Returns a parameter of a query or a form, decoded.
pub(super) fn parameter(query: &str, name: &str) -> Option<String> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
    Some(percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned())
}
