//! hyper answers a request that it cannot read by itself, with a status and nothing else; and one whose head does not become whole
//! not at all. Between it and the connection, this puts our answer in the place of that one.
//!
//! What is hyper's own is certain, not guessed: it is written while no request is being answered and everything that was answered
//! before has gone out, and it is the head of an HTTP/1 error without a body. An answer that is told neither way goes out as it is.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::web::Greeting;

/// What a client may still send after such an answer, and for how long, so that it sees the answer instead of a reset connection.
const LINGER_BYTES: usize = 4 << 20;
const LINGER_TIME: Duration = Duration::from_secs(5);

/// How a `Content-Length` begins that hyper takes for a head that is too long: the largest number that 64 bits hold, and that
/// before it. Any other that cannot be is a bad request to it, as this is to us.
const ENDLESS: &[u8] = b"1844674407370955161";

/// Whose turn it is to write on a connection.
pub(super) struct Turn {
    /// Requests whose heads became whole.
    asked: AtomicUsize,
    /// The first bytes of a head of HTTP/1 have come.
    heard: AtomicBool,
    /// Requests that are being answered, to the end of the answer's body.
    open: AtomicUsize,
    /// Requests whose bodies are being read.
    reading: AtomicUsize,
    /// Nothing of an answer is still to be written.
    settled: AtomicBool,
}

impl Turn {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            asked: AtomicUsize::new(0),
            heard: AtomicBool::new(false),
            open: AtomicUsize::new(0),
            reading: AtomicUsize::new(0),
            settled: AtomicBool::new(true),
        })
    }

    /// Was there ever a request?
    pub(super) fn was_asked(&self) -> bool {
        self.asked() > 0
    }

    /// Did a request of HTTP/1 ever begin? When it does not go on, it is answered here.
    pub(super) fn was_addressed(&self) -> bool {
        self.heard.load(Ordering::Relaxed)
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    /// A request is being answered, until what this returns is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Answering {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.settled.store(false, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
        Answering(Arc::clone(self))
    }

    /// A request's body is being read, until what this returns is dropped.
    pub(super) fn read(self: &Arc<Self>) -> Reading {
        self.reading.fetch_add(1, Ordering::Relaxed);
        Reading(Arc::clone(self))
    }

    fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed) > 0
    }

    fn flushed(&self) {
        if !self.is_open() {
            self.settled.store(true, Ordering::Relaxed);
        }
    }

    fn is_nobodys(&self) -> bool {
        !self.is_open() && self.settled.load(Ordering::Relaxed)
    }

    /// Is what comes now the head of a request?
    fn is_for_a_head(&self) -> bool {
        self.is_nobodys() && self.reading.load(Ordering::Relaxed) == 0
    }
}

/// A request that is being answered.
pub(super) struct Answering(Arc<Turn>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A request whose body is being read.
pub(super) struct Reading(Arc<Turn>);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.reading.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The body of a request or of an answer, and what ends with it.
pub(super) struct Guarded<B, G> {
    pub(super) body: B,
    pub(super) _guard: G,
}

impl<B: Body + Unpin, G: Unpin> Body for Guarded<B, G> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A connection on which unreadable requests are answered by `answer`.
pub(super) struct Explaining<S, F> {
    stream: S,
    turn: Arc<Turn>,
    answer: F,
    greeting: Greeting,
    /// So long a head may take from its first bytes to its end.
    patience: Duration,
    head: Head,
    refusal: Refusal,
}

/// How far the head of the next request is.
enum Head {
    None,
    /// It began after so many requests.
    Begun {
        after: usize,
        until: Pin<Box<Sleep>>,
        length: Length,
    },
    /// It took too long, and is answered.
    GivenUp,
}

/// What a head says of the length of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Any,
    Endless,
}

impl Length {
    fn of(head: &[u8]) -> Self {
        if head.windows(ENDLESS.len()).any(|text| text == ENDLESS) { Self::Endless } else { Self::Any }
    }
}

enum Refusal {
    None,
    /// This is written in the place of so many bytes of hyper's.
    Writing {
        text: Bytes,
        instead: usize,
    },
    Written,
    Lingering {
        until: Pin<Box<Sleep>>,
        left: usize,
    },
}

