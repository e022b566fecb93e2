//! Sends each request below `/api/v1/` to its handler.

use super::{fills, images, repositories, upstreams, usage, warm};
use crate::auth::Action;
use crate::web::call::{Answer, Call};
use crate::web::route::Api;

/// Answers a request, if the gate allows it. Handlers of one repository ask the gate again, for that repository.
pub(in crate::web) async fn answer(call: &mut Call, route: Api) -> Answer {
    let caller = call.allow(action(&route)).await?;
    match route {
        Api::Upstreams => upstreams::list(call),
        Api::Fills => fills::list(call),
        Api::CancelFill(digest) => fills::cancel(call, digest),
        Api::Repositories(page) => repositories::list(call, &caller, &page).await,
        Api::Tags { name, page } => repositories::tags(call, &caller, &name, &page).await,
        Api::DeleteImage(selection) => images::delete(call, &caller, &selection).await,
        Api::Usage => usage::total(call).await,
        Api::UsageByRepository => usage::by_repository(call, &caller).await,
        Api::UsageOf(name) => usage::of_repository(call, &caller, &name).await,
        Api::Warm => warm::answer(call, &caller).await,
    }
}

/// Returns what a route asks the gate for.
fn action(route: &Api) -> Action {
    match route {
        Api::CancelFill(_) | Api::Usage | Api::UsageByRepository => Action::Admin,
        Api::Upstreams
        | Api::Fills
        | Api::Repositories(_)
        | Api::Tags { .. }
        | Api::DeleteImage(_)
        | Api::UsageOf(_)
        | Api::Warm => Action::Enter,
    }
}
