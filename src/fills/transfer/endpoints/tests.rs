//! What the results of connections do to the wait for an endpoint.

use std::time::SystemTime;

use super::*;
use crate::upstream::LimitedBy;

const FIRST: EndpointIndex = EndpointIndex(0);

/// One endpoint, on a clock that the test advances.
struct Bench {
    clock: Clock,
    endpoints: Endpoints,
}

impl Bench {
    fn new() -> Self {
        let clock = Clock::system();
        Self { endpoints: Endpoints::from_ids(vec![EndpointId::numbered(0)], clock.clone()), clock }
    }

    /// A connection begins now, lasts a second and ends with this result.
    fn connection(&self, received: u64, error: Option<UpstreamError>) {
        let began = self.clock.moment();
        self.clock.advance(Duration::from_secs(1));
        self.endpoints.ended(FIRST, began, received, error);
    }

    /// Lets an outage last for this many connections. Each begins after the wait that the one before led to.
    fn outage(&self, connections: u32) {
        for _ in 0..connections {
            self.clock.advance(MAX_WAIT * 2);
            self.connection(0, Some(unavailable()));
        }
    }

    fn is_usable(&self) -> bool {
        self.endpoints.usable() == [FIRST]
    }
}

fn unavailable() -> UpstreamError {
    UpstreamError::Status { host: "registry".into(), status: 503, retry_after: None, said: None }
}

/// Once, a transfer went on waiting beside an endpoint that worked again.
#[test]
fn success_clears_every_wait() {
    let throttled = UpstreamError::TooManyRequests {
        host: "".into(),
        limited: LimitedBy::Registry,
        retry_after: Some(Duration::from_secs(50)),
        said: None,
    };
    let silent = UpstreamError::Silent {
        host: "".into(),
        since: SystemTime::UNIX_EPOCH,
        retry_in: Duration::from_secs(40),
        connected: true,
    };
    for error in [unavailable(), throttled, silent] {
        let bench = Bench::new();
        bench.outage(2);
        bench.connection(0, Some(error.clone()));
        assert!(!bench.is_usable(), "{error}");
        bench.connection(0, None);
        assert!(bench.is_usable(), "{error}");
        assert_eq!(bench.endpoints.until_next(), Some(Duration::ZERO), "{error}");
        // The next failure begins anew, with the shortest wait.
        bench.connection(0, Some(unavailable()));
        assert!(bench.endpoints.until_next().is_some_and(|wait| wait <= FIRST_WAIT * 2), "{error}");
    }
}

#[test]
fn endpoint_that_was_given_up_is_usable_after_a_success() {
    let bench = Bench::new();
    bench.outage(MAX_TRIES + 1);
    assert_eq!(bench.endpoints.until_next(), None);
    bench.connection(USEFUL, None);
    assert!(bench.is_usable() && !bench.endpoints.is_failing(0));
}

/// It answers for the time before the failure.
#[test]
fn success_of_an_older_request_clears_no_wait() {
    let bench = Bench::new();
    let began = bench.clock.moment();
    bench.outage(1);
    bench.endpoints.ended(FIRST, began, USEFUL, None);
    assert!(!bench.is_usable());
}

#[test]
fn wait_is_a_part_of_the_outage() {
    let bench = Bench::new();
    let wait_after = |outage: Duration| {
        bench.clock.advance(outage);
        bench.connection(0, Some(unavailable()));
        bench.endpoints.until_next().unwrap()
    };
    let first = wait_after(Duration::ZERO);
    assert!(first <= FIRST_WAIT * 3 / 2, "{first:?}");
    // A wait is varied by half of it at most.
    let later = wait_after(Duration::from_secs(29));
    let usual = Duration::from_secs(30) / WAIT_PART;
    assert!(later >= usual / 2 - FIRST_WAIT / 4 && later <= usual * 3 / 2 + FIRST_WAIT, "{later:?}");
}
