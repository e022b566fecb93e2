//! The window: the bytes of a stream that its readers have yet to read, in a bounded piece of memory.
//!
//! The window keeps the newest bytes. When it is full, the oldest are dropped. A reader that has not read them yet is
//! behind, and continues elsewhere. Nothing here waits or reads a clock.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use super::prefix::Prefix;
use super::reach::{Reach, WITHHELD};
use crate::oci::Digest;
use crate::upstream::UpstreamError;

/// The most bytes of one chunk.
const CHUNK: usize = 64 << 10;
/// A chunk counts for this many bytes in addition to its content.
const OVERHEAD: u64 = 512;
/// A reader of a range waits for a stream that is at most this far before it. Otherwise it gets a stream of its own.
const AHEAD: u64 = 1 << 20;

/// The bytes that a reader wants next.
#[derive(Clone)]
pub struct Want {
    pub position: u64,
    /// The end of the bytes that it wants, exclusive, if it is known.
    pub end: Option<u64>,
    pub reach: Reach,
    /// The hash of everything before `position`, if the reader has handed out bytes before it.
    pub handed: Option<Prefix>,
}

/// The end of a stream.
#[derive(Clone, Debug)]
pub enum WindowEnd {
    /// The whole blob matches its digest.
    Verified,
    /// The whole range, which is not verified, has arrived.
    Range,
    /// The stream has ended early. Its readers continue elsewhere.
    Over,
    Failed(UpstreamError),
}

/// The answer to a reader that wants bytes.
pub enum Taken {
    /// The next bytes, and the hash of everything before their end if the stream is verified.
    Bytes(Bytes, Option<Prefix>),
    /// The bytes have not arrived yet, or are withheld.
    Wait,
    /// This window will not have the bytes.
    Elsewhere,
    /// The whole blob was handed out, and is right. The number is its size.
    End(u64),
    Failed(UpstreamError),
}

/// The space that a window has for more bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    Free,
    /// The window is full, and each reader has bytes to read.
    Enough,
    /// The window is full. A reader waits for more bytes, and others have not read the oldest ones.
    Held,
    /// No reader is left that this window can serve.
    NoReader,
}

/// The window of one stream.
pub struct Window {
    capacity: u64,
    chunks: VecDeque<WindowChunk>,
    /// The bytes that the chunks take.
    held: u64,
    /// The end of the newest chunk.
    end: u64,
    /// The hash of everything before the end. `None`: the stream is a range, which is not verified.
    head: Option<Prefix>,
    readers: HashMap<u64, WindowReader>,
    next_reader: u64,
    outcome: Option<WindowEnd>,
}

struct WindowChunk {
    offset: u64,
    bytes: Bytes,
    /// The hash of everything before the chunk.
    before: Option<Prefix>,
}

struct WindowReader {
    position: u64,
    waits: bool,
}

impl WindowChunk {
    fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }

    fn weight(&self) -> u64 {
        self.bytes.len() as u64 + OVERHEAD
    }
}

impl Window {
    /// Returns an empty window of a stream that is verified. The stream begins at the end of `prefix`.
    pub fn verified(prefix: Prefix) -> Self {
        Self::new(prefix.end(), Some(prefix))
    }

    /// Returns an empty window of a range that begins at `from`. The range is not verified.
    pub fn unverified(from: u64) -> Self {
        Self::new(from, None)
    }

    fn new(end: u64, head: Option<Prefix>) -> Self {
        let (chunks, readers) = (VecDeque::new(), HashMap::new());
        Self { capacity: 0, chunks, held: 0, end, head, readers, next_reader: 0, outcome: None }
    }

    /// Sets the number of bytes that the window may hold.
    pub fn set_capacity(&mut self, capacity: u64) {
        self.capacity = capacity;
    }

    /// Returns the digest of everything before the end, if the stream is verified.
    pub fn digest(&self) -> Option<Digest> {
        self.head.as_ref().map(Prefix::digest)
    }

    /// Returns true if the stream has ended.
    pub fn has_ended(&self) -> bool {
        self.outcome.is_some()
    }

    /// Returns true if no reader is left that this window can serve.
    pub fn has_no_reader(&self) -> bool {
        let start = self.start();
        self.readers.values().all(|reader| reader.position < start)
    }

    /// Returns true if a reader can begin here. A reader that has handed out bytes can only if they were the same bytes
    /// as this stream's: the verification of this stream counts for them too.
    pub fn admits(&self, want: &Want) -> bool {
        if matches!(self.outcome, Some(WindowEnd::Over | WindowEnd::Failed(_))) || want.position < self.start() {
            return false;
        }
        match (want.reach, &want.handed) {
            (Reach::Early, _) if self.outcome.is_some() => want.position < self.end,
            (Reach::Early, _) => want.position <= self.end + AHEAD,
            (Reach::End, None) => self.head.is_some(),
            (Reach::End, Some(handed)) => {
                handed.end() == want.position
                    && self.digest_before(want.position).is_some_and(|digest| digest == handed.digest())
            }
        }
    }

    /// Adds a reader, and returns its number.
    pub fn join(&mut self, position: u64) -> u64 {
        self.next_reader += 1;
        self.readers.insert(self.next_reader, WindowReader { position, waits: false });
        self.next_reader
    }

