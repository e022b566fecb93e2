//! One request of a client, and the comparison of its answer with the right bytes.

use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use crate::random::Random;
use crate::support::client::Answer;

/// A request must end within this time after the faults have ended.
const LIMIT: Duration = Duration::from_secs(60);

/// A way to read a blob.
#[derive(Clone, Debug)]
pub enum Reading {
    Whole,
    Range(Range<u64>),
    /// The client closes the connection after this many bytes.
    Leave(u64),
    /// The client waits this long before each of its reads.
    Slow(Duration),
    Head,
}

impl Reading {
    pub fn draw(random: &mut Random, size: u64) -> Self {
        if size == 0 {
            return Self::Whole;
        }
        match random.within(0..=9) {
            0..=3 => Self::Whole,
            4 | 5 => {
                let begin = random.within(0..=size - 1);
                let end = if random.chance(30) { size } else { random.within(begin + 1..=size) };
                Self::Range(begin..end)
            }
            6 => Self::Leave(random.within(0..=size)),
            7 | 8 => Self::Slow(Duration::from_millis(random.within(1..=40))),
            _ => Self::Head,
        }
    }
}

/// The outcome of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All bytes arrived and are right.
    Right(u64),
    /// The client left on purpose.
    Left,
    /// The body was cut.
    Cut,
    Status(u16),
    /// There was no answer: the connection was refused, or ended.
    NoAnswer,
    /// A range before the last byte ended normally and has wrong bytes, while an endpoint sends wrong bytes.
    Unverified,
    /// A body that ended normally is wrong.
    Wrong(String),
    /// The request did not end within its limit.
    Hang,
}

impl Outcome {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Right(_) => "right",
            Self::Left => "left",
            Self::Cut => "cut",
            Self::Status(429) => "429",
            Self::Status(400..500) => "4xx",
            Self::Status(_) => "5xx",
            Self::NoAnswer => "no answer",
            Self::Unverified => "unverified range",
            Self::Wrong(_) => "WRONG",
            Self::Hang => "HANG",
        }
    }
}

/// The beginning of the limit of all requests: the end of the faults.
#[derive(Default)]
pub struct Limit(Mutex<Option<Instant>>);

impl Limit {
    /// Faults begin.
    pub fn suspend(&self) {
        *self.0.lock().unwrap() = None;
    }

    /// Faults have ended.
    pub fn begin(&self) {
        *self.0.lock().unwrap() = Some(Instant::now());
    }

    fn is_over(&self, begun: Instant) -> bool {
        self.0.lock().unwrap().is_some_and(|healed| healed.max(begun).elapsed() > LIMIT)
    }
}

/// A request for a blob.
pub struct Request<'a> {
    pub addr: SocketAddr,
    pub target: &'a str,
    pub content: &'a [u8],
    pub limit: &'a Limit,
    /// An endpoint may send wrong bytes.
    pub is_damaged: bool,
}

