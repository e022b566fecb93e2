//! Entrepot: a pull-through mirror and a private registry in one binary.
//!
//! Modules stand on floors and import only from floors below their own
//! (`ARCHITECTURE.md`; `tests/floors.rs` holds them to it). In reading order:

pub mod oci;

pub mod metrics;
pub mod sys;

pub mod config;

pub mod outbound;
pub mod state;

pub mod auth;
pub mod store;
pub mod upstream;

pub mod registry;

pub mod web;

pub mod server;

pub mod cli;
