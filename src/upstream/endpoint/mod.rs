//! One endpoint of an upstream: its address, its authentication scheme, its health, and its upstream's request budget.

mod budget;
mod circuit;
mod distrust;
mod failing;
mod meter;
mod known_health;
mod health;
mod challenge;
mod namespace;
mod address;

pub(in crate::upstream) use address::{BearerRealm, Endpoint, Scheme, has_prefix};
pub(in crate::upstream) use failing::ThrottleReason;
pub(in crate::upstream) use health::{EndpointHealth, FailureScope, HealthyAnswer, Score};
pub(in crate::upstream) use meter::{Meter, RequestKind};
pub(in crate::upstream) use namespace::{Namespace, NamespaceVerdict};

pub use address::EndpointId;
pub use budget::BudgetReport;
pub use challenge::{Challenge, challenges};
pub use circuit::CircuitState;
pub use health::HealthReport;
