//! Who we are to an upstream.

use std::sync::Arc;

use super::UpstreamError;
use super::keyring::Keyring;
use super::login::Login;
use crate::oci::HostName;

/// The account an upstream is asked with, or nobody's.
#[derive(Debug)]
pub(super) struct Account {
    upstream: HostName,
    source: Source,
}

/// Where the login is.
#[derive(Debug)]
pub(super) enum Source {
    Nowhere,
    /// In our own configuration.
    Written(Arc<Login>),
    /// In docker's, or a program has it.
    Kept(Keyring),
}

/// What happened to our password while it was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Password {
    /// It was sent where it was asked for.
    Offered,
    /// It was kept back: the realm is on another site.
    Withheld,
}

impl Account {
    pub(super) fn new(upstream: HostName, source: Source) -> Self {
        Self { upstream, source }
    }

    pub(super) fn upstream(&self) -> &HostName {
        &self.upstream
    }

    /// Is it certain that nothing came here because of who we are?
    pub(super) fn is_anonymous(&self) -> bool {
        match &self.source {
            Source::Nowhere => true,
            Source::Written(_) => false,
            Source::Kept(keyring) => keyring.is_empty(),
        }
    }

    /// Whom to ask as; may read a file or wait for a program.
    pub(super) async fn login(&self) -> Option<Arc<Login>> {
        match &self.source {
            Source::Nowhere => None,
            Source::Written(login) => Some(Arc::clone(login)),
            Source::Kept(keyring) => keyring.login().await,
        }
    }

    /// Whom to ask as instead, where a login was refused and there is a newer one.
    pub(super) async fn instead_of(&self, refused: &Login) -> Option<Arc<Login>> {
        match &self.source {
            Source::Nowhere | Source::Written(_) => None,
            Source::Kept(keyring) => keyring.instead_of(refused).await,
        }
    }

    /// The error for a refusal by `host` (an endpoint, or a token server), with what can be done about it.
    pub(super) fn denied(&self, host: &str, status: u16, password: Password) -> UpstreamError {
        let upstream = &self.upstream;
        let keys = format!("mirror.upstreams.{upstream}.username and mirror.upstreams.{upstream}.password");
        let (name, place) = match &self.source {
            Source::Nowhere => (None, format!("no account is configured: set {keys}")),
            Source::Written(login) => (Some(login.username().to_owned()), format!("check {keys}")),
            Source::Kept(keyring) => (keyring.username(), keyring.explain()),
        };
        let detail = match (name, password) {
            (None, _) => format!("{host} wants a login, or does not have it; {place}"),
            (Some(name), Password::Offered) => format!("{host} does not let {name:?} read this; {place}"),
            (Some(_), Password::Withheld) => format!(
                "{host} wants a login, but its token server is on another site, which the password is not sent to: the \
                 account cannot be used with this endpoint ({place})"
            ),
        };
        UpstreamError::Denied { upstream: upstream.clone(), status, detail }
    }
}
