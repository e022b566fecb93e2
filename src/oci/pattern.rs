//! Patterns over repository names, as in `mirror.local` and access rules.

use std::fmt;
use std::str::FromStr;

/// A glob over the parts of a name. `*` matches any run of characters within one part; `**`, alone in a part, matches
/// any number of parts. `local/**` does not match `local`; `**` matches every name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// `**`. It matches one part or more at the end of a pattern, and any number elsewhere.
    Any,
    One(String),
}

impl Pattern {
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn matches(&self, name: &str) -> bool {
        let parts: Vec<&str> = name.split('/').collect();
        parts_match(&self.parts, &parts)
    }
}

fn parts_match(patterns: &[Part], parts: &[&str]) -> bool {
    match patterns {
        [] => parts.is_empty(),
        // At the end it needs at least one part, so that `local/**` does not match `local`.
        [Part::Any] => !parts.is_empty(),
        [Part::Any, rest @ ..] => (0..=parts.len()).any(|skip| parts_match(rest, &parts[skip..])),
        [Part::One(glob), rest @ ..] => match parts {
            [first, others @ ..] => glob_matches(glob.as_bytes(), first.as_bytes()) && parts_match(rest, others),
            [] => false,
        },
    }
}

/// Matches a text against a glob in which `*` stands for any run of characters. The time is linear in `text` for each
/// star.
pub(super) fn glob_matches(glob: &[u8], text: &[u8]) -> bool {
    let (mut g, mut t, mut retry) = (0, 0, None);
    while t < text.len() {
        if glob.get(g) == Some(&b'*') {
            g += 1;
            retry = Some((g, t));
        } else if glob.get(g) == Some(&text[t]) {
            g += 1;
            t += 1;
        } else if let Some((after_star, from)) = retry {
            (g, t) = (after_star, from + 1);
            retry = Some((after_star, from + 1));
        } else {
            return false;
        }
    }
    glob[g..].iter().all(|b| *b == b'*')
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"*._-:".contains(&b);
        let mut parts: Vec<Part> = Vec::new();
        for part in text.split('/') {
            if part.is_empty() || !part.bytes().all(allowed) {
                return Err(PatternError::Part(text.to_owned()));
            }
            match part {
                // Two in a row mean the same as one, and would take longer to match.
                "**" if parts.last() == Some(&Part::Any) => {}
                "**" => parts.push(Part::Any),
                _ if part.contains("**") => return Err(PatternError::Stars(text.to_owned())),
                _ => parts.push(Part::One(part.to_owned())),
            }
        }
        Ok(Self { text: text.to_owned(), parts })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The error for a text that is not a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    #[error(
        "{0:?} is not a pattern: write parts of a repository name separated by '/', with '*' or '**', like local/**"
    )]
    Part(String),
    #[error("in {0:?}, '**' must stand alone between slashes, like local/**")]
    Stars(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_names_and_bad_ones_are_refused() {
        for (pattern, name, want) in [
            ("local/**", "local/a", true),
            ("local/**", "local/a/b", true),
            ("local/**", "local", false),
            ("local/**", "locals/a", false),
            ("local/*", "local/a", true),
            ("local/*", "local/a/b", false),
            ("**", "a/b/c", true),
            ("**/app", "app", true),
            ("**/app", "a/b/app", true),
            ("a/**/z", "a/z", true),
            ("a/**/z", "a/b/c/z", true),
            ("a/**/z", "a/b/c", false),
            ("team-*", "team-a", true),
            ("team-*", "team-a/b", false),
            ("t*m", "team", true),
            ("t*m", "teams", false),
            ("*a*b*", "xxaxxbxx", true),
            ("app", "app", true),
            ("app", "app2", false),
        ] {
            assert_eq!(pattern.parse::<Pattern>().unwrap().matches(name), want, "{pattern} on {name}");
        }
        for bad in ["", "/", "a/", "/a", "a**", "A/b", "a b"] {
            assert!(bad.parse::<Pattern>().is_err(), "{bad:?} was taken for a pattern");
        }
    }
}
