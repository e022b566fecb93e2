//! `DELETE /api/v1/images/NAME[:TAG|@DIGEST]` deletes a tag, a manifest with its tags, or a whole repository. Deleting mirrored
//! content evicts it from the cache; the upstream keeps it.

use serde::{Deserialize, Serialize};

use super::values::RepositoryKind;
use crate::auth::{Action, Caller};
use crate::oci::ImageSelection;
use crate::registry::RemovedTag;
use crate::web::call::{Answer, Call};
use crate::web::error::Failure;
use crate::web::request::change_condition;
use crate::web::response::object;

/// The answer, for example
/// `{"name": "local/app", "kind": "hosted", "reference": "1", "tags": null, "freed": null,
/// "removed_tags": [{"tag": "1", "digest": "sha256:…"}]}`.
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
    /// The removed tags, each with the manifest that it named. Those of a whole mirrored repository are not listed.
    #[serde(default)]
    pub removed_tags: Vec<NamedManifest>,
}

/// A tag and the manifest that it names.
#[derive(Debug, Serialize, Deserialize)]
pub struct NamedManifest {
    pub tag: String,
    pub digest: String,
}

/// Deletes the selected content.
pub(super) async fn delete(call: &mut Call, caller: &Caller, selection: &ImageSelection) -> Answer {
    let repository = call.stored_repository(caller, selection.repository(), Action::Delete).await?;
    let removed = match selection.reference() {
        Some(reference) => {
            let condition = change_condition(call.headers());
            repository.delete_manifest(reference, &condition).await.map(|tags| (None, tags))
        }
        None => {
            let removed = call.app().registry.remove(&repository).await;
            removed.map(|removed| (Some((removed.tags, removed.freed)), removed.named))
        }
    };
    // DELETE is the only method of this path, so a refused DELETE leaves none.
    let (whole, removed_tags) = removed.map_err(|error| Failure::from(error).allowing(""))?;
    let target = repository.target();
    let deleted = DeletedImage {
        name: target.to_string(),
        kind: RepositoryKind::from(&target),
        reference: selection.reference().map(ToString::to_string),
        tags: whole.map(|(tags, _)| tags),
        freed: whole.map(|(_, freed)| freed),
        removed_tags: removed_tags.iter().map(NamedManifest::from).collect(),
    };
    Ok(object(&deleted, None))
}

impl From<&RemovedTag> for NamedManifest {
    fn from(removed: &RemovedTag) -> Self {
        Self { tag: removed.tag.as_str().to_owned(), digest: removed.digest.to_string() }
    }
}
