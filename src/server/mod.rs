//! Sockets: where the server listens, how connections are served, and how it stops.
//!
//! Floor 6. May import floors 0–2 and `web`. It knows no routes and no repositories.

mod address;
mod connection;
mod unread;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

pub use address::BindError;

use self::connection::Connections;
use crate::config;
use crate::sys::Tasks;
use crate::web::{App, Listener};

/// How long running transfers may take to finish where `http.draintimeout` does not say.
const DRAIN: Duration = Duration::from_secs(10);
/// How long accepting rests after an error that will not pass at once.
const ACCEPT_REST: Duration = Duration::from_secs(1);

/// A server that listens, and does not serve yet: clients that come now wait.
#[derive(Debug)]
pub struct Server {
    doors: Vec<Door>,
    drain: Duration,
}

#[derive(Debug)]
struct Door {
    socket: TcpListener,
    addr: SocketAddr,
    listener: Listener,
}

impl Server {
    /// Listens where the configuration says. The error names the address and what to do.
    pub async fn bind(http: &config::Http) -> Result<Self, BindError> {
        let mut doors = vec![Door::bind(&http.addr, Listener::Main).await?];
        if let Some(debug) = &http.debug {
            doors.push(Door::bind(&debug.addr, Listener::Debug).await?);
        }
        let drain = if http.drain_timeout.is_zero() { DRAIN } else { http.drain_timeout };
        Ok(Self { doors, drain })
    }

    /// The address that a listener got, which a port 0 leaves to the system. `None` where it is not configured.
    pub fn addr(&self, listener: Listener) -> Option<SocketAddr> {
        self.doors.iter().find(|door| door.listener == listener).map(|door| door.addr)
    }

    /// Serves until `stop` is ready; then accepts nobody, lets running requests finish, for so long and no longer, and returns.
    pub async fn run(self, app: Arc<App>, tasks: &Tasks, stop: impl Future<Output = ()>) {
        let connections = Arc::new(Connections::new(app, tasks.clone()));
        for door in self.doors {
            connections.spawn(door.accept(Arc::clone(&connections)));
        }
        stop.await;
        if !connections.finish(self.drain).await {
            tracing::warn!(
                "requests still running after {:?} were cut; http.draintimeout gives them longer",
                self.drain
            );
        }
    }
}

impl Door {
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
                    // Fails only for a connection that is gone already, which reading finds out.
                    let _ = stream.set_nodelay(true);
                    // An IPv4 client of a socket for both families is called by its IPv4 address.
                    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                    connections.spawn(connection::serve(Arc::clone(&connections), stream, peer, self.listener));
                }
                Err(error) => rest_after(&error).await,
            }
        }
    }
}

/// A client that is gone before it was accepted costs nothing; out of descriptors, only time helps.
async fn rest_after(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    if matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted) {
        return;
    }
    tracing::error!("cannot accept connections: {error}; if files are the limit, raise it (LimitNOFILE, ulimit -n)");
    tokio::time::sleep(ACCEPT_REST).await;
}

#[cfg(test)]
mod tests;
