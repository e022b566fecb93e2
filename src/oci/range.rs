//! Byte ranges (RFC 9110 section 14).

use std::str::FromStr;

/// One `bytes` range of a request, before the size of the content is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteRange {
    /// `bytes=A-B`, both inclusive.
    Closed(u64, u64),
    /// `bytes=A-`.
    From(u64),
    /// `bytes=-N`: the last N bytes.
    Last(u64),
}

/// The most ranges of one field: as many as podman requests at once (zstd:chunked).
const MOST: usize = 1024;
/// The most ranges that may come in any order; a longer list must be in ascending order. RFC 9110 section 14.2 lets a
/// server ignore ranges that are unreasonably expensive.
const MOST_IN_DISORDER: usize = 8;

/// The ranges of a `Range` field in their order, before the size of the content is known. There is at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeSet(Vec<ByteRange>);

/// The part of content of a known size that a `Range` field selects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// The whole content: the field is ignored.
    Whole,
    /// One range.
    Single(Span),
    /// At least two ranges in the requested order. Together they are at most as long as the content.
    Multiple(Vec<Span>),
    /// No byte of the content is in the requested ranges (416).
    Nothing,
}

/// A range of content: from `start` up to, but not including, `end`.
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
    /// Returns the range in content of `size` bytes; `None` if it is not satisfiable (416).
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

    /// Parses a `Range` field with one range. An error means that the field is ignored (RFC 9110 section 14.2): it has
    /// another unit, several ranges, or no range.
    fn from_str(text: &str) -> Result<Self, ()> {
        Self::parse(specifiers(text)?.trim())
    }
}

impl ByteRange {
    /// Parses one range of a field, without the unit.
    fn parse(spec: &str) -> Result<Self, ()> {
        let (first, last) = spec.split_once('-').ok_or(())?;
        let number = |digits: &str| {
            if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return Err(());
            }
            // A position too large for the type is beyond any content.
            Ok(digits.parse().unwrap_or(u64::MAX))
        };
        match (first, last) {
            ("", last) => Ok(Self::Last(number(last)?)),
            (first, "") => Ok(Self::From(number(first)?)),
            (first, last) => {
                // A range that ends before it begins is accepted here and selects nothing, so it is refused (RFC 9110
                // section 14.2 allows that).
                Ok(Self::Closed(number(first)?, number(last)?))
            }
        }
    }
}

impl RangeSet {
    /// Returns the first range of the field.
    pub fn first(&self) -> ByteRange {
        self.0[0]
    }

    /// Returns the part that it selects of content of `size` bytes. Several ranges that cost more than the whole
    /// content are ignored.
    pub fn select(&self, size: u64) -> Selection {
        let spans: Vec<Span> = self.0.iter().filter_map(|range| range.resolve(size)).collect();
        match spans[..] {
            [] => Selection::Nothing,
            [one] => Selection::Single(one),
            ref several if is_reasonable(several, size) => Selection::Multiple(spans),
            _ => Selection::Whole,
        }
    }
}

fn is_reasonable(spans: &[Span], size: u64) -> bool {
    let total: u128 = spans.iter().map(|span| u128::from(span.len())).sum();
    let ascending = spans.windows(2).all(|pair| pair[0].start <= pair[1].start);
    total <= u128::from(size) && (ascending || spans.len() <= MOST_IN_DISORDER)
}

impl FromStr for RangeSet {
    type Err = ();

    /// Parses a `Range` field. An error means that the field is ignored (RFC 9110 section 14.2): it has another unit,
    /// more than 1024 ranges, no range, or a malformed one.
    fn from_str(text: &str) -> Result<Self, ()> {
        // Empty elements of a list are skipped (RFC 9110 section 5.6.1.2).
        let specs = specifiers(text)?.split(',').map(str::trim).filter(|spec| !spec.is_empty());
        let ranges = specs.take(MOST + 1).map(ByteRange::parse).collect::<Result<Vec<_>, ()>>()?;
        if (1..=MOST).contains(&ranges.len()) { Ok(Self(ranges)) } else { Err(()) }
    }
}

