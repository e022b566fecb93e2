//! Answers with an explanation for requests that hyper cannot read. Hyper answers a malformed request with a bare status. It
//! does not answer a request whose head stays incomplete. A stream between hyper and the connection replaces these answers.
//!
//! An answer comes from hyper itself if it is the head of an HTTP/1 error without a body, and if it is written while no request is being
//! answered and after all earlier answers have been written. Every other answer is passed on unchanged.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::{Response, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::activity::Activity;
use super::http1::{bare_error, to_text};
use crate::web::ClientProtocol;

/// The limits for reading further input after the answer. Input is read so that the client sees the answer instead of a reset connection.
const LINGER_BYTES: usize = 4 << 20;
const LINGER_TIME: Duration = Duration::from_secs(5);

/// The first digits of a `Content-Length` that hyper reports as a head that is too large: the two largest 64-bit numbers. Hyper
/// reports every other impossible length as a bad request, and so does this server.
const IMPOSSIBLE_LENGTH: &[u8] = b"1844674407370955161";

/// A connection on which unreadable requests are answered by `answer`.
pub(super) struct Explaining<S, F> {
    stream: S,
    activity: Arc<Activity>,
    answer: F,
    protocol: ClientProtocol,
    /// The time that a head may take from its first bytes to its end.
    head_timeout: Duration,
    head: Head,
    reply: Reply,
}

/// The state of the next request head.
enum Head {
    None,
    /// The head has begun. `after` is the number of earlier requests.
    Begun {
        after: usize,
        until: Pin<Box<Sleep>>,
        length: Length,
    },
    /// The head took too long and is answered.
    TimedOut,
}

/// The announced length of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Possible,
    Impossible,
}

impl Length {
    fn of(head: &[u8]) -> Self {
        if head.windows(IMPOSSIBLE_LENGTH.len()).any(|text| text == IMPOSSIBLE_LENGTH) {
            Self::Impossible
        } else {
            Self::Possible
        }
    }
}

/// The state of our answer to an unreadable request.
enum Reply {
    None,
    /// The text is written in place of `instead` bytes of hyper's answer.
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
    F: Fn(StatusCode, ClientProtocol) -> Response<Bytes> + Unpin,
{
    pub(super) fn new(stream: S, activity: Arc<Activity>, head_timeout: Duration, answer: F) -> Self {
        let (protocol, head, reply) = (ClientProtocol::Nothing, Head::None, Reply::None);
        Self { stream, activity, answer, protocol, head_timeout, head, reply }
    }

    /// Writes our answer, if `output` is hyper's own answer to an unreadable request.
    fn poll_replace(&mut self, cx: &mut Context<'_>, output: &[u8]) -> Poll<Option<io::Result<usize>>> {
        if matches!(self.reply, Reply::None)
            && self.activity.is_idle()
            && let Some(status) = bare_error(output)
        {
            let status = match self.head {
                Head::Begun { length: Length::Impossible, .. } => StatusCode::BAD_REQUEST,
                _ => status,
            };
            let text = to_text((self.answer)(status, self.protocol));
            self.reply = Reply::Writing { text, instead: output.len() };
        }
        self.poll_write_reply(cx)
    }

    fn poll_write_reply(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<usize>>> {
        let Reply::Writing { text, instead } = &mut self.reply else { return Poll::Ready(None) };
        while text.has_remaining() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, text)) {
                Ok(0) => return Poll::Ready(Some(Err(io::ErrorKind::WriteZero.into()))),
                Ok(count) => text.advance(count),
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
        let instead = *instead;
        self.reply = Reply::Written;
        Poll::Ready(Some(Ok(instead)))
    }

    /// Records input.
    fn record_input(&mut self, bytes: &[u8]) {
        if self.protocol == ClientProtocol::Nothing {
            self.protocol = ClientProtocol::of(bytes);
        }
        let after = self.activity.requests();
        if let Head::Begun { after: known, length, .. } = &mut self.head
            && *known == after
        {
            if *length == Length::Possible {
                *length = Length::of(bytes);
            }
        } else if bytes.iter().any(|byte| !matches!(byte, b'\r' | b'\n'))
            && self.protocol != ClientProtocol::Http2
            && self.activity.expects_head()
        {
            self.activity.begin_head();
            self.head = Head::Begun {
                after,
                until: Box::pin(tokio::time::sleep(self.head_timeout)),
                length: Length::of(bytes),
            };
        }
    }

    /// Ready when the head that has begun takes too long. Polled while no input arrives.
    fn poll_head_timeout(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Head::Begun { after, until, .. } = &mut self.head else { return Poll::Pending };
        if *after != self.activity.requests() {
            self.head = Head::None;
            return Poll::Pending;
        }
        ready!(until.as_mut().poll(cx));
        let text = to_text((self.answer)(StatusCode::REQUEST_TIMEOUT, self.protocol));
        self.reply = Reply::Writing { text, instead: 0 };
        self.head = Head::TimedOut;
        Poll::Ready(())
    }

    /// Reads further input for a while. Closing the connection while the client still sends would reset it and lose the answer.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Reply::Written = self.reply {
            let until = Box::pin(tokio::time::sleep(LINGER_TIME));
            self.reply = Reply::Lingering { until, left: LINGER_BYTES };
        }
        let Reply::Lingering { until, left } = &mut self.reply else { return Poll::Ready(()) };
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
    F: Fn(StatusCode, ClientProtocol) -> Response<Bytes> + Unpin,
{
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let filled = buf.filled().len();
        if !matches!(self.head, Head::TimedOut) {
            if let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(cx, buf) {
                self.record_input(&buf.filled()[filled..]);
                return Poll::Ready(read);
            }
            ready!(self.poll_head_timeout(cx));
        }
        // Hyper sees the end of the connection.
        ready!(self.poll_write_reply(cx)).transpose()?;
        self.poll_shutdown(cx)
    }
}

