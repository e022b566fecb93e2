//! Configuration: YAML and environment into values that cannot be wrong.
//!
//! Floor 1. May import `oci`. The only place that knows YAML. Touches no file: it takes text, and asks a closure for secrets.
//! The road: `parse` (YAML into a `tree` with places) → `environment` (`REGISTRY_*` over it) → `check` (against `schema`) →
//! `read`, `mirror`, `prefetch` (values), `conflict` (contradictions). Every mistake is gathered on the way; none hides the next.

mod address;
mod at;
mod check;
mod conflict;
mod environment;
mod mirror;
mod parse;
mod prefetch;
mod print;
mod problem;
mod read;
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

use std::io;
use std::path::Path;
use std::sync::Arc;

use at::{At, Reading};
use environment::Overrides;
use mirror::Given;
use problem::Report;
use tree::{Node, Origin, Value};

/// What `serve` runs without a file.
pub const DEFAULT: &str = include_str!("../../config/default.yml");

/// Reads the file that a `file:/path` secret names.
pub type ReadSecret<'a> = &'a dyn Fn(&Path) -> io::Result<String>;

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

impl Loaded {
    /// The effective configuration as YAML, defaults included, secrets masked.
    pub fn print(&self) -> String {
        print::print(&self.config)
    }
}

/// Reads `source` with the `REGISTRY_*` among `environment` over it, or reports every mistake in them.
pub fn load(source: Source<'_>, environment: &[(String, String)], read: ReadSecret<'_>) -> Result<Loaded, Problems> {
    let mut report = Report::default();
    let overrides = Overrides::new(environment, &mut report);
    let origin = Origin::File(Arc::from(source.name.as_str()));
    let config = parse::parse(source.text, &origin, &mut report).map(|mut root| {
        environment::expand_drivers(&mut root);
        let touched = overrides.touched();
        if source.built_in && touched.proxy {
            remove(&mut root, "mirror");
        }
        overrides.apply(&mut root, &mut report);
        check::check(&root, &mut report);
        let given = if source.built_in && !touched.mirror { Given::BuiltIn } else { Given::Written };
        let mut reading = Reading { report: std::mem::take(&mut report), secrets: read };
        let config = read::config(&At::root(&root), given, &mut reading);
        report = reading.report;
        config
    });
    let (config, warnings) = report.conclude(config)?;
    Ok(Loaded { config, warnings })
}

fn remove(root: &mut Node, key: &str) {
    if let Value::Map(entries) = &mut root.value {
        entries.retain(|entry| entry.key != key);
    }
}
