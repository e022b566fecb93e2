//! The accounts that requests to upstreams use: the sources of logins, and the tokens that a login is exchanged for.

mod registry_login;
mod docker_config;
mod keyring;
mod account;
mod realm;
mod tokens;
mod target_tokens;
mod files;
mod client_login;

pub(in crate::upstream) use account::{Account, LoginSource, PasswordUse};
pub(in crate::upstream) use keyring::{Keyring, LoginPlaces};
pub(in crate::upstream) use realm::same_site;
pub(in crate::upstream) use registry_login::RegistryLogin;
pub(in crate::upstream) use target_tokens::TargetTokens;
pub(in crate::upstream) use tokens::{Token, TokenRequest, Tokens};

pub use client_login::{ClientLogin, client_login};
pub use files::{FileError, Files};
