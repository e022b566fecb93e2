//! SIGHUP reads the configuration again, and takes over what can be changed while the server runs.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::signal::unix::Signal;

use crate::cli::logging::RunningLevel;
use crate::cli::settings::Settings;
use crate::config::{Config, Log, LogLevel};
use crate::registry::{self, Registry};
use crate::store::Store;
use crate::web::App;

/// The parts of the running server that a reload changes.
pub(super) struct Reload {
    /// The configuration file that the command line names.
    pub(super) path: Option<PathBuf>,
    /// The configuration as it is in force.
    pub(super) running: Config,
    pub(super) level: RunningLevel,
    pub(super) registry: Arc<Registry>,
    pub(super) store: Store,
    pub(super) app: Arc<App>,
}

impl Reload {
    /// Reloads at each signal.
    pub(super) async fn follow(mut self, mut hangups: Signal) {
        while hangups.recv().await.is_some() {
            self.reload().await;
        }
    }

    async fn reload(&mut self) {
        tracing::info!("SIGHUP: the configuration is read again");
        self.app.reload_users().await;
        let settings = match Settings::load_beside(self.path.as_deref(), Some(&self.store)).await {
            Ok(settings) => settings,
            Err(error) => return refuse(&error.to_string()),
        };
        for warning in settings.warnings() {
            tracing::warn!("{warning}");
        }
        let new = settings.config();
        if let Err(error) = registry::reload(&self.registry, new).await {
            return refuse(&error.to_string());
        }
        self.level.set(new.log.level);
        let restart = needs_restart(&self.running, new);
        self.running.log.level = new.log.level;
        if restart.is_empty() {
            tracing::info!("the configuration was read again and is in force");
        } else {
            let keys = restart.join(", ");
            tracing::warn!(
                keys,
                "the configuration was read again; changes of these keys need a restart, the others are in force"
            );
        }
    }
}

/// Logs each mistake. The running configuration stays.
fn refuse(mistakes: &str) {
    for mistake in mistakes.lines() {
        tracing::error!(mistake, "the configuration was not read again, and the former one stays in force");
    }
}

/// Returns the keys whose changes a running server does not take over.
fn needs_restart(running: &Config, new: &Config) -> Vec<&'static str> {
    let log = |config: &Config| format!("{:?}", Log { level: LogLevel::Info, ..config.log.clone() });
    let text = |part: fn(&Config) -> String| (part(running), part(new));
    let parts = [
        ("http", text(|config| format!("{:?}", config.http))),
        ("storage", text(|config| format!("{:?}", config.storage))),
        ("auth", text(|config| format!("{:?}", config.auth))),
        ("health", text(|config| format!("{:?}", config.health))),
        ("validation", text(|config| format!("{:?}", config.validation))),
        ("log", (log(running), log(new))),
        ("mirror.names", text(|config| format!("{:?}", config.mirror.names))),
        ("mirror.fill", text(|config| format!("{:?}", config.mirror.fill))),
        ("mirror.link", text(|config| format!("{:?}", config.mirror.link))),
        ("mirror.follow", text(|config| format!("{:?}", config.mirror.follow))),
        ("mirror.prefetch", text(|config| format!("{:?}", config.mirror.prefetch))),
    ];
    parts.iter().filter(|(_, (running, new))| running != new).map(|(key, _)| *key).collect()
}
