//! One connection, and all of them.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::unread::{Explaining, Guarded, Turn};
use crate::sys::Tasks;
use crate::web::{self, App, Listener};

/// A head that is not whole within this is given up, and so is a connection that begins with nothing.
const HEAD: Duration = Duration::from_secs(30);
/// A connection that asks nothing more for so long is closed without a word: whoever begins to ask in the first half of it hears one first.
const IDLE: Duration = Duration::from_secs(60);
/// The largest head of a request that is read; `web` refuses smaller ones already, in words. It also bounds what is read from, and held for, one client at a time, so that many slow ones cost little.
const BUFFER: usize = 64 << 10;
/// HTTP/2's windows: the default of 64 KiB would slow pushes over links with a long way.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;
/// A peer that vanished without a word is noticed after so long.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// All connections of a server.
pub(super) struct Connections {
    app: Arc<App>,
    tasks: Tasks,
    http: auto::Builder<Spawner>,
    open: TaskTracker,
    stopping: CancellationToken,
    cut: CancellationToken,
}

/// Runs HTTP/2's streams as tasks of ours.
#[derive(Clone)]
struct Spawner(Tasks);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Spawner {
    fn execute(&self, stream: F) {
        self.0.spawn(stream);
    }
}

impl Connections {
    pub(super) fn new(app: Arc<App>, tasks: Tasks) -> Self {
        // Scripts that look for `Docker-Content-Digest:` as `registry:2` writes it go on finding it.
        let mut http = auto::Builder::new(Spawner(tasks.clone())).title_case_headers(true);
        http.http1().timer(TokioTimer::new()).header_read_timeout(IDLE).max_buf_size(BUFFER);
        http.http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            // Beyond it HTTP/2 has no words for its refusal.
            .max_header_list_size(2 * BUFFER as u32)
            .max_send_buf_size(BUFFER);
        Self {
            app,
            tasks,
            http,
            open: TaskTracker::new(),
            stopping: CancellationToken::new(),
            cut: CancellationToken::new(),
        }
    }

    /// Runs what the server waits for when it stops.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(self.open.track_future(work));
    }

    /// Ready when no more connections are to be accepted.
    pub(super) async fn stopping(&self) {
        self.stopping.cancelled().await;
    }

    /// Lets running requests finish for `drain`, then cuts them. Says whether all had finished.
    pub(super) async fn finish(&self, drain: Duration) -> bool {
        self.stopping.cancel();
        self.open.close();
        let finished = tokio::time::timeout(drain, self.open.wait()).await.is_ok();
        self.cut.cancel();
        self.open.wait().await;
        finished
    }
}

/// Serves a connection until it ends. `stream` is anything that carries bytes: TLS, which the same port will answer, is
/// unwrapped before this.
pub(super) async fn serve<S>(connections: Arc<Connections>, stream: S, peer: SocketAddr, listener: Listener)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let turn = Turn::new();
    let service = service_fn(|request: Request<Incoming>| {
        let (app, answering, reading) = (Arc::clone(&connections.app), turn.begin(), turn.read());
        let request = request.map(|body| Guarded { body, _guard: reading });
        async move {
            let answer = web::handle(&app, listener, request, peer).await;
            Ok::<_, Infallible>(answer.map(|body| Guarded { body, _guard: answering }))
        }
    });
    let app = Arc::clone(&connections.app);
    let stream = Explaining::new(stream, Arc::clone(&turn), HEAD, move |status, greeting| {
        web::bad_request(&app, status, greeting, peer)
    });
    let mut connection = pin!(connections.http.serve_connection(TokioIo::new(stream), service));
    let mut first = pin!(tokio::time::sleep(HEAD));
    let (mut waiting, mut stopping) = (true, false);
    loop {
        tokio::select! {
            ended = &mut connection => {
                if let Err(error) = ended {
                    tracing::debug!(http.request.remoteaddr = %peer, "connection ended: {error}");
                }
                return;
            }
            () = connections.cut.cancelled() => return,
            // hyper waits without end for the first bytes, which tell it the version.
            () = &mut first, if waiting => waiting = false,
            () = connections.stopping.cancelled(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
        // Who has begun to ask is told why it ends.
        if !turn.was_asked() && (stopping || !waiting && !turn.was_addressed()) {
            return;
        }
    }
}
