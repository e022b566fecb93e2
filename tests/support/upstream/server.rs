//! The sockets of the test upstream: listening, closing, cutting, and one task for each connection.

use std::convert::Infallible;
use std::net::{Shutdown, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc as commands;
use tokio::task::JoinSet;

use super::super::line::{Line, ThroughNat};
use super::answers::handle;
use super::{Command, SEND_BUFFER, State};

pub(super) async fn serve(
    state: Arc<State>,
    listeners: [TcpListener; 2],
    mut commands: commands::UnboundedReceiver<Command>,
) {
    let mut listeners = Some(listeners);
    loop {
        let [registry, cdn] = listeners.take().unwrap().map(|listener| {
            listener.set_nonblocking(true).unwrap();
            tokio::net::TcpListener::from_std(listener).unwrap()
        });
        let mut connections = JoinSet::new();
        let command = loop {
            let stream = tokio::select! {
                command = commands.recv() => break command,
                accepted = registry.accept() => accepted.unwrap().0,
                accepted = cdn.accept() => accepted.unwrap().0,
            };
            connections.spawn(connection(Arc::clone(&state), stream));
        };
        let refusing = [registry, cdn].map(refuse);
        connections.shutdown().await;
        let mut command = command;
        loop {
            match command {
                None => return,
                Some(Command::Gone(done)) => done.send(()).unwrap(),
                Some(Command::Back(done)) => {
                    refusing.iter().for_each(|listener| SockRef::from(listener).listen(1024).unwrap());
                    listeners = Some(refusing);
                    done.send(()).unwrap();
                    break;
                }
            }
            command = commands.recv().await;
        }
    }
}

/// Makes a listener refuse connections and keep its port. To close it would not suffice: a process that another test is just
/// starting has a copy of it, which accepts connections until the process executes its program.
fn refuse(listener: tokio::net::TcpListener) -> TcpListener {
    let listener = listener.into_std().unwrap();
    SockRef::from(&listener).shutdown(Shutdown::Read).unwrap();
    listener
}

async fn connection(state: Arc<State>, stream: TcpStream) {
    // By default the kernel buffers megabytes, so sent bytes would differ from received bytes by that.
    SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER).unwrap();
    state.opened.fetch_add(1, Ordering::SeqCst);
    let stream = ThroughNat::new(stream, state.nat.lock().unwrap().clone());
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
