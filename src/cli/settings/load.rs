//! The configuration that `serve` uses, adapted to the store that it finds.

use std::path::Path;

use super::examine::examine;
use super::file::{BUILT_IN, PLACES, read};
use super::hidden::reconcile;
use crate::cli::outcome::ErrorMessage;
use crate::config::{Config, Draft, Loaded, Problem, Problems};
use crate::oci::RepositoryName;
use crate::store::Store;
use crate::sys::Clock;

/// A configuration without mistakes, adapted to the store.
pub(in crate::cli) struct Settings {
    /// The path of the configuration, or the name of the built-in one.
    pub source: String,
    loaded: Loaded,
    /// Notes for the user about how the configuration was adapted to the store.
    pub notes: Vec<String>,
}

impl Settings {
    /// Finds, reads and validates the configuration and the files that it names, and adapts it to the store.
    pub(in crate::cli) async fn load(path: Option<&Path>) -> Result<Self, ErrorMessage> {
        Self::load_beside(path, None).await
    }

    /// Does the same while a server uses the store `running`. The server has named the store's bad entries already.
    pub(in crate::cli) async fn load_beside(
        path: Option<&Path>,
        running: Option<&Store>,
    ) -> Result<Self, ErrorMessage> {
        let (source, mut draft) = read(path).await?;
        let hidden = examine(&mut draft, running).await;
        Ok(Self::settle(source, draft, &hidden)?)
    }

    /// Adapts a configuration to a store in which the mirror would hide the repositories `hidden`. Returns an error if the
    /// configuration has mistakes.
    pub(in crate::cli) fn settle(source: String, draft: Draft, hidden: &[RepositoryName]) -> Result<Self, Problems> {
        let mut loaded = draft.conclude()?;
        let notes = if hidden.is_empty() { None } else { Some(reconcile(&mut loaded.config, hidden)) };
        Ok(Self { source, loaded, notes: notes.into_iter().collect() })
    }

    /// Returns the configuration file, or the statement that there is none.
    pub(in crate::cli) fn described_source(&self) -> String {
        if self.source == BUILT_IN {
            format!("the built-in one, since none of {} exists", PLACES.join(", "))
        } else {
            self.source.clone()
        }
    }

    pub(in crate::cli) fn config(&self) -> &Config {
        &self.loaded.config
    }

    pub(in crate::cli) fn warnings(&self) -> &[Problem] {
        &self.loaded.warnings
    }

    /// Returns the store that the configuration names. Nothing on the disk is touched yet.
    pub(in crate::cli) fn store(&self, clock: Clock) -> Store {
        Store::new(&self.config().storage.root, clock)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DEFAULT, SourceText};

    #[test]
    fn source_is_a_file_or_the_statement_that_there_is_none() {
        let described = |source: &str| {
            let text = SourceText { name: source.to_owned(), text: DEFAULT, built_in: source == BUILT_IN };
            let draft = Draft::read(text, &[], &|_| Ok(String::new()));
            Settings::settle(source.to_owned(), draft, &[]).unwrap().described_source()
        };
        assert_eq!(described("/etc/entrepot/config.yml"), "/etc/entrepot/config.yml");
        assert!(described(BUILT_IN).starts_with("the built-in one, since none of /etc/entrepot/config.yml, "));
    }
}
