//! Scalars as Go's yaml.v2 and `registry:2` read them: booleans, numbers, durations and sizes.

use std::time::Duration;

use bytesize::ByteSize;

/// Reads a boolean of YAML 1.1.
pub(in crate::config) fn boolean(text: &str) -> Option<bool> {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Some(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Some(false),
        _ => None,
    }
}

/// Reads a whole number of YAML 1.1: decimal, or after `0x`, `0o` or `0b`, with `_` between digits.
pub(in crate::config) fn number(text: &str) -> Option<u64> {
    let digits = text.trim().replace('_', "");
    let digits = digits.strip_prefix('+').unwrap_or(&digits);
    let (digits, radix) = match digits.get(..2) {
        Some("0x") => (&digits[2..], 16),
        Some("0o") => (&digits[2..], 8),
        Some("0b") => (&digits[2..], 2),
        _ => (digits, 10),
    };
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_alphanumeric());
    plain.then(|| u64::from_str_radix(digits, radix).ok()).flatten()
}

/// Reads a Go duration (`1h30m`, `1.5h`, `500ms`, `0`), or one with days such as `7d`.
///
/// The longest duration is a hundred years, so that it can be added to any time.
pub(in crate::config) fn duration(text: &str) -> Option<Duration> {
    const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);
    let text = text.trim().strip_prefix('+').unwrap_or(text.trim());
    if text == "0" {
        return Some(Duration::ZERO);
    }
    // humantime reads `M` as months, but `10M` in a configuration is a misspelt `10m`.
    let go = text.chars().all(|c| c.is_ascii_digit() || c.is_ascii_lowercase() || ".µμ".contains(c));
    let parsed = go.then(|| humantime::parse_duration(&text.replace(['µ', 'μ'], "u")).ok()).flatten()?;
    (parsed <= LONGEST).then_some(parsed)
}

/// Reads a number of nanoseconds, whole or as a float (`8000000000`, `8e9`). Like Go, it drops a fraction.
pub(in crate::config) fn nanoseconds(text: &str) -> Option<Duration> {
    let float =
        || text.trim().parse::<f64>().ok().filter(|float| (0.0..9.2e18).contains(float)).map(|float| float as u64);
    number(text).or_else(float).map(Duration::from_nanos).and_then(|found| duration(&show_duration(found)))
}

/// Reads a size in bytes: `200GiB`, `10GB`, `1048576`.
pub(in crate::config) fn size(text: &str) -> Option<u64> {
    let text = text.trim();
    text.starts_with(|c: char| c.is_ascii_digit()).then(|| text.parse::<ByteSize>().ok()).flatten().map(|size| size.0)
}

/// Writes a duration as Go does, without the parts that are zero.
pub(in crate::config) fn show_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let parts = [
        (u128::from(seconds / 3600), "h"),
        (u128::from(seconds / 60 % 60), "m"),
        (u128::from(seconds % 60), "s"),
        (u128::from(duration.subsec_millis()), "ms"),
        (u128::from(duration.subsec_nanos() % 1_000_000), "ns"),
    ];
    let text: String = parts.iter().filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{n}{unit}")).collect();
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// Writes a size in the largest unit that divides it.
pub(in crate::config) fn show_size(bytes: u64) -> String {
    let units = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let fits = units.iter().find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit));
    fits.map_or_else(|| bytes.to_string(), |(unit, name)| format!("{}{name}", bytes / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written() {
        for (text, millis) in [
            ("1h30m", 5_400_000),
            ("168h", 604_800_000),
            ("10s", 10_000),
            ("500ms", 500),
            ("1.5h", 5_400_000),
            ("0", 0),
            ("0s", 0),
            ("10m", 600_000),
            ("72h0m0s", 259_200_000),
            ("1m0.5s", 60_500),
            ("7d", 604_800_000),
        ] {
            assert_eq!(duration(text), Some(Duration::from_millis(millis)), "{text}");
            let shown = show_duration(Duration::from_millis(millis));
            assert_eq!(duration(&shown), Some(Duration::from_millis(millis)), "{shown}");
        }
        for bad in ["", "10", "10M", "-5s", "s", "5 apples", "1h 30", "99999999999999h", "h1", "1000y"] {
            assert_eq!(duration(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn nanoseconds_are_read_as_go_does() {
        for (text, nanos) in
            [("8000000000", 8_000_000_000), ("8e9", 8_000_000_000), ("8.5", 8), ("60", 60), ("0x10", 16), ("0.0", 0)]
        {
            assert_eq!(nanoseconds(text), Some(Duration::from_nanos(nanos)), "{text}");
        }
        for bad in ["", "-1", "1e30", "NaN", "inf", "soon", "10s", "99999999999999999999"] {
            assert_eq!(nanoseconds(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn sizes_numbers_and_booleans_are_read() {
        for (text, bytes) in [("200GiB", 200 << 30), ("10GB", 10_000_000_000), ("1048576", 1 << 20), ("1.5KiB", 1536)] {
            assert_eq!(size(text), Some(bytes), "{text}");
            assert_eq!(size(&show_size(bytes)), Some(bytes), "{text}");
        }
        for bad in ["", "big", "-1", "50%", "10 parsecs", ".", "GiB"] {
            assert_eq!(size(bad), None, "{bad:?}");
        }
        for (text, want) in
            [("3", Some(3)), ("0x10", Some(16)), ("1_000", Some(1000)), ("-1", None), ("", None), ("é9", None)]
        {
            assert_eq!(number(text), want, "{text}");
        }
        for (text, want) in [("yes", Some(true)), ("Off", Some(false)), ("1", None), ("tRue", None)] {
            assert_eq!(boolean(text), want, "{text}");
        }
    }
}
