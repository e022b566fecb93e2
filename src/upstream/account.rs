//! Who we are to an upstream.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;

use super::UpstreamError;
use crate::config::Credentials;
use crate::oci::HostName;

/// The account an upstream is asked with, or nobody's.
#[derive(Debug)]
pub(super) struct Account {
    upstream: HostName,
    login: Option<Login>,
}

#[derive(Debug)]
struct Login {
    username: String,
    /// `Authorization: Basic …`, marked as sensitive, so that nothing prints it.
    basic: HeaderValue,
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
    pub(super) fn new(upstream: HostName, credentials: Option<&Credentials>) -> Self {
        let login = credentials.map(|credentials| {
            let pair = format!("{}:{}", credentials.username, credentials.password.reveal());
            let basic = format!("Basic {}", STANDARD.encode(pair));
            let mut basic = HeaderValue::from_str(&basic).expect("base64 is made of header characters");
            basic.set_sensitive(true);
            Login { username: credentials.username.clone(), basic }
        });
        Self { upstream, login }
    }

    pub(super) fn upstream(&self) -> &HostName {
        &self.upstream
    }

    pub(super) fn is_anonymous(&self) -> bool {
        self.login.is_none()
    }

    pub(super) fn username(&self) -> Option<&str> {
        self.login.as_ref().map(|login| login.username.as_str())
    }

    pub(super) fn basic(&self) -> Option<&HeaderValue> {
        self.login.as_ref().map(|login| &login.basic)
    }

    /// The error for a refusal by `host` (an endpoint, or a token server), with what can be done about it.
    pub(super) fn denied(&self, host: &str, status: u16, password: Password) -> UpstreamError {
        let upstream = &self.upstream;
        let keys = format!("mirror.upstreams.{upstream}.username and mirror.upstreams.{upstream}.password");
        let detail = match (self.username(), password) {
            (None, _) => {
                format!("{host} wants a login, or does not have it; no account is configured: set {keys}")
            }
            (Some(name), Password::Offered) => {
                format!("{host} does not let {name:?} read this; check {keys}")
            }
            (Some(_), Password::Withheld) => format!(
                "{host} wants a login, but its token server is on another site, which the password is not sent to; \
                 {keys} cannot be used with this endpoint"
            ),
        };
        UpstreamError::Denied { upstream: upstream.clone(), status, detail }
    }
}