impl<S, F> Explaining<S, F>
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Fn(StatusCode, Greeting) -> Response<Bytes> + Unpin,
{
    pub(super) fn new(stream: S, turn: Arc<Turn>, patience: Duration, answer: F) -> Self {
        let (greeting, head, refusal) = (Greeting::Nothing, Head::None, Refusal::None);
        Self { stream, turn, answer, greeting, patience, head, refusal }
    }

    /// Writes our answer, if it is to stand in the place of what `theirs` begins with.
    fn poll_refuse(&mut self, cx: &mut Context<'_>, theirs: &[u8]) -> Poll<Option<io::Result<usize>>> {
        if matches!(self.refusal, Refusal::None)
            && self.turn.is_nobodys()
            && let Some(status) = refused(theirs)
        {
            let status = match self.head {
                Head::Begun { length: Length::Endless, .. } => StatusCode::BAD_REQUEST,
                _ => status,
            };
            let text = written((self.answer)(status, self.greeting));
            self.refusal = Refusal::Writing { text, instead: theirs.len() };
        }
        self.poll_write_refusal(cx)
    }

    fn poll_write_refusal(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<usize>>> {
        let Refusal::Writing { text, instead } = &mut self.refusal else { return Poll::Ready(None) };
        while text.has_remaining() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, text)) {
                Ok(0) => return Poll::Ready(Some(Err(io::ErrorKind::WriteZero.into()))),
                Ok(count) => text.advance(count),
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
        let instead = *instead;
        self.refusal = Refusal::Written;
        Poll::Ready(Some(Ok(instead)))
    }

    /// Something came in.
    fn hears(&mut self, bytes: &[u8]) {
        if self.greeting == Greeting::Nothing {
            self.greeting = Greeting::of(bytes);
        }
        let after = self.turn.asked();
        if let Head::Begun { after: known, length, .. } = &mut self.head
            && *known == after
        {
            if *length == Length::Any {
                *length = Length::of(bytes);
            }
        } else if bytes.iter().any(|byte| !matches!(byte, b'\r' | b'\n'))
            && self.greeting != Greeting::Http2
            && self.turn.is_for_a_head()
        {
            self.turn.heard.store(true, Ordering::Relaxed);
            self.head =
                Head::Begun { after, until: Box::pin(tokio::time::sleep(self.patience)), length: Length::of(bytes) };
        }
    }

    /// Nothing comes in for now: ready when the head that has begun takes too long.
    fn poll_give_up(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Head::Begun { after, until, .. } = &mut self.head else { return Poll::Pending };
        if *after != self.turn.asked() {
            self.head = Head::None;
            return Poll::Pending;
        }
        ready!(until.as_mut().poll(cx));
        let text = written((self.answer)(StatusCode::REQUEST_TIMEOUT, self.greeting));
        self.refusal = Refusal::Writing { text, instead: 0 };
        self.head = Head::GivenUp;
        Poll::Ready(())
    }

    /// Reads on for a while: to close on a client that is still sending would reset the connection and lose the answer.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Refusal::Written = self.refusal {
            let until = Box::pin(tokio::time::sleep(LINGER_TIME));
            self.refusal = Refusal::Lingering { until, left: LINGER_BYTES };
        }
        let Refusal::Lingering { until, left } = &mut self.refusal else { return Poll::Ready(()) };
        let mut space = [0; 8 << 10];
        while *left > 0 && until.as_mut().poll(cx).is_pending() {
            let mut read = ReadBuf::new(&mut space);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read)) {
                Ok(()) if !read.filled().is_empty() => *left = left.saturating_sub(read.filled().len()),
                _ => break,
            }
        }
        Poll::Ready(())
    }
}

impl<S, F> AsyncRead for Explaining<S, F>
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Fn(StatusCode, Greeting) -> Response<Bytes> + Unpin,
{
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let filled = buf.filled().len();
        if !matches!(self.head, Head::GivenUp) {
            if let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(cx, buf) {
                self.hears(&buf.filled()[filled..]);
                return Poll::Ready(read);
            }
            ready!(self.poll_give_up(cx));
        }
        // To hyper the connection ends here.
        ready!(self.poll_write_refusal(cx)).transpose()?;
        self.poll_shutdown(cx)
    }
}

