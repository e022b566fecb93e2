//! The keys of a configuration as data, and all work that needs no values: unknown keys, unsupported keys, `REGISTRY_*`
//! variables, and the descriptions in `config/reference.yml`.

mod schema;
mod check;
mod environment;
mod reference;

pub(super) use check::check;
pub(super) use environment::{Overrides, expand_drivers};
pub(super) use reference::descriptions;
pub(super) use schema::{Key, KeyShape, Notation, Support, join};
#[cfg(test)]
pub(super) use schema::{supported, walk};