impl Request<'_> {
    pub fn send(&self, reading: &Reading) -> Outcome {
        let begun = Instant::now();
        let Some(mut stream) = self.open(reading, begun) else { return Outcome::NoAnswer };
        let Some(mut answer) = Answer::read_head(&mut stream) else {
            return if self.limit.is_over(begun) { Outcome::Hang } else { Outcome::NoAnswer };
        };
        let wanted = match (reading, answer.status) {
            (Reading::Range(range), 206) => range.clone(),
            // A server may send everything instead of a range, for example if the size is not known yet.
            (_, 200) => 0..self.content.len() as u64,
            (_, status) => return Outcome::Status(status),
        };
        if *reading == Reading::Head {
            return Outcome::Right(0);
        }
        let expected = &self.content[wanted.start as usize..wanted.end as usize];
        let read = if answer.header("content-length").is_some() {
            self.compare(&mut stream, &answer, expected, reading)
        } else {
            answer.read_body(&mut stream);
            let (bytes, is_whole) = (answer.body.len(), answer.whole);
            let is_right = expected.starts_with(&answer.body) && (!is_whole || bytes == expected.len());
            Body { bytes, is_right, is_whole, has_left: false }
        };
        let size = announced_size(&answer).unwrap_or(self.content.len() as u64);
        self.judge(&read, &wanted, size, begun)
    }

    fn open(&self, reading: &Reading, begun: Instant) -> Option<BufReader<Timed<'_>>> {
        let mut stream = TcpStream::connect_timeout(&self.addr, Duration::from_secs(5)).ok()?;
        let method = if *reading == Reading::Head { "HEAD" } else { "GET" };
        let range = match reading {
            Reading::Range(range) => format!("Range: bytes={}-{}\r\n", range.start, range.end - 1),
            _ => String::new(),
        };
        let head =
            format!("{method} {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{range}\r\n", self.target, self.addr);
        stream.write_all(head.as_bytes()).ok()?;
        stream.set_read_timeout(Some(Duration::from_millis(200))).ok()?;
        Some(BufReader::new(Timed { stream, limit: self.limit, begun }))
    }

    /// Reads a body with a `Content-Length`.
    fn compare(&self, stream: &mut impl Read, answer: &Answer, expected: &[u8], reading: &Reading) -> Body {
        let announced: usize = answer.header("content-length").and_then(|len| len.parse().ok()).unwrap_or(usize::MAX);
        let mut body = Body { bytes: 0, is_right: true, is_whole: false, has_left: false };
        let mut piece = vec![0; 128 << 10];
        while body.bytes < announced {
            match reading {
                Reading::Leave(after) if body.bytes as u64 >= *after => return Body { has_left: true, ..body },
                Reading::Slow(pause) => thread::sleep(*pause),
                _ => {}
            }
            let most = piece.len().min(announced - body.bytes);
            match stream.read(&mut piece[..most]) {
                Ok(0) | Err(_) => return body,
                Ok(len) => {
                    body.is_right &= expected.get(body.bytes..body.bytes + len) == Some(&piece[..len]);
                    body.bytes += len;
                }
            }
        }
        Body { is_right: body.is_right && announced == expected.len(), is_whole: true, ..body }
    }

    /// `size` is the size of the blob that the answer names. An endpoint may have named a wrong one.
    fn judge(&self, body: &Body, wanted: &Range<u64>, size: u64, begun: Instant) -> Outcome {
        // Only a body that reaches the last byte waits for the digest. See docs/decisions/0003-nothing-unverified-is-complete.md.
        let may_be_wrong = self.is_damaged && (!body.is_whole || wanted.end < size);
        match body {
            Body { is_right: false, .. } if !may_be_wrong => {
                let state = if body.is_whole { "ended normally" } else { "was cut" };
                Outcome::Wrong(format!(
                    "{} bytes {wanted:?}: {} bytes came, are wrong, and the body {state}",
                    self.target, body.bytes
                ))
            }
            Body { is_whole: true, is_right: false, .. } => Outcome::Unverified,
            Body { is_whole: true, .. } => Outcome::Right(body.bytes as u64),
            Body { has_left: true, .. } => Outcome::Left,
            _ if self.limit.is_over(begun) => Outcome::Hang,
            _ => Outcome::Cut,
        }
    }
}

/// Returns the size of the blob in `Content-Range: bytes FIRST-LAST/SIZE`.
fn announced_size(answer: &Answer) -> Option<u64> {
    answer.header("content-range")?.rsplit_once('/')?.1.parse().ok()
}

struct Body {
    bytes: usize,
    is_right: bool,
    is_whole: bool,
    has_left: bool,
}

impl PartialEq for Reading {
    fn eq(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// A connection whose reads fail once the limit is over.
struct Timed<'a> {
    stream: TcpStream,
    limit: &'a Limit,
    begun: Instant,
}

impl Read for Timed<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        // A body that trickles never times out, so the limit is checked before each read.
        while !self.limit.is_over(self.begun) {
            match self.stream.read(into) {
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                done => return done,
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    }
}
