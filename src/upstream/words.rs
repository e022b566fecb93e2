//! The words of an upstream's error, as messages and log lines quote them.

use std::fmt;

use serde_json::Value;

/// The most characters that are quoted.
const MOST: usize = 200;
/// A run of this many letters and digits of all kinds may be a token.
const TOKEN: usize = 20;

/// A quotation of an upstream's error. It is short, and has no control characters and no secrets that can be told from text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamWords {
    quotation: Box<str>,
    /// True if the code says that there were too many requests.
    is_rate_limit: bool,
}

impl UpstreamWords {
    /// Returns the message and the code of the first error in a body (OCI distribution-spec 1.1, "Error Codes"). Docker Hub's
    /// token server writes `details`, and OAuth 2 servers write `error_description`.
    pub(in crate::upstream) fn of_error(body: &[u8]) -> Option<Self> {
        let parsed: Value = serde_json::from_slice(body).ok()?;
        let text = |value: &Value, field: &str| value.get(field).and_then(Value::as_str).and_then(quotable);
        let entry = parsed.get("errors").and_then(Value::as_array).and_then(|errors| errors.first());
        let quotation = match entry {
            Some(entry) => match (text(entry, "message"), text(entry, "code")) {
                (Some(message), Some(code)) => format!("{message:?} ({code})"),
                (Some(message), None) => format!("{message:?}"),
                (None, code) => code?,
            },
            None => {
                let fields = ["details", "error_description", "message", "error"];
                format!("{:?}", fields.iter().find_map(|field| text(&parsed, field))?)
            }
        };
        let is_rate_limit = entry.is_some_and(|entry| text(entry, "code").as_deref() == Some("TOOMANYREQUESTS"));
        Some(Self { quotation: quotation.into(), is_rate_limit })
    }

    /// Returns true for the code `TOOMANYREQUESTS`. Some registries send it with the status 403.
    pub(in crate::upstream) fn is_rate_limit(&self) -> bool {
        self.is_rate_limit
    }

    /// Returns the quotation.
    pub(in crate::upstream) fn as_str(&self) -> &str {
        &self.quotation
    }
}

impl fmt::Display for UpstreamWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the upstream says: {}", self.quotation)
    }
}

/// Returns the beginning of a text without control characters, credentials and queries of addresses, which may be signatures.
fn quotable(text: &str) -> Option<String> {
    let mut words: Vec<String> = Vec::new();
    let mut is_credential = false;
    for word in text.split(|char: char| char.is_control() || char.is_whitespace()).filter(|word| !word.is_empty()) {
        let shown = if is_credential { "…".to_owned() } else { without_secrets(word) };
        let name = word.trim_matches(|char: char| !char.is_ascii_alphanumeric()).to_ascii_lowercase();
        is_credential = ["bearer", "basic"].iter().any(|scheme| name.ends_with(scheme));
        words.push(shown);
    }
    let whole = words.join(" ");
    let cut = whole.char_indices().nth(MOST).map(|(at, _)| at);
    let bounded = cut.map_or_else(|| whole.clone(), |at| format!("{}…", &whole[..at]));
    (!bounded.is_empty()).then_some(bounded)
}

fn without_secrets(word: &str) -> String {
    let word = match word.split_once("://").and_then(|(_, rest)| rest.split_once('@')) {
        Some((user, _)) if !user.contains('/') => return "…".to_owned(),
        _ => word,
    };
    let bare = match word.split_once('?') {
        Some((address, query)) if !query.is_empty() => format!("{address}?…"),
        _ => word.to_owned(),
    };
    let is_part = |char: char| char.is_ascii_alphanumeric() || "+_-.=".contains(char);
    let may_be_token = |run: &str| {
        let has = |is: fn(&char) -> bool| run.chars().any(|char| is(&char));
        run.len() >= TOKEN
            && has(char::is_ascii_uppercase)
            && has(char::is_ascii_lowercase)
            && has(char::is_ascii_digit)
    };
    let has_token = bare.split(|char: char| !is_part(char)).any(may_be_token);
    if has_token { "…".to_owned() } else { bare }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(body: &str) -> Option<String> {
        UpstreamWords::of_error(body.as_bytes()).map(|words| words.as_str().to_owned())
    }

    #[test]
    fn first_error_is_quoted() {
        for (body, want) in [
            (r#"{"errors":[{"code":"DENIED","message":"no pull access"}]}"#, r#""no pull access" (DENIED)"#),
            (r#"{"errors":[{"code":"TOOMANYREQUESTS"},{"message":"second"}]}"#, "TOOMANYREQUESTS"),
            (r#"{"errors":[{"message":"a\u001b[31m\r\nb"}]}"#, r#""a [31m b""#),
            (r#"{"details":"incorrect username or password"}"#, r#""incorrect username or password""#),
            (r#"{"error":"invalid_grant","error_description":"the token has expired"}"#, r#""the token has expired""#),
        ] {
            assert_eq!(words(body).as_deref(), Some(want), "{body}");
        }
        for body in ["", "<html>", "{}", r#"{"errors":[]}"#, r#"{"errors":[{"message":"\n"}]}"#, r#"{"errors":["x"]}"#]
        {
            assert_eq!(words(body), None, "{body}");
        }
    }

    #[test]
    fn quotation_is_short_and_has_no_secrets() {
        let long = words(&format!(r#"{{"errors":[{{"message":"{}"}}]}}"#, "é ".repeat(5000))).unwrap();
        assert!(long.chars().count() <= MOST + 3, "{long}");
        for text in [
            "Authorization: Bearer abc was refused",
            "the header Basic bWU6c2VjcmV0 is wrong",
            "token eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiIxIn0.MEUCIQ expired",
            "see https://cdn/blob?Signature=secret&Expires=1",
            "https://me:secret@host/ refused",
        ] {
            let shown = words(&format!(r#"{{"errors":[{{"message":"{text}"}}]}}"#)).unwrap();
            for secret in ["abc", "bWU6", "eyJ", "Signature", "secret"] {
                assert!(!shown.contains(secret), "{shown}");
            }
        }
        let digest =
            format!("blob sha256:{} of library/app-with-a-long-name:1.2.3-alpine3.20 is unknown", "0a".repeat(32));
        let shown = words(&format!(r#"{{"errors":[{{"message":"{digest}"}}]}}"#)).unwrap();
        assert_eq!(shown, format!("{digest:?}"));
    }
}
