//! Tells whether a request opened a connection of its own. One that did not went over a reused connection.
//!
//! The HTTP library does not report this before a response arrives. It calls its connector only if its pool holds no
//! idle connection, and it does so while it is polled by the task of the request. So the connector finds the request in
//! a value of that task.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tower_layer::Layer;
use tower_service::Service;

tokio::task_local! {
    static DIAL: Arc<Dial>;
}

/// Records how far one request has come with a connection of its own.
#[derive(Debug, Default)]
pub(super) struct Dial {
    began: AtomicBool,
    connected: AtomicBool,
}

impl Dial {
    /// Runs a request, and records the connection that it opens.
    pub(super) async fn watch<T>(self: &Arc<Self>, sending: impl Future<Output = T>) -> T {
        DIAL.scope(Arc::clone(self), sending).await
    }

    /// Returns true if the request goes over a connection that was opened for an earlier one.
    pub(super) fn is_reused(&self) -> bool {
        !self.began.load(Ordering::Relaxed)
    }

    /// Returns true if the request has opened a connection.
    pub(super) fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }
}

/// Wraps the connector of the HTTP library.
#[derive(Clone, Copy, Debug)]
pub(super) struct DialLayer;

/// A connector that records its calls in the [`Dial`] of the request.
#[derive(Clone, Debug)]
pub(super) struct WatchedConnector<C>(C);

impl<C> Layer<C> for DialLayer {
    type Service = WatchedConnector<C>;

    fn layer(&self, connector: C) -> Self::Service {
        WatchedConnector(connector)
    }
}

impl<C, A> Service<A> for WatchedConnector<C>
where
    C: Service<A>,
    C::Future: Send + 'static,
{
    type Response = C::Response;
    type Error = C::Error;
    type Future = Pin<Box<dyn Future<Output = Result<C::Response, C::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), C::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, address: A) -> Self::Future {
        // Without a value, the caller does not ask for the record.
        let dial = DIAL.try_with(Arc::clone).ok();
        if let Some(dial) = &dial {
            dial.began.store(true, Ordering::Relaxed);
        }
        let connecting = self.0.call(address);
        Box::pin(async move {
            let connection = connecting.await?;
            if let Some(dial) = &dial {
                dial.connected.store(true, Ordering::Relaxed);
            }
            Ok(connection)
        })
    }
}
