//! The configuration as a whole: its sections, and the keys of `registry:2` that have no section here.

use std::sync::{Arc, LazyLock};

use serde_json::{Value, json};

use super::auth::Htpasswd;
use super::cursor::{Cursor, ReadContext};
use super::document;
use super::health::HealthChecks;
use super::http::Http;
use super::keys::{Key, KeyShape, Notation};
use super::log::Log;
use super::mirror::Mirror;
use super::section::{self, Keys, Section};
use super::storage::Storage;
use super::validation::Validation;
use super::{access, auth, log, mirror};
use crate::oci::HostName;

/// A configuration that cannot be wrong: every value is parsed, and every contradiction is refused.
#[derive(Clone, Debug)]
pub struct Config {
    pub log: Log,
    pub storage: Storage,
    pub http: Http,
    /// `None` lets every client do everything, as `registry:2` does without `auth`.
    pub auth: Option<Htpasswd>,
    pub health: HealthChecks,
    pub mirror: Mirror,
    pub validation: Validation,
}

impl Config {
    fn new() -> Self {
        Self {
            log: Log::default(),
            storage: Storage::default(),
            http: Http::default(),
            auth: None,
            health: HealthChecks::default(),
            mirror: Mirror::absent(),
            validation: Validation::default(),
        }
    }

    /// Returns the names of this server.
    pub fn own_names(&self) -> Vec<HostName> {
        self.http.own_names().chain(self.mirror.names.iter().cloned()).collect()
    }
}

impl Section for Config {
    fn keys(&mut self, keys: &mut Keys<'_, '_>) {
        version(keys);
        log::keys(&mut self.log, keys);
        keys.driver_section("storage", &mut self.storage);
        keys.section("http", &mut self.http);
        auth::keys(&mut self.auth, keys);
        access::keys(keys);
        keys.section("health", &mut self.health);
        mirror::keys(&mut self.mirror, keys);
        keys.section("validation", &mut self.validation);
        keys.ignored(&[
            ("notifications", "no notifications are sent"),
            ("middleware", "there are no middlewares"),
            ("reporting", "nothing is reported to Bugsnag or New Relic"),
            ("redis", "no Redis is needed"),
            ("tags", "clients page through a repository's tags by `n` and `last`"),
            ("catalog", "clients page through the catalog by `n` and `last`"),
            ("compatibility", "schema 1 manifests are not accepted"),
            ("policy", "there are no repository classes"),
        ]);
    }
}

fn version(keys: &mut Keys<'_, '_>) {
    let shape = KeyShape::Scalar(Notation::Version);
    let Some((cursor, reading)) = keys.key("version", shape, Some(json!(0.1))) else { return };
    if cursor.is_written() {
        cursor.parsed(reading, |text| (text == "0.1").then_some(()), "write `version: 0.1`");
    } else {
        cursor.error(reading, "is missing; write `version: 0.1` at the top");
    }
}

/// Returns all keys of a configuration.
pub(super) fn schema() -> &'static Arc<[Key]> {
    static SCHEMA: LazyLock<Arc<[Key]>> = LazyLock::new(|| section::declare(&mut Config::new()));
    &SCHEMA
}

/// Reads the configuration. A value that is wrong is reported and stays at its default.
pub(super) fn read(root: &Cursor<'_>, reading: &mut ReadContext<'_>) -> Config {
    let mut config = Config::new();
    // Any other root was reported already.
    if root.is_map() {
        section::read(&mut config, root, reading);
    }
    config
}

/// Returns the configuration as YAML that can be read again, secrets masked.
pub(super) fn print(config: &Config) -> String {
    document::write(&Value::Object(section::print(&mut config.clone())))
}
