//! Byte ranges (RFC 9110 §14).

use std::str::FromStr;

/// One `bytes` range as a client asks for it, before the size is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteRange {
    /// `bytes=A-B`, both inclusive.
    Closed(u64, u64),
    /// `bytes=A-`.
    From(u64),
    /// `bytes=-N`: the last N.
    Last(u64),
}

/// A stretch of content: from `start` up to, not including, `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub start: u64,
    pub end: u64,
}

impl Span {
    pub fn len(self) -> u64 {
        self.end - self.start
    }

    pub fn is_empty(self) -> bool {
        self.start == self.end
    }
}

impl ByteRange {
    /// The stretch of a content of `size` bytes that this names; `None` when it is not satisfiable (416).
    pub fn resolve(self, size: u64) -> Option<Span> {
        match self {
            Self::Closed(first, last) if first < size && first <= last => {
                Some(Span { start: first, end: last.saturating_add(1).min(size) })
            }
            Self::From(first) if first < size => Some(Span { start: first, end: size }),
            Self::Last(count) if count > 0 && size > 0 => Some(Span { start: size.saturating_sub(count), end: size }),
            _ => None,
        }
    }
}

impl FromStr for ByteRange {
    type Err = ();

    /// Parses a `Range` field with one range. An error means the field is to be ignored (RFC 9110 §14.2): another unit,
    /// several ranges, or no range at all.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (unit, spec) = text.split_once('=').ok_or(())?;
        let (first, last) = spec.trim().split_once('-').ok_or(())?;
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return Err(());
        }
        let number = |digits: &str| {
            if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return Err(());
            }
            // A position beyond any size is still a position.
            Ok(digits.parse().unwrap_or(u64::MAX))
        };
        match (first, last) {
            ("", last) => Ok(Self::Last(number(last)?)),
            (first, "") => Ok(Self::From(number(first)?)),
            (first, last) => {
                // One that ends before it begins is read, and then names nothing: it may be refused (RFC 9110 §14.2).
                Ok(Self::Closed(number(first)?, number(last)?))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_ten_bytes() {
        for (text, want) in [
            ("bytes=0-", Some((0, 10))),
            ("bytes=0-0", Some((0, 1))),
            ("bytes=9-", Some((9, 10))),
            ("bytes=2-99", Some((2, 10))),
            ("bytes=-3", Some((7, 10))),
            ("bytes=-99", Some((0, 10))),
            ("Bytes=1-2", Some((1, 3))),
            ("bytes=1-99999999999999999999999", Some((1, 10))),
            ("bytes=10-", None),
            ("bytes=-0", None),
            ("bytes=3-1", None),
            ("bytes=99999999999999999999999-", None),
        ] {
            let range: ByteRange = text.parse().unwrap();
            assert_eq!(range.resolve(10).map(|s| (s.start, s.end)), want, "{text}");
        }
        for ignored in ["", "bytes", "bytes=", "bytes=-", "bytes=a-b", "items=0-1", "bytes=0-1,3-4", "bytes=+1-2"] {
            assert!(ignored.parse::<ByteRange>().is_err(), "{ignored}");
        }
        assert_eq!(ByteRange::From(0).resolve(0), None);
    }
}
