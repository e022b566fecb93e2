//! How the test upstream misbehaves: which requests it does that to, and what becomes of their bodies.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use http_body_util::StreamBody;
use hyper::body::Frame;

/// One thing that goes wrong. Several may go wrong with one request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fault {
    /// Answers with this status, without a body.
    Status(u16),
    /// Says `Retry-After`; with [`Fault::Status`].
    RetryAfter(&'static str),
    /// Accepts the request and never answers.
    Hang,
    /// Answers so much later.
    Latency(Duration),
    /// Sends so many bytes a second on each connection.
    Throttle(u64),
    /// Sends so many bytes of the body, then cuts the connection.
    Cut(u64),
    /// Sends so many bytes of the body, then nothing more.
    Stall(u64),
    /// Changes the first byte of the body.
    Corrupt,
    /// Says this `Content-Length`.
    Length(u64),
    /// Says no `Content-Length`.
    NoLength,
    /// Sends everything, whatever range was asked.
    IgnoreRange,
    /// Sends the right bytes with a `Content-Range` that begins one byte later.
    WrongRange,
    /// Says no `Docker-Content-Digest`.
    NoDigest,
    /// Says `Content-Encoding: gzip`.
    Encoded,
}

/// A fault, and which requests it befalls.
#[derive(Debug)]
pub(crate) struct Rule {
    /// `*`: every method.
    method: String,
    /// A part of the path; the CDN's paths begin with `/cdn/`.
    path: String,
    fault: Fault,
    /// So many more times; `None`: always.
    left: Option<usize>,
}

impl Rule {
    pub(crate) fn new(method: &str, path: &str, fault: Fault, times: Option<usize>) -> Self {
        Self { method: method.to_owned(), path: path.to_owned(), fault, left: times }
    }
}

/// The value of a kind of fault, if one of these has it.
macro_rules! pick {
    ($faults:expr, $kind:ident) => {
        $faults.0.iter().find_map(|fault| if let Fault::$kind(value) = fault { Some(*value) } else { None })
    };
}
pub(crate) use pick;

/// The faults that befall one request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults(pub(super) Vec<Fault>);

impl Faults {
    /// Those of the rules that apply; their count goes down.
    pub(crate) fn of(rules: &mut [Rule], method: &str, path: &str) -> Self {
        let applies = |rule: &&mut Rule| {
            (rule.method == "*" || rule.method == method) && path.contains(&rule.path) && rule.left != Some(0)
        };
        let befall = |rule: &mut Rule| {
            rule.left = rule.left.map(|left| left - 1);
            rule.fault.clone()
        };
        Self(rules.iter_mut().filter(applies).map(befall).collect())
    }

    pub(crate) fn has(&self, fault: &Fault) -> bool {
        self.0.contains(fault)
    }

    /// The delays before the head of an answer.
    pub(crate) async fn before_head(&self) {
        if self.has(&Fault::Hang) {
            std::future::pending::<Infallible>().await;
        }
        if let Some(latency) = pick!(self, Latency) {
            tokio::time::sleep(latency).await;
        }
    }

    /// `content` as it is sent; `sent` counts what leaves.
    pub(crate) fn body(&self, content: Bytes, sent: Arc<AtomicU64>) -> Body {
        let mut content = content;
        if self.has(&Fault::Corrupt) && !content.is_empty() {
            let mut changed = content.to_vec();
            changed[0] ^= 1;
            content = changed.into();
        }
        let size = content.len() as u64;
        // What is promised beyond the content never comes.
        let cut = pick!(self, Cut).or(pick!(self, Length).filter(|length| *length > size).and(Some(size)));
        let (stall, rate) = (pick!(self, Stall), pick!(self, Throttle));
        let limit = cut.or(stall).map_or(content.len(), |limit| content.len().min(limit as usize));
        let sending = Sending { rest: content.slice(..limit), rate, sent, cut: cut.is_some(), stall: stall.is_some() };
        StreamBody::new(Box::pin(stream::unfold(sending, Sending::next)))
    }
}

type Piece = Result<Frame<Bytes>, std::io::Error>;
pub(crate) type Body = StreamBody<Pin<Box<dyn Stream<Item = Piece> + Send>>>;

struct Sending {
    rest: Bytes,
    rate: Option<u64>,
    sent: Arc<AtomicU64>,
    /// Afterwards the connection is cut.
    cut: bool,
    /// Afterwards nothing more comes.
    stall: bool,
}

impl Sending {
    async fn next(mut self) -> Option<(Piece, Self)> {
        if self.rest.is_empty() {
            if self.stall {
                std::future::pending::<Infallible>().await;
            }
            if !self.cut {
                return None;
            }
            // So that what was sent before the cut arrives.
            tokio::time::sleep(Duration::from_millis(20)).await;
            return Some((Err(std::io::Error::other("cut, as the test wants")), self));
        }
        let size = match self.rate {
            // Twenty pieces a second.
            Some(rate) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
                (rate / 20).max(1) as usize
            }
            None => 64 << 10,
        };
        let piece = self.rest.split_to(size.min(self.rest.len()));
        self.sent.fetch_add(piece.len() as u64, Ordering::SeqCst);
        Some((Ok(Frame::data(piece)), self))
    }
}