impl<S, F> AsyncWrite for Explaining<S, F>
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Fn(StatusCode, Greeting) -> Response<Bytes> + Unpin,
{
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match ready!(self.poll_refuse(cx, buf)) {
            Some(written) => Poll::Ready(written),
            None => Pin::new(&mut self.stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = bufs.iter().find(|buf| !buf.is_empty()).map_or(&[][..], |buf| buf);
        match ready!(self.poll_refuse(cx, first)) {
            Some(written) => Poll::Ready(written),
            None => Pin::new(&mut self.stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.turn.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !matches!(self.refusal, Refusal::Lingering { .. }) {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        }
        ready!(self.poll_linger(cx));
        Poll::Ready(Ok(()))
    }
}

/// The status of an answer that is the head of an HTTP/1 error and nothing else. Ours all have a body.
fn refused(written: &[u8]) -> Option<StatusCode> {
    let head = std::str::from_utf8(written).ok()?.strip_prefix("HTTP/1.")?.strip_suffix("\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse::<StatusCode>().ok()?;
    let empty = lines.any(|line| line.eq_ignore_ascii_case("content-length: 0"));
    (status.is_client_error() && empty).then_some(status)
}

/// An answer as HTTP/1.1 writes it.
fn written(answer: Response<Bytes>) -> Bytes {
    let (head, body) = answer.into_parts();
    let mut text = BytesMut::from(format!("HTTP/1.1 {}\r\n", head.status).as_bytes());
    write_fields(&mut text, &head.headers);
    text.extend_from_slice(b"\r\n");
    text.extend_from_slice(&body);
    text.freeze()
}

fn write_fields(text: &mut BytesMut, headers: &HeaderMap) {
    for (name, value) in headers {
        text.extend_from_slice(name.as_str().as_bytes());
        text.extend_from_slice(b": ");
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[test]
    fn what_is_an_error_and_nothing_else() {
        for (head, want) in [
            ("HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\nDate: x\r\n\r\n", Some(431)),
            ("HTTP/1.0 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n", Some(400)),
            ("HTTP/1.1 400 Bad Request\r\ncontent-length: 7\r\n\r\n", None),
            ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", None),
            ("HTTP/1.1 100 Continue\r\n\r\n", None),
            ("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\nmore", None),
            ("\0\0\x12\x04\0", None),
            ("", None),
        ] {
            assert_eq!(refused(head.as_bytes()).map(|status| status.as_u16()), want, "{head:?}");
        }
    }

    #[test]
    fn whose_turn_it_is() {
        let turn = Turn::new();
        assert!(turn.is_nobodys() && !turn.was_asked());
        let answering = turn.begin();
        turn.flushed();
        assert!(!turn.is_nobodys() && turn.was_asked());
        drop(answering);
        assert!(!turn.is_nobodys(), "the end of the answer may still be on its way");
        turn.flushed();
        assert!(turn.is_nobodys() && turn.is_for_a_head());
        let reading = turn.read();
        assert!(turn.is_nobodys() && !turn.is_for_a_head(), "the rest of a body that nobody wanted");
        drop(reading);
        assert!(turn.is_for_a_head());
    }

    /// What a client gets that sends these pieces, and no more. Patience ends before its own does.
    async fn answers(pieces: &[&'static [u8]], pause: Duration) -> String {
        let (mut client, server) = tokio::io::duplex(1 << 16);
        let turn = Turn::new();
        let answer = |status: StatusCode, _| {
            let body = Bytes::from_static(b"too slow");
            Response::builder().status(status).header("content-length", body.len()).body(body).unwrap()
        };
        let stream = Explaining::new(server, Arc::clone(&turn), PATIENCE, answer);
        let service = hyper::service::service_fn(|request: http::Request<hyper::body::Incoming>| {
            let (guard, reading) = (turn.begin(), turn.read());
            async move {
                let _ = Guarded { body: request.into_body(), _guard: reading }.collect().await;
                let body = http_body_util::Full::new(Bytes::from_static(b"fine"));
                Ok::<_, std::convert::Infallible>(Response::new(Guarded { body, _guard: guard }))
            }
        });
        let io = hyper_util::rt::TokioIo::new(stream);
        let serving = hyper::server::conn::http1::Builder::new().serve_connection(io, service);
        let asking = async move {
            for piece in pieces {
                // Who is not listened to any more has an answer.
                let _ = client.write_all(piece).await;
                tokio::time::sleep(pause).await;
            }
            client.shutdown().await.unwrap();
            let mut told = String::new();
            client.read_to_string(&mut told).await.unwrap();
            told
        };
        tokio::join!(serving, asking).1
    }

    const PATIENCE: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn a_head_that_does_not_become_whole_is_answered() {
        const WHOLE: &[u8] = b"GET / HTTP/1.1\r\nHost: r\r\n\r\n";
        const PUT: &[u8] = b"PUT / HTTP/1.1\r\nHost: r\r\nContent-Length: 4\r\n\r\n";
        for (pieces, fine, slow) in [
            (&[&b"G"[..]][..], 0, 1),
            (&[b"GET / HTTP/1.1\r\nHost: r\r\n"], 0, 1),
            (&[WHOLE, &WHOLE[..20]], 1, 1),
            (&[WHOLE, WHOLE, b"G"], 2, 1),
            (&[b""], 0, 0),
            (&[WHOLE], 1, 0),
            (&[WHOLE, WHOLE], 2, 0),
            // A body has all the time it needs.
            (&[PUT, b"bo", b"dy"], 1, 0),
            (&[PUT, b"body", WHOLE], 2, 0),
        ] {
            let told = answers(pieces, PATIENCE * 3).await;
            let found = (told.matches("HTTP/1.1 200 OK").count(), told.matches("HTTP/1.1 408 Request Timeout").count());
            assert_eq!(found, (fine, slow), "{pieces:?}: {told}");
            assert!(slow == 0 || told.ends_with("\r\n\r\ntoo slow"), "{told}");
        }
        // Nor does it help to send a byte now and then.
        let drops = answers(&[&b"G"[..]; 100], PATIENCE / 5).await;
        assert!(drops.contains("408 Request Timeout"), "{drops}");
    }
}
