//! The `Content-Range` of a pushed chunk.

/// The position and the length of a chunk (OCI distribution-spec 1.1, "Pushing a blob in chunks").
///
/// The form is `FIRST-LAST`, both inclusive. The unit and the total of RFC 9110 are accepted around it: `bytes FIRST-LAST/TOTAL`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::web) struct ChunkRange {
    pub(in crate::web) first: u64,
    pub(in crate::web) len: u64,
}

impl ChunkRange {
    /// Parses the value of the header. Returns `None` if it is malformed.
    pub(in crate::web) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let range = text.strip_prefix("bytes").map_or(text, |rest| rest.trim_start_matches(['=', ' ']));
        let range = range.split_once('/').map_or(range, |(range, _)| range);
        let number =
            |digits: &str| digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse::<u64>().ok()).flatten();
        let (first, last) = range.split_once('-')?;
        let (first, last) = (number(first)?, number(last)?);
        let len = last.checked_sub(first)?.checked_add(1)?;
        Some(Self { first, len })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunk_range_is_parsed_or_refused() {
        for (text, want) in [
            ("0-0", Some((0, 1))),
            ("5-9", Some((5, 5))),
            ("bytes 5-9/10", Some((5, 5))),
            ("bytes 5-9/*", Some((5, 5))),
            ("bytes=5-9", Some((5, 5))),
            ("9-5", None),
            ("5-", None),
            ("-5", None),
            ("", None),
            ("-", None),
            ("a-b", None),
            ("+1-2", None),
            ("0-18446744073709551615", None),
            ("0-99999999999999999999", None),
        ] {
            assert_eq!(ChunkRange::parse(text).map(|r| (r.first, r.len)), want, "{text:?}");
        }
    }
}
