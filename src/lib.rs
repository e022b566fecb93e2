//! Entrepot: a pull-through mirror and a private registry in one binary.
//!
//! Each module belongs to a floor and imports only from lower floors. `ARCHITECTURE.md` describes the floors, and
//! `tests/floors.rs` checks the imports. The modules are listed from the lowest floor to the highest.

pub mod oci;

pub mod metrics;
pub mod sys;

pub mod config;

pub mod outbound;
pub mod state;

pub mod auth;
pub mod store;
pub mod upstream;

pub mod cache;

pub mod fills;

pub mod registry;

pub mod web;

pub mod server;

pub mod cli;

#[cfg(test)]
extern crate self as entrepot;
#[cfg(test)]
#[path = "../fuzz/replay.rs"]
mod fuzz_replay;
