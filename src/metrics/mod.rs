//! Defines every metric, with its type.
//!
//! Floor 0. Imports no other module. The metrics are passed as a value and are never global. Metrics named `registry_*`
//! have the same meaning as in distribution v3, so that its dashboards keep working. Metrics named `entrepot_*` are our
//! own.

mod register;
mod all;

pub use all::{GaugeGuard, Metrics};
