//! Formats the event of a request as one short line, for a person at a terminal.
//!
//! The line has the time of day, the method, the target, the status, the bytes that were sent, and the duration. If they are
//! known, the cache status, the user, the reason of an error, and the address of the client follow.

use std::fmt::Write as _;

use indicatif::HumanBytes;
use serde_json::Value;

use super::line::Fields;
use crate::cli::output::plain;

/// The longest target that is shown whole, in characters. A digest is shown by its beginning.
const LONGEST_TARGET: usize = 80;
/// The digits of a digest that suffice to tell content apart.
const DIGITS: usize = 12;

/// Returns true for the event of a request.
pub(super) fn is_request(fields: &Fields) -> bool {
    fields.get("http.request.method").is_some() && fields.get("http.response.status").is_some()
}

/// Returns the short line. `time` is in RFC 3339.
pub(super) fn short(time: &str, fields: &Fields) -> String {
    let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
    let number = |name: &str| fields.get(name).and_then(Value::as_u64).unwrap_or_default();
    let clock = time.split_once('T').and_then(|(_, clock)| clock.get(..8)).unwrap_or(time);
    let mut line = format!(
        "{clock} {} {} {} {} {}",
        text("http.request.method"),
        shortened(text("http.request.uri")),
        number("http.response.status"),
        HumanBytes(number("http.response.written")),
        rounded(text("http.response.duration")),
    );
    for name in ["cache", "auth.user.name"] {
        let value = text(name);
        if !value.is_empty() {
            let _ = write!(line, " {value}");
        }
    }
    let message = fields.message.as_deref().unwrap_or_default();
    let reason = Some(text("err.message")).filter(|reason| !reason.is_empty());
    if let Some(reason) = reason.or_else(|| Some(message).filter(|message| *message != "response completed")) {
        let _ = write!(line, " ({reason})");
    }
    let _ = write!(line, " from {}", text("http.request.remoteaddr"));
    plain(&line) + "\n"
}

/// Shortens the digests in a target, and then a target that is still too long.
fn shortened(target: &str) -> String {
    let mut short = String::new();
    let mut digits = 0;
    for c in target.chars() {
        digits = if c.is_ascii_hexdigit() { digits + 1 } else { 0 };
        // A digest has 64 or 128 digits; the ones after the first are left out.
        if digits <= DIGITS || !is_digest(target) {
            short.push(c);
        }
    }
    match short.char_indices().nth(LONGEST_TARGET) {
        Some((at, _)) => format!("{}…", &short[..at]),
        None => short,
    }
}

/// Returns true if the target contains a digest.
fn is_digest(target: &str) -> bool {
    ["sha256:", "sha512:", "sha256%3A", "sha512%3A"].iter().any(|algorithm| target.contains(algorithm))
}

/// Returns a duration with at most one digit after the point: `1.234567ms` becomes `1.2ms`.
fn rounded(duration: &str) -> String {
    match duration.split_once('.') {
        Some((whole, rest)) => {
            let unit = rest.trim_start_matches(|c: char| c.is_ascii_digit());
            format!("{whole}.{}{unit}", &rest[..1])
        }
        None => duration.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(message: &str, values: &[(&str, Value)]) -> String {
        let mut fields = Fields::default();
        fields.message = Some(message.to_owned());
        for (name, value) in values {
            fields.set(name, value.clone());
        }
        assert!(is_request(&fields));
        short("2026-11-28T13:53:07.000000001Z", &fields)
    }

    #[test]
    fn request_is_one_short_line() {
        let digest = format!("sha256:{}", "0123456789abcdef".repeat(4));
        let target = format!("/v2/library/alpine/blobs/{digest}?ns=docker.io");
        let sent = [
            ("http.request.method", json!("GET")),
            ("http.request.uri", json!(target)),
            ("http.request.remoteaddr", json!("10.0.0.7:4711")),
            ("http.request.useragent", json!("docker/29")),
            ("http.response.status", json!(200)),
            ("http.response.written", json!(3_145_728)),
            ("http.response.duration", json!("812.345678ms")),
            ("cache", json!("hit")),
            ("auth.user.name", json!("alice")),
        ];
        let want = "13:53:07 GET /v2/library/alpine/blobs/sha256:0123456789ab?ns=docker.io 200 3.00 MiB 812.3ms hit alice from 10.0.0.7:4711\n";
        assert_eq!(line("response completed", &sent), want);
    }

    #[test]
    fn request_that_failed_names_the_reason_in_one_line() {
        let failed = [
            ("http.request.method", json!("PUT")),
            ("http.request.uri", json!(format!("/v2/{}/manifests/1", "a".repeat(200)))),
            ("http.request.remoteaddr", json!("10.0.0.7:4711")),
            ("http.response.status", json!(403)),
            ("http.response.written", json!(99)),
            ("http.response.duration", json!("87µs")),
            ("err.message", json!("it is a mirrored name\n\u{1b}[2J")),
        ];
        let line = line("response completed with error", &failed);
        assert!(line.ends_with("… 403 99 B 87µs (it is a mirrored name  [2J) from 10.0.0.7:4711\n"), "{line}");
        assert!(line.lines().count() == 1 && !line.contains('\u{1b}'), "{line}");
    }

    #[test]
    fn client_that_left_is_told() {
        let left = [
            ("http.request.method", json!("GET")),
            ("http.request.uri", json!("/v2/")),
            ("http.request.remoteaddr", json!("::1")),
            ("http.response.status", json!(499)),
            ("http.response.duration", json!("1.5s")),
        ];
        let want = "13:53:07 GET /v2/ 499 0 B 1.5s (request abandoned by the client) from ::1\n";
        assert_eq!(line("request abandoned by the client", &left), want);
    }
}
