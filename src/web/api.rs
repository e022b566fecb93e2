//! `/api/v1/…`: what the user interface and the commands ask. For everybody who may log in; nothing secret is in it.

mod warm;

use http::{HeaderMap, StatusCode};
use serde_json::json;

pub use warm::{BlobState, WarmLine, WarmOrder};

use super::call::{Answer, Call};
use super::route::Api;
use super::v2::{bare, object};
use crate::registry::{FillReport, RegistryError, UpstreamReport};

pub(super) async fn answer(call: &mut Call, route: Api) -> Answer {
    let caller = call.known_caller().await?;
    let registry = &call.exchange.app.registry;
    match route {
        Api::Upstreams => {
            let upstreams: Vec<_> = registry.upstreams().iter().map(upstream).collect();
            Ok(object(&json!({"upstreams": upstreams}), None))
        }
        Api::Fills => {
            let fills: Vec<_> = registry.arriving().iter().map(fill).collect();
            Ok(object(&json!({"fills": fills}), None))
        }
        Api::Warm => warm::answer(call, &caller).await,
        Api::CancelFill(digest) if registry.cancel_fill(&digest) => Ok(bare(StatusCode::ACCEPTED, HeaderMap::new())),
        Api::CancelFill(digest) => Err(RegistryError::NoFill(digest).into()),
    }
}

fn upstream(report: &UpstreamReport) -> serde_json::Value {
    json!({"name": report.name.as_str()})
}

fn fill(report: &FillReport) -> serde_json::Value {
    json!({"digest": report.digest.to_string(), "size": report.size, "arrived": report.arrived})
}
