//! Fetches the tags of an upstream's repository.

use std::borrow::Cow;
use std::time::Duration;

use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue, Method};
use serde::Deserialize;

use super::evidence::is_page;
use super::exchange::{is_object, plain};
use super::request::{Reply, UpstreamRequest};
use super::tried::Tried;
use crate::oci::{RepositoryName, Tag};
use crate::upstream::client::Upstream;
use crate::upstream::endpoint::RequestKind;
use crate::upstream::error::UpstreamError;
use crate::upstream::header::{self, PageQuery};

/// The most bytes of one page: about a hundred thousand tags.
const MAX_PAGE: usize = 8 << 20;
/// The most pages of a whole list.
const MAX_PAGES: usize = 1000;
/// The most bytes of memory that a whole list takes.
const MAX_LIST: usize = 64 << 20;
/// The most time that a whole list takes. Pages may arrive slowly, and the requests that wait for the list would wait for
/// all of them.
const LONGEST_LIST: Duration = Duration::from_secs(10 * 60);

/// One page of a repository's tags, in the upstream's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagPage {
    pub tags: Vec<String>,
    /// Another page follows this one.
    pub more: bool,
}

/// All tags of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagList {
    /// In byte order, without duplicates.
    Whole(Vec<String>),
    /// The list is too large for memory, or takes too long. Request it page by page.
    TooLarge,
}

/// The JSON of a page. Some registries write `null` for an empty list of tags. An object without the field is no list.
#[derive(Deserialize)]
struct TagsJson {
    #[serde(deserialize_with = "Option::deserialize")]
    tags: Option<Vec<String>>,
}

impl Upstream {
    /// Fetches at most `n` tags after `last` (OCI distribution-spec, Listing Tags).
    pub async fn tags(
        &self,
        repository: &RepositoryName,
        n: Option<usize>,
        last: Option<&str>,
    ) -> Result<TagPage, UpstreamError> {
        let n = n.map(|n| (Cow::Borrowed("n"), n.to_string()));
        let query = n.into_iter().chain(last.map(|last| (Cow::Borrowed("last"), last.to_owned()))).collect();
        let (tags, next) = self.tag_page(repository, &query, &|| ()).await?;
        Ok(TagPage { tags, more: next.is_some() })
    }

    /// Fetches all tags, page after page. The upstream chooses the size of a page. `answered` is called for each page
    /// that begins to arrive, since the whole list may take long.
    pub async fn tag_list(
        &self,
        repository: &RepositoryName,
        answered: &(dyn Fn() + Sync),
    ) -> Result<TagList, UpstreamError> {
        let (mut tags, mut size, mut query) = (Vec::new(), 0, PageQuery::new());
        let began = self.clock.moment();
        for _ in 0..MAX_PAGES {
            if self.clock.since(began) >= LONGEST_LIST {
                break;
            }
            let (page, next) = match self.tag_page(repository, &query, answered).await {
                Err(UpstreamError::TooLarge { .. }) => return Ok(TagList::TooLarge),
                page => page?,
            };
            size += page.iter().map(|tag| size_of::<String>() + tag.len()).sum::<usize>();
            if size > MAX_LIST {
                return Ok(TagList::TooLarge);
            }
            tags.extend(page);
            match next {
                // A next page that equals the current one would never end.
                Some(next) if next != query => query = next,
                _ => {
                    tags.sort_unstable();
                    tags.dedup();
                    return Ok(TagList::Whole(tags));
                }
            }
        }
        Ok(TagList::TooLarge)
    }

    /// Fetches one page and returns it with the query of the next. An endpoint whose answer is no page leads to the next one.
    async fn tag_page(
        &self,
        repository: &RepositoryName,
        query: &PageQuery,
        answered: &(dyn Fn() + Sync),
    ) -> Result<(Vec<String>, Option<PageQuery>), UpstreamError> {
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/json"))]);
        let (rest, query) = ("tags/list".to_owned(), query.clone());
        let kind = RequestKind::Tags;
        let request =
            UpstreamRequest { kind, method: Method::GET, repository, rest, query, headers, on_redirect: None };
        let mut tried = Tried::default();
        loop {
            let reply = self.ask_except(&request, tried.endpoints()).await.map_err(|error| tried.report(error))?;
            let endpoint = reply.endpoint;
            match self.receive_tags(&request, reply, answered).await {
                // Any endpoint's list may be too large for one answer.
                Err(error @ UpstreamError::TooLarge { .. }) => return Err(error),
                Err(error) => tried.note(endpoint, error)?,
                page => return page,
            }
        }
    }

    async fn receive_tags(
        &self,
        request: &UpstreamRequest<'_>,
        reply: Reply<'_>,
        answered: &(dyn Fn() + Sync),
    ) -> Result<(Vec<String>, Option<PageQuery>), UpstreamError> {
        let (endpoint, host) = (reply.endpoint, reply.server());
        let response = self.judge(reply)?;
        let (next, coding) = (header::next_page(&response.headers), header::content_coding(&response.headers));
        if !is_page(&response) {
            answered();
        }
        let body = self.read(endpoint, request, response.body, MAX_PAGE).await?;
        let body = plain(body, coding, MAX_PAGE, is_object);
        let malformed = |_| UpstreamError::Foreign { host, reason: "its answer is not a list of tags".to_owned() };
        let list: TagsJson = serde_json::from_slice(&body).map_err(malformed)?;
        let mut tags = list.tags.unwrap_or_default();
        // A client could not pull a name that is not a valid tag.
        tags.retain(|tag| tag.parse::<Tag>().is_ok());
        Ok((tags, next))
    }
}
