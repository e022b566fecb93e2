//! `entrepot serve`: builds the server from its configuration and runs it.

mod banner;
mod reload;
mod run;

pub(super) use run::run;
