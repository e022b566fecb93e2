//! Faults of the test upstream: the requests that they affect, and their effect on bodies.

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

/// The largest piece of a body: small compared with the counts of the tests, and large enough to be fast.
const PIECE: usize = 64 << 10;

/// A fault. Several may affect one request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fault {
    /// Answers with this status. A registry's 401 to 404 have the header of its API.
    Status(u16),
    /// Answers with this status and a web page, as a proxy or a captive portal in the registry's place.
    Page(u16),
    /// Adds `Retry-After`; used with [`Fault::Status`].
    RetryAfter(&'static str),
    /// Accepts the request and never answers.
    Hang,
    /// Never answers a request on a connection that has carried an earlier one: a firewall has forgotten it.
    HangReused,
    /// Delays the answer by this time.
    Latency(Duration),
    /// Limits each connection to this many bytes per second.
    Throttle(u64),
    /// Limits one connection in this many to this many bytes per second, whatever [`Fault::Throttle`] allows. The first is not slow.
    SlowConnection(usize, u64),
    /// Limits all connections together to this many bytes per second.
    Bottleneck(u64),
    /// Sends this many bytes of the body, then cuts the connection.
    Cut(u64),
    /// Cuts each connection after this many bytes of bodies, over all its answers.
    CutConnection(u64),
    /// Sends this many bytes of the body, then nothing more.
    Stall(u64),
    /// Changes the first byte of the body.
    Corrupt,
    /// Sends this `Content-Length`.
    Length(u64),
    /// Omits `Content-Length`.
    NoLength,
    /// Sends the whole content for any range.
    IgnoreRange,
    /// Sends the right bytes with a `Content-Range` that begins one byte too late.
    WrongRange,
    /// Sends a range without `Content-Range`.
    NoContentRange,
    /// Answers a request for a range with this status.
    RefuseRange(u16),
    /// Omits the size of the whole from `Content-Range`.
    UnknownTotal,
    /// Writes this size of the whole into `Content-Range`, also of a 416.
    Total(u64),
    /// Sends everything from the beginning of a range on, and ignores its end.
    Overlong,
    /// Omits `Docker-Content-Digest`.
    NoDigest,
    /// Adds `Content-Encoding: gzip`.
    Encoded,
}

/// A fault and the requests that it affects.
#[derive(Debug)]
pub(crate) struct Rule {
    /// `*` stands for every method.
    method: String,
    /// A part of the path with its query. Paths of the registry begin with `/v2/`, paths of the CDN with `/cdn/`.
    path: String,
    fault: Fault,
    /// The number of matching requests to spare first.
    spared: usize,
    /// The number of requests to affect; `None` means all.
    left: Option<usize>,
}

impl Rule {
    /// Affects every request of `method` (`*`: any) whose path contains `path`.
    pub(crate) fn new(method: &str, path: &str, fault: Fault) -> Self {
        Self { method: method.to_owned(), path: path.to_owned(), fault, spared: 0, left: None }
    }

    /// Spares the first `requests` of them.
    pub(crate) fn after(self, requests: usize) -> Self {
        Self { spared: requests, ..self }
    }

    /// Affects at most this many of them.
    pub(crate) fn times(self, times: usize) -> Self {
        Self { left: Some(times), ..self }
    }

    /// Returns true if the fault affects this request, and updates the counts.
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

/// Returns the value of a kind of fault if it is among these.
macro_rules! pick {
    ($faults:expr, $kind:ident) => {
        $faults.0.iter().find_map(|fault| if let Fault::$kind(value) = fault { Some(*value) } else { None })
    };
}
pub(crate) use pick;

/// The faults of one request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults(pub(super) Vec<Fault>);

impl Faults {
    /// Picks the faults of the rules that match, and updates their counts.
    pub(crate) fn of(rules: &mut [Rule], method: &str, path: &str) -> Self {
        Self(rules.iter_mut().filter_map(|rule| rule.befalls(method, path).then(|| rule.fault.clone())).collect())
    }

    pub(crate) fn has(&self, fault: &Fault) -> bool {
        self.0.contains(fault)
    }

    /// Waits for the delays before the head of an answer.
    pub(crate) async fn before_head(&self, line: &Line) {
        let is_reused = line.is_reused();
        if self.has(&Fault::Hang) || (is_reused && self.has(&Fault::HangReused)) {
            std::future::pending::<Infallible>().await;
        }
        if let Some(latency) = pick!(self, Latency) {
            tokio::time::sleep(latency).await;
        }
    }

    /// Returns `content` as a body that is sent over `line`. `sent` counts its bytes, and `shared` paces all lines together.
    pub(crate) fn body(&self, content: Bytes, sent: Arc<AtomicU64>, line: &Arc<Line>, shared: &Arc<Pace>) -> Body {
        let mut content = content;
        if self.has(&Fault::Corrupt) && !content.is_empty() {
            let mut changed = content.to_vec();
            changed[0] ^= 1;
            content = changed.into();
        }
        let size = content.len() as u64;
        // The body promises more bytes than it has, so the rest never arrives.
        let cut = pick!(self, Cut).or(pick!(self, Length).filter(|length| *length > size).and(Some(size)));
        let stall = pick!(self, Stall);
        let limit = cut.or(stall).map_or(content.len(), |limit| content.len().min(limit as usize));
        line.pace.begin();
        let is_slow = |every: usize| line.number(|| shared.number_connection()) % every == every / 2;
        let slow = self.0.iter().find_map(|fault| match fault {
            Fault::SlowConnection(every, rate) if is_slow(*every) => Some(*rate),
            _ => None,
        });
        let sending = Sending {
            rest: content.slice(..limit),
            rate: slow.or(pick!(self, Throttle)),
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
    /// The pace of this connection.
    rate: Option<u64>,
    /// The pace of all connections together.
    shared: Option<(Arc<Pace>, u64)>,
    line: Arc<Line>,
    /// The number of bytes after which the line is cut.
    budget: Option<u64>,
    sent: Arc<AtomicU64>,
    /// The connection is cut after the body.
    cut: bool,
    /// Nothing more is sent after the body.
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

    /// Returns the size of the next piece: the bytes of five milliseconds, within the limit of the line.
    fn size(&self) -> usize {
        let slowest = self.rate.into_iter().chain(self.shared.as_ref().map(|(_, rate)| *rate)).min();
        let size = slowest.map_or(PIECE, |rate| ((rate / 200) as usize).clamp(1, PIECE));
        let left = self.budget.map_or(u64::MAX, |budget| budget.saturating_sub(self.line.carried()));
        size.min(self.rest.len()).min(usize::try_from(left).unwrap_or(usize::MAX))
    }
}
