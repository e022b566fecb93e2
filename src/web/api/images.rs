//! `DELETE /api/v1/images/NAME[:TAG|@DIGEST]`: a tag, a manifest with its tags, or all of a repository. A mirrored one is evicted;
//! its upstream is not touched.

use serde_json::json;

use super::kind;
use crate::auth::{Action, Caller};
use crate::oci::ImageSelection;
use crate::web::call::{Answer, Call};
use crate::web::error::Failure;
use crate::web::headers;
use crate::web::v2::object;

/// `{"name": "docker.io/library/alpine", "kind": "mirrored", "reference": "3.20", "tags": null, "freed": null}`. `reference` is the
/// tag or the digest that is gone. Where it is `null` all of the repository is: so many `tags`, and so many bytes are `freed` at
/// once (of a hosted repository none: they wait for garbage collection).
pub(super) async fn delete(call: &mut Call, caller: &Caller, selection: &ImageSelection) -> Answer {
    let repository = call.holding(caller, selection.repository(), Action::Delete).await?;
    let removed = match selection.reference() {
        Some(reference) => {
            let condition = headers::condition(call.headers());
            repository.delete_manifest(reference, &condition).await.map(|()| None)
        }
        None => repository.delete_all().await.map(Some),
    };
    // Nothing else can be done there.
    let removed = removed.map_err(|error| Failure::from(error).allowing(""))?;
    let target = repository.target();
    Ok(object(
        &json!({
            "name": target.to_string(),
            "kind": kind(&target),
            "reference": selection.reference().map(ToString::to_string),
            "tags": removed.map(|removed| removed.tags),
            "freed": removed.map(|removed| removed.freed),
        }),
        None,
    ))
}
