//! The search for the number of connections, refusals and outages.

use super::*;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn load(now: Duration) -> Load {
    Load { now, bytes: 0, busy: Duration::ZERO, open: 0, receiving: 0, latency: 0.0 }
}

/// Begins with 16 connections, and lets the host refuse requests. The other connections receive bytes meanwhile, or
/// not. Returns the numbers after the refusals, after the next success, and a second later.
fn refuse(receiving: usize) -> [usize; 3] {
    let mut concurrency = Concurrency::new(FillConnections::Auto, MAX);
    concurrency.count = MAX;
    concurrency.first_search = FirstSearch::Over;
    for at in 0..10 {
        concurrency.refused(ms(1000 + at * 100), receiving, ms(1050 + at * 100));
    }
    let refused = concurrency.count();
    concurrency.answered(ms(2100));
    concurrency.observe(&load(ms(2150)));
    let answered = concurrency.count();
    concurrency.observe(&load(ms(3150)));
    [refused, answered, concurrency.count()]
}

#[test]
fn burst_of_refusals_takes_one_step_and_an_outage_takes_none() {
    assert_eq!(refuse(12), [12, 12, 16]);
    assert_eq!(refuse(0), [16, 16, 16]);
}

#[test]
fn outage_during_the_first_search_does_not_delay_the_search() {
    let mut concurrency = Concurrency::new(FillConnections::Auto, MAX);
    concurrency.refused(ms(1000), 0, ms(1000));
    concurrency.refused(ms(1200), 0, ms(1200));
    assert_eq!(concurrency.count(), INITIAL);
    concurrency.answered(ms(1400));
    concurrency.observe(&load(ms(1400)));
    assert_eq!(concurrency.count(), INITIAL * 2);
}

/// Otherwise the search would measure the largest number, find no larger one, and try a smaller one at once.
#[test]
fn largest_number_after_an_outage_is_kept_until_it_is_checked() {
    let mut concurrency = Concurrency::new(FillConnections::Auto, MAX);
    concurrency.count = MAX / 2;
    concurrency.refused(ms(1000), 0, ms(1000));
    concurrency.answered(ms(1400));
    let at = |now| Load { open: MAX, receiving: MAX, bytes: now * 1000, busy: ms(now * 16), ..load(ms(now)) };
    let mut counts = vec![];
    for now in (1400..8000).step_by(50) {
        concurrency.observe(&at(now));
        counts.push((now, concurrency.count()));
    }
    let left = counts.iter().find(|(_, count)| *count != MAX).map(|(now, _)| *now);
    assert!(left.is_some_and(|left| left >= 1400 + 3000), "{counts:?}");
}

#[test]
fn number_that_is_refused_again_is_not_taken_for_an_outage() {
    let mut concurrency = Concurrency::new(FillConnections::Auto, MAX);
    (concurrency.count, concurrency.first_search) = (8, FirstSearch::Over);
    concurrency.refused(ms(1000), 0, ms(1000));
    concurrency.answered(ms(1100));
    concurrency.observe(&load(ms(1100)));
    assert_eq!(concurrency.count(), 8);
    concurrency.refused(ms(1200), 0, ms(1200));
    assert_eq!(concurrency.count(), 6);
}

#[test]
fn host_that_answers_late_gets_more_connections_from_the_beginning() {
    let mut concurrency = Concurrency::new(FillConnections::Auto, MAX);
    concurrency.expect_latency(0.1);
    assert_eq!(concurrency.count(), INITIAL);
    concurrency.expect_latency(0.3);
    assert_eq!(concurrency.count(), INITIAL_IF_LATE);
    let mut fixed = Concurrency::new(FillConnections::Fixed(2), MAX);
    fixed.expect_latency(0.3);
    assert_eq!(fixed.count(), 2);
}
