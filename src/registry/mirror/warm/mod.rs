//! Warming: images are brought into the cache before anybody pulls them, in the background, below clients in priority.
//!
//! What is asked for and what is told of it stand here; how one image is brought is in `job`. `prefetch` asks by the clock.

mod job;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use tokio::sync::{Semaphore, mpsc};

use crate::oci::{Digest, Platform, Platforms, Reference, Target};
use crate::registry::{CacheStatus, ManifestInfo, Registry, RegistryError, Repository};
use job::Job;

/// So many images of one job are looked at at once.
const IMAGES: usize = 3;
/// So many blobs are fetched at once, by all jobs together: clients come first. In the order in which they are asked for, so that a
/// job waits for single blobs of another, never for all of it.
const BLOBS: usize = 3;
/// Events that wait for whoever reads them.
const EVENTS: usize = 64;
/// Whoever reads no event for this long has left.
const PATIENCE: Duration = Duration::from_secs(30);

/// An image to be warmed.
#[derive(Clone, Debug)]
pub struct WarmImage {
    /// What events and log lines call it.
    pub name: String,
    pub target: Target,
    pub reference: Reference,
}

/// Something happened to an image.
#[derive(Clone, Debug)]
pub struct WarmEvent {
    pub image: Arc<str>,
    pub step: WarmStep,
}

/// What happens to an image: it begins, its manifests are read, its blobs brought; last comes `Done` or `Failed`.
#[derive(Clone, Debug)]
pub enum WarmStep {
    Begun {
        target: Target,
        reference: Reference,
    },
    Manifest {
        info: ManifestInfo,
        platform: Option<Platform>,
        cache: CacheStatus,
        /// The upstream did not answer: this is what was held.
        warning: Option<String>,
    },
    /// All manifests are read: so many blobs, of so many bytes, belong to it.
    Planned {
        blobs: usize,
        bytes: u64,
    },
    Blob {
        digest: Digest,
        size: u64,
        presence: Presence,
    },
    /// So many bytes of a blob are here. At most a few a second, and none where nobody reads them in time.
    Progress {
        digest: Digest,
        size: u64,
        arrived: u64,
    },
    /// The blob is whole, verified and kept.
    Arrived {
        digest: Digest,
        size: u64,
    },
    Done(Warmed),
    Failed(RegistryError),
}

/// How a blob is there when its turn comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It was here already.
    Shared,
    /// It is being fetched for somebody else; this image waits for it.
    Joined,
    /// It is fetched for this image.
    Fetching,
}

/// What an image cost, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Warmed {
    /// Of what was fetched for it.
    pub fetched: u64,
    /// Of what was here already, or was arriving for somebody else.
    pub shared: u64,
    pub took: Duration,
}

/// The bound that all jobs keep together.
pub(in crate::registry) struct Warming {
    blobs: Semaphore,
}

impl Warming {
    pub(in crate::registry) fn new() -> Self {
        Self { blobs: Semaphore::new(BLOBS) }
    }
}

/// Whom a job tells what it does.
pub(super) struct Audience {
    /// `None`: nobody asked to be told.
    sender: Option<mpsc::Sender<WarmEvent>>,
    left: AtomicBool,
}

impl Audience {
    pub(super) fn nobody() -> Arc<Self> {
        Arc::new(Self { sender: None, left: AtomicBool::new(false) })
    }

    fn new(sender: mpsc::Sender<WarmEvent>) -> Arc<Self> {
        Arc::new(Self { sender: Some(sender), left: AtomicBool::new(false) })
    }

    /// Somebody listened, and does so no more.
    fn has_left(&self) -> bool {
        self.left.load(Ordering::Relaxed) || self.sender.as_ref().is_some_and(mpsc::Sender::is_closed)
    }

    async fn tell(&self, image: &Arc<str>, step: WarmStep) {
        let Some(sender) = self.sender.as_ref().filter(|_| !self.has_left()) else { return };
        let event = WarmEvent { image: Arc::clone(image), step };
        if sender.send_timeout(event, PATIENCE).await.is_err() {
            self.left.store(true, Ordering::Relaxed);
        }
    }

    /// As [`Audience::tell`], but waits for nobody.
    fn mention(&self, image: &Arc<str>, step: WarmStep) {
        if let Some(sender) = &self.sender {
            // What is missed is said anew by the next one.
            let _ = sender.try_send(WarmEvent { image: Arc::clone(image), step });
        }
    }
}

impl Registry {
    /// Warms images in the background and tells what it does; the channel closes after each has ended in `Done` or `Failed`,
    /// or when the server is being stopped. Whoever drops the receiver lets what has begun be finished, and nothing more begin.
    pub fn warm(self: &Arc<Self>, images: Vec<WarmImage>, platforms: Platforms) -> mpsc::Receiver<WarmEvent> {
        let (sender, receiver) = mpsc::channel(EVENTS);
        let (registry, audience) = (Arc::clone(self), Audience::new(sender));
        self.tasks().spawn(async move { registry.warm_all(images, &Arc::new(platforms), &audience).await });
        receiver
    }

    /// Returns when all have ended.
    pub(super) async fn warm_all(
        self: &Arc<Self>,
        images: Vec<WarmImage>,
        platforms: &Arc<Platforms>,
        audience: &Arc<Audience>,
    ) {
        let one = |image| {
            let (registry, platforms, audience) = (Arc::clone(self), Arc::clone(platforms), Arc::clone(audience));
            async move { registry.warm_one(image, platforms, &audience).await }
        };
        stream::iter(images.into_iter().map(one)).buffer_unordered(IMAGES).collect::<()>().await;
    }

    async fn warm_one(self: &Arc<Self>, image: WarmImage, platforms: Arc<Platforms>, audience: &Arc<Audience>) {
        if audience.has_left() {
            return;
        }
        let WarmImage { name, target, reference } = image;
        let (name, repository) = (Arc::from(name), target.to_string());
        let begun = self.clock().moment();
        let outcome = match self.repository(target.clone()) {
            Ok(Repository::Mirror(mirror)) => {
                audience.tell(&name, WarmStep::Begun { target, reference: reference.clone() }).await;
                Job { mirror, name: Arc::clone(&name), reference, platforms, audience: Arc::clone(audience) }
                    .run()
                    .await
            }
            Ok(Repository::Hosted(_)) => Err(RegistryError::NotMirrored(repository)),
            Err(error) => Err(error),
        };
        let took = self.clock().since(begun);
        let outcome = outcome.map(|warmed| Warmed { took, ..warmed });
        self.note_warmed(&name, &outcome);
        audience.tell(&name, outcome.map_or_else(WarmStep::Failed, WarmStep::Done)).await;
    }

    /// For the log and the counters.
    pub(super) fn note_warmed(&self, image: &str, outcome: &Result<Warmed, RegistryError>) {
        let metrics = self.metrics();
        match outcome {
            Ok(Warmed { fetched, shared, took }) => {
                metrics.warm_images.with_label_values(&["done"]).inc();
                metrics.warm_bytes.with_label_values(&["upstream"]).inc_by(*fetched);
                metrics.warm_bytes.with_label_values(&["cache"]).inc_by(*shared);
                tracing::info!(image, fetched, shared, ?took, "an image is warm");
            }
            Err(error) => {
                metrics.warm_images.with_label_values(&["failed"]).inc();
                tracing::warn!(image, %error, "an image could not be warmed");
            }
        }
    }
}
