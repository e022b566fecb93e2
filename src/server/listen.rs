//! The server: its listening sockets and the accept loops.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpListener;

use super::address::{self, BindError};
use super::connection::{self, Connections};
use crate::config;
use crate::sys::Tasks;
use crate::web::{App, Listener};

/// The bytes that the kernel keeps for a client that does not take them. With its default of some MiB, the server would notice the progress
/// of a slow client only once in minutes.
const UNSENT_BYTES: u32 = 128 << 10;
/// The pause of accepting after an error that will not pass at once.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// A server that listens but does not accept yet. Clients that connect now wait.
#[derive(Debug)]
pub struct Server {
    sockets: Vec<ListeningSocket>,
    /// The descriptors that the process may have.
    descriptors: u64,
    drain_timeout: Duration,
}

#[derive(Debug)]
struct ListeningSocket {
    socket: TcpListener,
    addr: SocketAddr,
    listener: Listener,
}

impl Server {
    /// Binds the configured addresses, for a process that may have this many descriptors. The error names the address and the remedy.
    pub async fn bind(http: &config::Http, descriptors: u64) -> Result<Self, BindError> {
        let mut sockets = vec![ListeningSocket::bind(&http.addr, Listener::Main).await?];
        if let Some(debug) = &http.debug {
            sockets.push(ListeningSocket::bind(&debug.addr, Listener::Debug).await?);
        }
        Ok(Self { sockets, descriptors, drain_timeout: http.drain_timeout })
    }

    /// Returns the address of a listener, or `None` if it is not configured. With port 0 the system chose the port.
    pub fn addr(&self, listener: Listener) -> Option<SocketAddr> {
        self.sockets.iter().find(|socket| socket.listener == listener).map(|socket| socket.addr)
    }

    /// Serves until `stop` is ready. Then stops accepting, lets running requests finish for the drain timeout, cuts the rest, and
    /// returns.
    pub async fn run(self, app: Arc<App>, tasks: &Tasks, stop: impl Future<Output = ()>) {
        let connections = Arc::new(Connections::new(app, tasks.clone(), self.descriptors));
        for socket in self.sockets {
            connections.spawn(socket.accept(Arc::clone(&connections)));
        }
        stop.await;
        if !connections.finish(self.drain_timeout).await {
            tracing::warn!(
                "requests that were still running after {:?} were cut; http.draintimeout gives them more time",
                self.drain_timeout
            );
        }
    }
}

impl ListeningSocket {
    async fn bind(written: &str, listener: Listener) -> Result<Self, BindError> {
        let socket = address::bind(written, listener).await?;
        let addr = socket.local_addr().map_err(|error| BindError::new(written, listener, error))?;
        Ok(Self { socket, addr, listener })
    }

    /// Accepts connections until the server stops.
    async fn accept(self, connections: Arc<Connections>) {
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                () = connections.stopping() => return,
            };
            match accepted {
                Ok((stream, peer)) => {
                    // These fail only if the connection has ended, which the first read reports.
                    let _ = stream.set_nodelay(true);
                    let _ = SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT_BYTES);
                    // On a socket for both families, an IPv4 client has an IPv6 address that contains its own.
                    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                    connection::accept(&connections, stream, peer, self.listener);
                }
                Err(error) => pause_after(&error).await,
            }
        }
    }
}

/// Pauses after an error of accepting. A connection that ended before it was accepted needs no pause. If file descriptors are
/// exhausted, only time helps.
async fn pause_after(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    if matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted) {
        return;
    }
    tracing::error!(
        "cannot accept connections: {error}; if the limit of open files is reached, raise it (LimitNOFILE, ulimit -n)"
    );
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

#[cfg(test)]
mod tests;
