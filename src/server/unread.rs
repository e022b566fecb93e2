//! hyper answers a request that it cannot read by itself, with a status and nothing else. Between it and the connection, this puts
//! our answer in the place of that one.
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

/// Whose turn it is to write on a connection.
pub(super) struct Turn {
    asked: AtomicBool,
    /// Requests that are being answered, to the end of the answer's body.
    open: AtomicUsize,
    /// Nothing of an answer is still to be written.
    settled: AtomicBool,
}

impl Turn {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { asked: AtomicBool::new(false), open: AtomicUsize::new(0), settled: AtomicBool::new(true) })
    }

    /// Was there ever a request?
    pub(super) fn was_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// A request is being answered, until what this returns is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Answering {
        self.asked.store(true, Ordering::Relaxed);
        self.settled.store(false, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
        Answering(Arc::clone(self))
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
}

/// A request that is being answered.
pub(super) struct Answering(Arc<Turn>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The body of an answer; with its end the request is answered.
pub(super) struct Answered<B> {
    pub(super) body: B,
    pub(super) _answering: Answering,
}

impl<B: Body + Unpin> Body for Answered<B> {
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
    refusal: Refusal,
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
    pub(super) fn new(stream: S, turn: Arc<Turn>, answer: F) -> Self {
        Self { stream, turn, answer, greeting: Greeting::Nothing, refusal: Refusal::None }
    }

    /// Writes our answer, if it is to stand in the place of what `theirs` begins with.
    fn poll_refuse(&mut self, cx: &mut Context<'_>, theirs: &[u8]) -> Poll<Option<io::Result<usize>>> {
        if matches!(self.refusal, Refusal::None)
            && self.turn.is_nobodys()
            && let Some(status) = refused(theirs)
        {
            let text = written((self.answer)(status, self.greeting));
            self.refusal = Refusal::Writing { text, instead: theirs.len() };
        }
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
    S: AsyncRead + Unpin,
    F: Unpin,
{
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let filled = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if self.greeting == Greeting::Nothing {
            self.greeting = Greeting::of(&buf.filled()[filled..]);
        }
        Poll::Ready(Ok(()))
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
        assert!(turn.is_nobodys());
    }
}
