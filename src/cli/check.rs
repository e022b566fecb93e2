//! `entrepot check`.

use std::path::Path;
use std::sync::Arc;

use super::Ended;
use super::examine::examine;
use super::output::{Output, remark, say};
use super::settings::{Settings, read};
use crate::config::{self, Draft, Problem};
use crate::metrics::Metrics;
use crate::registry::{Machine, examine_upstreams};
use crate::sys::{Clock, Tasks};

/// What is printed besides what is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Show {
    Nothing,
    /// The effective configuration, secrets masked.
    Effective,
}

/// Prints the JSON Schema of configurations.
pub(super) fn schema() -> Result<(), Ended> {
    let mut output = Output::new();
    output.text(&config::json_schema())?;
    output.flush()
}

/// Finds every mistake in a configuration, in the files that it names, and in how it fits the store that is there.
pub(super) async fn run(path: Option<&Path>, show: Show) -> Result<(), Ended> {
    let (source, mut draft) = read(path).await?;
    if show == Show::Effective {
        // What is asked for, before it is fitted to what the store holds. With a mistake in a value there is nothing effective.
        let mut output = Output::new();
        output.text(&draft.print().unwrap_or_default())?;
        output.flush()?;
    }
    let hidden = examine(&mut draft).await;
    connect(&mut draft).await;
    match Settings::settle(source.clone(), draft, &hidden) {
        Ok(settings) => {
            tell(settings.warnings(), &[], &settings.notes);
            if show == Show::Nothing {
                say(format!("{source} is right"))?;
            }
            Ok(())
        }
        Err(problems) => {
            tell(problems.warnings(), problems.problems(), &[]);
            Err(Ended::Told)
        }
    }
}

/// Builds everything that `serve` builds of upstreams: the last word, where nothing else was wrong.
async fn connect(draft: &mut Draft) {
    let Some(config) = draft.config().filter(|_| draft.is_right()).cloned() else { return };
    let machine = Machine { clock: Clock::system(), tasks: Tasks::new(), metrics: Arc::new(Metrics::new()) };
    if let Err(error) = examine_upstreams(&config, &machine).await {
        for line in error.to_string().lines() {
            draft.error(&["mirror"], &format!("cannot be used: {line}"));
        }
    }
}

/// One line for each, in the form of compilers, which editors understand; and how many.
fn tell(warnings: &[Problem], mistakes: &[Problem], notes: &[String]) {
    for warning in warnings {
        remark(format!("{}: warning: {}", warning.place(), warning.message()));
    }
    for note in notes {
        remark(format!("note: {note}"));
    }
    for mistake in mistakes {
        remark(mistake);
    }
    let counts = [(mistakes.len(), "mistake"), (warnings.len(), "warning")];
    let counted: Vec<String> = counts.iter().filter(|(count, _)| *count > 0).map(|(n, word)| many(*n, word)).collect();
    if !counted.is_empty() {
        remark(counted.join(", "));
    }
}

fn many(count: usize, word: &str) -> String {
    if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") }
}
