//! The account that an upstream is asked with.

use std::sync::Arc;

use super::keyring::Keyring;
use super::registry_login::RegistryLogin;
use crate::oci::HostName;
use crate::upstream::error::{DenialGround, UpstreamError};

/// The account that an upstream is asked with, if there is one.
#[derive(Debug)]
pub(in crate::upstream) struct Account {
    upstream: HostName,
    source: LoginSource,
}

/// The place where the login is configured.
#[derive(Debug)]
pub(in crate::upstream) enum LoginSource {
    Nowhere,
    /// In Entrepot's own configuration.
    Written(Arc<RegistryLogin>),
    /// In docker's configuration, or with a credential helper.
    Kept(Keyring),
}

/// Says whether the password was sent with a request that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::upstream) enum PasswordUse {
    /// The password was sent.
    Sent,
    /// The password was withheld, because the token server is on another site.
    Withheld,
    /// The server is the target of a redirect, which never gets the password.
    Redirected,
}

impl Account {
    pub(in crate::upstream) fn new(upstream: HostName, source: LoginSource) -> Self {
        Self { upstream, source }
    }

    pub(in crate::upstream) fn upstream(&self) -> &HostName {
        &self.upstream
    }

    /// Returns true if it is certain that no login was used, so that no content was answered because of one.
    pub(in crate::upstream) fn is_anonymous(&self) -> bool {
        match &self.source {
            LoginSource::Nowhere => true,
            LoginSource::Written(_) => false,
            LoginSource::Kept(keyring) => keyring.is_empty(),
        }
    }

    /// Returns the login. It may read a file or wait for a program.
    pub(in crate::upstream) async fn login(&self) -> Option<Arc<RegistryLogin>> {
        match &self.source {
            LoginSource::Nowhere => None,
            LoginSource::Written(login) => Some(Arc::clone(login)),
            LoginSource::Kept(keyring) => keyring.login().await,
        }
    }

    /// Returns a newer login after this one was refused, if there is one.
    pub(in crate::upstream) async fn instead_of(&self, refused: &RegistryLogin) -> Option<Arc<RegistryLogin>> {
        match &self.source {
            LoginSource::Nowhere | LoginSource::Written(_) => None,
            LoginSource::Kept(keyring) => keyring.instead_of(refused).await,
        }
    }

    /// Returns the error for a refusal by `host` (an endpoint or a token server), with advice.
    pub(in crate::upstream) fn denied(&self, host: &str, status: u16, password: PasswordUse) -> UpstreamError {
        let upstream = &self.upstream;
        let keys = format!("mirror.upstreams.{upstream}.username and mirror.upstreams.{upstream}.password");
        let (name, place) = match &self.source {
            LoginSource::Nowhere => (None, format!("no account is configured: set {keys}")),
            LoginSource::Written(login) => (Some(login.username().to_owned()), format!("check {keys}")),
            LoginSource::Kept(keyring) => (keyring.username(), keyring.explain()),
        };
        let needs_lookup = match password {
            PasswordUse::Sent => true,
            PasswordUse::Withheld => name.is_none(),
            PasswordUse::Redirected => false,
        };
        let ground = match &self.source {
            LoginSource::Kept(keyring) if needs_lookup && keyring.has_failed() => DenialGround::LostLogin,
            _ => DenialGround::Registry,
        };
        let detail = match (name, password) {
            (_, PasswordUse::Redirected) => format!(
                "{host}, to which the endpoint redirects, requires a login, or does not have the repository; it is asked as an \
                 anonymous client, since an account is not sent to another host: to use one, write {host} in `endpoints`"
            ),
            (Some(_), PasswordUse::Sent) if ground == DenialGround::LostLogin => {
                format!("{host} does not accept the last known login, and {place}")
            }
            (None, _) => format!("{host} requires a login, or does not have the repository; {place}"),
            (Some(name), PasswordUse::Sent) => format!("{host} does not let {name:?} read this; {place}"),
            (Some(_), PasswordUse::Withheld) => format!(
                "{host} requires a login, but its token server is on another site, and the password is not sent there: \
                 the account cannot be used with this endpoint ({place})"
            ),
        };
        UpstreamError::Denied { upstream: upstream.clone(), status, ground, detail, said: None }
    }
}
