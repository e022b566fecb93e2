//! The tags of an upstream's repository.

use http::header::{ACCEPT, LINK};
use http::{HeaderMap, HeaderValue, Method};
use serde::Deserialize;

use super::ask::{Ask, plain};
use super::meter::Kind;
use super::{Upstream, UpstreamError, header};
use crate::oci::{RepositoryName, Tag};

/// A page has at most so many bytes: about a hundred thousand tags.
const MAX_PAGE: usize = 8 << 20;

/// One page of a repository's tags, in the upstream's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagPage {
    pub tags: Vec<String>,
    /// Another page follows the last of these.
    pub more: bool,
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
        let n = n.map(|n| ("n", n.to_string()));
        let query = n.into_iter().chain(last.map(|last| ("last", last.to_owned()))).collect();
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/json"))]);
        let ask =
            Ask { kind: Kind::Tags, method: Method::GET, repository, rest: "tags/list".to_owned(), query, headers };
        let reply = self.ask(&ask).await?;
        let health = reply.endpoint.health();
        let answer = plain(self.judge(reply)?)?;
        let mut links = answer.headers.get_all(LINK).iter().filter_map(|link| link.to_str().ok());
        let more = links.any(header::has_next);
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
        Ok(TagPage { tags, more })
    }
}
