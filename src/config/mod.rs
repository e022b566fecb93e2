//! Configuration: YAML and environment into values that cannot be wrong.
//!
//! Floor 1. May import `oci`. The only place that knows YAML. Touches no file: it takes text, and asks a closure for secrets.
//! The road: `parse` (YAML into a `tree` with places) → `environment` (`REGISTRY_*` over it) → `check` (against `schema`) →
//! `read`, `mirror`, `prefetch` (values), `conflict` (contradictions), `doubt` (what works and is not meant). Every mistake is
//! gathered on the way, none hides the next; a [`Draft`] takes those too that are found above, behind the keys that name files.

mod address;
mod at;
mod check;
mod conflict;
mod doubt;
mod environment;
mod json_schema;
mod mirror;
mod parse;
mod prefetch;
mod print;
mod problem;
mod read;
mod reference;
mod scalar;
mod schema;
mod tree;
mod values;

#[cfg(test)]
mod tests;

pub use prefetch::TimeOfDay;
pub use problem::{Problem, Problems};
pub use values::{
    Cache, Config, Connections, Credentials, Debug, Delete, Fill, Health, Helper, Htpasswd, Http, Identity, Log,
    LogFormat, LogLevel, Login, Mirror, MirrorOrigin, Prefetch, RootOrigin, Secret, Sparse, Stale, Storage,
    StorageCheck, Trust, Unattended, Upstream, Validation,
};

use std::path::{Path, PathBuf};
use std::sync::Arc;

use at::{At, Reading};
use environment::Overrides;
use mirror::Given;
use problem::Report;
use tree::{Node, Origin, Value};

/// What `serve` runs without a file.
pub const DEFAULT: &str = include_str!("../../config/default.yml");

/// Reads the file that a `file:/path` secret names, or says why it cannot be read: `it does not exist; write …`.
pub type ReadSecret<'a> = &'a dyn Fn(&Path) -> Result<String, String>;

/// A configuration's text.
#[derive(Clone, Debug)]
pub struct Source<'a> {
    /// How messages call it: its path, or `config/default.yml (built in)`.
    pub name: String,
    pub text: &'a str,
    /// [`DEFAULT`], not an operator's file: `REGISTRY_PROXY_*` replaces its `mirror`.
    pub built_in: bool,
}

/// A configuration without a mistake.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    pub warnings: Vec<Problem>,
}

/// A configuration that was read and is not yet believed: what only those above can see (the files that it names, the store) is
/// gathered beside its own mistakes, each at the key that it is about.
#[derive(Debug)]
pub struct Draft {
    root: Node,
    config: Option<Config>,
    report: Report,
}

impl Draft {
    /// Reads `source` with the `REGISTRY_*` among `environment` over it.
    pub fn read(source: Source<'_>, environment: &[(String, String)], secrets: ReadSecret<'_>) -> Self {
        let mut report = Report::default();
        let overrides = Overrides::new(environment, &mut report);
        let origin = Origin::File(Arc::from(source.name.as_str()));
        let Some(mut root) = parse::parse(source.text, &origin, &mut report) else {
            return Self { root: Node::null(origin.whole()), config: None, report };
        };
        environment::expand_drivers(&mut root);
        let touched = overrides.touched();
        if source.built_in && touched.proxy {
            remove(&mut root, "mirror");
        }
        overrides.apply(&mut root, &mut report);
        check::check(&root, &mut report);
        let given = if source.built_in && !touched.mirror { Given::BuiltIn } else { Given::Written };
        let mut reading = Reading { report, secrets };
        let at = At::root(&root);
        let config = read::config(&at, given, &mut reading);
        conflict::across(&at, &config, &mut reading);
        doubt::doubt(&at, &config, &mut reading);
        Self { config: Some(config), report: reading.report, root }
    }

    /// What could be read: a value that is wrong stands at its default. `None` if the text could not be read to its end.
    pub fn config(&self) -> Option<&Config> {
        self.config.as_ref()
    }

    /// Puts the store where no key says it is.
    pub fn place_store(&mut self, root: PathBuf) {
        self.config.iter_mut().for_each(|config| config.storage.root.clone_from(&root));
    }

    /// Was no mistake found so far?
    pub fn is_right(&self) -> bool {
        self.report.is_right() && self.config.is_some()
    }

    /// The effective configuration as YAML, secrets masked; `None` where a mistake leaves none.
    pub fn print(&self) -> Option<String> {
        self.config.as_ref().filter(|_| self.is_right()).map(print::print)
    }

    /// Adds a mistake at `key` (`["auth", "htpasswd", "path"]`); the message goes on after the key's name.
    pub fn error(&mut self, key: &[&str], message: &str) {
        let at = find(&self.root, key);
        self.report.error(at.place(), format!("{} {message}", key.join(".")));
    }

    /// Adds a warning at `key`; the message goes on after the key's name.
    pub fn warn(&mut self, key: &[&str], message: &str) {
        let at = find(&self.root, key);
        self.report.warn(at.place(), format!("{} {message}", key.join(".")));
    }

    /// The configuration, or every mistake that was found.
    pub fn conclude(self) -> Result<Loaded, Problems> {
        let (config, warnings) = self.report.conclude(self.config)?;
        Ok(Loaded { config, warnings })
    }
}

/// Reads `source` with the `REGISTRY_*` among `environment` over it, or reports every mistake in them.
pub fn load(source: Source<'_>, environment: &[(String, String)], read: ReadSecret<'_>) -> Result<Loaded, Problems> {
    Draft::read(source, environment, read).conclude()
}

/// The JSON Schema (draft 2020-12) of a configuration, for editors.
pub fn json_schema() -> String {
    format!("{:#}\n", json_schema::json_schema())
}

fn find<'n>(root: &'n Node, key: &[&str]) -> At<'n> {
    key.iter().fold(At::root(root), |at, part| at.find(part))
}

fn remove(root: &mut Node, key: &str) {
    if let Value::Map(entries) = &mut root.value {
        entries.retain(|entry| entry.key != key);
    }
}
