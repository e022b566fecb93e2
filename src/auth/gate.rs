//! The gate: identifies callers and decides what they may do.

use std::sync::Arc;

use super::credentials::{Credentials, Unproven};
use super::passwords::{LoginVerdict, PasswordFileError, Verifier};
use super::refusal::Refusal;
use super::rules::{Action, Caller, Rules, UserName};
use crate::config;
use crate::metrics::Metrics;
use crate::oci::Target;
use crate::sys::{ClientAddress, Clock};

/// A value that a caller was admitted to. Only [`Gate::admit`] makes one, so code that takes it need not ask the gate again.
#[derive(Clone, Debug)]
pub struct Admitted<T> {
    inner: T,
    caller: Caller,
}

impl<T> Admitted<T> {
    pub fn get(&self) -> &T {
        &self.inner
    }

    pub fn into_inner(self) -> T {
        self.inner
    }

    /// Returns the admitted caller.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }
}

/// Identifies callers and decides what they may do.
#[derive(Debug)]
pub struct Gate {
    /// The means by which callers prove their identity; `None` if the gate is open.
    login: Option<Login>,
    rules: Rules,
}

#[derive(Debug)]
struct Login {
    realm: String,
    verifier: Verifier,
}

impl Gate {
    /// Makes a gate that knows the users of the password file. Without `auth` the gate is open.
    ///
    /// A file that does not exist is created with the user `docker` and a random password, which is logged as a warning, as
    /// `registry:2` does. A file that cannot be used is an error. Blocks.
    pub fn new(
        auth: Option<&config::Htpasswd>,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Result<Self, PasswordFileError> {
        let login = match auth {
            None => None,
            Some(auth) => {
                let verifier = Verifier::new(&auth.path, clock, metrics)?;
                Some(Login { realm: auth.realm.clone(), verifier })
            }
        };
        Ok(Self { login, rules: Rules::default() })
    }

    /// Forbids what `forbidden` returns true for.
    #[cfg(test)]
    pub(crate) fn forbidding(self, forbidden: fn(Action, Option<&Target>) -> bool) -> Self {
        Self { rules: Rules::except(forbidden), ..self }
    }

    /// Reads the users again.
    pub async fn reload_users(&self) {
        if let Some(login) = &self.login {
            login.verifier.reload().await;
        }
    }

    /// Returns true if no authentication is configured: every caller is anonymous and may do everything.
    pub fn is_open(&self) -> bool {
        self.login.is_none()
    }

    /// Returns the caller that sent these credentials from `address`. An open gate does not look at them.
    pub async fn identify(&self, credentials: &Credentials, address: ClientAddress) -> Result<Caller, Unproven> {
        let Some(login) = &self.login else { return Ok(Caller::Anonymous) };
        match credentials {
            Credentials::None => Ok(Caller::Anonymous),
            Credentials::Bearer(_) => Err(Unproven::Scheme),
            Credentials::Basic { user, password } => match login.verifier.verify(address, user, password).await {
                LoginVerdict::Verified => Ok(Caller::User(UserName::new(user))),
                LoginVerdict::Refused => Err(Unproven::Mismatch { user: user.clone() }),
                LoginVerdict::Crowded => Err(Unproven::Crowded),
            },
        }
    }

    /// Admits a caller to a repository, if the caller may do this there.
    pub fn admit(&self, caller: &Caller, action: Action, target: &Target) -> Result<Admitted<Target>, Refusal> {
        self.check(caller, action, Some(target))?;
        Ok(Admitted { inner: target.clone(), caller: caller.clone() })
    }

    /// Checks that a caller may do what concerns no single repository: [`Action::Enter`] or [`Action::Admin`].
    pub fn allow(&self, caller: &Caller, action: Action) -> Result<(), Refusal> {
        self.check(caller, action, None)
    }

    /// Refuses a caller whose credentials prove nothing, with the challenge for this action and target.
    pub fn refuse(&self, reason: Unproven, action: Action, target: Option<&Target>) -> Refusal {
        if reason == Unproven::Crowded {
            return Refusal::Crowded;
        }
        Refusal::Unauthorized { reason, challenge: self.challenge(action, target) }
    }

    fn check(&self, caller: &Caller, action: Action, target: Option<&Target>) -> Result<(), Refusal> {
        if self.login.is_some() && *caller == Caller::Anonymous {
            return Err(self.refuse(Unproven::Missing, action, target));
        }
        if self.rules.allow(caller, action, target) {
            return Ok(());
        }
        let caller = caller.name().unwrap_or("an anonymous caller").to_owned();
        Err(Refusal::Denied { caller, action, target: target.map(ToString::to_string) })
    }

    /// Returns the value of `WWW-Authenticate` for this action and target. A Basic challenge (RFC 7617, section 2) is the same for
    /// all of them; a token is issued for one.
    fn challenge(&self, _action: Action, _target: Option<&Target>) -> String {
        let realm = self.login.as_ref().map_or("", |login| &login.realm);
        let quoted = realm.replace('\\', "\\\\").replace('"', "\\\"");
        format!("Basic realm=\"{quoted}\"")
    }
}

#[cfg(test)]
mod tests;
