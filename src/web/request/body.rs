//! The body of a request.

use std::time::Duration;

use bytes::Bytes;
use http::Version;
use http::request::Parts;
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;

use super::body_budget::{BodyBudget, Exhausted};
use crate::sys::Tasks;

/// A client that sends nothing for this long is given up; the bytes that it sent stay.
const STALL: Duration = Duration::from_secs(300);
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
}

/// A body that could not be read to its end.
#[derive(Debug)]
pub(in crate::web) enum BodyError {
    /// The body broke off. In most cases the client has left and no one reads the answer.
    Broken(String),
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
    pub(in crate::web) fn new<B>(body: B, head: &Parts) -> Self
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

    /// Reads the next piece. Returns `None` at the end.
    pub(in crate::web) async fn piece(&mut self) -> Result<Option<Bytes>, BodyError> {
        self.continuation = Continuation::Sends;
        while let Some(rest) = &mut self.rest {
            let frame = tokio::time::timeout(STALL, rest.frame()).await;
            let frame = frame.map_err(|_| BodyError::Broken("nothing arrived for five minutes".to_owned()))?;
            match frame.transpose().map_err(|error| BodyError::Broken(error.to_string()))? {
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
