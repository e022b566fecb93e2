//! The types of scalars: flags, durations, sizes and words. A section may define more.

use std::time::Duration;

use serde_json::{Value, json};

use super::document::{boolean, duration, nanoseconds, show_duration, show_size, size};
use super::keys::Notation;

/// The type of a scalar: how it is written, read and printed.
pub(super) struct ScalarType<T> {
    pub(super) notation: Notation,
    /// The end of an error message: `write true or false`.
    pub(super) write: &'static str,
    pub(super) parse: fn(&str) -> Option<T>,
    pub(super) show: fn(&T) -> Value,
}

/// A boolean of YAML 1.1.
pub(super) const FLAG: ScalarType<bool> =
    ScalarType { notation: Notation::Flag, write: "write true or false", parse: boolean, show: |flag| json!(flag) };

/// A duration with its unit.
pub(super) const DURATION: ScalarType<Duration> = ScalarType {
    notation: Notation::Duration,
    write: "write a duration with its unit, such as 10s, 10m or 1h30m",
    parse: duration,
    show: |duration| json!(show_duration(*duration)),
};

/// A duration of `registry:2`, which also reads a number of nanoseconds, as Go's YAML library does.
pub(super) const GO_DURATION: ScalarType<Duration> = ScalarType {
    notation: Notation::GoDuration,
    parse: |text| duration(text).or_else(|| nanoseconds(text)),
    ..DURATION
};

/// A duration that is not zero.
pub(super) const TIMEOUT: ScalarType<Duration> = ScalarType {
    notation: Notation::Duration,
    write: "write a duration above zero with its unit, such as 5s or 1m",
    parse: |text| duration(text).filter(|duration| !duration.is_zero()),
    show: |duration| json!(show_duration(*duration)),
};

/// A size in bytes.
pub(super) const SIZE: ScalarType<u64> = ScalarType {
    notation: Notation::Size,
    write: "write a size, such as 200GiB, 10GB or a number of bytes",
    parse: size,
    show: |size| json!(show_size(*size)),
};

/// The words that a scalar may be, with the value of each.
pub(super) struct Choices<T: 'static> {
    pub(super) words: &'static [&'static str],
    pub(super) values: &'static [T],
    /// The end of an error message: `write text or json`.
    pub(super) write: &'static str,
}
