//! Asks a remote registry: its endpoints, tokens, ranges and limits.
//!
//! Floor 3. May import floors 0 to 2. This module reports an upstream's answers and stores nothing of them except
//! tokens. It must never send a password or a token outside the upstream's own site, write one into a log or an error,
//! or hold a whole blob in memory.

mod failed_server;
mod words;
mod error;
mod cause;
mod header;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod endpoint;
mod login;
mod client;
mod builder;
mod ask;

pub use crate::outbound::Traffic;
pub use ask::{
    BlobRange, BlobStream, EndpointReport, FetchedManifest, ManifestHead, ReferrersAnswer, ResumeHint, TagList, TagPage,
};
pub use builder::BodyPace;
pub use cause::FailureCause;
pub use client::Upstream;
pub use endpoint::{BudgetReport, Challenge, CircuitState, EndpointId, HealthReport, challenges};
pub use error::{BuildError, DenialGround, LimitedBy, UpstreamError};
pub use failed_server::FailedServer;
pub use login::{ClientLogin, FileError, Files, client_login};
pub use words::UpstreamWords;
