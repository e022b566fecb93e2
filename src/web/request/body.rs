//! The body of a request.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use http::Version;
use http::request::Parts;
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;

use super::body_budget::{BodyBudget, Exhausted};
use crate::sys::Tasks;

/// Pieces are joined up to this length, if they have arrived already. A client may send a chunk for each byte, and each piece costs a
/// write.
const JOINED_BYTES: usize = 64 << 10;
/// A piece of this length is not copied.
const LARGE_BYTES: usize = 16 << 10;
/// The size and the time limit for reading the rest of a body that the answer did not need. Reading it lets the client see the
/// answer instead of a reset connection.
const DRAIN_BYTES: u64 = 64 << 20;
const DRAIN_TIME: Duration = Duration::from_secs(5);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a request, and the number of bytes read from it.
pub(in crate::web) struct RequestBody {
    /// The unread part; `None` at the end of the body.
    rest: Option<UnsyncBoxBody<Bytes, BoxError>>,
    received: u64,
    announced: Option<u64>,
    continuation: Continuation,
    /// A client that sends nothing for this long is given up; the bytes that it sent stay.
    stall: Duration,
    /// The error that ended the body after a piece that was returned.
    failed: Option<BodyError>,
    /// A piece that was read to find out whether there is a body.
    peeked: Option<Bytes>,
}

/// A body that could not be read to its end.
#[derive(Debug)]
pub(in crate::web) enum BodyError {
    /// The body broke off. In most cases the client has left and no one reads the answer.
    Broken(String),
    /// Nothing arrived for this time.
    Stalled(Duration),
    /// A body that is read into memory had not arrived after this time.
    Slow(Duration),
    /// A body found no memory within this time; there may be some later.
    Exhausted(Duration),
}

impl From<Exhausted> for BodyError {
    fn from(Exhausted(waited): Exhausted) -> Self {
        Self::Exhausted(waited)
    }
}

/// Tells if the client sends the body without being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Continuation {
    Sends,
    /// The client sent `Expect: 100-continue` and waits. The first read tells it to send.
    Waits,
}

