//! Where to listen.

use std::io;
use std::net::Ipv4Addr;

use tokio::net::TcpListener;

use crate::web::Listener;

/// Why a listener cannot listen.
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
            io::ErrorKind::AddrInUse => "stop what is using the port (ss -ltnp shows it), or write another",
            io::ErrorKind::PermissionDenied => "ports below 1024 need CAP_NET_BIND_SERVICE; or write a higher one",
            io::ErrorKind::AddrNotAvailable => "this machine has no such address; :PORT listens on all that it has",
            _ => "write HOST:PORT or :PORT",
        };
        Self { addr: addr.to_owned(), key, advice, error }
    }
}

/// Listens on `HOST:PORT`; with an empty host on every address, of both families where the machine has both.
pub(super) async fn bind(written: &str, listener: Listener) -> Result<TcpListener, BindError> {
    let socket = match written.strip_prefix(':') {
        Some(port) => bind_everywhere(port).await,
        None => TcpListener::bind(written).await,
    };
    socket.map_err(|error| BindError::new(written, listener, error))
}

async fn bind_everywhere(port: &str) -> io::Result<TcpListener> {
    match TcpListener::bind(format!("[::]:{port}")).await {
        // A machine without IPv6: its own error says nothing about the port.
        Err(error) if !matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied) => {
            TcpListener::bind(format!("{}:{port}", Ipv4Addr::UNSPECIFIED)).await
        }
        bound => bound,
    }
}
