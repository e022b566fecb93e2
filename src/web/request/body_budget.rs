//! The memory budget for request bodies that are read whole, such as manifests.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The memory that all bodies together may use, in bytes.
const MAX_BYTES: usize = 128 << 20;
/// The memory that each body may use without counting. It is no more than the connection costs anyway, and it is enough for
/// nearly every manifest, so ordinary pushes succeed even if the budget is exhausted.
const UNCOUNTED_BYTES: usize = 16 << 10;
/// The time that a body waits for memory.
const WAIT: Duration = Duration::from_secs(5);
/// The time that a body may take to arrive. 4 MiB at 20 kB/s take three and a half minutes.
const READ_TIMEOUT: Duration = Duration::from_secs(300);

/// The memory that is left for bodies, and their time limits.
pub(in crate::web) struct BodyBudget {
    free: Arc<Semaphore>,
    wait: Duration,
    read_timeout: Duration,
}

/// A body found no memory within this time.
#[derive(Debug)]
pub(super) struct Exhausted(pub(super) Duration);

/// A body that is being read into memory.
pub(super) struct BodyBuffer<'b> {
    budget: &'b BodyBudget,
    /// The length of the body or, if it was not announced, the longest that is accepted, in bytes.
    max_len: u32,
    content: Counted,
}

/// The bytes of a body and their share of the budget, which is returned when the last copy is dropped.
#[derive(Default)]
struct Counted {
    bytes: Vec<u8>,
    permit: Option<OwnedSemaphorePermit>,
}

impl BodyBudget {
    pub(in crate::web) fn new() -> Self {
        Self::with(MAX_BYTES, WAIT, READ_TIMEOUT)
    }

    fn with(max_bytes: usize, wait: Duration, read_timeout: Duration) -> Self {
        Self { free: Arc::new(Semaphore::new(max_bytes)), wait, read_timeout }
    }

    /// Returns how long a body may take to arrive.
    pub(super) fn read_timeout(&self) -> Duration {
        self.read_timeout
    }

    /// Returns a buffer for a body of at most `max_len` bytes.
    pub(super) fn buffer(&self, max_len: usize) -> BodyBuffer<'_> {
        // No body that is read into memory comes near 4 GiB.
        let max_len = u32::try_from(max_len).unwrap_or(u32::MAX);
        BodyBuffer { budget: self, max_len, content: Counted::default() }
    }
}

impl BodyBuffer<'_> {
    pub(super) fn len(&self) -> usize {
        self.content.bytes.len()
    }

    /// Appends a piece. The first piece that exceeds the uncounted bytes takes memory for the whole body, so that a body that was
    /// admitted never stops half way because of other bodies.
    pub(super) async fn append(&mut self, piece: &[u8]) -> Result<(), Exhausted> {
        if self.content.permit.is_none() && self.len() + piece.len() > UNCOUNTED_BYTES {
            let permit = Arc::clone(&self.budget.free).acquire_many_owned(self.max_len);
            let permit = tokio::time::timeout(self.budget.wait, permit).await;
            let Ok(Ok(permit)) = permit else { return Err(Exhausted(self.budget.wait)) };
            self.content.permit = Some(permit);
            // Reserved at once, because a vector that grows by doubling leaves unused copies behind.
            self.content.bytes.reserve_exact((self.max_len as usize).saturating_sub(self.len()));
        }
        self.content.bytes.extend_from_slice(piece);
        Ok(())
    }

    /// Returns the body. Its share of the budget is returned when the last copy of the bytes is dropped.
    pub(super) fn finish(mut self) -> Bytes {
        // Without an announced length, memory for the longest body was taken.
        if let Some(permit) = &mut self.content.permit {
            self.content.bytes.shrink_to_fit();
            drop(permit.split(permit.num_permits().saturating_sub(self.content.bytes.len())));
        }
        Bytes::from_owner(self.content)
    }
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt, stream};
    use http::Request;
    use http_body::Frame;
    use http_body_util::StreamBody;

    use super::*;
    use crate::web::error::Failure;
    use crate::web::request::{BodyError, RequestBody};

    const MINUTE: Duration = Duration::from_secs(60);
    const MOMENT: Duration = Duration::from_millis(20);
    const LIMIT: usize = 4 << 20;

    fn body(bytes: usize) -> RequestBody {
        let pieces = stream::iter(vec![0; bytes].chunks(1 << 10).map(Bytes::copy_from_slice).collect::<Vec<_>>());
        let frames = pieces.map(|piece| Ok::<_, std::io::Error>(Frame::data(piece)));
        RequestBody::new(StreamBody::new(frames), &Request::new(()).into_parts().0, MINUTE)
    }

    fn status(error: BodyError) -> u16 {
        Failure::from(error).into_response().status().as_u16()
    }

    #[tokio::test]
    async fn memory_is_counted_until_the_last_copy_is_dropped() {
        let budget = BodyBudget::with(LIMIT, MOMENT, MINUTE);
        let most = LIMIT - UNCOUNTED_BYTES;
        let whole = body(most).whole(LIMIT, &budget).await.unwrap().unwrap();
        assert_eq!(whole.len(), most);
        let copy = whole.clone();
        drop(whole);
        for (bytes, limit, fits) in [
            (0, LIMIT, true),
            (UNCOUNTED_BYTES, LIMIT, true),
            (UNCOUNTED_BYTES + 1, LIMIT, false),
            (UNCOUNTED_BYTES + 1, UNCOUNTED_BYTES + 1, false),
            (UNCOUNTED_BYTES, UNCOUNTED_BYTES, true),
        ] {
            let refused = body(bytes).whole(limit, &budget).await.map_err(status).err();
            assert_eq!(refused, (!fits).then_some(503), "{bytes}");
        }
        drop(copy);
        assert!(body(LIMIT).whole(LIMIT, &budget).await.is_ok());
        let larger = body(LIMIT).whole(LIMIT + 1, &budget).await;
        assert_eq!(larger.map_err(status).err(), Some(503), "the body may be larger than the budget");
        let short = body(UNCOUNTED_BYTES + 1).whole(LIMIT, &budget).await.unwrap().unwrap();
        assert!(body(most - 1).whole(most - 1, &budget).await.is_ok(), "unused memory is returned");
        assert_eq!(short.len(), UNCOUNTED_BYTES + 1);
    }

    #[tokio::test]
    async fn body_waits_for_memory() {
        let budget = BodyBudget::with(LIMIT, MINUTE, MINUTE);
        let first = body(LIMIT).whole(LIMIT, &budget).await.unwrap();
        let mut second = body(LIMIT);
        let (second, ()) = tokio::join!(second.whole(LIMIT, &budget), async {
            tokio::time::sleep(MOMENT).await;
            drop(first);
        });
        assert!(second.unwrap().is_some());
    }

    #[tokio::test]
    async fn slow_body_is_refused() {
        let budget = BodyBudget::with(8 << 10, MINUTE, MOMENT);
        // Each piece arrives soon enough; the whole body does not.
        let pieces = stream::unfold((), |()| async {
            tokio::time::sleep(MOMENT / 10).await;
            Some((Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(b"x"))), ()))
        });
        let mut slow = RequestBody::new(StreamBody::new(Box::pin(pieces)), &Request::new(()).into_parts().0, MINUTE);
        assert_eq!(slow.whole(LIMIT, &budget).await.map_err(status).err(), Some(408));
        assert!(slow.received() > 0);
    }
}