impl RequestBody {
    pub(in crate::web) fn new<B>(body: B, head: &Parts, stall: Duration) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        // On HTTP/2 the body is always drained: that costs nothing, and a stream that is reset right after the answer loses it.
        let waits = head.version <= Version::HTTP_11 && head.headers.contains_key(http::header::EXPECT);
        Self {
            announced: body.size_hint().exact(),
            rest: (!body.is_end_stream()).then(|| body.map_err(Into::into).boxed_unsync()),
            received: 0,
            stall,
            failed: None,
            peeked: None,
            continuation: if waits { Continuation::Waits } else { Continuation::Sends },
        }
    }

    /// Returns the number of bytes read.
    pub(in crate::web) fn received(&self) -> u64 {
        self.received
    }

    /// Returns the length of the body, if the client announced it.
    pub(in crate::web) fn announced(&self) -> Option<u64> {
        self.announced
    }

    /// Returns true if the request has no body, or one without a byte. It reads the beginning of a body whose length is not announced.
    pub(in crate::web) async fn is_empty(&mut self) -> Result<bool, BodyError> {
        if let Some(len) = self.announced {
            return Ok(len == 0);
        }
        if self.peeked.is_some() {
            return Ok(false);
        }
        while let Some(piece) = self.piece().await? {
            if !piece.is_empty() {
                self.peeked = Some(piece);
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Reads the next piece. Returns `None` at the end. Small pieces that have arrived already are joined.
    pub(in crate::web) async fn piece(&mut self) -> Result<Option<Bytes>, BodyError> {
        self.continuation = Continuation::Sends;
        if let Some(peeked) = self.peeked.take() {
            return Ok(Some(peeked));
        }
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let stall = self.stall;
        let first = tokio::time::timeout(stall, self.data()).await.map_err(|_| BodyError::Stalled(stall))??;
        match first {
            Some(first) if first.len() < LARGE_BYTES => Ok(Some(self.join(first).await)),
            first => Ok(first),
        }
    }

    /// Appends the pieces that have arrived. What arrived before an error is returned, and the error at the next call.
    async fn join(&mut self, first: Bytes) -> Bytes {
        let Some(mut next) = self.arrived().await else { return first };
        let mut joined = BytesMut::from(&first[..]);
        loop {
            match next {
                Ok(Some(piece)) => joined.extend_from_slice(&piece),
                Ok(None) => break,
                Err(error) => {
                    self.failed = Some(error);
                    break;
                }
            }
            if joined.len() >= JOINED_BYTES {
                break;
            }
            match self.arrived().await {
                Some(arrived) => next = arrived,
                None => break,
            }
        }
        joined.freeze()
    }

    /// Returns the next frame with data, if it has arrived. On HTTP/1.1 hyper hands over one frame each time that the task of the connection
    /// runs, so the task runs once more.
    async fn arrived(&mut self) -> Option<Result<Option<Bytes>, BodyError>> {
        if let Some(arrived) = self.data().now_or_never() {
            return Some(arrived);
        }
        tokio::task::yield_now().await;
        self.data().now_or_never()
    }

    /// Reads the next frame that has data. It may be dropped before it is ready.
    async fn data(&mut self) -> Result<Option<Bytes>, BodyError> {
        while let Some(rest) = &mut self.rest {
            match rest.frame().await.transpose().map_err(|error| BodyError::Broken(error.to_string()))? {
                None => self.rest = None,
                Some(frame) => {
                    // Trailers are ignored.
                    let Ok(piece) = frame.into_data() else { continue };
                    self.received += piece.len() as u64;
                    return Ok(Some(piece));
                }
            }
        }
        Ok(None)
    }

    /// Reads the whole body into memory, once the budget allows it. Returns `None` if the body is longer than `most` bytes.
    pub(in crate::web) async fn whole(&mut self, most: usize, budget: &BodyBudget) -> Result<Option<Bytes>, BodyError> {
        if self.announced.is_some_and(|len| len > most as u64) {
            return Ok(None);
        }
        // A client that sends a byte now and then must not occupy memory without end.
        let read = tokio::time::timeout(budget.read_timeout(), self.read_whole(most, budget)).await;
        read.unwrap_or_else(|_| Err(BodyError::Slow(budget.read_timeout())))
    }

    async fn read_whole(&mut self, most: usize, budget: &BodyBudget) -> Result<Option<Bytes>, BodyError> {
        let mut buffer = budget.buffer(self.announced.map_or(most, |len| len as usize));
        while let Some(piece) = self.piece().await? {
            if buffer.len() + piece.len() > most {
                return Ok(None);
            }
            buffer.append(&piece).await?;
        }
        Ok(Some(buffer.finish()))
    }

    /// Reads the rest of a body that the answer did not need, for a while. Closing the connection while the client still sends
    /// would reset it, and the client would lose the answer that tells it why.
    pub(in crate::web) fn drain(mut self, tasks: &Tasks) {
        if self.rest.is_none() || self.continuation == Continuation::Waits {
            return;
        }
        let enough = self.received.saturating_add(DRAIN_BYTES);
        tasks.spawn(async move {
            let reading = async { while self.received < enough && matches!(self.piece().await, Ok(Some(_))) {} };
            // The outcome does not matter: the answer is on its way.
            let _ = tokio::time::timeout(DRAIN_TIME, reading).await;
        });
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt as _, stream};
    use http::Request;
    use http_body::Frame;
    use http_body_util::StreamBody;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn body(frames: impl stream::Stream<Item = std::io::Result<Bytes>> + Send + 'static) -> RequestBody {
        let frames = Box::pin(frames.map(|frame| frame.map(Frame::data)));
        RequestBody::new(StreamBody::new(frames), &Request::new(()).into_parts().0, MINUTE)
    }

    async fn pieces(mut body: RequestBody) -> (Vec<Bytes>, Option<BodyError>) {
        let mut pieces = Vec::new();
        loop {
            match body.piece().await {
                Ok(Some(piece)) => pieces.push(piece),
                Ok(None) => return (pieces, None),
                Err(error) => return (pieces, Some(error)),
            }
        }
    }

    #[tokio::test]
    async fn small_pieces_that_have_arrived_are_joined() {
        let bytes = 0..200_000_u32;
        let (joined, error) = pieces(body(stream::iter(bytes.clone().map(|n| Ok(vec![n as u8].into()))))).await;
        assert!(error.is_none() && joined.len() <= 4, "{} pieces", joined.len());
        assert!(joined.concat() == bytes.map(|n| n as u8).collect::<Vec<_>>());
        let large = Bytes::from(vec![1; LARGE_BYTES]);
        let (whole, _) = pieces(body(stream::iter(vec![Ok(large.clone()), Ok(large.clone())]))).await;
        assert_eq!(whole, [large.clone(), large], "large pieces are not copied");
        let (empty, error) = pieces(body(stream::iter(Vec::new()))).await;
        assert!(empty.is_empty() && error.is_none());
    }

    #[tokio::test]
    async fn bytes_before_an_error_or_a_pause_are_returned() {
        let broken = || Err(std::io::Error::other("gone"));
        let frames = vec![Ok(Bytes::from("a")), Ok(Bytes::from("b")), broken()];
        let (kept, error) = pieces(body(stream::iter(frames))).await;
        assert_eq!(kept, ["ab"]);
        assert!(matches!(error, Some(BodyError::Broken(_))));
        let paused = stream::iter(vec![Ok(Bytes::from("a")), Ok(Bytes::from("b"))]).chain(stream::pending());
        let mut paused = body(paused);
        assert_eq!(paused.piece().await.unwrap().unwrap(), "ab");
        paused.stall = Duration::from_millis(1);
        assert!(matches!(paused.piece().await, Err(BodyError::Stalled(_))));
    }
}
