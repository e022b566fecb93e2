//! The body of a response, as it arrives.

use std::fmt;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::error::{SendError, causes};
use super::link::{LinkUse, Traffic};
use super::pool::OpenConnection;

/// A whole body may take the stall limit, plus the time that the bytes which have arrived take at this rate, in bytes per
/// second. Even a slow link that many transfers share gives each of them more.
const LEAST_RATE: u64 = 512;
/// The most time that a whole body takes.
const LONGEST_READ: Duration = Duration::from_secs(10 * 60);

/// A body that is read in chunks. Each chunk must arrive within the stall limit. Dropping the body ends the transfer.
///
/// On a governed link, the body is read no faster than the link allows, so that the sender slows down. The time in which
/// it waits for the link is not counted as a stall.
pub struct ResponseBody {
    response: reqwest::Response,
    host: String,
    stall: Duration,
    connection: OpenConnection,
    /// The size in `Content-Length`, if there is one.
    expected: Option<u64>,
    received: u64,
    /// The time for which it waited for the sender.
    waited: Duration,
    link: Option<LinkUse>,
    /// Received bytes that the link has not granted yet.
    ungranted: Bytes,
}

impl ResponseBody {
    pub(super) fn new(response: reqwest::Response, host: String, stall: Duration, connection: OpenConnection) -> Self {
        let expected = response.content_length();
        Self {
            response,
            host,
            stall,
            connection,
            expected,
            received: 0,
            waited: Duration::ZERO,
            link: None,
            ungranted: Bytes::new(),
        }
    }

    /// Reads the body no faster than the link allows.
    pub(super) fn governed_by(self, link: Option<LinkUse>) -> Self {
        Self { link, ..self }
    }

    /// Returns `HOST:PORT` of the server that sends it.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns true if it arrives on a connection that was opened for an earlier request.
    pub fn is_on_reused_connection(&self) -> bool {
        self.connection.is_reused
    }

    /// Sets the class of the transfer, which decides about its turn on a governed link. Without it, a body is read as
    /// traffic of clients.
    pub fn set_traffic(&mut self, traffic: &Traffic) {
        if let Some(link) = &mut self.link {
            link.set_traffic(traffic.clone());
        }
    }

    /// Returns the next chunk, or `None` at the end. A body that is shorter than its `Content-Length` ends in an error,
    /// never in `None`. A call that is dropped loses no bytes.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, SendError> {
        self.chunk_within(self.stall).await
    }

    async fn chunk_within(&mut self, limit: Duration) -> Result<Option<Bytes>, SendError> {
        let Self { link: Some(_), .. } = self else { return self.receive(limit).await };
        if self.ungranted.is_empty() {
            match self.receive(limit).await? {
                Some(chunk) => self.ungranted = chunk,
                None => return Ok(None),
            }
        }
        let bytes = self.ungranted.len();
        let granted = match &mut self.link {
            Some(link) => link.grant(bytes).await,
            None => bytes,
        };
        Ok(Some(self.ungranted.split_to(granted)))
    }

    async fn receive(&mut self, limit: Duration) -> Result<Option<Bytes>, SendError> {
        let began = self.connection.clock.moment();
        self.connection.waiting = Some(began);
        let chunk = tokio::time::timeout(limit, self.response.chunk()).await;
        // A body that has just brought bytes shows that the connection lives.
        if chunk.is_err() && (limit >= self.stall || self.received == 0) {
            self.connection.stalled();
        }
        self.connection.waiting = None;
        self.waited += self.connection.clock.since(began);
        match chunk {
            Err(_) => Err(SendError::Timeout { host: self.host.clone(), waited: limit }),
            Ok(Err(error)) => Err(self.cut(&causes(&error))),
            Ok(Ok(Some(chunk))) => {
                self.received += chunk.len() as u64;
                Ok(Some(chunk))
            }
            Ok(Ok(None)) if self.expected.is_some_and(|expected| expected != self.received) => {
                Err(self.cut("the body is shorter than its Content-Length"))
            }
            Ok(Ok(None)) => Ok(None),
        }
    }

    /// Reads the first bytes of the body: all of it, or at least `most` bytes. It waits for the sender for at most `limit` in
    /// all. Returns `None` if some bytes have arrived by then and the rest has not, and an error if none has arrived.
    pub async fn start(&mut self, most: usize, limit: Duration) -> Result<Option<Bytes>, SendError> {
        let mut start = BytesMut::new();
        while start.len() < most {
            let left = limit.saturating_sub(self.waited).min(self.stall);
            match self.chunk_within(left).await {
                Ok(Some(chunk)) => start.extend_from_slice(&chunk),
                Ok(None) => break,
                Err(SendError::Timeout { .. }) if self.received > 0 => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Ok(Some(start.freeze()))
    }

    /// Reads the whole body. A body of more than `limit` bytes is an error, and so is one that arrives too slowly: the
    /// requests that wait for it would wait for hours.
    pub async fn collect(mut self, limit: usize) -> Result<Bytes, SendError> {
        let too_large = || SendError::TooLarge { host: self.host.clone(), limit };
        if self.expected.is_some_and(|expected| expected > limit as u64) {
            return Err(too_large());
        }
        let mut whole = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            if whole.len() + chunk.len() > limit {
                return Err(SendError::TooLarge { host: self.host, limit });
            }
            whole.extend_from_slice(&chunk);
            if self.trickles() {
                let waited = humantime::format_duration(Duration::from_secs(self.waited.as_secs()));
                let reason = format!("it sent only {} bytes of a body in {waited}", self.received);
                return Err(SendError::Broken { host: self.host, reason });
            }
        }
        Ok(whole.freeze())
    }

    /// Returns true if the whole body takes too long. The time for which it waits for a governed link is not counted.
    fn trickles(&self) -> bool {
        let needed = Duration::from_secs(self.received / LEAST_RATE);
        self.waited > (self.stall + needed).min(LONGEST_READ.max(self.stall))
    }

    fn cut(&self, reason: &str) -> SendError {
        let of = self.expected.map(|expected| format!(" of {expected}")).unwrap_or_default();
        let reason = format!("the connection was cut after {}{of} bytes ({reason})", self.received);
        SendError::Broken { host: self.host.clone(), reason }
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody")
            .field("host", &self.host)
            .field("expected", &self.expected)
            .field("received", &self.received)
            .finish_non_exhaustive()
    }
}
