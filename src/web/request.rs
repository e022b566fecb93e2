//! A request's body.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http::Version;
use http::request::Parts;
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;

use super::error::Failure;
use super::room::Room;
use crate::sys::Tasks;

/// A client that sends nothing for this long is given up; what it sent stays.
const STALL: Duration = Duration::from_secs(300);
/// What a client may still send of a body that nobody wants, so that it sees the answer instead of a reset connection.
const DRAIN_BYTES: u64 = 64 << 20;
const DRAIN_TIME: Duration = Duration::from_secs(5);

type BoxError = Box<dyn Error + Send + Sync>;

/// The body of a request, and how much of it has been read.
pub(super) struct RequestBody {
    /// `None` when it has been read to its end.
    rest: Option<UnsyncBoxBody<Bytes, BoxError>>,
    received: u64,
    announced: Option<u64>,
    continuation: Continuation,
}

/// What the client does before it sends the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Continuation {
    Sends,
    /// It waits to be told (`Expect: 100-continue`), which the first read does.
    Waits,
}

impl RequestBody {
    pub(super) fn new<B>(body: B, head: &Parts) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        // On HTTP/2 nothing is lost by reading what may not come, and the answer is if the stream is reset right behind it.
        let waits = head.version <= Version::HTTP_11 && head.headers.contains_key(http::header::EXPECT);
        Self {
            announced: body.size_hint().exact(),
            rest: (!body.is_end_stream()).then(|| body.map_err(Into::into).boxed_unsync()),
            received: 0,
            continuation: if waits { Continuation::Waits } else { Continuation::Sends },
        }
    }

    /// Bytes read so far.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Its length, where the client said it.
    pub(super) fn announced(&self) -> Option<u64> {
        self.announced
    }

    /// The next piece; `None` at the end.
    pub(super) async fn piece(&mut self) -> Result<Option<Bytes>, Failure> {
        self.continuation = Continuation::Sends;
        while let Some(rest) = &mut self.rest {
            let frame = tokio::time::timeout(STALL, rest.frame()).await;
            let frame = frame.map_err(|_| Failure::body_broken("nothing came for five minutes"))?;
            match frame.transpose().map_err(|error| Failure::body_broken(&error.to_string()))? {
                None => self.rest = None,
                Some(frame) => {
                    // Trailers say nothing that is needed here.
                    let Ok(piece) = frame.into_data() else { continue };
                    self.received += piece.len() as u64;
                    return Ok(Some(piece));
                }
            }
        }
        Ok(None)
    }

    /// All of it, when there is room for it; `None` when it is longer than `most`.
    pub(super) async fn whole(&mut self, most: usize, room: &Room) -> Result<Option<Bytes>, Failure> {
        if self.announced.is_some_and(|len| len > most as u64) {
            return Ok(None);
        }
        // What is in memory must not stay there for a client that sends a byte now and then.
        let read = tokio::time::timeout(room.longest(), self.read_whole(most, room)).await;
        read.unwrap_or_else(|_| Err(Failure::body_slow(room.longest())))
    }

    async fn read_whole(&mut self, most: usize, room: &Room) -> Result<Option<Bytes>, Failure> {
        let mut arriving = room.arriving(self.announced.map_or(most, |len| len as usize));
        while let Some(piece) = self.piece().await? {
            if arriving.len() + piece.len() > most {
                return Ok(None);
            }
            arriving.add(&piece).await?;
        }
        Ok(Some(arriving.whole()))
    }

    /// Reads on for a while behind an answer that did not want the rest. To close on a client that is still sending would
    /// reset the connection and lose the answer, which is what tells the client why.
    pub(super) fn drain(mut self, tasks: &Tasks) {
        if self.rest.is_none() || self.continuation == Continuation::Waits {
            return;
        }
        let enough = self.received.saturating_add(DRAIN_BYTES);
        tasks.spawn(async move {
            let reading = async { while self.received < enough && matches!(self.piece().await, Ok(Some(_))) {} };
            // Whatever becomes of it, nobody waits for it.
            let _ = tokio::time::timeout(DRAIN_TIME, reading).await;
        });
    }
}
