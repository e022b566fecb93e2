//! The gate: who asks, and may they.

use std::sync::Arc;

use super::verifier::Verifier;
use super::{Action, AuthError, Credentials, Refusal, Unproven};
use crate::config;
use crate::metrics::Metrics;
use crate::oci::Target;
use crate::sys::Clock;

/// Who asks. Only [`Gate::identify`] makes a [`Caller::User`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Caller {
    Anonymous,
    User(UserName),
}

impl Caller {
    /// The user's name; `None` for an anonymous caller.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Anonymous => None,
            Self::User(UserName(name)) => Some(name),
        }
    }
}

/// The name of a user whose password was verified.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UserName(String);

impl UserName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a caller was let through to. Only [`Gate::admit`] makes one: whoever holds it need not ask again.
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

    /// Who was let through.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }
}

/// Decides who may do what.
#[derive(Debug)]
pub struct Gate {
    /// `None`: it stands open.
    guarded: Option<Guarded>,
}

#[derive(Debug)]
struct Guarded {
    realm: String,
    verifier: Verifier,
}

impl Gate {
    /// A gate that knows the users of the password file, or, without `auth`, one that stands open.
    ///
    /// Blocks while it reads the file. A file that does not exist is made with the user `docker` and a random password, which
    /// is logged as a warning, as `registry:2` does; one that cannot be used is an error.
    pub fn new(auth: Option<&config::Htpasswd>, clock: Clock, metrics: Arc<Metrics>) -> Result<Self, AuthError> {
        let Some(auth) = auth else {
            return Ok(Self { guarded: None });
        };
        let verifier = Verifier::new(&auth.path, clock, metrics)?;
        Ok(Self { guarded: Some(Guarded { realm: auth.realm.clone(), verifier }) })
    }

    /// No authentication is configured: everybody may do everything, and nobody needs to say who they are.
    pub fn is_open(&self) -> bool {
        self.guarded.is_none()
    }

    /// The realm of the challenge; empty where the gate is open.
    pub fn realm(&self) -> &str {
        self.guarded.as_ref().map_or("", |guarded| &guarded.realm)
    }

    /// Who sent these credentials? An open gate does not look at them.
    pub async fn identify(&self, credentials: Option<&Credentials>) -> Result<Caller, Refusal> {
        match (&self.guarded, credentials) {
            (None, _) | (_, None) => Ok(Caller::Anonymous),
            (Some(guarded), Some(credentials)) => {
                guarded.verifier.verify(credentials).await?;
                Ok(Caller::User(UserName(credentials.user().to_owned())))
            }
        }
    }

    /// May this caller do this with this repository? A password file alone lets its users do everything, as in `registry:2`.
    pub fn admit(&self, caller: &Caller, _action: Action, target: &Target) -> Result<Admitted<Target>, Refusal> {
        self.enter(caller)?;
        Ok(Admitted { inner: target.clone(), caller: caller.clone() })
    }

    /// May this caller ask at all: for what belongs to no repository (`/v2/`, the catalog, `/metrics`)?
    pub fn enter(&self, caller: &Caller) -> Result<(), Refusal> {
        match (&self.guarded, caller) {
            (None, _) | (Some(_), Caller::User(_)) => Ok(()),
            (Some(_), Caller::Anonymous) => Err(Unproven::Missing.into()),
        }
    }
}

#[cfg(test)]
mod tests;
