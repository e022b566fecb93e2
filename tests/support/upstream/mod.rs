//! An upstream registry that misbehaves on demand, with real sockets, and a thread and a runtime of its own. Everything is in memory.
//! It speaks plain HTTP, or TLS with HTTP/2 on offer.
//!
//! It listens on 127.0.0.1, and its CDN on 127.0.0.2. All settings can be changed while it runs.
#![expect(
    clippy::disallowed_methods,
    reason = "the test upstream is no part of the product, and has a thread of its own"
)]

mod answers;
mod server;

pub use answers::{Answer, parameter};
use server::serve;

use std::collections::{BTreeMap, HashMap};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use entrepot::oci::{Algorithm, Digest, MediaType};
use hyper::Version;
use serde_json::json;
use tokio::sync::mpsc as commands;
use tokio_util::sync::CancellationToken;

use super::fault::{Fault, Rule};
use super::line::Pace;
use super::listing::Lists;
use super::registry::free_address;
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
    /// The pulls that are left; each GET of a manifest takes one.
    pulls_left: Option<u64>,
    omits_cookies: bool,
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
    /// The connections that were opened.
    opened: AtomicUsize,
    /// Cancelled when the NAT before the upstream restarts; new connections get another token.
    nat: Mutex<CancellationToken>,
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
        // These ports can be bound again after `gone`, since the kernel gives them to no other socket.
        let listeners = ["127.0.0.1", "127.0.0.2"].map(|host| {
            let mut ports = std::iter::repeat_with(|| free_address().port());
            ports.find_map(|port| TcpListener::bind((host, port)).ok()).unwrap()
        });
        let [registry, cdn] = [0, 1].map(|which: usize| listeners[which].local_addr().unwrap());
        let state = Arc::new(State {
            inner: Mutex::default(),
            registry,
            cdn,
            pace: Arc::default(),
            opened: AtomicUsize::new(0),
            nat: Mutex::default(),
            tls,
        });
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

    /// Sends no cookies from now on. aria2c sends a cookie back, which the CDN refuses.
    pub(crate) fn omit_cookies(&self) {
        self.state.lock().omits_cookies = true;
    }

    /// Sets the lifetime of links to the CDN.
    pub(crate) fn set_links(&self, links: Links) {
        self.state.lock().links = links;
    }

    /// Allows this many more GETs of manifests, of 100 in six hours, and states the rest with each manifest.
    pub(crate) fn set_pulls_left(&self, pulls: u64) {
        self.state.lock().pulls_left = Some(pulls);
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

    /// Closes every connection. The next requests come over new ones, which the mirror does not race with others while it
    /// waits for an answer.
    pub(crate) fn close_connections(&self) {
        self.gone();
        self.back();
    }

    /// Restarts the NAT before the upstream: every open connection stays open and carries nothing any more. New
    /// connections work.
    pub(crate) fn restart_nat(&self) {
        std::mem::take(&mut *self.state.nat.lock().unwrap()).cancel();
    }

    /// Returns the number of connections that were opened so far.
    pub(crate) fn connections(&self) -> usize {
        self.state.opened.load(Ordering::SeqCst)
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
