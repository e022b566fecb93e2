//! Everything has arrived, and it is not what the digest says: which endpoint was wrong?
//!
//! One endpoint after another is asked for all that did not come from it. If the whole is right then, whatever had to be
//! replaced was wrong, and its endpoint is blamed. Until then readers are given nothing, and those who have read something
//! that was replaced are cut.

use std::sync::PoisonError;

use super::origins::Origin;
use super::routes::Routes;
use super::{Broken, Transfer};
use crate::fills::source::Source;
use crate::upstream::EndpointId;

impl Transfer<'_> {
    /// Tries to put the blob right. True: it is, and whoever was wrong is blamed. False: nobody has it right.
    pub(in crate::fills) async fn repair(&self, sources: &[Source]) -> Result<bool, Broken> {
        let everything = self.partial.arrivals().total();
        let mut candidates = endpoints(sources);
        // Who has brought nothing of it may be gone.
        candidates.sort_by_key(|(source, endpoint)| self.origins().of(&(source.key(), *endpoint)).total() == 0);
        for (source, endpoint) in candidates {
            let own = self.origins().of(&(source.key(), endpoint));
            if own.total() == everything {
                // It alone brought what is wrong; asked again, it would bring the same.
                continue;
            }
            let (digest, host) = (self.fill.digest, source.upstream.host(endpoint));
            tracing::warn!(%digest, %host, "content does not match its digest; trying one endpoint for all of it");
            self.fill.doubt();
            self.suspects().clear();
            self.forget_hash().await;
            self.partial.keep_only(own).await.map_err(|error| Broken::Storage(Some(error)))?;
            let routes = Routes::through(vec![endpoint], self.means.clock.clone()).impatient();
            match self.fetch_through(source, &routes).await {
                Err(Broken::Source(error)) => tracing::warn!(%digest, %host, %error, "it cannot bring all of it"),
                other => other?,
            }
            let (len, hasher) = self.hashed().await.map_err(|error| Broken::Storage(Some(error)))?;
            if len == everything && hasher.finish() == digest {
                self.blame(sources);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// These brought what was replaced by something else.
    pub(super) fn suspect(&self, origins: Vec<Origin>) {
        let mut suspects = self.suspects();
        for origin in origins {
            if !suspects.contains(&origin) {
                suspects.push(origin);
            }
        }
    }

    fn blame(&self, sources: &[Source]) {
        for (key, endpoint) in self.suspects().iter() {
            let Some(source) = sources.iter().find(|source| source.key() == *key) else { continue };
            let (digest, host) = (self.fill.digest, source.upstream.host(*endpoint));
            tracing::error!(%digest, %host, "this endpoint sent content that is not what its digest says; another had it right");
            source.upstream.report_digest_mismatch(*endpoint);
        }
    }

    fn suspects(&self) -> std::sync::MutexGuard<'_, Vec<Origin>> {
        self.suspects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Each endpoint of each source once, in the configured order.
fn endpoints(sources: &[Source]) -> Vec<(&Source, EndpointId)> {
    let mut found: Vec<(&Source, EndpointId)> = Vec::new();
    for source in sources {
        found.extend(source.upstream.every_endpoint().into_iter().map(|endpoint| (source, endpoint)));
    }
    found
}
