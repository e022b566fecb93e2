//! `DELETE /api/v1/images/NAME[:TAG|@DIGEST]` deletes a tag, a manifest with its tags, or a whole repository. Deleting mirrored
//! content evicts it from the cache; the upstream keeps it.

use serde::{Deserialize, Serialize};

use super::values::RepositoryKind;
use crate::auth::{Action, Caller};
use crate::oci::ImageSelection;
use crate::web::call::{Answer, Call};
use crate::web::error::Failure;
use crate::web::request::change_condition;
use crate::web::response::object;

/// The answer, for example
/// `{"name": "docker.io/library/alpine", "kind": "mirrored", "reference": "3.20", "tags": null, "freed": null}`.
#[derive(Debug, Serialize, Deserialize)]
pub struct DeletedImage {
    /// The canonical name of the repository.
    pub name: String,
    pub kind: RepositoryKind,
    /// The deleted tag or digest; `null` if the whole repository was deleted.
    pub reference: Option<String>,
    /// The number of deleted tags, if the whole repository was deleted.
    pub tags: Option<u64>,
    /// The bytes that were freed at once, if the whole repository was deleted. The bytes of a hosted repository are freed later,
    /// by garbage collection.
    pub freed: Option<u64>,
}

/// Deletes the selected content.
pub(super) async fn delete(call: &mut Call, caller: &Caller, selection: &ImageSelection) -> Answer {
    let repository = call.stored_repository(caller, selection.repository(), Action::Delete).await?;
    let removed = match selection.reference() {
        Some(reference) => {
            let condition = change_condition(call.headers());
            repository.delete_manifest(reference, &condition).await.map(|()| None)
        }
        None => call.app().registry.remove(&repository).await.map(Some),
    };
    // DELETE is the only method of this path, so a refused DELETE leaves none.
    let removed = removed.map_err(|error| Failure::from(error).allowing(""))?;
    let target = repository.target();
    let deleted = DeletedImage {
        name: target.to_string(),
        kind: RepositoryKind::from(&target),
        reference: selection.reference().map(ToString::to_string),
        tags: removed.map(|removed| removed.tags),
        freed: removed.map(|removed| removed.freed),
    };
    Ok(object(&deleted, None))
}
