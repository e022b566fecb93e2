//! `mirror` and `proxy`: the upstreams, the local names, the cache, the link, fills and prefetching.

mod rate;
mod week;
mod link;
mod follow;
mod login;
mod upstream;
mod fill;
mod cache;
mod time_of_day;
mod prefetch;
mod proxy;
mod settings;
mod cross_checks;

pub use cache::Cache;
pub(super) use cross_checks::check;
pub use fill::{Fill, FillConnections, Unattended};
pub use follow::Follow;
pub use link::{Link, LinkHours};
pub use login::{Credentials, Helper, LoginMethod};
pub use prefetch::Prefetch;
pub use rate::{LinkLimit, Rate};
pub use settings::{Mirror, MirrorOrigin};
pub(super) use settings::{SAMPLE, keys};
pub use time_of_day::TimeOfDay;
pub use upstream::{Identity, NamespaceUse, Stale, Trust, Upstream};
pub use week::DayHours;
