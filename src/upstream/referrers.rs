//! What refers to a manifest, as an upstream lists it.

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::ask::{Ask, plain};
use super::header::{self, Query};
use super::meter::Kind;
use super::{Upstream, UpstreamError};
use crate::oci::{Digest, MAX_MANIFEST_BYTES, MediaType, Referrers, RepositoryName};

/// A list has at most so many pages, and so many bytes in all of them.
const MAX_PAGES: usize = 64;
const MAX_LIST: usize = 4 * MAX_MANIFEST_BYTES;

/// One page.
enum Page {
    Listed {
        referrers: Referrers,
        bytes: usize,
        next: Option<Query>,
    },
    /// What was answered is no list of referrers.
    NoList,
}

impl Upstream {
    /// Asks what refers to a manifest (distribution-spec, "Listing Referrers"). `None`: the upstream does not know such lists,
    /// and the tag that stands in for them is to be asked. `answered` is called when a page begins to come.
    pub async fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        answered: &(dyn Fn() + Sync),
    ) -> Result<Option<Referrers>, UpstreamError> {
        let (mut all, mut size, mut query) = (Referrers::default(), 0, Query::new());
        for number in 0..MAX_PAGES {
            let page = self.referrers_page(repository, subject, &query).await?;
            answered();
            let (page, next) = match page {
                Page::Listed { referrers, bytes, next } => {
                    size += bytes;
                    (referrers, next)
                }
                Page::NoList if number == 0 => return Ok(None),
                Page::NoList => return Err(self.broken_list("ended in something else")),
            };
            if size > MAX_LIST {
                return Err(UpstreamError::TooLarge);
            }
            all.append(page);
            match next {
                // One that names the page that was just asked leads nowhere.
                Some(next) if next != query => query = next,
                _ => return Ok(Some(all)),
            }
        }
        Err(self.broken_list(&format!("has more than {MAX_PAGES} pages")))
    }

    async fn referrers_page(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        query: &Query,
    ) -> Result<Page, UpstreamError> {
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(MediaType::OCI_INDEX))]);
        let (rest, query) = (format!("referrers/{subject}"), query.clone());
        let ask = Ask { kind: Kind::Referrers, method: Method::GET, repository, rest, query, headers };
        let reply = self.ask(&ask).await?;
        if means_unknown(reply.answer.status) {
            return Ok(Page::NoList);
        }
        let health = reply.endpoint.health();
        let answer = plain(self.judge(reply)?)?;
        let next = header::next_page(&answer.headers);
        let media_type = answer.header(&CONTENT_TYPE).and_then(|text| MediaType::parse(&text));
        let body = answer.body.collect(MAX_MANIFEST_BYTES).await.inspect_err(|_| health.failed())?;
        health.delivered();
        self.meter.received(Kind::Referrers, body.len());
        match Referrers::parse(&body, media_type.as_ref()) {
            Some(referrers) => Ok(Page::Listed { referrers, bytes: body.len(), next }),
            None => Ok(Page::NoList),
        }
    }

    fn broken_list(&self, how: &str) -> UpstreamError {
        UpstreamError::Protocol { host: self.name().to_string(), reason: format!("its list of referrers {how}") }
    }
}

/// What registries answer to a path that they do not know.
fn means_unknown(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::NOT_FOUND
            | StatusCode::BAD_REQUEST
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::NOT_ACCEPTABLE
            | StatusCode::NOT_IMPLEMENTED
    )
}
