//! `GET /api/v1/repositories` and `…/repositories/NAME/tags`: what is held here. NAME is as people write it: `alpine` is
//! `docker.io/library/alpine` where that is the default upstream. No upstream is asked.
//!
//! Both come in pages: `?n=` entries (100, at most 1000) after `?last=`; `Link` leads to the next page. Listed is what the caller
//! may pull.

use http::HeaderValue;
use serde_json::{Value, json};

use super::{kind, time};
use crate::auth::{Action, Caller};
use crate::oci::ImageRepository;
use crate::registry::{PageRequest, RepositoryReport, TagReport};
use crate::web::call::{Answer, Call};
use crate::web::v2::object;

/// `{"repositories": [{"name": "docker.io/library/alpine", "kind": "mirrored", "tags": 3}, …]}`, in byte order of the canonical
/// names. `kind`: `hosted` or `mirrored`. `tags`: so many are held.
pub(super) async fn list(call: &mut Call, caller: &Caller, page: &PageRequest) -> Answer {
    let app = call.app();
    let may_pull = |target: &_| app.gate.admit(caller, Action::Pull, target).is_ok();
    let part = app.registry.contents(page, &may_pull).await?;
    let entries: Vec<Value> = part.entries.iter().map(repository).collect();
    let last = part.entries.last().filter(|_| part.more).map(|report| report.target.to_string());
    Ok(object(&json!({"repositories": entries}), last.map(|last| next(call, "repositories", page, &last))))
}

/// `{"name": "docker.io/library/alpine", "kind": "mirrored", "tags": […]}`, in byte order. One of `tags`:
///
/// ```json
/// {
///   "tag": "3.20",
///   "digest": "sha256:…",
///   "media_type": "application/vnd.oci.image.index.v1+json",
///   "platforms": ["linux/amd64", "linux/arm64"],
///   "size": 3645120,
///   "held": 3645120,
///   "since": "2026-01-31T12:00:00Z"
/// }
/// ```
///
/// `media_type` is `null` where the manifest itself is not held. `platforms`: what the image is for, as far as that is known.
/// `size`: the bytes of the manifests that are held and of all that these name, each digest once; of an index of which one
/// platform was pulled it is about that platform's. `held`: so many of these bytes are here. `since`: when a hosted tag was
/// pushed, or when the upstream last confirmed a mirrored one.
pub(super) async fn tags(call: &mut Call, caller: &Caller, name: &ImageRepository, page: &PageRequest) -> Answer {
    let repository = call.holding(caller, name, Action::Pull).await?;
    let part = repository.held_tags(page).await?;
    let entries: Vec<Value> = part.entries.iter().map(tag).collect();
    let last = part.entries.last().filter(|_| part.more).map(|report| report.tag.to_string());
    let target = repository.target();
    let next = last.map(|last| next(call, &format!("repositories/{target}/tags"), page, &last));
    Ok(object(&json!({"name": target.to_string(), "kind": kind(&target), "tags": entries}), next))
}

fn next(call: &Call, path: &str, asked: &PageRequest, last: &str) -> HeaderValue {
    call.app().base.more_of_api(path, asked.n, last)
}

fn repository(report: &RepositoryReport) -> Value {
    json!({"name": report.target.to_string(), "kind": kind(&report.target), "tags": report.tags})
}

fn tag(report: &TagReport) -> Value {
    json!({
        "tag": report.tag.as_str(),
        "digest": report.digest.to_string(),
        "media_type": report.media_type.as_ref().map(ToString::to_string),
        "platforms": report.platforms.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "size": report.size,
        "held": report.held,
        "since": report.since.map(time),
    })
}
