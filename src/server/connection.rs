//! Serving connections, each in a task of its own.

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

use super::activity::{Activity, Guarded};
use super::bad_request::Explaining;
use crate::sys::Tasks;
use crate::web::{self, App, Listener};

/// The time limit for a request head, and for the first byte of a new connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// The time that a connection may be idle between requests. It is closed without an answer, but a head that begins in the first half of this
/// time is answered first.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// The largest request head. `web` has a smaller limit and answers with an explanation. This also limits the memory for each
/// connection, so that many slow clients cost little.
const BUFFER: usize = 64 << 10;
/// The windows of HTTP/2. The default of 64 KiB would slow pushes over links with a long round trip.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;
/// The interval of pings to a silent HTTP/2 peer, and the time limit for its answer.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// All connections of a server, with their shared settings.
pub(super) struct Connections {
    app: Arc<App>,
    tasks: Tasks,
    http: auto::Builder<Spawner>,
    open: TaskTracker,
    stopping: CancellationToken,
    cut: CancellationToken,
}

/// Spawns the streams of HTTP/2 through [`Tasks`].
#[derive(Clone)]
struct Spawner(Tasks);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Spawner {
    fn execute(&self, stream: F) {
        self.0.spawn(stream);
    }
}

impl Connections {
    pub(super) fn new(app: Arc<App>, tasks: Tasks) -> Self {
        // Some scripts search for `Docker-Content-Digest:` in the case that `registry:2` writes.
        let mut http = auto::Builder::new(Spawner(tasks.clone())).title_case_headers(true);
        http.http1().timer(TokioTimer::new()).header_read_timeout(IDLE_TIMEOUT).max_buf_size(BUFFER);
        http.http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            // HTTP/2 refuses a larger head without an explanation.
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

    /// Spawns a task that the server waits for when it stops.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(self.open.track_future(work));
    }

    /// Ready when the server stops accepting connections.
    pub(super) async fn stopping(&self) {
        self.stopping.cancelled().await;
    }

    /// Lets running requests finish for `drain`, then cuts them. Returns true if all of them finished.
    pub(super) async fn finish(&self, drain: Duration) -> bool {
        self.stopping.cancel();
        self.open.close();
        let finished = tokio::time::timeout(drain, self.open.wait()).await.is_ok();
        self.cut.cancel();
        self.open.wait().await;
        finished
    }
}

/// Serves a connection until it ends. `stream` carries plain HTTP; TLS is removed before.
pub(super) async fn serve<S>(connections: Arc<Connections>, stream: S, peer: SocketAddr, listener: Listener)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let activity = Activity::new();
    let service = service_fn(|request: Request<Incoming>| {
        let (app, answering, reading) = (Arc::clone(&connections.app), activity.begin_answer(), activity.begin_body());
        let request = request.map(|body| Guarded { body, _guard: reading });
        async move {
            let answer = web::handle(&app, listener, request, peer).await;
            Ok::<_, Infallible>(answer.map(|body| Guarded { body, _guard: answering }))
        }
    });
    let app = Arc::clone(&connections.app);
    let stream = Explaining::new(stream, Arc::clone(&activity), HEAD_TIMEOUT, move |status, greeting| {
        web::bad_request(&app, status, greeting, peer)
    });
    let mut connection = pin!(connections.http.serve_connection(TokioIo::new(stream), service));
    let mut first = pin!(tokio::time::sleep(HEAD_TIMEOUT));
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
            // Hyper waits without a limit for the first bytes, which tell it the version.
            () = &mut first, if waiting => waiting = false,
            () = connections.stopping.cancelled(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
        // A client whose head has begun gets an answer before the connection ends.
        if !activity.had_request() && (stopping || !waiting && !activity.head_began()) {
            return;
        }
    }
}
