//! A warm job: several images, a few at a time.

use std::sync::Arc;

use futures_util::stream::{self, StreamExt};
use tokio::sync::mpsc;

use super::event::{WarmEvent, WarmImage, WarmStep, Warmed};
use super::image::{ImageJob, PullReserve};
use super::listener::WarmListener;
use crate::oci::Platforms;
use crate::registry::Registry;
use crate::registry::error::RegistryError;
use crate::registry::repository::Repository;

/// The number of images of one job that are warmed at the same time.
const IMAGES: usize = 3;

/// The number of events that wait for a slow receiver.
const EVENTS: usize = 64;

/// Warms images in the background and returns the events. The channel closes after each image has ended in `Done` or `Failed`,
/// or when the server stops. If the receiver is dropped, images that have begun are finished, and no more begin.
pub fn warm(registry: &Arc<Registry>, images: Vec<WarmImage>, platforms: Platforms) -> mpsc::Receiver<WarmEvent> {
    let (sender, receiver) = mpsc::channel(EVENTS);
    let (own, listener) = (Arc::clone(registry), WarmListener::new(sender));
    registry.machine.tasks.spawn(async move { warm_all(&own, images, &Arc::new(platforms), &listener).await });
    receiver
}

/// Warms images and returns when all have ended.
pub async fn warm_all(
    registry: &Arc<Registry>,
    images: Vec<WarmImage>,
    platforms: &Arc<Platforms>,
    listener: &Arc<WarmListener>,
) {
    let one = |image| warm_one(Arc::clone(registry), image, Arc::clone(platforms), Arc::clone(listener));
    stream::iter(images.into_iter().map(one)).buffer_unordered(IMAGES).collect::<()>().await;
}

async fn warm_one(registry: Arc<Registry>, image: WarmImage, platforms: Arc<Platforms>, listener: Arc<WarmListener>) {
    if listener.has_left() {
        return;
    }
    let WarmImage { name, target, reference } = image;
    let (name, repository) = (Arc::from(name), target.to_string());
    let begun = registry.machine.clock.moment();
    let outcome = match registry.repository(target.clone()) {
        Repository::Mirror(mirror) => {
            listener.tell(&name, WarmStep::Begun { target, reference: reference.clone() }).await;
            let (registry, name, listener) = (Arc::clone(&registry), Arc::clone(&name), Arc::clone(&listener));
            let pulls = PullReserve::Used;
            ImageJob { registry, mirror, name, reference, platforms, listener, pulls }.run().await
        }
        Repository::Hosted(_) => Err(RegistryError::NotMirrored(repository)),
        Repository::Unconfigured(cached) => {
            Err(RegistryError::NameUnknown(format!("{} is not mirrored here", cached.upstream())))
        }
    };
    let took = registry.machine.clock.since(begun);
    let outcome = outcome.map(|warmed| Warmed { took, ..warmed });
    note_outcome(&registry, &name, &outcome);
    listener.tell(&name, outcome.map_or_else(WarmStep::Failed, WarmStep::Done)).await;
}

/// Logs and counts the outcome of an image.
pub fn note_outcome(registry: &Registry, image: &str, outcome: &Result<Warmed, RegistryError>) {
    let metrics = &registry.metrics;
    match outcome {
        Ok(Warmed { fetched, shared, took }) => {
            metrics.warm_images.with_label_values(&["done"]).inc();
            metrics.warm_bytes.with_label_values(&["upstream"]).inc_by(*fetched);
            metrics.warm_bytes.with_label_values(&["cache"]).inc_by(*shared);
            tracing::info!(image, fetched, shared, ?took, "warmed an image");
        }
        Err(error) => {
            metrics.warm_images.with_label_values(&["failed"]).inc();
            tracing::warn!(image, %error, "an image could not be warmed");
        }
    }
}
