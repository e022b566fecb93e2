//! The guard: what is decided about a request before any route, and what every answer carries because of it.

mod fixed;
mod own_names;
mod cors;
mod pages;
mod client;
mod own_address;

pub(super) use client::TrustedProxies;
pub(super) use cors::Cors;
pub(super) use fixed::{fix_headers, sandbox};
pub(super) use own_address::own_address;
pub(super) use own_names::OwnNames;
pub(super) use pages::{ForeignPage, check_page};
