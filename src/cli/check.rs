//! `entrepot check`.

use std::path::Path;
use std::sync::Arc;

use super::Ended;
use super::output::{Output, remark, say};
use super::settings::{Settings, Trouble, read, unwritable};
use crate::auth;
use crate::metrics::Metrics;
use crate::registry::{Machine, examine_upstreams};
use crate::sys::{Clock, Tasks, blocking};

/// Validates a configuration, and whether it fits the store that is there; prints what it found.
pub(super) async fn run(path: Option<&Path>, print: bool) -> Result<(), Ended> {
    let settings = Settings::load(path).await?;
    for warning in settings.warnings() {
        remark(format!("warning: {warning}"));
    }
    for note in &settings.notes {
        remark(format!("note: {note}"));
    }
    if print {
        // What the operator wrote, before it was fitted to the store.
        let mut output = Output::new();
        output.text(&read(path).await?.1.print())?;
        return output.flush();
    }
    if let Some(auth) = settings.config().auth.clone() {
        let examined = blocking(move || auth::examine(&auth)).await;
        examined.map_err(|error| Trouble(format!("{}: {error}", settings.source)))?;
    }
    let machine = Machine { clock: Clock::system(), tasks: Tasks::new(), metrics: Arc::new(Metrics::new()) };
    let examined = examine_upstreams(settings.config(), &machine).await;
    examined.map_err(|error| Trouble(format!("{}: {error}", settings.source)))?;
    let store = settings.store(machine.clock);
    if store.exists().await {
        store.probe().await.map_err(|error| unwritable(&store, &error))?;
    }
    say(format!("{} is right", settings.source))
}
