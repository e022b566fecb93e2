//! `/v2/NAME/tags/list`: the tags of a repository.

use http::HeaderMap;
use serde_json::json;

use crate::auth::Action;
use crate::registry::PageRequest;
use crate::web::call::{Answer, Call};
use crate::web::response::object;
use crate::web::route::At;

/// Lists a page of tags.
pub(in crate::web) async fn list(call: &mut Call, at: &At, asked: &PageRequest) -> Answer {
    let repository = call.repository(at, Action::Pull).await?;
    let mut headers = HeaderMap::new();
    let found = repository.tags(asked).await?;
    let page = call.take_found(found, &mut headers);
    let next = call.app().base.more_tags(at, asked, &page);
    let mut response = object(&json!({"name": at.name.as_str(), "tags": page.entries}), next);
    response.headers_mut().extend(headers);
    Ok(response)
}
