//! `/api/v1/…`: what the user interface and the commands ask. For everybody who may log in; nothing secret is in it.

mod images;
mod repositories;
mod usage;
mod warm;

use std::time::SystemTime;

use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

pub use warm::{BlobState, WarmLine, WarmOrder};

use super::call::{Answer, Call};
use super::route::Api;
use super::v2::{bare, object};
use crate::oci::{HostName, Pattern, Target};
use crate::registry::{BudgetReport, CircuitState, EndpointReport, FillReport, RegistryError, UpstreamReport};

pub(super) async fn answer(call: &mut Call, route: Api) -> Answer {
    let caller = call.known_caller().await?;
    let registry = &call.exchange.app.registry;
    match route {
        Api::Upstreams => {
            let upstreams: Vec<_> = registry.upstreams().iter().map(upstream).collect();
            let local: Vec<&str> = registry.naming().local().iter().map(Pattern::as_str).collect();
            Ok(object(&json!({"upstreams": upstreams, "local": local}), None))
        }
        Api::Fills => {
            let fills: Vec<_> = registry.arriving().iter().map(fill).collect();
            Ok(object(&json!({"fills": fills}), None))
        }
        Api::Repositories(page) => repositories::list(call, &caller, &page).await,
        Api::Tags { name, page } => repositories::tags(call, &caller, &name, &page).await,
        Api::DeleteImage(selection) => images::delete(call, &caller, &selection).await,
        Api::Usage => usage::total(call).await,
        Api::UsageByRepository => usage::by_repository(call, &caller).await,
        Api::UsageOf(name) => usage::of_repository(call, &caller, &name).await,
        Api::Warm => warm::answer(call, &caller).await,
        Api::CancelFill(digest) if registry.cancel_fill(&digest) => Ok(bare(StatusCode::ACCEPTED, HeaderMap::new())),
        Api::CancelFill(digest) => Err(RegistryError::NoFill(digest).into()),
    }
}

/// One of `{"upstreams": […], "local": ["local/**"]}`, in the order of their names. What is not known, or does not apply, is `null`; times are RFC 3339.
///
/// ```json
/// {
///   "name": "docker.io",
///   "aliases": [],
///   "default": true,
///   "account": true,
///   "silent_since": null,
///   "endpoints": [{
///     "address": "https://registry-1.docker.io",
///     "circuit": "closed",
///     "latency_ms": 112,
///     "failures": 0,
///     "retry_at": null,
///     "throttled_until": null,
///     "distrusted_until": null
///   }],
///   "budget": {"limit": 100, "remaining": 76, "window_seconds": 21600, "seen": "2026-01-31T12:00:00Z", "pulls_spared": false}
/// }
/// ```
///
/// `local` are the patterns of names that live here; with no upstreams all do. `aliases`: other names that clients may use for
/// the upstream; `default`: it owns names without a registry of their own. `account`: is it asked with an account (whose, is not told). `silent_since`: since when what is held is served as it is,
/// because no answer comes. `endpoints` stand in the configured order; `circuit` is `closed` (it is asked), `open` (it is
/// not, before `retry_at`) or `half-open` (one request is finding out whether it is back); `latency_ms` is a moving average of
/// the time to the head of an answer, `failures` counts those in a row; before `throttled_until` the endpoint itself wants not to
/// be asked, and before `distrusted_until` nothing that a digest names is asked of it, since it sent other content than that.
/// `budget` is what the upstream last said of the requests that it counts; `pulls_spared`: few are left, so they are kept
/// for what is not held.
fn upstream(report: &UpstreamReport) -> Value {
    json!({
        "name": report.name.as_str(),
        "aliases": report.aliases.iter().map(HostName::as_str).collect::<Vec<_>>(),
        "default": report.is_default,
        "account": report.has_account,
        "silent_since": report.silent_since.map(time),
        "endpoints": report.endpoints.iter().map(endpoint).collect::<Vec<_>>(),
        "budget": report.budget.as_ref().map(|said| budget(said, report.spares_pulls)),
    })
}

fn fill(report: &FillReport) -> Value {
    json!({
        "digest": report.digest.to_string(),
        "size": report.size,
        "arrived": report.arrived,
        "state": if report.doubted { "repairing" } else { "arriving" },
        "readers": report.readers,
        "repositories": report.repositories,
    })
}

fn endpoint(report: &EndpointReport) -> Value {
    let health = &report.health;
    let circuit = match health.circuit {
        CircuitState::Closed => "closed",
        CircuitState::HalfOpen => "half-open",
        CircuitState::Open => "open",
    };
    json!({
        "address": report.address,
        "circuit": circuit,
        "latency_ms": health.latency.map(|latency| u64::try_from(latency.as_millis()).unwrap_or(u64::MAX)),
        "failures": health.failures,
        "retry_at": health.retry_at.map(time),
        "throttled_until": health.throttled_until.map(time),
        "distrusted_until": health.distrusted_until.map(time),
    })
}

fn budget(report: &BudgetReport, spares_pulls: bool) -> Value {
    json!({
        "limit": report.limit,
        "remaining": report.remaining,
        "window_seconds": report.window.map(|window| window.as_secs()),
        "seen": time(report.seen),
        "pulls_spared": spares_pulls,
    })
}

/// Where a repository lives.
fn kind(target: &Target) -> &'static str {
    match target {
        Target::Hosted(_) => "hosted",
        Target::Mirror(..) => "mirrored",
    }
}

fn time(at: SystemTime) -> String {
    humantime::format_rfc3339_seconds(at).to_string()
}
