//! Which fill gets a place, and when a connection lends its own.

use std::pin::Pin;

use futures_util::FutureExt as _;

use super::*;
use crate::oci::Algorithm;

type Taking = Pin<Box<dyn Future<Output = Place> + Send>>;

/// A host with two places, of which connections to four are open at most, and to three of one repository.
struct Host {
    places: Arc<Places>,
    clock: Clock,
}

fn host() -> Host {
    let clock = Clock::system();
    Host { places: Places::new(PlaceBounds { limit: 2, of_repository: 3, in_all: 4 }, clock.clone()), clock }
}

fn holder(repository: &str, blob: u8) -> Holder {
    let repository = format!("docker.io/{repository}").parse().unwrap();
    Holder { repository, digest: Digest::of(Algorithm::Sha256, &[blob]) }
}

impl Host {
    /// Takes a place that need not be waited for.
    fn take(&self, repository: &str, blob: u8) -> Place {
        assert!(self.places.is_free(&holder(repository, blob)));
        Arc::clone(&self.places).take(holder(repository, blob)).now_or_never().expect("a place is free")
    }

    /// Begins to wait for a place.
    fn wait(&self, repository: &str, blob: u8) -> Taking {
        assert!(!self.places.is_free(&holder(repository, blob)));
        let mut taking: Taking = Box::pin(Arc::clone(&self.places).take(holder(repository, blob)));
        assert!(is_waiting(&mut taking));
        taking
    }

    fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }
}

fn is_waiting(taking: &mut Taking) -> bool {
    taking.as_mut().now_or_never().is_none()
}

#[tokio::test]
async fn connection_that_brings_nothing_lends_its_place_to_another_blob() {
    let host = host();
    let hanging = [host.take("bad", 1), host.take("bad", 2)];
    let good = host.wait("good", 3);
    host.pass(LENT_AFTER);
    let good = good.await;
    // The next one waits: the first two count again.
    hanging.iter().for_each(|place| place.received(PROGRESS));
    drop(good);
    let mut next = host.wait("good", 4);
    drop(hanging);
    next.as_mut().await;
}

#[tokio::test]
async fn connection_that_brings_little_but_steadily_keeps_its_place() {
    let host = host();
    let slow = [host.take("a", 1), host.take("a", 2)];
    let mut next = host.wait("b", 3);
    for _ in 0..20 {
        host.pass(LENT_AFTER / 2);
        slow.iter().for_each(|place| place.received(PROGRESS / 2));
        host.places.book().grant(host.places.now());
        assert!(is_waiting(&mut next));
    }
}

#[tokio::test]
async fn blob_gets_no_further_connections_because_its_own_bring_nothing() {
    let host = host();
    let _slow = [host.take("a", 1), host.take("a", 1)];
    host.pass(LENT_AFTER);
    let mut third = host.wait("a", 1);
    let digest = holder("a", 1).digest;
    assert_eq!(host.places.lent_beside(&digest), Lent::default());
    let other = host.take("a", 2);
    assert_eq!(host.places.lent_beside(&holder("a", 2).digest), Lent { connections: 2, blobs: 1 });
    drop(other);
    assert!(is_waiting(&mut third));
}

#[tokio::test]
async fn connections_beyond_the_places_are_bounded_for_a_repository_and_in_all() {
    let host = host();
    let mut open: Vec<Place> = [1, 2].into_iter().map(|blob| host.take("bad", blob)).collect();
    host.pass(LENT_AFTER);
    open.push(host.take("bad", 3));
    let mut fourth = host.wait("bad", 4);
    // Another repository is not kept back by one that has reached its bound.
    open.push(host.take("other", 5));
    let mut last = host.wait("other", 6);
    host.pass(LENT_AFTER);
    host.places.book().grant(host.places.now());
    assert!(is_waiting(&mut fourth) && is_waiting(&mut last));
    open.clear();
    let _both = (fourth.await, last.await);
}

#[tokio::test]
async fn places_go_to_repositories_and_blobs_in_turn() {
    let host = host();
    let (first, second) = (host.take("bad", 1), host.take("bad", 1));
    let mut same = host.wait("bad", 1);
    let mut sibling = host.wait("bad", 2);
    let mut other = host.wait("good", 3);
    drop(first);
    let other = other.as_mut().now_or_never().expect("its repository has no connection");
    assert!(is_waiting(&mut same) && is_waiting(&mut sibling));
    drop(host.wait("new", 4));
    drop(other);
    let _sibling = sibling.as_mut().now_or_never().expect("its blob has no connection");
    assert!(is_waiting(&mut same));
    drop(second);
    same.await;
}

/// A slow connection is replaced: it gives its place back, and its fill asks for another one.
#[tokio::test]
async fn repository_that_had_the_last_place_does_not_get_the_next_one() {
    let clock = Clock::system();
    let host =
        Host { places: Places::new(PlaceBounds { limit: 1, of_repository: 2, in_all: 3 }, clock.clone()), clock };
    let first = host.take("bad", 1);
    let mut bad = [host.wait("bad", 2), host.wait("bad", 3)];
    let mut good = [host.wait("good", 4), host.wait("good", 5)];
    drop(first);
    drop(good[0].as_mut().now_or_never().expect("it is the other repository's turn"));
    drop(bad[0].as_mut().now_or_never().expect("it is the first repository's turn"));
    drop(good[1].as_mut().now_or_never().expect("it is the other repository's turn"));
    drop(bad[1].as_mut().now_or_never().expect("no other one waits"));
    assert!(host.places.book().turns.is_empty());
}
