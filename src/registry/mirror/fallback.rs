//! The cached copy of content about which the upstream gives no answer: whether it may be served, and the key that decides.

use std::future::Future;
use std::time::Duration;

use super::negative_cache::Asked;
use super::repository::{MirrorRepository, is_answer};
use crate::config::Stale;
use crate::oci::Reference;
use crate::registry::error::{RegistryError, UpstreamFailure};
use crate::upstream::UpstreamError;

/// The cached copy of some content.
enum CachedCopy {
    Missing,
    Servable,
    /// The configuration does not allow a copy of this age. The text names its age, the key, and a value that would allow it.
    TooOld(String),
}

impl MirrorRepository {
    /// Awaits an answer for a client, for a limited time. The question to the upstream goes on, so that the answer is cached,
    /// and the next request joins it. An error tells why a cached copy is not served instead.
    pub(in crate::registry) async fn for_client<T>(
        &self,
        asked: Asked,
        answer: impl Future<Output = Result<T, RegistryError>>,
    ) -> Result<T, RegistryError> {
        let waited = self.remote.client_wait;
        let answer = tokio::time::timeout(waited, answer).await.unwrap_or_else(|_| {
            let host = self.upstream().as_str().into();
            Err(RegistryError::upstream(&UpstreamError::Slow { host, waited }, self.upstream()))
        });
        match answer {
            Err(RegistryError::Upstream { upstream, failure, message }) if failure != UpstreamFailure::Denied => {
                let message = match self.cached_copy(&asked).await {
                    CachedCopy::TooOld(why) => format!("{message}; {why}"),
                    CachedCopy::Missing | CachedCopy::Servable => message,
                };
                Err(RegistryError::Upstream { upstream, failure, message })
            }
            answer => answer,
        }
    }

    /// Notes whether an error is an answer to a question, or a failure to answer it.
    pub(super) async fn note_error(&self, asked: Asked, error: &UpstreamError) {
        if is_answer(error) {
            self.note_answer(asked);
        } else if let Some(statement) = self.remote.failed(&self.question(asked.clone()), error) {
            self.warn_of_silence(asked, &statement, &error.to_string()).await;
        }
    }

    /// Logs that the upstream does not answer, and what becomes of the requests for this content.
    pub(super) async fn warn_of_silence(&self, asked: Asked, statement: &str, error: &str) {
        let (upstream, question) = (self.upstream(), self.question(asked.clone()));
        match self.cached_copy(&asked).await {
            CachedCopy::Servable => {
                tracing::warn!(%upstream, %question, error, "{statement}; cached content is served as it is");
            }
            CachedCopy::TooOld(why) => tracing::warn!(%upstream, %question, error, "{statement}; {why}"),
            CachedCopy::Missing => {
                tracing::warn!(%upstream, %question, error, "{statement}; this content is not cached, so requests for it fail");
            }
        }
    }

    async fn cached_copy(&self, asked: &Asked) -> CachedCopy {
        let Some(seen) = self.seen(asked).await else { return CachedCopy::Missing };
        let (age, upstream, stale) = (self.age(seen), self.upstream(), self.remote.stale);
        if age <= self.remote.tag_ttl * 2 || stale.allows(age) {
            return CachedCopy::Servable;
        }
        let key = match stale {
            Stale::UpTo(longest) => format!(
                "mirror.upstreams.{upstream}.stalemax is {}: a longer time would serve it",
                humantime::format_duration(longest)
            ),
            Stale::Never | Stale::Always => {
                format!("mirror.upstreams.{upstream}.staleif is `never`: `staleif: error` would serve it")
            }
        };
        let age = humantime::format_duration(Duration::from_secs(age.as_secs()));
        CachedCopy::TooOld(format!("the cached copy, which was confirmed {age} ago, is not served, because {key}"))
    }

    /// Returns when the upstream last confirmed the cached copy of some content, in seconds since 1970. A failure to read the
    /// copy counts as none, since it is no answer to a client either.
    async fn seen(&self, asked: &Asked) -> Option<u64> {
        let (store, name) = (self.store(), self.name());
        match asked {
            Asked::Manifest(Reference::Tag(tag)) => {
                let record = store.tag(name, tag).await.ok()??;
                self.cached.stored_manifest(&record.digest).await.ok()??;
                Some(record.seen)
            }
            // A digest names the same content at any time.
            Asked::Manifest(Reference::Digest(digest)) => {
                self.cached.stored_manifest(digest).await.ok()??;
                Some(self.cached.context.machine.clock.unix_seconds())
            }
            Asked::Blob(digest) => {
                self.cached.stored_blob(digest).await.ok()??;
                Some(self.cached.context.machine.clock.unix_seconds())
            }
            Asked::Tags => Some(store.tag_list(name, |_| ()).await.ok()??.0),
            Asked::Referrers(subject) => Some(store.referrers(name, subject).await.ok()??.seen),
        }
    }
}
