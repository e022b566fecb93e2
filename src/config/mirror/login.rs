//! The login at an upstream: a password, docker's `config.json`, or a credential helper.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::scalar_type::DURATION;
use crate::config::secret::{MASK, Secret};
use crate::config::section::{Keys, Section};

/// The login at an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginMethod {
    /// `username` and `password`.
    Written(Credentials),
    /// `credentials`: a file in the format of docker's `config.json`. The path may begin with `~/`.
    File(PathBuf),
    /// `proxy.exec`: a program with the protocol of docker's credential helpers.
    Helper(Helper),
}

/// The values of `proxy.exec`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Helper {
    pub command: String,
    /// The time that an answer is valid; `None` for any time, as in `registry:3`.
    pub lifetime: Option<Duration>,
}

/// A name and a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub username: String,
    pub password: Secret,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

const ONE_LOGIN: &str = "excludes `username` and `password`; keep one kind of login";
const ONE_OF_TWO: &str = "write both or neither";

/// Declares `username`, `password` and `credentials`.
pub(super) fn upstream_keys(login: &mut Option<LoginMethod>, keys: &mut Keys<'_, '_>) {
    let mut password = written(login.as_ref());
    password_keys(&mut password, keys);
    let mut file = match login.take() {
        Some(LoginMethod::File(path)) => Some(path),
        _ => None,
    };
    keys.path("credentials", &mut file);
    let has_password = keys.is_written("username") || keys.is_written("password");
    if file.is_some() && has_password {
        keys.error("credentials", ONE_LOGIN);
    }
    *login = file.map(LoginMethod::File).or(password.map(LoginMethod::Written));
}

/// Declares `username`, `password` and `exec`.
pub(super) fn proxy_keys(login: &mut Option<LoginMethod>, keys: &mut Keys<'_, '_>) {
    let mut password = written(login.as_ref());
    password_keys(&mut password, keys);
    let mut helper = match login.take() {
        Some(LoginMethod::Helper(helper)) => Some(helper),
        _ => None,
    };
    keys.optional("exec", &mut helper);
    let helper = helper.filter(|helper| !helper.command.is_empty());
    if password.is_some() && helper.is_some() {
        keys.error("exec", ONE_LOGIN);
    }
    *login = password.map(LoginMethod::Written).or(helper.map(LoginMethod::Helper));
}

impl Section for Helper {
    fn keys(&mut self, keys: &mut Keys<'_, '_>) {
        keys.text("command", &mut self.command);
        if self.command.is_empty() {
            let message = "is missing; write a credential helper, such as docker-credential-ecr-login";
            keys.error("command", message);
        }
        keys.scalar("lifetime", &DURATION, &mut self.lifetime);
    }
}

fn written(login: Option<&LoginMethod>) -> Option<Credentials> {
    match login {
        Some(LoginMethod::Written(credentials)) => Some(credentials.clone()),
        _ => None,
    }
}

fn password_keys(credentials: &mut Option<Credentials>, keys: &mut Keys<'_, '_>) {
    let (mut username, mut password) =
        credentials.take().map(|credentials| (credentials.username, credentials.password)).unzip();
    keys.text("username", &mut username);
    keys.secret("password", &mut password);
    if username.as_ref().is_some_and(|name: &String| name.contains(':')) {
        keys.error("username", "holds a ':', which no login can carry; write only the name");
    }
    let has_password = keys.raw("password").is_some_and(|text| !text.is_empty());
    match (&username, has_password) {
        (Some(_), false) => keys.error("username", &format!("has no `password` beside it; {ONE_OF_TWO}")),
        (None, true) => keys.error("password", &format!("has no `username` beside it; {ONE_OF_TWO}")),
        _ => {}
    }
    *credentials = username.zip(password).map(|(username, password)| Credentials { username, password });
    if credentials.as_ref().is_some_and(|credentials| credentials.password.reveal() == MASK) {
        keys.warn("password", PRINTED_MASK);
    }
}

/// The warning about a mask that was copied from the output of `check --print`.
pub(super) const PRINTED_MASK: &str =
    "holds the **** that `check --print` shows in place of a secret; write the secret";
