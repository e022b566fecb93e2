//! `entrepot check`: validates a configuration without starting the server.

use std::path::Path;
use std::sync::Arc;

use super::outcome::CommandError;
use super::output::{Output, remark, say};
use super::settings::{Settings, examine, read};
use crate::config::{self, Draft, Problem};
use crate::metrics::Metrics;
use crate::registry::examine_upstreams;
use crate::sys::Machine;

/// The output of `check` besides the mistakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Show {
    Nothing,
    /// The effective configuration, with secrets masked.
    Effective,
}

/// Prints the JSON Schema of configurations.
pub(super) fn print_schema() -> Result<(), CommandError> {
    let mut output = Output::new();
    output.text(&config::json_schema())?;
    output.flush()
}

/// Reports every mistake in a configuration, in the files that it names, and in how it fits the store on the disk.
pub(super) async fn run(path: Option<&Path>, show: Show) -> Result<(), CommandError> {
    let (source, mut draft) = read(path).await?;
    if show == Show::Effective {
        // The configuration is printed as written, before it is adapted to the store. If a value is wrong, nothing is printed.
        let mut output = Output::new();
        output.text(&draft.print().unwrap_or_default())?;
        output.flush()?;
    }
    let hidden = examine(&mut draft, None).await;
    try_upstreams(&mut draft).await;
    match Settings::settle(source.clone(), draft, &hidden) {
        Ok(settings) => {
            report(settings.warnings(), &[], &settings.notes);
            if show == Show::Nothing {
                say(format!("{source} is valid"))?;
            }
            Ok(())
        }
        Err(problems) => {
            report(problems.warnings(), problems.problems(), &[]);
            Err(CommandError::Reported)
        }
    }
}

/// Builds the clients for all upstreams, as `serve` does. This is the last check: it needs a configuration that is right
/// otherwise.
async fn try_upstreams(draft: &mut Draft) {
    let Some(config) = draft.config().filter(|_| draft.is_valid()).cloned() else { return };
    if let Err(error) = examine_upstreams(&config, &Machine::system(), &Arc::new(Metrics::new())).await {
        for line in error.to_string().lines() {
            draft.error(&["mirror"], &format!("cannot be used: {line}"));
        }
    }
}

/// Prints one line for each problem, in the format of compilers, which editors understand. The last line counts them.
fn report(warnings: &[Problem], mistakes: &[Problem], notes: &[String]) {
    for warning in warnings {
        remark(format!("{}: warning: {}", warning.location(), warning.message()));
    }
    for note in notes {
        remark(format!("note: {note}"));
    }
    for mistake in mistakes {
        remark(mistake);
    }
    let counts = [(mistakes.len(), "mistake"), (warnings.len(), "warning")];
    let counted: Vec<String> =
        counts.iter().filter(|(count, _)| *count > 0).map(|(count, word)| counted(*count, word)).collect();
    if !counted.is_empty() {
        remark(counted.join(", "));
    }
}

fn counted(count: usize, word: &str) -> String {
    if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") }
}
