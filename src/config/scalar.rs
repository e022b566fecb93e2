//! Scalars into values: what Go's yaml.v2 and `registry:2` take for a boolean, a number, a duration, a size.

use std::time::Duration;

use bytesize::ByteSize;

/// YAML 1.1's booleans.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Some(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Some(false),
        _ => None,
    }
}

/// A whole number, decimal, `0x` or `0o`, with `_` between digits as YAML 1.1 has it.
pub(super) fn number(text: &str) -> Option<u64> {
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

/// A Go duration (`1h30m`, `1.5h`, `500ms`, `0`), and `7d`. At most a hundred years, so that it can be added to any time.
pub(super) fn duration(text: &str) -> Option<Duration> {
    const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);
    let text = text.trim().strip_prefix('+').unwrap_or(text.trim());
    if text == "0" {
        return Some(Duration::ZERO);
    }
    // humantime takes `M` for months, which nobody who writes `10M` here means.
    let go = text.chars().all(|c| c.is_ascii_digit() || c.is_ascii_lowercase() || ".µμ".contains(c));
    let parsed = go.then(|| humantime::parse_duration(&text.replace(['µ', 'μ'], "u")).ok()).flatten()?;
    (parsed <= LONGEST).then_some(parsed)
}

/// A size in bytes: `200GiB`, `10GB`, `1048576`.
pub(super) fn size(text: &str) -> Option<u64> {
    let text = text.trim();
    text.starts_with(|c: char| c.is_ascii_digit()).then(|| text.parse::<ByteSize>().ok()).flatten().map(|size| size.0)
}

/// A duration as Go writes it, without parts that are zero.
pub(super) fn show_duration(duration: Duration) -> String {
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

/// A size in the largest unit that divides it.
pub(super) fn show_size(bytes: u64) -> String {
    let units = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let fits = units.iter().find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit));
    fits.map_or_else(|| bytes.to_string(), |(unit, name)| format!("{}{name}", bytes / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
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
    fn sizes_numbers_booleans() {
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
