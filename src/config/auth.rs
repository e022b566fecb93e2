//! `auth`: the passwords of clients.

use std::path::PathBuf;

use http::HeaderValue;
use serde_json::json;

use super::keys::Notation;
use super::scalar_type::ScalarType;
use super::section::{Keys, Section};

/// The values of `auth.htpasswd`.
#[derive(Clone, Debug)]
pub struct Htpasswd {
    pub realm: String,
    pub path: PathBuf,
}

/// The drivers of `auth`.
struct Drivers {
    htpasswd: Option<Htpasswd>,
}

const REALM: ScalarType<String> = ScalarType {
    notation: Notation::Text,
    write: "write it without control characters",
    parse: |text| HeaderValue::from_str(text).ok().map(|_| text.to_owned()),
    show: |realm| json!(realm),
};

impl Default for Htpasswd {
    fn default() -> Self {
        Self { realm: "basic-realm".to_owned(), path: PathBuf::new() }
    }
}

/// Declares `auth`.
pub(super) fn keys(htpasswd: &mut Option<Htpasswd>, keys: &mut Keys<'_, '_>) {
    let mut drivers = Drivers { htpasswd: htpasswd.take() };
    keys.driver_section("auth", &mut drivers);
    *htpasswd = drivers.htpasswd.filter(|htpasswd| !htpasswd.path.as_os_str().is_empty());
    // A variable that is empty on purpose needs no warning.
    if htpasswd.is_none() && keys.cursor().is_some_and(|(cursor, _)| cursor.is_empty("auth")) {
        let message = "is empty, so that every client may do everything; write `htpasswd: {path: …}`, or remove it";
        keys.warn("auth", message);
    }
}

impl Section for Drivers {
    fn keys(&mut self, keys: &mut Keys<'_, '_>) {
        keys.driver("htpasswd", &mut self.htpasswd);
        keys.ignored_driver("none", "it means no login, so that every client may do everything");
        keys.refused_drivers(&["token"], "token authentication comes with a later version; use `htpasswd`");
        let instead = "it protects nothing; use `htpasswd`, or remove `auth` to let every client in";
        keys.refused_drivers(&["silly"], instead);
    }
}

impl Section for Htpasswd {
    fn keys(&mut self, keys: &mut Keys<'_, '_>) {
        keys.scalar("realm", &REALM, &mut self.realm);
        keys.path("path", &mut self.path);
        if self.path.as_os_str().is_empty() {
            let message = "is missing; write the path of an htpasswd file, such as /etc/docker/registry/htpasswd";
            keys.error("path", message);
        }
    }
}
