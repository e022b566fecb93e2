//! `/v2/`: tells clients that this is a registry and whether their credentials are valid. Clients ask it before every pull, so it
//! never asks an upstream.

use serde_json::json;

use crate::auth::Action;
use crate::web::call::{Answer, Call};
use crate::web::response::object;

/// Answers 200 with an empty object, or 401.
pub(in crate::web) async fn base(call: &mut Call) -> Answer {
    call.allow(Action::Enter).await?;
    Ok(object(&json!({}), None))
}
