//! Ranges and numbers in headers: no parsed range exceeds the content, and nothing overflows.
#![cfg_attr(fuzzing, no_main)]

use std::time::{Duration, SystemTime};

use entrepot::oci::ByteRange;
use entrepot::upstream::fuzzing::{content_range, ratelimit, retry_after, unsatisfied};
use entrepot::web::fuzzing::chunk_range;

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|input: (u64, &str)| run(input));

pub fn run(input: (u64, &str)) {
    let (size, text) = input;
    if let Ok(range) = text.parse::<ByteRange>() {
        assert_eq!(written(range).parse(), Ok(range));
        for size in [0, 1, size, u64::MAX] {
            within(range, size);
        }
    }
    if let Some((first, len)) = chunk_range(text) {
        let last = first.checked_add(len - 1).expect("a chunk has a last byte");
        assert_eq!(chunk_range(&format!("{first}-{last}")), Some((first, len)));
        assert_eq!(chunk_range(&format!("bytes {first}-{last}/*")), Some((first, len)));
    }
    if let Some((first, last, total)) = content_range(text) {
        assert!(first <= last && last < total.unwrap_or(u64::MAX), "{text:?}");
        let whole = total.map_or_else(|| "*".to_owned(), |total| total.to_string());
        assert_eq!(content_range(&format!("bytes {first}-{last}/{whole}")), Some((first, last, total)));
    }
    if let Some(size) = unsatisfied(text) {
        assert_eq!(unsatisfied(&format!("bytes */{size}")), Some(size));
        assert_eq!(content_range(text), None, "satisfied and not");
    }
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(size >> 32);
    assert!(retry_after(text, now).is_none_or(|wait| wait <= Duration::from_secs(86_400)));
    assert_eq!(ratelimit(text), ratelimit(text));
}

fn written(range: ByteRange) -> String {
    match range {
        ByteRange::Closed(first, last) => format!("bytes={first}-{last}"),
        ByteRange::From(first) => format!("bytes={first}-"),
        ByteRange::Last(count) => format!("bytes=-{count}"),
    }
}

/// Checks that the range lies in the content, is not empty, and agrees with RFC 9110 §14.1.2.
fn within(range: ByteRange, size: u64) {
    let Some(span) = range.resolve(size) else {
        let satisfiable = match range {
            ByteRange::Closed(first, last) => first <= last && first < size,
            ByteRange::From(first) => first < size,
            ByteRange::Last(count) => count > 0 && size > 0,
        };
        return assert!(!satisfiable, "{range:?} of {size}");
    };
    assert!(span.start < span.end && span.end <= size, "{range:?} of {size}: {span:?}");
    match range {
        ByteRange::Closed(first, last) => {
            assert_eq!((span.start, span.end - 1), (first, last.min(size - 1)));
        }
        ByteRange::From(first) => assert_eq!((span.start, span.end), (first, size)),
        ByteRange::Last(count) => assert_eq!((span.len(), span.end), (count.min(size), size)),
    }
}
