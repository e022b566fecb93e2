//! The measuring client: pulls a tag, then its layer, and compares every byte with the expected one.

use std::io::{self, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::time::{Duration, Instant};

use crate::support::client::Answer;
use crate::support::mirror::{blob, manifest};
use crate::support::upstream::Image;

/// The size of one read.
const PIECE: usize = 256 << 10;

/// A request to make.
#[derive(Clone)]
pub struct Wanted<'a> {
    pub repository: &'a str,
    pub tag: &'a str,
    pub(crate) image: &'a Image,
    pub content: &'a [u8],
    /// Only this range of the layer.
    pub range: Option<Range<usize>>,
}

impl Wanted<'_> {
    pub fn manifest(&self) -> String {
        manifest(self.repository, self.tag)
    }

    pub fn layer(&self) -> String {
        blob(self.repository, self.image.layers[0])
    }

    /// The expected bytes.
    pub fn bytes(&self) -> &[u8] {
        match &self.range {
            Some(range) => &self.content[range.clone()],
            None => self.content,
        }
    }
}

/// The outcome of a pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Whole,
    /// The connection ended before the body was complete.
    Cut,
    /// The body ended as if it were complete, but has wrong bytes.
    Wrong,
    Status(u16),
    /// No connection, or one that ended without an answer.
    Refused,
    /// Not complete within the time limit.
    Late,
}

/// The last request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Tag,
    Layer,
}

/// The result of a pull. Times count from before the request for the tag.
#[derive(Clone, Copy, Debug)]
pub struct Pulled {
    pub end: End,
    pub step: Step,
    /// The time of the request for the layer.
    pub asked: Duration,
    /// The time of the first byte of the layer.
    pub first: Option<Duration>,
    pub last: Duration,
}

impl Pulled {
    pub fn failed(end: End, step: Step, begun: Instant) -> Self {
        Self { end, step, asked: Duration::ZERO, first: None, last: begun.elapsed() }
    }
}

/// A body that was read to its end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Read {
    pub first: Option<Instant>,
    bytes: usize,
    damaged: bool,
    broken: Option<io::ErrorKind>,
}

impl Read {
    pub fn end(&self, expected: &[u8]) -> End {
        match self.broken {
            Some(io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => End::Late,
            Some(_) => End::Cut,
            None if self.damaged || self.bytes != expected.len() => End::Wrong,
            None => End::Whole,
        }
    }
}

/// Reads a body and compares it with the expected bytes.
pub fn read(body: &mut dyn io::Read, expected: &[u8]) -> Read {
    let (mut read, mut piece) = (Read::default(), vec![0; PIECE]);
    loop {
        match body.read(&mut piece) {
            Ok(0) => return read,
            Ok(len) => {
                read.first.get_or_insert_with(Instant::now);
                read.damaged |= expected.get(read.bytes..read.bytes + len) != Some(&piece[..len]);
                read.bytes += len;
            }
            Err(error) => return Read { broken: Some(error.kind()), ..read },
        }
    }
}

/// Pulls a tag, then its layer, from a server.
pub fn pull(addr: SocketAddr, wanted: &Wanted, deadline: Instant) -> Pulled {
    let begun = Instant::now();
    match ask(addr, &wanted.manifest(), deadline) {
        Ok(answer) if answer.status == 200 && answer.body == wanted.image.manifest => {}
        Ok(answer) if answer.status == 200 => return Pulled::failed(End::Wrong, Step::Tag, begun),
        Ok(answer) => return Pulled::failed(End::Status(answer.status), Step::Tag, begun),
        Err(end) => return Pulled::failed(end, Step::Tag, begun),
    }
    let pulled = layer(addr, wanted, deadline);
    let before = begun.elapsed() - pulled.last;
    Pulled { asked: before, first: pulled.first.map(|first| before + first), last: begun.elapsed(), ..pulled }
}

/// Pulls only the layer, or a range of it.
pub fn layer(addr: SocketAddr, wanted: &Wanted, deadline: Instant) -> Pulled {
    let begun = Instant::now();
    let range = wanted.range.as_ref().map(|range| format!("Range: bytes={}-{}\r\n", range.start, range.end - 1));
    let (answer, mut body) = match head(addr, &wanted.layer(), &range.clone().unwrap_or_default(), deadline) {
        Ok(answered) => answered,
        Err(end) => return Pulled::failed(end, Step::Layer, begun),
    };
    if answer.status != if range.is_some() { 206 } else { 200 } {
        // If a server sends a whole layer instead of a range, the time of the whole counts, whether it arrives or not.
        let _ = io::copy(&mut body, &mut io::sink());
        return Pulled::failed(End::Status(answer.status), Step::Layer, begun);
    }
    let length = answer.header("content-length").and_then(|length| length.parse::<u64>().ok());
    let mut read = read(&mut (&mut body).take(length.unwrap_or(u64::MAX)), wanted.bytes());
    if read.broken.is_none() && length.is_some_and(|length| length != read.bytes as u64) {
        read.broken = Some(io::ErrorKind::UnexpectedEof);
    }
    let first = read.first.map(|first| first - begun);
    let (end, asked) = (read.end(wanted.bytes()), Duration::ZERO);
    Pulled { end, step: Step::Layer, asked, first, last: begun.elapsed() }
}

/// Reads one small answer completely.
pub fn ask(addr: SocketAddr, target: &str, deadline: Instant) -> Result<Answer, End> {
    let accept = "Accept: application/vnd.oci.image.manifest.v1+json, */*\r\n";
    let (mut answer, mut body) = head(addr, target, accept, deadline)?;
    answer.read_body(&mut body);
    match answer.whole {
        true => Ok(answer),
        false if Instant::now() >= deadline => Err(End::Late),
        false => Err(End::Cut),
    }
}

/// Reads the head of an answer; the body follows.
fn head(addr: SocketAddr, target: &str, fields: &str, deadline: Instant) -> Result<(Answer, BufReader<Timed>), End> {
    let mut stream = TcpStream::connect(addr).map_err(|_| End::Refused)?;
    let request = format!("GET {target} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n{fields}\r\n");
    stream.write_all(request.as_bytes()).map_err(|_| End::Refused)?;
    let mut body = BufReader::new(Timed { stream, deadline });
    match Answer::read_head(&mut body) {
        Some(answer) => Ok((answer, body)),
        None if Instant::now() >= deadline => Err(End::Late),
        None => Err(End::Refused),
    }
}

/// A connection that is read until a deadline.
struct Timed {
    stream: TcpStream,
    deadline: Instant,
}

impl io::Read for Timed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(left))?;
        self.stream.read(into)
    }
}
