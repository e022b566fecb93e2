//! `entrepot serve`: everything is built here, once, and put together.

use std::io::Write as _;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::settings::{Settings, Trouble};
use super::storage_root::{ROOT_KEY, unwritable};
use super::{logging, welcome};
use crate::auth::Gate;
use crate::config::LogFormat;
use crate::metrics::Metrics;
use crate::registry::{Machine, Registry};
use crate::server::Server;
use crate::sys::{Clock, Tasks, blocking};
use crate::web::{AccessLog, App, Listener, Parts};

/// Runs the server until it is told to stop.
pub(super) async fn run(settings: Settings) -> Result<(), Trouble> {
    logging::start(&settings.config().log).map_err(Trouble)?;
    for warning in settings.warnings() {
        tracing::warn!("{warning}");
    }
    let machine = Machine { clock: Clock::system(), tasks: Tasks::new(), metrics: Arc::new(Metrics::new()) };
    let (stop, end) =
        stop_signals(&machine.tasks).map_err(|error| Trouble(format!("signals cannot be handled: {error}")))?;
    let config = settings.config().clone();
    let store = settings.store(machine.clock.clone());
    match store.prepare().await {
        // What is held can still be served, and what is cached can go.
        Err(error) if error.is_full() => {
            tracing::warn!(%error, "the disk is full: nothing can be stored until there is room")
        }
        prepared => {
            prepared.map_err(|error| Trouble(format!("{} {}", ROOT_KEY.join("."), unwritable(&store, &error))))?
        }
    }
    // Listens before it builds the rest: a port that is taken is the commonest mistake, and clients that come early wait.
    let server = Server::bind(&config.http).await.map_err(Trouble::new)?;
    let registry = Registry::open(&config, store, machine.clone()).await.map_err(Trouble::new)?;
    let (auth, clock, metrics) = (config.auth.clone(), machine.clock.clone(), Arc::clone(&machine.metrics));
    let gate = blocking(move || Gate::new(auth.as_ref(), clock, metrics)).await;
    let gate = gate.map_err(|error| Trouble(format!("{}: {error}", settings.source)))?;
    let app = App::new(Parts {
        registry: Arc::clone(&registry),
        gate,
        metrics: machine.metrics,
        clock: machine.clock,
        tasks: machine.tasks.clone(),
        http: config.http.clone(),
        access_log: if config.log.access { AccessLog::All } else { AccessLog::Failures },
    });
    let app = Arc::new(app.map_err(Trouble::new)?);
    registry.start();
    announce(&settings, &server);
    tokio::select! {
        () = server.run(app, &machine.tasks, stop.cancelled_owned()) => {}
        () = end.cancelled() => tracing::warn!("stopped at once: running requests were cut"),
    }
    machine.tasks.shut_down().await;
    tracing::info!("stopped");
    Ok(())
}

/// Says where it listens and what it does: to the terminal, or, where lines are read by machines, in their form.
fn announce(settings: &Settings, server: &Server) {
    let mut lines = match server.addr(Listener::Main) {
        Some(address) => welcome::lines(settings, address),
        None => Vec::new(),
    };
    if let Some(address) = server.addr(Listener::Debug) {
        lines.push(format!("  debug    http://{address}"));
    }
    for line in lines {
        match settings.config().log.formatter {
            // Who started it may have stopped reading.
            LogFormat::Text => drop(writeln!(std::io::stdout(), "{line}")),
            LogFormat::Json => tracing::info!("{}", line.trim()),
        }
    }
}

/// Cancelled at the first SIGTERM or SIGINT, and at the second.
fn stop_signals(tasks: &Tasks) -> std::io::Result<(CancellationToken, CancellationToken)> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (stop, end) = (CancellationToken::new(), CancellationToken::new());
    let tokens = [stop.clone(), end.clone()];
    tasks.spawn(async move {
        for token in tokens {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::info!("stopping: running requests may finish; a second signal cuts them");
            token.cancel();
        }
    });
    Ok((stop, end))
}
