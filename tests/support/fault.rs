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

use super::line::{Line, Pace};

/// The largest piece of a body: small beside what a scenario counts, large enough to be fast.
const PIECE: usize = 64 << 10;

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
    /// Sends so many bytes a second on all connections together.
    Bottleneck(u64),
    /// Sends so many bytes of the body, then cuts the connection.
    Cut(u64),
    /// Cuts each connection when it has carried so many bytes of bodies, however many answers they belong to.
    CutConnection(u64),
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
    /// Says of a part not how long the whole is.
    UnknownTotal,
    /// Sends everything from where a range begins on, whatever end was asked for.
    Overlong,
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
    /// A part of the path; the registry's paths begin with `/v2/`, the CDN's with `/cdn/`.
    path: String,
    fault: Fault,
    /// So many such requests are spared first.
    spared: usize,
    /// So many more times; `None`: always.
    left: Option<usize>,
}

impl Rule {
    /// Every request of `method` (`*`: any) whose path contains `path`.
    pub(crate) fn new(method: &str, path: &str, fault: Fault) -> Self {
        Self { method: method.to_owned(), path: path.to_owned(), fault, spared: 0, left: None }
    }

    /// Not the first `requests` of them.
    pub(crate) fn after(self, requests: usize) -> Self {
        Self { spared: requests, ..self }
    }

    /// No more than so many of them.
    pub(crate) fn times(self, times: usize) -> Self {
        Self { left: Some(times), ..self }
    }

    /// Does it befall this request? Its counts go down.
    fn befalls(&mut self, method: &str, path: &str) -> bool {
        if (self.method != "*" && self.method != method) || !path.contains(&self.path) {
            return false;
        }
        if self.spared > 0 {
            self.spared -= 1;
            return false;
        }
        let befalls = self.left != Some(0);
        self.left = self.left.map(|left| left.saturating_sub(1));
        befalls
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
        Self(rules.iter_mut().filter_map(|rule| rule.befalls(method, path).then(|| rule.fault.clone())).collect())
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

    /// `content` as it is sent over `line`; `sent` counts what leaves, `shared` is the pace of all lines together.
    pub(crate) fn body(&self, content: Bytes, sent: Arc<AtomicU64>, line: &Arc<Line>, shared: &Arc<Pace>) -> Body {
        let mut content = content;
        if self.has(&Fault::Corrupt) && !content.is_empty() {
            let mut changed = content.to_vec();
            changed[0] ^= 1;
            content = changed.into();
        }
        let size = content.len() as u64;
        // What is promised beyond the content never comes.
        let cut = pick!(self, Cut).or(pick!(self, Length).filter(|length| *length > size).and(Some(size)));
        let stall = pick!(self, Stall);
        let limit = cut.or(stall).map_or(content.len(), |limit| content.len().min(limit as usize));
        line.pace.begin();
        let sending = Sending {
            rest: content.slice(..limit),
            rate: pick!(self, Throttle),
            shared: pick!(self, Bottleneck).map(|rate| (Arc::clone(shared), rate)),
            line: Arc::clone(line),
            budget: pick!(self, CutConnection),
            sent,
            cut: cut.is_some(),
            stall: stall.is_some(),
        };
        StreamBody::new(Box::pin(stream::unfold(sending, Sending::next)))
    }
}

type Piece = Result<Frame<Bytes>, std::io::Error>;
pub(crate) type Body = StreamBody<Pin<Box<dyn Stream<Item = Piece> + Send>>>;

struct Sending {
    rest: Bytes,
    /// Of this connection.
    rate: Option<u64>,
    /// Of all connections together.
    shared: Option<(Arc<Pace>, u64)>,
    line: Arc<Line>,
    /// The line is cut when it has carried so much.
    budget: Option<u64>,
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
            if self.cut {
                self.line.cut().await;
            }
            return None;
        }
        let size = self.size();
        if size == 0 {
            self.line.cut().await;
        }
        self.line.carry(size);
        if let Some(rate) = self.rate {
            self.line.pace.take(size, rate).await;
        }
        if let Some((pace, rate)) = &self.shared {
            pace.take(size, *rate).await;
        }
        let piece = self.rest.split_to(size);
        self.sent.fetch_add(piece.len() as u64, Ordering::SeqCst);
        Some((Ok(Frame::data(piece)), self))
    }

    /// How much goes out in one piece: what a rate lets through in five milliseconds, and no more than the line may carry.
    fn size(&self) -> usize {
        let slowest = self.rate.into_iter().chain(self.shared.as_ref().map(|(_, rate)| *rate)).min();
        let size = slowest.map_or(PIECE, |rate| ((rate / 200) as usize).clamp(1, PIECE));
        let left = self.budget.map_or(u64::MAX, |budget| budget.saturating_sub(self.line.carried()));
        size.min(self.rest.len()).min(usize::try_from(left).unwrap_or(usize::MAX))
    }
}
