//! `/v2/_catalog`: the names of the repositories that the caller may pull.

use std::future::Future;
use std::sync::Arc;

use serde_json::json;

use crate::auth::Action;
use crate::oci::Target;
use crate::registry::{Page, PageRequest};
use crate::web::call::{Answer, Call};
use crate::web::response::object;

/// Lists a page of names.
pub(in crate::web) async fn list(call: &mut Call, asked: &PageRequest) -> Answer {
    let caller = call.allow(Action::Enter).await?;
    let app = Arc::clone(&call.exchange.app);
    let may_pull = |target: &Target| app.gate.admit(&caller, Action::Pull, target).is_ok();
    let fetch = |request: PageRequest| {
        let app = Arc::clone(&app);
        async move { app.registry.catalog(&request).await.map(|page| Names { entries: page.entries, more: page.more }) }
    };
    let Names { entries, more } = visible_page(asked, fetch, may_pull).await?;
    let page = Page { entries, more };
    let next = app.base.more_repositories(asked, &page);
    Ok(object(&json!({"repositories": page.entries}), next))
}

/// A page of names, and whether more names follow.
#[derive(Debug, PartialEq, Eq)]
struct Names {
    entries: Vec<String>,
    more: bool,
}

/// Collects a page of the names that `may_pull` allows from pages of all names. The page claims that more follow only if another
/// allowed name follows.
async fn visible_page<F, E>(
    asked: &PageRequest,
    mut fetch: impl FnMut(PageRequest) -> F,
    may_pull: impl Fn(&Target) -> bool,
) -> Result<Names, E>
where
    F: Future<Output = Result<Names, E>>,
{
    let limit = asked.most();
    let (mut entries, mut last) = (Vec::new(), asked.last.clone());
    if limit == 0 {
        // An empty page has no last name to continue after, so it claims to be the end.
        return Ok(Names { entries, more: false });
    }
    loop {
        // One name more than the page has room for tells whether a `Link` is needed.
        let page = fetch(PageRequest { n: Some(limit + 1), last: last.clone() }).await?;
        let Some(end) = page.entries.last().cloned() else { return Ok(Names { entries, more: false }) };
        for name in page.entries {
            if !is_visible(&name, &may_pull) {
                continue;
            }
            if entries.len() == limit {
                return Ok(Names { entries, more: true });
            }
            entries.push(name);
        }
        if !page.more {
            return Ok(Names { entries, more: false });
        }
        last = Some(end);
    }
}

/// Returns true if `may_pull` allows the repository with this canonical name. A canonical name does not tell whether the repository
/// is hosted or mirrored, so both must be allowed where the name can mean both. A folder whose name is no repository name is hidden.
fn is_visible(name: &str, may_pull: impl Fn(&Target) -> bool) -> bool {
    let mirrored = name.parse().ok().map(Target::Mirror);
    let hosted = name.parse().ok().map(Target::Hosted);
    let targets: Vec<Target> = mirrored.into_iter().chain(hosted).collect();
    !targets.is_empty() && targets.iter().all(may_pull)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::auth::{Caller, Gate};
    use crate::sys::Clock;
    use crate::web::route::Base;

    const NAMES: [&str; 8] = [
        "docker.io/library/alpine",
        "docker.io/secret/a",
        "local/app",
        "local/web",
        "secret/a",
        "secret/b",
        "secret/c",
        "team/app",
    ];

    fn gate() -> Gate {
        let open = Gate::new(None, Clock::system(), Arc::default()).unwrap();
        open.forbidding(|action, target| {
            action == Action::Pull && target.is_some_and(|target| target.name().as_str().starts_with("secret/"))
        })
    }

    /// Returns a page of the catalog, and the number of pages of all names that it took.
    async fn catalog(gate: &Gate, asked: &PageRequest) -> (Names, usize) {
        let mut fetched = 0;
        let fetch = |request: PageRequest| {
            fetched += 1;
            let after = NAMES.iter().filter(|name| request.last.as_deref().is_none_or(|last| **name > last));
            let mut rest = after.map(|name| (*name).to_owned());
            let entries: Vec<String> = rest.by_ref().take(request.n.unwrap()).collect();
            let more = rest.next().is_some();
            async move { Ok::<_, Infallible>(Names { entries, more }) }
        };
        let may_pull = |target: &Target| gate.admit(&Caller::Anonymous, Action::Pull, target).is_ok();
        let page = visible_page(asked, fetch, may_pull).await.unwrap();
        (page, fetched)
    }

    /// Follows the links from the first page on. Returns the names of each page.
    async fn pages(gate: &Gate, n: Option<usize>) -> Vec<Vec<String>> {
        let base = Base::new(None, "/").unwrap();
        let (mut pages, mut asked) = (Vec::new(), PageRequest { n, last: None });
        loop {
            let (page, _) = catalog(gate, &asked).await;
            let page = Page { entries: page.entries, more: page.more };
            let link = base.more_repositories(&asked, &page);
            asked.last = page.entries.last().cloned();
            pages.push(page.entries);
            let Some(link) = link else { return pages };
            let (link, last) = (link.to_str().unwrap(), asked.last.as_deref().unwrap());
            assert!(link.contains(&format!("last={last}")) && link.ends_with("; rel=\"next\""), "{link}");
            assert_eq!(link.contains("n="), n.is_some(), "{link}");
        }
    }

    #[tokio::test]
    async fn catalog_lists_only_what_the_caller_may_pull() {
        let gate = gate();
        let visible = ["docker.io/library/alpine", "local/app", "local/web", "team/app"];
        assert_eq!(pages(&gate, None).await, [visible]);
        assert_eq!(pages(&gate, Some(2)).await, [&visible[..2], &visible[2..]]);
        assert_eq!(pages(&gate, Some(1)).await, visible.map(|name| vec![name]));
        assert_eq!(pages(&gate, Some(3)).await, [&visible[..3], &visible[3..]]);
        assert_eq!(pages(&gate, Some(0)).await, [Vec::<String>::new()]);
        let after = |last: &str| PageRequest { n: None, last: Some(last.to_owned()) };
        assert_eq!(catalog(&gate, &after("local/web")).await.0.entries, ["team/app"]);
        assert_eq!(catalog(&gate, &after("team/app")).await.0, Names { entries: Vec::new(), more: false });
    }

    #[tokio::test]
    async fn catalog_without_rules_takes_one_page() {
        let open = Gate::new(None, Clock::system(), Arc::default()).unwrap();
        for n in [None, Some(1), Some(7), Some(8)] {
            let (page, fetched) = catalog(&open, &PageRequest { n, last: None }).await;
            let most = n.unwrap_or(NAMES.len());
            assert_eq!((page.entries.len(), page.more, fetched), (most.min(8), most < 8, 1), "{n:?}");
        }
    }

    #[test]
    fn names_that_no_repository_can_have_are_hidden() {
        assert!(is_visible("local/app", |_| true));
        for name in ["", "UPPER", "a//b"] {
            assert!(!is_visible(name, |_| true), "{name}");
        }
    }
}