    /// Removes a reader. If it was the last one of a stream that has ended, nothing is held any more.
    pub fn leave(&mut self, reader: u64) {
        self.readers.remove(&reader);
        if self.readers.is_empty() && self.outcome.is_some() {
            self.clear();
        }
    }

    /// Adds the next bytes of the stream.
    pub fn push(&mut self, mut bytes: Bytes) {
        self.readers.values_mut().for_each(|reader| reader.waits = false);
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(CHUNK));
            let chunk = WindowChunk { offset: self.end, bytes: piece, before: self.head.clone() };
            if let Some(head) = &mut self.head {
                head.extend(&chunk.bytes);
            }
            self.end = chunk.end();
            self.held += chunk.weight();
            self.chunks.push_back(chunk);
        }
    }

    /// Ends the stream. If everything has arrived, readers read on to the end; otherwise nothing is held any more. A
    /// failure stays.
    pub fn finish(&mut self, outcome: WindowEnd) {
        if matches!(self.outcome, Some(WindowEnd::Failed(_))) {
            return;
        }
        if matches!(outcome, WindowEnd::Over | WindowEnd::Failed(_)) || self.readers.is_empty() {
            self.clear();
        }
        self.outcome = Some(outcome);
    }

    /// Makes space for more bytes if every reader has read the oldest ones.
    pub fn room(&mut self) -> Room {
        loop {
            if self.has_no_reader() {
                return Room::NoReader;
            }
            let start = self.start();
            if self.held < self.capacity {
                return Room::Free;
            }
            let Some(oldest) = self.chunks.front().map(WindowChunk::end) else { return Room::Free };
            if self.readers.values().any(|reader| (start..oldest).contains(&reader.position)) {
                let starves = self.readers.values().any(|reader| reader.waits && reader.position >= start);
                return if starves { Room::Held } else { Room::Enough };
            }
            self.drop_oldest();
        }
    }

    /// Drops the oldest bytes. Readers that have not read them are behind.
    pub fn drop_oldest(&mut self) {
        if let Some(oldest) = self.chunks.pop_front() {
            self.held -= oldest.weight();
        }
    }

    /// Returns the next bytes for a reader.
    pub fn take(&mut self, reader: u64, want: &Want) -> Taken {
        let taken = self.look(want);
        let Some(reader) = self.readers.get_mut(&reader) else { return Taken::Elsewhere };
        let read = if let Taken::Bytes(bytes, _) = &taken { bytes.len() as u64 } else { 0 };
        *reader = WindowReader { position: want.position + read, waits: matches!(taken, Taken::Wait) };
        taken
    }

    fn look(&self, want: &Want) -> Taken {
        if let Some(WindowEnd::Failed(error)) = &self.outcome {
            return Taken::Failed(error.clone());
        }
        let far = want.reach == Reach::Early && want.position > self.end + AHEAD;
        if want.position < self.start() || far || want.reach == Reach::End && self.head.is_none() {
            return Taken::Elsewhere;
        }
        let is_verified = matches!(self.outcome, Some(WindowEnd::Verified));
        // The client was told that the blob ends earlier. Its body must not end there, as if it were whole.
        let told = want.end.filter(|end| want.reach == Reach::End && *end < self.end);
        if is_verified && told.is_some() {
            return Taken::End(self.end);
        }
        let visible = match want.reach {
            Reach::End if !is_verified => told.unwrap_or(self.end).saturating_sub(WITHHELD),
            _ => self.end,
        };
        let at = self.chunks.partition_point(|chunk| chunk.end() <= want.position);
        let wanted = want.end.is_none_or(|end| want.position < end);
        match self.chunks.get(at).filter(|chunk| wanted && chunk.offset <= want.position) {
            // A reader that needs the hash takes whole chunks.
            Some(chunk) if chunk.end() <= visible => self.cut(at, want),
            _ if is_verified => Taken::End(self.end),
            _ if self.outcome.is_some() => Taken::Elsewhere,
            _ => Taken::Wait,
        }
    }

    fn cut(&self, at: usize, want: &Want) -> Taken {
        let chunk = &self.chunks[at];
        let to = want.end.unwrap_or(u64::MAX).min(chunk.end());
        // Both lie within the chunk, whose length is a usize.
        let bytes = chunk.bytes.slice((want.position - chunk.offset) as usize..(to - chunk.offset) as usize);
        let after = self.chunks.get(at + 1).map_or(&self.head, |next| &next.before);
        Taken::Bytes(bytes, after.clone().filter(|after| after.end() == to))
    }

    /// Returns the digest of everything before an offset that the window holds.
    fn digest_before(&self, position: u64) -> Option<Digest> {
        if position == self.end {
            return self.digest();
        }
        let at = self.chunks.partition_point(|chunk| chunk.end() <= position);
        let chunk = self.chunks.get(at).filter(|chunk| chunk.offset <= position)?;
        let mut before = chunk.before.clone()?;
        before.extend(&chunk.bytes[..(position - chunk.offset) as usize]);
        Some(before.digest())
    }

    /// Returns the offset of the oldest byte that is held.
    fn start(&self) -> u64 {
        self.chunks.front().map_or(self.end, |oldest| oldest.offset)
    }

    fn clear(&mut self) {
        self.chunks = VecDeque::new();
        (self.held, self.capacity) = (0, 0);
    }
}

#[cfg(test)]
mod tests;