impl<S, F> AsyncWrite for Explaining<S, F>
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Fn(StatusCode, ClientProtocol) -> Response<Bytes> + Unpin,
{
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match ready!(self.poll_replace(cx, buf)) {
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
        match ready!(self.poll_replace(cx, first)) {
            Some(written) => Poll::Ready(written),
            None => Pin::new(&mut self.stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.activity.flush();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !matches!(self.reply, Reply::Lingering { .. }) {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        }
        ready!(self.poll_linger(cx));
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::server::activity::Guarded;

    /// Sends these pieces with pauses between them. Returns everything that the client receives.
    async fn answers(pieces: &[&'static [u8]], pause: Duration) -> String {
        let (mut client, server) = tokio::io::duplex(1 << 16);
        let activity = Activity::new();
        let answer = |status: StatusCode, _| {
            let body = Bytes::from_static(b"too slow");
            Response::builder().status(status).header("content-length", body.len()).body(body).unwrap()
        };
        let stream = Explaining::new(server, Arc::clone(&activity), HEAD_TIMEOUT, answer);
        let service = hyper::service::service_fn(|request: http::Request<hyper::body::Incoming>| {
            let (guard, reading) = (activity.begin_answer(), activity.begin_body());
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
                // The server may have closed the connection after its answer.
                let _ = client.write_all(piece).await;
                tokio::time::sleep(pause).await;
            }
            client.shutdown().await.unwrap();
            let mut received = String::new();
            client.read_to_string(&mut received).await.unwrap();
            received
        };
        tokio::join!(serving, asking).1
    }

    const HEAD_TIMEOUT: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn incomplete_head_is_answered() {
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
            // The timeout applies to heads only, not to bodies.
            (&[PUT, b"bo", b"dy"], 1, 0),
            (&[PUT, b"body", WHOLE], 2, 0),
        ] {
            let told = answers(pieces, HEAD_TIMEOUT * 3).await;
            let found = (told.matches("HTTP/1.1 200 OK").count(), told.matches("HTTP/1.1 408 Request Timeout").count());
            assert_eq!(found, (fine, slow), "{pieces:?}: {told}");
            assert!(slow == 0 || told.ends_with("\r\n\r\ntoo slow"), "{told}");
        }
        // Sending a byte now and then does not extend the timeout.
        let drops = answers(&[&b"G"[..]; 100], HEAD_TIMEOUT / 5).await;
        assert!(drops.contains("408 Request Timeout"), "{drops}");
    }
}
