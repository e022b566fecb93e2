//! Reads a configuration and collects every mistake in it.

use std::path::PathBuf;
use std::sync::Arc;

use super::cursor::{Cursor, ReadContext, ReadSecret};
use super::document::{self, Node, NodeContent, Problem, Problems, Report, TextOrigin};
use super::keys::{self, Overrides};
use super::mirror::{self, MirrorOrigin};
use super::root::{self, Config};

/// The configuration that `serve` uses without a file.
pub const DEFAULT: &str = include_str!("../../config/default.yml");

/// The text of a configuration.
#[derive(Clone, Debug)]
pub struct SourceText<'a> {
    /// The name in messages: the path, or `config/default.yml (built in)`.
    pub name: String,
    pub text: &'a str,
    /// True for [`DEFAULT`], whose `mirror` is replaced by `REGISTRY_PROXY_*`.
    pub built_in: bool,
}

/// A configuration without a mistake.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    pub warnings: Vec<Problem>,
}

/// A configuration that was read and may still be wrong.
///
/// Callers add the mistakes that only they can find, such as those in the files that the configuration names. Each belongs to a key.
#[derive(Debug)]
pub struct Draft {
    root: Node,
    config: Option<Config>,
    report: Report,
}

impl Draft {
    /// Reads `source`, overridden by the `REGISTRY_*` variables in `environment`.
    pub fn read(source: SourceText<'_>, environment: &[(String, String)], secrets: ReadSecret<'_>) -> Self {
        let mut report = Report::default();
        let schema = root::schema();
        let overrides = Overrides::new(environment, schema, &mut report);
        let origin = TextOrigin::File(Arc::from(source.name.as_str()));
        let Some(mut root) = document::parse(source.text, &origin, &mut report) else {
            return Self { root: Node::null(origin.whole()), config: None, report };
        };
        keys::expand_drivers(&mut root, schema);
        let touched = overrides.touched();
        if source.built_in && touched.proxy {
            remove(&mut root, "mirror");
        }
        overrides.apply(&mut root, &mut report);
        keys::check(&root, schema, &mut report);
        let mut reading = ReadContext { report, secrets };
        let cursor = Cursor::root(&root);
        let mut config = root::read(&cursor, &mut reading);
        if source.built_in && !touched.mirror && config.mirror.origin == MirrorOrigin::Written {
            config.mirror.origin = MirrorOrigin::BuiltIn;
        }
        mirror::check(&cursor, &config.http, &config.mirror, &mut reading);
        Self { config: Some(config), report: reading.report, root }
    }

    /// Returns the values that could be read; one that is wrong has its default. Returns `None` after a syntax error.
    pub fn config(&self) -> Option<&Config> {
        self.config.as_ref()
    }

    /// Sets the directory of the store, for a configuration that does not name one.
    pub fn set_store_root(&mut self, root: PathBuf) {
        self.config.iter_mut().for_each(|config| config.storage.root.clone_from(&root));
    }

    /// Returns true while no mistake was found.
    pub fn is_valid(&self) -> bool {
        self.report.is_valid() && self.config.is_some()
    }

    /// Returns the effective configuration as YAML, secrets masked. Returns `None` if there is a mistake.
    pub fn print(&self) -> Option<String> {
        self.config.as_ref().filter(|_| self.is_valid()).map(root::print)
    }

    /// Adds a mistake at `key` (`["auth", "htpasswd", "path"]`). The message continues the key's name.
    pub fn error(&mut self, key: &[&str], message: &str) {
        let cursor = Cursor::root(&self.root).at(key);
        self.report.error(cursor.location(), format!("{} {message}", key.join(".")));
    }

    /// Adds a warning at `key`. The message continues the key's name.
    pub fn warn(&mut self, key: &[&str], message: &str) {
        let cursor = Cursor::root(&self.root).at(key);
        self.report.warn(cursor.location(), format!("{} {message}", key.join(".")));
    }

    /// Returns the configuration, or every mistake that was found.
    pub fn conclude(self) -> Result<Loaded, Problems> {
        let (config, warnings) = self.report.conclude(self.config)?;
        Ok(Loaded { config, warnings })
    }
}

/// Reads `source`, overridden by the `REGISTRY_*` variables in `environment`, or returns every mistake in them.
pub fn load(
    source: SourceText<'_>,
    environment: &[(String, String)],
    secrets: ReadSecret<'_>,
) -> Result<Loaded, Problems> {
    Draft::read(source, environment, secrets).conclude()
}

fn remove(root: &mut Node, key: &str) {
    if let NodeContent::Map(members) = &mut root.content {
        members.retain(|member| member.key != key);
    }
}
