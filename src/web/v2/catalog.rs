//! `/v2/_catalog`: the names of repositories.

use serde_json::json;

use crate::auth::Action;
use crate::registry::PageRequest;
use crate::web::call::{Answer, Call};
use crate::web::response::object;

pub(in crate::web) async fn list(call: &mut Call, asked: &PageRequest) -> Answer {
    call.allow(Action::Enter).await?;
    let page = call.exchange.app.registry.catalog(asked).await?;
    let next = call.app().base.more_repositories(asked, &page);
    Ok(object(&json!({"repositories": page.entries}), next))
}
