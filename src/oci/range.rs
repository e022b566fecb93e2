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

/// How many ranges one field may hold: as many as podman asks for at once (zstd:chunked).
const MOST: usize = 1024;
/// So many may come in any order; more of them only in ascending order (RFC 9110 §14.2 lets a server ignore what only costs).
const MOST_IN_DISORDER: usize = 8;

/// What a `Range` field asks for, before the size is known: one `bytes` range or several, in the order in which they were asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeSet(Vec<ByteRange>);

/// What a `Range` field selects of a content of known size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Everything: the field is ignored.
    Whole,
    Stretch(Span),
    /// At least two, as they were asked for; together at most as long as the content.
    Stretches(Vec<Span>),
    /// No byte lies where it was asked for (416).
    Nothing,
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

impl RangeSet {
    /// The range that was asked for first.
    pub fn first(&self) -> ByteRange {
        self.0[0]
    }

    /// What it selects of a content of `size` bytes. Where several ranges cost more than the whole would, they are ignored.
    pub fn select(&self, size: u64) -> Selection {
        let spans: Vec<Span> = self.0.iter().filter_map(|range| range.resolve(size)).collect();
        match spans[..] {
            [] => Selection::Nothing,
            [one] => Selection::Stretch(one),
            ref several if is_modest(several, size) => Selection::Stretches(spans),
            _ => Selection::Whole,
        }
    }
}

fn is_modest(spans: &[Span], size: u64) -> bool {
    let total: u128 = spans.iter().map(|span| u128::from(span.len())).sum();
    let ascending = spans.windows(2).all(|pair| pair[0].start <= pair[1].start);
    total <= u128::from(size) && (ascending || spans.len() <= MOST_IN_DISORDER)
}

impl FromStr for RangeSet {
    type Err = ();

    /// Parses a `Range` field. An error means the field is to be ignored (RFC 9110 §14.2): another unit, more than 1024 ranges, no
    /// range at all, or anything that is none.
    fn from_str(text: &str) -> Result<Self, ()> {
        // Empty elements of a list say nothing (RFC 9110 §5.6.1.2).
        let specs = specifiers(text)?.split(',').map(str::trim).filter(|spec| !spec.is_empty());
        let ranges = specs.take(MOST + 1).map(ByteRange::parse).collect::<Result<Vec<_>, ()>>()?;
        if (1..=MOST).contains(&ranges.len()) { Ok(Self(ranges)) } else { Err(()) }
    }
}

/// What follows the unit, if that is `bytes`.
fn specifiers(field: &str) -> Result<&str, ()> {
    let (unit, specs) = field.split_once('=').ok_or(())?;
    if unit.trim().eq_ignore_ascii_case("bytes") { Ok(specs) } else { Err(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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

    fn select(text: &str, size: u64) -> Selection {
        text.parse::<RangeSet>().map_or(Selection::Whole, |ranges| ranges.select(size))
    }

    #[test]
    fn more_than_can_be_counted_is_more_than_the_whole() {
        assert_eq!(select("bytes=144-60784373709,51614-", u64::MAX), Selection::Whole);
    }

    fn span((start, end): (u64, u64)) -> Span {
        Span { start, end }
    }

    #[test]
    fn several_ranges_of_ten_bytes() {
        for (text, want) in [
            ("bytes=0-0", Selection::Stretch(span((0, 1)))),
            ("bytes=0-1,4-5", Selection::Stretches(vec![span((0, 2)), span((4, 6))])),
            ("bytes= 0-1 , 4-5 ", Selection::Stretches(vec![span((0, 2)), span((4, 6))])),
            ("bytes=0-1,,4-5,", Selection::Stretches(vec![span((0, 2)), span((4, 6))])),
            ("bytes=-2,0-1", Selection::Stretches(vec![span((8, 10)), span((0, 2))])),
            ("bytes=0-3,2-5", Selection::Stretches(vec![span((0, 4)), span((2, 6))])),
            ("bytes=0-1,0-1", Selection::Stretches(vec![span((0, 2)), span((0, 2))])),
            ("bytes=0-1,10-", Selection::Stretch(span((0, 2)))),
            ("bytes=10-,5-3,2-", Selection::Stretch(span((2, 10)))),
            ("bytes=10-,11-12,-0", Selection::Nothing),
            // Together more than the whole.
            ("bytes=0-,0-", Selection::Whole),
            ("bytes=0-5,4-9", Selection::Whole),
            ("bytes=0-8,0-0,0-0", Selection::Whole),
            // One that is none spoils the field.
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
    fn what_only_costs_is_ignored() {
        let field = |ranges: &mut dyn Iterator<Item = u64>| {
            let ranges: Vec<_> = ranges.map(|at| format!("{}-{}", at * 2, at * 2)).collect();
            format!("bytes={}", ranges.join(","))
        };
        let several = |text: String| matches!(select(&text, 10_000), Selection::Stretches(_));
        assert!(several(field(&mut (0..1024))));
        assert!(!several(field(&mut (0..1025))));
        assert!(several(field(&mut (0..8).rev())));
        assert!(!several(field(&mut (0..9).rev())));
    }

    proptest! {
        /// Whatever is asked for: what is selected lies in the content, is not empty, and is never more than the whole.
        #[test]
        fn within_the_content(
            ranges in prop::collection::vec((prop::option::of(0u64..200), prop::option::of(0u64..200)), 0..12),
            size in 0u64..150,
        ) {
            let specs = ranges.iter().map(|(first, last)| {
                let text = |number: &Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
                format!("{}-{}", text(first), text(last))
            });
            let spans = match select(&format!("bytes={}", specs.collect::<Vec<_>>().join(",")), size) {
                Selection::Whole | Selection::Nothing => Vec::new(),
                Selection::Stretch(one) => vec![one],
                Selection::Stretches(several) => {
                    prop_assert!(several.len() >= 2);
                    several
                }
            };
            prop_assert!(spans.iter().all(|span| span.start < span.end && span.end <= size));
            prop_assert!(spans.iter().map(|span| span.len()).sum::<u64>() <= size);
        }

        #[test]
        fn no_text_breaks_it(text in ".{0,60}", size: u64) {
            if let Ok(ranges) = text.parse::<RangeSet>() {
                ranges.select(size);
            }
        }
    }
}
