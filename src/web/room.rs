//! The room for bodies that are read into memory whole: how much of it there is for all together, and for how long each may have some.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::Failure;

/// What all bodies together may take, in bytes.
const MOST: usize = 128 << 20;
/// What each may take without being counted: no more than its connection costs anyway, and nearly every manifest. So nobody who fills
/// the room keeps the ordinary ones out.
const UNCOUNTED: usize = 16 << 10;
/// Who finds no room waits so long for it.
const PATIENCE: Duration = Duration::from_secs(5);
/// A body has so long to arrive: 4 MiB at 20 kB/s are three minutes and a half.
const LONGEST: Duration = Duration::from_secs(300);

/// The room that there is, in bytes.
pub(super) struct Room {
    free: Arc<Semaphore>,
    patience: Duration,
    longest: Duration,
}

/// A body that is arriving, and the room it takes.
pub(super) struct Arriving<'r> {
    room: &'r Room,
    /// How long it will be, or may be at most, in bytes.
    longest: u32,
    held: Held,
}

/// The bytes, and what was taken of the room for them: that is free again when nobody has them any more.
#[derive(Default)]
struct Held {
    bytes: Vec<u8>,
    taken: Option<OwnedSemaphorePermit>,
}

impl Room {
    pub(super) fn new() -> Self {
        Self::of(MOST, PATIENCE, LONGEST)
    }

    fn of(most: usize, patience: Duration, longest: Duration) -> Self {
        Self { free: Arc::new(Semaphore::new(most)), patience, longest }
    }

    /// How long a body may take to arrive.
    pub(super) fn longest(&self) -> Duration {
        self.longest
    }

    /// A body that will be no longer than so many bytes.
    pub(super) fn arriving(&self, longest: usize) -> Arriving<'_> {
        // What is read into memory is far shorter than that.
        let longest = u32::try_from(longest).unwrap_or(u32::MAX);
        Arriving { room: self, longest, held: Held::default() }
    }
}

impl Arriving<'_> {
    pub(super) fn len(&self) -> usize {
        self.held.bytes.len()
    }

    /// Adds a piece, when there is room for all that may come: who was let in is never stopped by others half way.
    pub(super) async fn add(&mut self, piece: &[u8]) -> Result<(), Failure> {
        if self.held.taken.is_none() && self.len() + piece.len() > UNCOUNTED {
            let taking = Arc::clone(&self.room.free).acquire_many_owned(self.longest);
            let taken = tokio::time::timeout(self.room.patience, taking).await;
            let Ok(Ok(taken)) = taken else { return Err(Failure::crowded(self.room.patience)) };
            self.held.taken = Some(taken);
            // At once: what grows by doubling leaves its former places behind.
            self.held.bytes.reserve_exact((self.longest as usize).saturating_sub(self.len()));
        }
        self.held.bytes.extend_from_slice(piece);
        Ok(())
    }

    pub(super) fn whole(mut self) -> Bytes {
        // Where no length was announced, as much as may come was taken.
        if let Some(taken) = &mut self.held.taken {
            self.held.bytes.shrink_to_fit();
            drop(taken.split(taken.num_permits().saturating_sub(self.held.bytes.len())));
        }
        Bytes::from_owner(self.held)
    }
}

impl AsRef<[u8]> for Held {
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
    use crate::web::request::RequestBody;

    const MINUTE: Duration = Duration::from_secs(60);
    const MOMENT: Duration = Duration::from_millis(20);
    const LIMIT: usize = 4 << 20;

    fn body(bytes: usize) -> RequestBody {
        let pieces = stream::iter(vec![0; bytes].chunks(1 << 10).map(Bytes::copy_from_slice).collect::<Vec<_>>());
        let frames = pieces.map(|piece| Ok::<_, std::io::Error>(Frame::data(piece)));
        RequestBody::new(StreamBody::new(frames), &Request::new(()).into_parts().0)
    }

    fn status(failure: Failure) -> u16 {
        failure.into_response().status().as_u16()
    }

    #[tokio::test]
    async fn what_is_held_is_counted_until_nobody_has_it() {
        let room = Room::of(LIMIT, MOMENT, MINUTE);
        let most = LIMIT - UNCOUNTED;
        let whole = body(most).whole(LIMIT, &room).await.unwrap().unwrap();
        assert_eq!(whole.len(), most);
        let copy = whole.clone();
        drop(whole);
        for (bytes, limit, fits) in [
            (0, LIMIT, true),
            (UNCOUNTED, LIMIT, true),
            (UNCOUNTED + 1, LIMIT, false),
            (UNCOUNTED + 1, UNCOUNTED + 1, false),
            (UNCOUNTED, UNCOUNTED, true),
        ] {
            let refused = body(bytes).whole(limit, &room).await.map_err(status).err();
            assert_eq!(refused, (!fits).then_some(503), "{bytes}");
        }
        drop(copy);
        assert!(body(LIMIT).whole(LIMIT, &room).await.is_ok());
        let larger = body(LIMIT).whole(LIMIT + 1, &room).await;
        assert_eq!(larger.map_err(status).err(), Some(503), "it may be larger than the room");
        let short = body(UNCOUNTED + 1).whole(LIMIT, &room).await.unwrap().unwrap();
        assert!(body(most - 1).whole(most - 1, &room).await.is_ok(), "what did not come is free again");
        assert_eq!(short.len(), UNCOUNTED + 1);
    }

    #[tokio::test]
    async fn room_is_waited_for() {
        let room = Room::of(LIMIT, MINUTE, MINUTE);
        let first = body(LIMIT).whole(LIMIT, &room).await.unwrap();
        let mut second = body(LIMIT);
        let (second, ()) = tokio::join!(second.whole(LIMIT, &room), async {
            tokio::time::sleep(MOMENT).await;
            drop(first);
        });
        assert!(second.unwrap().is_some());
    }

    #[tokio::test]
    async fn a_body_that_takes_too_long_is_given_up() {
        let room = Room::of(8 << 10, MINUTE, MOMENT);
        // Each piece comes soon enough.
        let pieces = stream::unfold((), |()| async {
            tokio::time::sleep(MOMENT / 10).await;
            Some((Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(b"x"))), ()))
        });
        let mut slow = RequestBody::new(StreamBody::new(Box::pin(pieces)), &Request::new(()).into_parts().0);
        assert_eq!(slow.whole(LIMIT, &room).await.map_err(status).err(), Some(408));
        assert!(slow.received() > 0);
    }
}
