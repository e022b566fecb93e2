//! The handle of one upstream, with everything that its requests share.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::cause::FailureCause;
use super::endpoint::{Endpoint, EndpointId, Meter};
use super::login::{Account, TargetTokens, Tokens};
use crate::oci::{HostName, RepositoryName};
use crate::outbound::Client;
use crate::sys::Clock;

/// A remote registry that is mirrored. Share it in an `Arc`.
///
/// It sends no request until a caller asks for content. Each endpoint's authentication scheme is learned from its first
/// 401.
#[derive(Debug)]
pub struct Upstream {
    pub(super) account: Arc<Account>,
    /// A client certificate is configured, and is shown to each server that requests one.
    pub(super) has_client_certificate: bool,
    /// In the configured order; at least one.
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) client: Client,
    pub(super) tokens: Tokens,
    /// The tokens that targets of redirects ask for.
    pub(super) target_tokens: TargetTokens,
    pub(super) meter: Arc<Meter>,
    pub(super) clock: Clock,
    /// The longest wait for the answer to a HEAD. A client that waits has time left for the GET that follows.
    pub(super) head_wait: Duration,
    /// The log already says that the password is withheld from the token server.
    pub(super) warned_of_withheld_password: AtomicBool,
}

impl Upstream {
    /// Returns the name that image names and the configuration use for this upstream.
    pub fn name(&self) -> &HostName {
        self.account.upstream()
    }

    /// Returns `HOST:PORT` of an endpoint.
    pub fn host(&self, endpoint: EndpointId) -> String {
        self.endpoint(endpoint).host()
    }

    /// Returns true if `mirror.link` limits the rate at which content of this upstream arrives now.
    pub fn is_limited_now(&self) -> bool {
        self.client.is_limited_now()
    }

    /// Returns true if few of the requests that the upstream counts are left, as its last answer said. Requests that
    /// would only refresh stored content should wait then.
    pub fn spares_pulls(&self) -> bool {
        self.meter.budget().is_near_zero()
    }

    /// Records that this endpoint sent content that does not match its digest. Call it once another endpoint has sent
    /// matching content, which shows that the fault was not in the digest.
    pub fn report_digest_mismatch(&self, endpoint: EndpointId, repository: &RepositoryName) {
        self.endpoint(endpoint).health().digest_mismatch(repository);
    }

    /// Counts content of this endpoint that was wrong, where no other endpoint shows that the fault was not in the digest.
    pub fn count_wrong_content(&self, endpoint: EndpointId) {
        self.endpoint(endpoint).health().count_failure(FailureCause::Content);
    }

    /// Returns true if no credentials were in use since the process started. Every answer of this upstream is then one
    /// that it gives to every client.
    pub fn is_anonymous(&self) -> bool {
        self.account.is_anonymous() && !self.has_client_certificate
    }

    pub(super) fn endpoint(&self, id: EndpointId) -> &Endpoint {
        &self.endpoints[id.0]
    }
}
