//! Fetches the list of a manifest's referrers from an upstream.

use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};

use super::evidence::foreign;
use super::exchange::{is_object, plain};
use super::request::{Reply, UpstreamRequest, means_unsupported};
use super::tried::Tried;
use crate::oci::{Digest, MAX_MANIFEST_BYTES, MediaType, Referrers, RepositoryName};
use crate::upstream::client::Upstream;
use crate::upstream::endpoint::RequestKind;
use crate::upstream::error::UpstreamError;
use crate::upstream::header::{self, PageQuery};

/// The most pages of one list.
const MAX_PAGES: usize = 64;
/// The most bytes of one list, over all of its pages.
const MAX_LIST: usize = 4 * MAX_MANIFEST_BYTES;
/// The most time that one list takes, over all of its pages.
const LONGEST_LIST: Duration = Duration::from_secs(10 * 60);

/// The answer of an upstream to a request for referrers.
#[derive(Debug)]
pub enum ReferrersAnswer {
    List(Referrers),
    /// The upstream has no referrers API. The caller should try the fallback tag.
    Unsupported,
    /// The answer is not a list. A registry without the API may answer so, and a page in the place of a list too.
    NotAList(UpstreamError),
}

/// The answer to a request for one page.
enum PageAnswer {
    Page { referrers: Referrers, bytes: usize, next: Option<PageQuery> },
    Unsupported,
    NotAList(UpstreamError),
}

impl Upstream {
    /// Lists the referrers of a manifest (OCI distribution-spec, Listing Referrers). `answered` is called for each page that arrives.
    pub async fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        answered: &(dyn Fn() + Sync),
    ) -> Result<ReferrersAnswer, UpstreamError> {
        let (mut all, mut size, mut query) = (Referrers::default(), 0, PageQuery::new());
        let began = self.clock.moment();
        for number in 0..MAX_PAGES {
            let waited = self.clock.since(began);
            if waited >= LONGEST_LIST {
                return Err(UpstreamError::Slow { host: self.name().as_str().into(), waited });
            }
            let page = self.referrers_page(repository, subject, &query).await?;
            answered();
            let (page, next) = match page {
                PageAnswer::Page { referrers, bytes, next } => {
                    size += bytes;
                    (referrers, next)
                }
                PageAnswer::Unsupported if number == 0 => return Ok(ReferrersAnswer::Unsupported),
                PageAnswer::NotAList(error) if number == 0 => return Ok(ReferrersAnswer::NotAList(error)),
                PageAnswer::Unsupported | PageAnswer::NotAList(_) => {
                    return Err(self.broken_list("has a later page that is not a list"));
                }
            };
            if size > MAX_LIST {
                let (host, answer) = (self.name().as_str().into(), "a list of referrers");
                return Err(UpstreamError::TooLarge { host, answer, limit: MAX_LIST });
            }
            all.append(page);
            match next {
                // A next page that equals the current one would never end.
                Some(next) if next != query => query = next,
                _ => return Ok(ReferrersAnswer::List(all)),
            }
        }
        Err(self.broken_list(&format!("has more than {MAX_PAGES} pages")))
    }

    async fn referrers_page(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        query: &PageQuery,
    ) -> Result<PageAnswer, UpstreamError> {
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(MediaType::OCI_INDEX))]);
        let (rest, query) = (format!("referrers/{subject}"), query.clone());
        let kind = RequestKind::Referrers;
        let request =
            UpstreamRequest { kind, method: Method::GET, repository, rest, query, headers, on_redirect: None };
        let mut tried = Tried::default();
        loop {
            let reply = self.ask_except(&request, tried.endpoints()).await.map_err(|error| tried.report(error))?;
            let endpoint = reply.endpoint;
            match self.receive_referrers(&request, reply).await {
                Err(error) => tried.note(endpoint, error)?,
                page => return page,
            }
        }
    }

    async fn receive_referrers(
        &self,
        request: &UpstreamRequest<'_>,
        reply: Reply<'_>,
    ) -> Result<PageAnswer, UpstreamError> {
        if means_unsupported(reply.response.status) {
            return Ok(PageAnswer::Unsupported);
        }
        let (endpoint, server) = (reply.endpoint, reply.server());
        let response = self.judge(reply)?;
        let (next, coding) = (header::next_page(&response.headers), header::content_coding(&response.headers));
        let media_type = response.header(&CONTENT_TYPE).and_then(|text| MediaType::parse(&text));
        let other = foreign(&response, server);
        let body = self.read(endpoint, request, response.body, MAX_MANIFEST_BYTES).await?;
        let body = plain(body, coding, MAX_MANIFEST_BYTES, is_object);
        match Referrers::parse(&body, media_type.as_ref()) {
            Some(referrers) => Ok(PageAnswer::Page { referrers, bytes: body.len(), next }),
            // A registry without the API may answer anything. A portal in its place answers the same at `/v2/`.
            None if self.is_registry(endpoint).await => Ok(PageAnswer::NotAList(other)),
            None => Err(other),
        }
    }

    fn broken_list(&self, how: &str) -> UpstreamError {
        UpstreamError::Protocol { host: self.name().as_str().into(), reason: format!("its list of referrers {how}") }
    }
}