/// Returns the text after the unit `bytes`. Another unit is an error.
fn specifiers(field: &str) -> Result<&str, ()> {
    let (unit, specs) = field.split_once('=').ok_or(())?;
    if unit.trim().eq_ignore_ascii_case("bytes") { Ok(specs) } else { Err(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn single_ranges_resolve_within_ten_bytes() {
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

    fn select(text: &str, size: u64) -> Selection {
        text.parse::<RangeSet>().map_or(Selection::Whole, |ranges| ranges.select(size))
    }

    #[test]
    fn ranges_longer_than_u64_together_are_ignored() {
        assert_eq!(select("bytes=144-60784373709,51614-", u64::MAX), Selection::Whole);
    }

    fn span((start, end): (u64, u64)) -> Span {
        Span { start, end }
    }

    #[test]
    fn several_ranges_select_within_ten_bytes() {
        for (text, want) in [
            ("bytes=0-0", Selection::Single(span((0, 1)))),
            ("bytes=0-1,4-5", Selection::Multiple(vec![span((0, 2)), span((4, 6))])),
            ("bytes= 0-1 , 4-5 ", Selection::Multiple(vec![span((0, 2)), span((4, 6))])),
            ("bytes=0-1,,4-5,", Selection::Multiple(vec![span((0, 2)), span((4, 6))])),
            ("bytes=-2,0-1", Selection::Multiple(vec![span((8, 10)), span((0, 2))])),
            ("bytes=0-3,2-5", Selection::Multiple(vec![span((0, 4)), span((2, 6))])),
            ("bytes=0-1,0-1", Selection::Multiple(vec![span((0, 2)), span((0, 2))])),
            ("bytes=0-1,10-", Selection::Single(span((0, 2)))),
            ("bytes=10-,5-3,2-", Selection::Single(span((2, 10)))),
            ("bytes=10-,11-12,-0", Selection::Nothing),
            // Together they are longer than the whole.
            ("bytes=0-,0-", Selection::Whole),
            ("bytes=0-5,4-9", Selection::Whole),
            ("bytes=0-8,0-0,0-0", Selection::Whole),
            // One malformed range makes the whole field invalid.
            ("bytes=0-1,x", Selection::Whole),
            ("bytes=0-1,-", Selection::Whole),
            ("bytes=0-1;4-5", Selection::Whole),
            ("bytes=,", Selection::Whole),
            ("bytes=", Selection::Whole),
            ("lines=0-1,4-5", Selection::Whole),
            ("bytes 0-1,4-5", Selection::Whole),
        ] {
            assert_eq!(select(text, 10), want, "{text}");
        }
        assert_eq!(select("bytes=0-1,2-3", 0), Selection::Nothing);
    }

    #[test]
    fn expensive_lists_of_ranges_are_ignored() {
        let field = |ranges: &mut dyn Iterator<Item = u64>| {
            let ranges: Vec<_> = ranges.map(|at| format!("{}-{}", at * 2, at * 2)).collect();
            format!("bytes={}", ranges.join(","))
        };
        let several = |text: String| matches!(select(&text, 10_000), Selection::Multiple(_));
        assert!(several(field(&mut (0..1024))));
        assert!(!several(field(&mut (0..1025))));
        assert!(several(field(&mut (0..8).rev())));
        assert!(!several(field(&mut (0..9).rev())));
    }

    proptest! {
        /// Every selected range is in the content and not empty, and all together are not longer than the whole.
        #[test]
        fn selections_are_within_the_content(
            ranges in prop::collection::vec((prop::option::of(0u64..200), prop::option::of(0u64..200)), 0..12),
            size in 0u64..150,
        ) {
            let specs = ranges.iter().map(|(first, last)| {
                let text = |number: &Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
                format!("{}-{}", text(first), text(last))
            });
            let spans = match select(&format!("bytes={}", specs.collect::<Vec<_>>().join(",")), size) {
                Selection::Whole | Selection::Nothing => Vec::new(),
                Selection::Single(one) => vec![one],
                Selection::Multiple(several) => {
                    prop_assert!(several.len() >= 2);
                    several
                }
            };
            prop_assert!(spans.iter().all(|span| span.start < span.end && span.end <= size));
            prop_assert!(spans.iter().map(|span| span.len()).sum::<u64>() <= size);
        }

        #[test]
        fn no_text_causes_a_panic(text in ".{0,60}", size: u64) {
            if let Ok(ranges) = text.parse::<RangeSet>() {
                ranges.select(size);
            }
        }
    }
}
