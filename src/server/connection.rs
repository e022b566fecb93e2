//! Serving connections, each in a task of its own.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::activity::{Activity, Guarded};
use super::bad_request::Explaining;
use super::budget::{self, ClientBudget};
use super::http1::to_text;
use super::progress::{Measured, Progress, StreamWatch, Watched};
use crate::sys::{ClientAddress, Tasks};
use crate::web::{self, App, Listener, RequestRoom};

/// The time limit for a request head, and for the first byte of a new connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// A connection may be idle between requests for this many times `http.stall`. It is closed without an answer, but a head that begins in
/// the first half of this time is answered first.
const IDLE_STALLS: u32 = 2;
/// The time limit for the answer to a refused connection.
const REFUSAL_TIME: Duration = Duration::from_secs(2);
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
    budget: Arc<ClientBudget>,
    /// The refused connections that get an answer at a time. The others are closed at once.
    refusals: Arc<Semaphore>,
    open: TaskTracker,
    stopping: CancellationToken,
    cut: CancellationToken,
}

/// Spawns the streams of HTTP/2 through [`Tasks`]. A stream whose peer takes nothing of the answer is reset.
#[derive(Clone)]
struct Spawner {
    tasks: Tasks,
    app: Arc<App>,
}

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Spawner {
    fn execute(&self, stream: F) {
        let app = Arc::clone(&self.app);
        self.tasks.spawn(async move {
            if StreamWatch::run(stream, app.stall()).await {
                note_stalled(&app, "stream");
            }
        });
    }
}

impl Connections {
    pub(super) fn new(app: Arc<App>, tasks: Tasks, descriptors: u64) -> Self {
        // Some scripts search for `Docker-Content-Digest:` in the case that `registry:2` writes.
        let spawner = Spawner { tasks: tasks.clone(), app: Arc::clone(&app) };
        let mut http = auto::Builder::new(spawner).title_case_headers(true);
        let idle = app.stall() * IDLE_STALLS;
        http.http1().timer(TokioTimer::new()).header_read_timeout(idle).max_buf_size(BUFFER);
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
            refusals: Arc::new(Semaphore::new(budget::refusals(descriptors))),
            budget: ClientBudget::new(descriptors),
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

/// Serves an accepted connection in a task of its own, or refuses it if the budget has no place.
pub(super) fn accept(connections: &Arc<Connections>, stream: TcpStream, peer: SocketAddr, listener: Listener) {
    match connections.budget.take(ClientAddress::new(peer.ip(), None)) {
        Ok(share) => {
            let serving = serve(Arc::clone(connections), stream, peer, listener);
            connections.spawn(async move {
                serving.await;
                drop(share);
            });
        }
        Err(exceeded) => {
            connections.app.metrics().http_refused.with_label_values(&[exceeded.as_str()]).inc();
            if let Ok(permit) = Arc::clone(&connections.refusals).try_acquire_owned() {
                let text = to_text(web::overloaded(&connections.app));
                connections.spawn(async move {
                    // The client may have left already.
                    let _ = tokio::time::timeout(REFUSAL_TIME, refuse(stream, &text)).await;
                    drop(permit);
                });
            }
        }
    }
}

/// Writes an answer, and reads until the client closes: closing while it still sends would reset the connection and lose the answer.
async fn refuse(mut stream: TcpStream, text: &[u8]) -> io::Result<()> {
    stream.write_all(text).await?;
    stream.shutdown().await?;
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
    Ok(())
}

/// Serves a connection until it ends. `stream` carries plain HTTP; TLS is removed before.
async fn serve<S>(connections: Arc<Connections>, stream: S, peer: SocketAddr, listener: Listener)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (activity, progress) = (Activity::new(), Arc::new(Progress::default()));
    let service = service_fn(|request: Request<Incoming>| {
        let (app, answering, reading) = (Arc::clone(&connections.app), activity.begin_answer(), activity.begin_body());
        let request = request.map(|body| Guarded { body, _guard: reading });
        let share = connections.budget.take(app.client(peer, request.headers()));
        let (progress, activity) = (Arc::clone(&progress), Arc::clone(&activity));
        async move {
            // On HTTP/2 this part runs in the task of the stream.
            let watch = StreamWatch::current(&progress, &activity);
            let room = if share.is_ok() { RequestRoom::Free } else { RequestRoom::Full };
            if let Err(exceeded) = &share {
                app.metrics().http_refused.with_label_values(&[exceeded.as_str()]).inc();
            }
            let answer = web::handle(&app, (listener, room), request, peer).await;
            let guard = (answering, share);
            Ok::<_, Infallible>(answer.map(|body| Guarded { body: Watched::new(body, watch), _guard: guard }))
        }
    });
    let app = Arc::clone(&connections.app);
    let stream = Measured::new(stream, Arc::clone(&progress));
    let stream = Explaining::new(stream, Arc::clone(&activity), HEAD_TIMEOUT, move |status, protocol| {
        web::bad_request(&app, status, protocol, peer)
    });
    let connection = pin!(connections.http.serve_connection(TokioIo::new(stream), service));
    watch_over(&connections, connection, peer, &activity, &progress).await;
}

/// Drives a connection until it ends, or until it has to: because the server stops, or because the peer sends or takes nothing.
async fn watch_over<C: GracefulConnection<Error: std::fmt::Display>>(
    connections: &Connections,
    mut connection: Pin<&mut C>,
    peer: SocketAddr,
    activity: &Activity,
    progress: &Progress,
) {
    let stall = connections.app.stall();
    let mut stalled = pin!(progress.stalled(stall));
    let mut idle = pin!(activity.idle(stall * IDLE_STALLS));
    let mut first = pin!(tokio::time::sleep(HEAD_TIMEOUT));
    let mut closed = pin!(tokio::time::sleep(Duration::MAX));
    let (mut waiting, mut stopping, mut closing) = (true, false, false);
    loop {
        tokio::select! {
            ended = &mut connection => {
                if let Err(error) = ended {
                    tracing::debug!(http.request.remoteaddr = %peer, "connection ended: {error}");
                }
                return;
            }
            () = connections.cut.cancelled() => return,
            () = &mut stalled => return note_stalled(&connections.app, "connection"),
            // Hyper closes an idle connection of HTTP/1.1 itself, and leaves one of HTTP/2 open.
            () = &mut idle, if !closing => {
                closing = true;
                closed.set(tokio::time::sleep(stall));
                connection.as_mut().graceful_shutdown();
            }
            () = &mut closed, if closing => return,
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

/// Counts a connection or a stream whose peer took nothing, and tells the log.
fn note_stalled(app: &App, what: &'static str) {
    app.metrics().http_stalled.with_label_values(&[what]).inc();
    tracing::info!(what, stall = ?app.stall(), "a client read nothing of an answer for the time in http.stall, and was given up");
}
