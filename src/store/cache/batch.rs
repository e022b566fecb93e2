//! Consecutive bytes of a blob, in the pieces in which they were received.

use bytes::Bytes;

use crate::oci::Span;

/// Consecutive pieces of a blob.
#[derive(Debug)]
pub struct Batch {
    start: u64,
    len: u64,
    pieces: Vec<Bytes>,
}

impl Batch {
    /// Joins pieces, the first of which begins at the offset `start`.
    pub fn new(start: u64, pieces: Vec<Bytes>) -> Self {
        let len = pieces.iter().map(|piece| piece.len() as u64).sum();
        Self { start, len, pieces }
    }

    /// Returns the place of the bytes in the blob.
    pub fn span(&self) -> Span {
        Span { start: self.start, end: self.start + self.len }
    }

    pub(super) fn pieces(&self) -> &[Bytes] {
        &self.pieces
    }

    /// Appends a batch that begins where this one ends.
    pub fn append(&mut self, next: Self) {
        self.len += next.len;
        self.pieces.extend(next.pieces);
    }

    /// Returns the bytes that lie within `span`. They share the memory of this batch.
    pub fn part(&self, span: Span) -> Self {
        let mut at = self.start;
        let mut pieces = Vec::with_capacity(self.pieces.len());
        for piece in &self.pieces {
            let len = piece.len() as u64;
            let from = span.start.clamp(at, at + len) - at;
            let to = span.end.clamp(at, at + len) - at;
            if from < to {
                // Both lie within the piece, whose length is a usize.
                pieces.push(piece.slice(from as usize..to as usize));
            }
            at += len;
        }
        Self::new(span.start.clamp(self.start, at), pieces)
    }

    /// Returns up to `most` bytes from `offset` on, as far as they lie in one piece; `None` if the batch does not hold
    /// them.
    pub(super) fn bytes_at(&self, offset: u64, most: usize) -> Option<Bytes> {
        let mut skipped = offset.checked_sub(self.start)?;
        for piece in &self.pieces {
            match usize::try_from(skipped).ok().filter(|from| *from < piece.len()) {
                Some(from) => return Some(piece.slice(from..piece.len().min(from.saturating_add(most)))),
                None => skipped -= piece.len() as u64,
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch() -> Batch {
        let mut batch = Batch::new(10, vec![Bytes::from_static(b"abc"), Bytes::from_static(b"de")]);
        batch.append(Batch::new(15, vec![Bytes::from_static(b"fgh")]));
        batch
    }

    #[test]
    fn part_crosses_pieces() {
        assert_eq!(batch().span(), Span { start: 10, end: 18 });
        for ((start, end), want, place) in [
            ((10, 18), "abcdefgh", (10, 18)),
            ((11, 14), "bcd", (11, 14)),
            ((13, 15), "de", (13, 15)),
            ((16, 30), "gh", (16, 18)),
            ((5, 11), "a", (10, 11)),
            ((18, 20), "", (18, 18)),
        ] {
            let part = batch().part(Span { start, end });
            assert_eq!(String::from_utf8(part.pieces().concat()).unwrap(), want);
            assert_eq!(part.span(), Span { start: place.0, end: place.1 });
        }
    }

    #[test]
    fn bytes_are_found_in_their_piece() {
        for (offset, most, want) in [
            (9, 5, None),
            (10, 5, Some("abc")),
            (12, 5, Some("c")),
            (13, 1, Some("d")),
            (17, 9, Some("h")),
            (18, 1, None),
        ] {
            let found = batch().bytes_at(offset, most).map(|bytes| String::from_utf8(bytes.to_vec()).unwrap());
            assert_eq!(found.as_deref(), want);
        }
    }
}
