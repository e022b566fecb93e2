//! Repairs a blob that has arrived completely and does not match its digest.
//!
//! The repair fetches from one endpoint everything that this endpoint had not sent, and tries one endpoint after
//! another. Once the content is right, the endpoints whose bytes were replaced had sent wrong bytes, and are reported.
//! Readers get nothing during the repair. The bodies of readers that have read replaced bytes are cut
//! (`docs/decisions/0016-wrong-content-is-repaired.md`).

use super::endpoints::Endpoints;
use super::error::TransferError;
use super::state::Transfer;
use crate::fills::source::BlobSource;
use crate::upstream::EndpointId;

impl Transfer<'_> {
    /// Tries to repair the blob. Returns true if it is right now, and false if no endpoint has the right content.
    pub(in crate::fills) async fn repair(&self, sources: &[BlobSource]) -> Result<bool, TransferError> {
        let everything = self.partial.arrivals().total();
        let mut candidates = endpoints_of(sources);
        // Endpoints that sent nothing of the blob come last: they may be down.
        candidates
            .sort_by_key(|(source, endpoint)| self.provenance().of(&(source.name.clone(), *endpoint)).total() == 0);
        for (source, endpoint) in candidates {
            let own = self.provenance().of(&(source.name.clone(), endpoint));
            if own.total() == everything {
                // This endpoint sent the whole wrong content. It would send the same again.
                continue;
            }
            let (digest, host) = (self.fill.digest, source.upstream.host(endpoint));
            tracing::warn!(%digest, %host, "the content of a blob does not match its digest; fetching it from one endpoint");
            self.fill.begin_repair();
            self.suspects().clear();
            self.forget_hash().await;
            self.partial.keep_only(own).await?;
            let endpoints = Endpoints::from_ids(vec![endpoint], self.shared.machine.clock.clone()).with_one_try();
            // The size that a descriptor names may be wrong too.
            match self.fetch_through(source, None, &endpoints).await {
                Err(TransferError::Source(error)) => {
                    tracing::warn!(%digest, %host, %error, "the endpoint could not send the whole blob");
                }
                other => other?,
            }
            // The size may have been what was wrong.
            let (_, hasher) = self.hashed().await?;
            if hasher.finish() == digest {
                self.report_wrong_endpoints(sources);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Counts wrong content of the only endpoint that has sent any of it. Of several endpoints, it is unknown which is wrong.
    pub(in crate::fills) fn count_wrong_content(&self, sources: &[BlobSource]) {
        let provenance = self.provenance();
        let Some((name, endpoint)) = provenance.only_sender() else { return };
        if let Some(source) = sources.iter().find(|source| source.name == *name) {
            source.upstream.count_wrong_content(*endpoint);
        }
    }

    /// Logs the endpoints that sent wrong bytes, and tells their upstreams.
    fn report_wrong_endpoints(&self, sources: &[BlobSource]) {
        for (name, endpoint) in self.suspects().iter() {
            let Some(source) = sources.iter().find(|source| source.name == *name) else { continue };
            let (digest, host) = (self.fill.digest, source.upstream.host(*endpoint));
            tracing::error!(%digest, %host, "this endpoint sent content that does not match its digest; another endpoint had the right content");
            source.upstream.report_digest_mismatch(*endpoint, source.name.repository());
        }
    }
}

/// Returns each endpoint of each source once, in the configured order.
fn endpoints_of(sources: &[BlobSource]) -> Vec<(&BlobSource, EndpointId)> {
    let mut found: Vec<(&BlobSource, EndpointId)> = Vec::new();
    for source in sources {
        found.extend(source.upstream.every_endpoint().into_iter().map(|endpoint| (source, endpoint)));
    }
    found
}
