//! Builds every part of the server once and connects them.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::banner;
use super::reload::Reload;
use crate::auth::Gate;
use crate::cli::logging;
use crate::cli::outcome::ErrorMessage;
use crate::cli::settings::{ROOT_KEY, Settings, degraded, unwritable};
use crate::config::LogFormat;
use crate::metrics::Metrics;
use crate::registry::{self, FULL_DISK, Registry};
use crate::server::Server;
use crate::store::Store;
use crate::sys::disk::Lacks;
use crate::sys::{Machine, Tasks, blocking, raise_descriptor_limit};
use crate::web::{AccessLog, App, Listener, Parts};

/// Work that must not stop halfway, such as storing a verified blob, goes on after the last request. It may take the rest of
/// `http.draintimeout`, and always at least this time.
const LAST_TASKS: Duration = Duration::from_secs(1);

/// Runs the server until a signal stops it. `path` is the configuration file that the command line names.
pub(in crate::cli) async fn run(path: Option<PathBuf>) -> Result<(), ErrorMessage> {
    // A hangup before the server runs is handled once it does.
    let unhandled = |error| ErrorMessage(format!("cannot handle signals: {error}"));
    let hangups = signal(SignalKind::hangup()).map_err(unhandled)?;
    let settings = Settings::load(path.as_deref()).await?;
    let (_log, level) = logging::start(&settings.config().log).map_err(ErrorMessage)?;
    for warning in settings.warnings() {
        tracing::warn!("{warning}");
    }
    // The banner goes to standard output, and this line to the log, which may be all that is kept.
    tracing::info!(configuration = settings.described_source(), "the configuration was read");
    let (machine, metrics) = (Machine::system(), Arc::new(Metrics::new()));
    let (stop, abort) = stop_signals(&machine.tasks).map_err(unhandled)?;
    let config = settings.config();
    let store = prepared_store(&settings, &machine, &metrics).await?;
    let descriptors = raise_descriptor_limit();
    tracing::debug!(descriptors, "the limit of open files");
    // The port is opened first: a port in use is the most common mistake, and early clients wait instead of being refused.
    let server = Server::bind(&config.http, descriptors).await.map_err(ErrorMessage::new)?;
    let registry = registry::open(config, store.clone(), machine.clone(), Arc::clone(&metrics))
        .await
        .map_err(ErrorMessage::new)?;
    let app = build_app(&settings, &registry, &machine, metrics).await?;
    registry::start_jobs(&registry, config);
    announce(&settings, &server);
    let reload = Reload { path, running: config.clone(), level, registry, store, app: Arc::clone(&app) };
    machine.tasks.spawn(reload.follow(hangups));
    let (clock, stopped) = (machine.clock.clone(), OnceLock::new());
    let stopping = async {
        stop.cancelled().await;
        stopped.get_or_init(|| clock.moment());
    };
    tokio::select! {
        () = server.run(app, &machine.tasks, stopping) => {}
        () = abort.cancelled() => tracing::warn!("stopped by a second signal; running requests were cut"),
    }
    let spent = stopped.get().map_or(Duration::ZERO, |at| clock.since(*at));
    let left = config.http.drain_timeout.saturating_sub(spent).max(LAST_TASKS);
    tokio::select! {
        () = machine.tasks.shut_down() => {}
        () = abort.cancelled() => {}
        () = tokio::time::sleep(left) => {
            tracing::warn!("the disk did not finish running writes in time; stopped without them");
        }
    }
    tracing::info!("stopped");
    Ok(())
}

/// Returns the store, ready to be written to.
async fn prepared_store(settings: &Settings, machine: &Machine, metrics: &Metrics) -> Result<Store, ErrorMessage> {
    let store = settings.store(machine.clock.clone());
    match store.prepare().await {
        Ok(lacks) => report_lacks(settings, &store, lacks, metrics),
        // A full disk does not stop the server: stored content can be served, and cached content can be removed.
        Err(error) if error.is_full() => {
            tracing::warn!(%error, "{FULL_DISK}")
        }
        Err(error) => return Err(ErrorMessage(format!("{} {}", ROOT_KEY.join("."), unwritable(&store, &error)))),
    }
    Ok(store)
}

/// Tells what the file systems of the store lack.
fn report_lacks(settings: &Settings, store: &Store, lacks: Lacks, metrics: &Metrics) {
    let Lacks { locks, directory_sync, one_disk } = lacks;
    for (ability, lacking) in [("locks", locks), ("directory_sync", directory_sync), ("one_disk", one_disk)] {
        metrics.storage_lacks.with_label_values(&[ability]).set(lacking.into());
    }
    for message in degraded(store, lacks) {
        // The directories may not have existed when the settings were checked. Otherwise a warning has said this.
        if !settings.warnings().iter().any(|warning| warning.message().contains(&message)) {
            tracing::warn!("{} {message}", ROOT_KEY.join("."));
        }
    }
}

async fn build_app(
    settings: &Settings,
    registry: &Arc<Registry>,
    machine: &Machine,
    metrics: Arc<Metrics>,
) -> Result<Arc<App>, ErrorMessage> {
    let config = settings.config();
    let (auth, clock, counted) = (config.auth.clone(), machine.clock.clone(), Arc::clone(&metrics));
    let gate = blocking(move || Gate::new(auth.as_ref(), clock, counted)).await;
    let gate = gate.map_err(|error| ErrorMessage(format!("{}: {error}", settings.source)))?;
    let app = App::new(Parts {
        registry: Arc::clone(registry),
        gate,
        metrics,
        machine: machine.clone(),
        http: config.http.clone(),
        names: config.own_names(),
        access_log: if config.log.access { AccessLog::All } else { AccessLog::Failures },
    });
    Ok(Arc::new(app.map_err(ErrorMessage::new)?))
}

/// Prints the banner. If the log is JSON, standard output is read by programs too, so the banner goes into the log.
fn announce(settings: &Settings, server: &Server) {
    let mut lines = match server.addr(Listener::Main) {
        Some(address) => banner::lines(settings, address),
        None => Vec::new(),
    };
    if let Some(address) = server.addr(Listener::Debug) {
        lines.push(format!("  debug    http://{address}"));
    }
    for line in lines {
        match settings.config().log.formatter {
            // Standard output may be closed already. That must not stop the server.
            LogFormat::Text => drop(writeln!(std::io::stdout(), "{line}")),
            LogFormat::Json => tracing::info!("{}", line.trim()),
        }
    }
    let notices = server.addr(Listener::Main).map(|address| banner::notices(settings, address)).unwrap_or_default();
    for line in notices {
        match settings.config().log.formatter {
            LogFormat::Text => drop(writeln!(std::io::stdout(), "{line}")),
            LogFormat::Json => tracing::warn!(target: logging::NOTICE, "{}", line.trim()),
        }
    }
}

/// Returns two tokens: the first is cancelled by the first SIGTERM or SIGINT, the second by the second signal.
fn stop_signals(tasks: &Tasks) -> std::io::Result<(CancellationToken, CancellationToken)> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (stop, abort) = (CancellationToken::new(), CancellationToken::new());
    let tokens = [stop.clone(), abort.clone()];
    tasks.spawn(async move {
        for token in tokens {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::info!("stopping; running requests may finish, a second signal cuts them");
            token.cancel();
        }
    });
    Ok((stop, abort))
}
