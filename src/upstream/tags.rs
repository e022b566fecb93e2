//! The tags of an upstream's repository.

use std::borrow::Cow;

use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue, Method};
use serde::Deserialize;

use super::ask::{Ask, plain};
use super::header::Query;
use super::meter::Kind;
use super::{Upstream, UpstreamError, header};
use crate::oci::{RepositoryName, Tag};

/// A page has at most so many bytes: about a hundred thousand tags.
const MAX_PAGE: usize = 8 << 20;
/// A whole list has at most so many pages, and takes at most so many bytes of memory.
const MAX_PAGES: usize = 1000;
const MAX_LIST: usize = 64 << 20;

/// One page of a repository's tags, in the upstream's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagPage {
    pub tags: Vec<String>,
    /// Another page follows the last of these.
    pub more: bool,
}

/// All tags of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagList {
    /// In byte order, each once.
    Whole(Vec<String>),
    /// More than can be held; they can be had by pages.
    TooLarge,
}

/// `tags` is `null` where there are none, in some registries.
#[derive(Deserialize)]
struct List {
    tags: Option<Vec<String>>,
}

impl Upstream {
    /// Asks for at most `n` tags after `last` (distribution-spec, "Listing Tags").
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

    /// Asks for all of them, a page after the other. How many come in one is left to the upstream; `answered` is called when one
    /// begins to come, since all may take long.
    pub async fn tag_list(
        &self,
        repository: &RepositoryName,
        answered: &(dyn Fn() + Sync),
    ) -> Result<TagList, UpstreamError> {
        let (mut tags, mut size, mut query) = (Vec::new(), 0, Query::new());
        for _ in 0..MAX_PAGES {
            let (page, next) = match self.tag_page(repository, &query, answered).await {
                Err(UpstreamError::TooLarge) => return Ok(TagList::TooLarge),
                page => page?,
            };
            size += page.iter().map(|tag| size_of::<String>() + tag.len()).sum::<usize>();
            if size > MAX_LIST {
                return Ok(TagList::TooLarge);
            }
            tags.extend(page);
            match next {
                // One that names the page that was just asked leads nowhere.
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

    /// One page, and the query of the next.
    async fn tag_page(
        &self,
        repository: &RepositoryName,
        query: &Query,
        answered: &(dyn Fn() + Sync),
    ) -> Result<(Vec<String>, Option<Query>), UpstreamError> {
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/json"))]);
        let (rest, query) = ("tags/list".to_owned(), query.clone());
        let ask = Ask { kind: Kind::Tags, method: Method::GET, repository, rest, query, headers };
        let reply = self.ask(&ask).await?;
        let health = reply.endpoint.health();
        let answer = plain(self.judge(reply)?)?;
        answered();
        let next = header::next_page(&answer.headers);
        let host = answer.body.host().to_owned();
        let body = answer.body.collect(MAX_PAGE).await.inspect_err(|_| health.failed())?;
        health.delivered();
        self.meter.received(Kind::Tags, body.len());
        let malformed =
            |_| UpstreamError::Protocol { host, reason: "its list of tags is not the JSON of one".to_owned() };
        let list: List = serde_json::from_slice(&body).map_err(malformed)?;
        let mut tags = list.tags.unwrap_or_default();
        // What cannot be asked for is no tag.
        tags.retain(|tag| tag.parse::<Tag>().is_ok());
        Ok((tags, next))
    }
}
