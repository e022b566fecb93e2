//! Binding the configured addresses.

use std::io;
use std::net::Ipv4Addr;

use tokio::net::TcpListener;

use crate::web::Listener;

/// A configured address that cannot be bound, and the remedy.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {addr} ({key}): {error}; {advice}")]
pub struct BindError {
    addr: String,
    key: &'static str,
    advice: &'static str,
    #[source]
    error: io::Error,
}

impl BindError {
    pub(super) fn new(addr: &str, listener: Listener, error: io::Error) -> Self {
        let key = match listener {
            Listener::Main => "http.addr",
            Listener::Debug => "http.debug.addr",
        };
        let advice = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "stop the process that uses the port (ss -ltnp shows it), or write another port"
            }
            io::ErrorKind::PermissionDenied => {
                "a port below 1024 needs CAP_NET_BIND_SERVICE; write a higher port, or grant it"
            }
            io::ErrorKind::AddrNotAvailable => "this machine has no such address; :PORT listens on all addresses",
            _ => "write HOST:PORT or :PORT",
        };
        Self { addr: addr.to_owned(), key, advice, error }
    }
}

/// Binds `HOST:PORT`. An empty host binds every address, of both families if the machine has both.
pub(super) async fn bind(written: &str, listener: Listener) -> Result<TcpListener, BindError> {
    let socket = match written.strip_prefix(':') {
        Some(port) => bind_everywhere(port).await,
        None => TcpListener::bind(written).await,
    };
    socket.map_err(|error| BindError::new(written, listener, error))
}

async fn bind_everywhere(port: &str) -> io::Result<TcpListener> {
    match TcpListener::bind(format!("[::]:{port}")).await {
        // On a machine without IPv6 this error says nothing about the port, so IPv4 is tried.
        Err(error) if !matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied) => {
            TcpListener::bind(format!("{}:{port}", Ipv4Addr::UNSPECIFIED)).await
        }
        bound => bound,
    }
}
