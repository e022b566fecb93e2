//! The command line: reads arguments, runs one command, and turns its result into an exit code.
//!
//! The highest floor. It may import every other floor. Commands do not import each other. They share `outcome` (the ways
//! in which a command can fail), `output` (what they print), `settings` (the server's configuration on this machine) and
//! `remote` (requests to a running server).

mod outcome;
mod output;
mod settings;
mod remote;
mod logging;

mod serve;
mod check;
mod client;
mod ls;
mod rm;
mod du;
mod warm;
mod user;
mod health;
mod completions;

mod usage_error;
mod run;

pub use run::run;
