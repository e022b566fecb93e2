//! `GET /api/v1/usage`, `…/usage/repositories` and `…/repositories/NAME/usage`: what the disk is taken by.

use bytes::Bytes;
use futures_util::{Stream, stream};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::kind;
use crate::auth::{Action, Caller};
use crate::oci::ImageRepository;
use crate::registry::{Amount, RegistryError, RepositoryUsage, Unlinked, UsageStep};
use crate::web::body::{Body, Cut};
use crate::web::call::{Answer, Call};
use crate::web::v2::object;

/// What is taken in all; what several repositories share counts once. Sizes are in bytes.
///
/// ```json
/// {
///   "hosted": {"blobs": 1204, "bytes": 13207024435},
///   "uploads": {"count": 1, "bytes": 1048576},
///   "cache": {"blobs": 4300, "bytes": 57015322214, "limit": 214748364800, "reserve": 10737418240},
///   "unfinished": {"blobs": 2, "bytes": 125829120, "arriving": 4194304},
///   "disk": {"total": 999653638144, "free": 322122547200}
/// }
/// ```
///
/// `hosted`: what was pushed; `uploads`: what is being pushed, or was begun. `cache`: whole blobs, of which it may hold `limit`
/// bytes, and leaves `reserve` free. `unfinished`: what is left of fills that did not come to an end, and what those that run
/// have written so far. `disk`: the file system.
pub(super) async fn total(call: &mut Call) -> Answer {
    let usage = call.app().registry.usage().await?;
    let cache = usage.cache;
    Ok(object(
        &json!({
            "hosted": {"blobs": usage.hosted.count, "bytes": usage.hosted.bytes},
            "uploads": {"count": usage.uploads.count, "bytes": usage.uploads.bytes},
            "cache": {
                "blobs": cache.whole.count,
                "bytes": cache.whole.bytes,
                "limit": cache.limit,
                "reserve": cache.reserve,
            },
            "unfinished": {"blobs": cache.left.count, "bytes": cache.left.bytes, "arriving": cache.arriving},
            "disk": {"total": usage.total, "free": usage.free},
        }),
        None,
    ))
}

/// A line of JSON for each repository that the caller may pull, in byte order of the names; a connection that ends without being
/// cut has told all. One caller at a time is served, since all directories are read.
///
/// ```json
/// {"name": "local/app", "kind": "hosted", "tags": 3, "blobs": 14, "bytes": 60817408, "own_blobs": 4, "own_bytes": 1048576}
/// ```
///
/// The last line has no name, but what lies on the disk and no repository has: what was deleted and not collected yet, mostly.
///
/// ```json
/// {"unlinked": {"hosted": {"blobs": 2, "bytes": 1048576}, "cache": {"blobs": 0, "bytes": 0}}}
/// ```
///
/// `blobs` and `bytes`: what it has, layers that others have too included; `own_…`: what only it has. The private store and
/// the cache are told apart: what is in both is in both twice.
pub(super) async fn by_repository(call: &mut Call, caller: &Caller) -> Answer {
    let (app, caller) = (std::sync::Arc::clone(&call.exchange.app), caller.clone());
    let registry = std::sync::Arc::clone(&app.registry);
    let usages = registry.usage_by_repository(move |target| app.gate.admit(&caller, Action::Pull, target).is_ok());
    let mut response = Response::new(Body::stream(lines(usages)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// The line of one repository.
pub(super) async fn of_repository(call: &mut Call, caller: &Caller, name: &ImageRepository) -> Answer {
    let target = call.holding(caller, name, Action::Pull).await?.target();
    let usage = call.app().registry.usage_of(&target).await?;
    Ok(object(&line(&usage), None))
}

fn lines(
    usages: mpsc::Receiver<Result<UsageStep, RegistryError>>,
) -> impl Stream<Item = Result<Bytes, Cut>> + Send + 'static {
    stream::unfold(Some(usages), |usages| async move {
        let mut usages = usages?;
        let cut = |reason: &str| Some((Err(Cut::new(reason)), None));
        match usages.recv().await {
            Some(Ok(UsageStep::Repository(usage))) => Some((Ok(format!("{}\n", line(&usage)).into()), Some(usages))),
            Some(Ok(UsageStep::Unlinked(unlinked))) => {
                Some((Ok(format!("{}\n", rest(&unlinked)).into()), Some(usages)))
            }
            Some(Ok(UsageStep::End)) => None,
            Some(Err(error)) => cut(&error.to_string()),
            None => cut("not every repository was told"),
        }
    })
}

fn line(usage: &RepositoryUsage) -> Value {
    json!({
        "name": usage.target.to_string(),
        "kind": kind(&usage.target),
        "tags": usage.tags,
        "blobs": usage.held.count,
        "bytes": usage.held.bytes,
        "own_blobs": usage.own.count,
        "own_bytes": usage.own.bytes,
    })
}

fn rest(unlinked: &Unlinked) -> Value {
    let amount = |amount: Amount| json!({"blobs": amount.count, "bytes": amount.bytes});
    json!({"unlinked": {"hosted": amount(unlinked.hosted), "cache": amount(unlinked.cached)}})
}
