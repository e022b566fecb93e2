//! Reads the challenges in `WWW-Authenticate` (RFC 9110 section 11.6.1).

/// A challenge of a supported scheme.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// The request carries a name and a password.
    Basic,
    /// The request carries a token from the server at `realm` (the token authentication of distribution).
    ///
    /// `scope` is the right that the registry asks for.
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

/// Reads the challenges in `WWW-Authenticate` fields. There may be several fields, and several challenges in each.
///
/// Parsing is lenient, since registries differ: schemes and names in any case, values without quotes, commas inside
/// values. Unsupported schemes and malformed text are left out; nothing is an error.
pub fn challenges<'a>(fields: impl IntoIterator<Item = &'a str>) -> Vec<Challenge> {
    fields.into_iter().flat_map(parse).filter_map(Raw::understand).collect()
}

/// A challenge as written, with its names in lower case.
struct Raw {
    scheme: String,
    parameters: Vec<(String, String)>,
}

impl Raw {
    fn understand(self) -> Option<Challenge> {
        let parameter =
            |name: &str| self.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        match self.scheme.as_str() {
            "basic" => Some(Challenge::Basic),
            "bearer" => {
                let realm = parameter("realm").filter(|realm| !realm.is_empty())?;
                Some(Challenge::Bearer { realm, service: parameter("service"), scope: parameter("scope") })
            }
            _ => None,
        }
    }
}

fn parse(field: &str) -> Vec<Raw> {
    let mut found: Vec<Raw> = Vec::new();
    // The challenge that the following parameters belong to.
    let mut current: Option<usize> = None;
    let mut rest = field;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (word, after) = token(rest);
        let following = after.trim_start_matches([' ', '\t']);
        if rest.is_empty() {
            return found;
        }
        if word.is_empty() {
            // This character cannot begin a word; skip it.
            rest = rest.get(rest.chars().next().map_or(1, char::len_utf8)..).unwrap_or_default();
        } else if let Some(text) = following.strip_prefix('=') {
            let (value, after) = value(text.trim_start_matches([' ', '\t']));
            if let (Some(raw), Some(value)) = (current.and_then(|at| found.get_mut(at)), value) {
                raw.parameters.push((word.to_ascii_lowercase(), value));
            }
            rest = after;
        } else {
            // A word that stands alone is a scheme without parameters, or the rest of an unquoted `pull,push`. In the
            // second case the following parameters belong to the scheme before it.
            let alone = following.is_empty() || following.starts_with(',');
            if !alone || current.is_none() {
                current = Some(found.len());
            }
            found.push(Raw { scheme: word.to_ascii_lowercase(), parameters: Vec::new() });
            rest = after;
        }
    }
}

/// Splits off a token (RFC 9110 section 5.6.2) from the text that follows it.
fn token(text: &str) -> (&str, &str) {
    let word = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    text.split_at(text.find(|c| !word(c)).unwrap_or(text.len()))
}

/// Splits off a parameter's value, quoted or not, from the text that follows it. The value is `None` if its closing
/// quote is missing.
fn value(text: &str) -> (Option<String>, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (plain, after) = text.split_at(text.find([',', ' ', '\t']).unwrap_or(text.len()));
        return (Some(plain.to_owned()), after);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (Some(value), &quoted[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (None, "")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bearer(realm: &str, service: Option<&str>) -> Challenge {
        Challenge::Bearer { realm: realm.to_owned(), service: service.map(str::to_owned), scope: None }
    }

    #[test]
    fn supported_challenges_are_found() {
        let hub = || bearer("https://auth.docker.io/token", Some("registry.docker.io"));
        let cases: &[(&[&str], Vec<Challenge>)] = &[
            (&[r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io""#], vec![hub()]),
            (
                &[
                    r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a:pull,push""#,
                ],
                vec![hub()],
            ),
            (
                &[r#"Bearer scope="repository:a:pull,push" , service="s",realm="https://a/t""#],
                vec![bearer("https://a/t", Some("s"))],
            ),
            (&[r#"bEARER Realm = "https://a/t" , SERVICE = "s""#], vec![bearer("https://a/t", Some("s"))]),
            (&["Bearer realm=https://a/t,service=s"], vec![bearer("https://a/t", Some("s"))]),
            (
                &["Bearer realm=https://a/t,scope=repository:a:pull,push,service=s"],
                vec![bearer("https://a/t", Some("s"))],
            ),
            (&[r#"Bearer realm="https://a/\"t\\""#], vec![bearer(r#"https://a/"t\"#, None)]),
            (&[r#"Bearer realm="https://a/t", error="insufficient_scope""#], vec![bearer("https://a/t", None)]),
            (&["Basic"], vec![Challenge::Basic]),
            (&["basic realm=registry"], vec![Challenge::Basic]),
            (&[r#"Basic realm="a, Bearer realm=b""#], vec![Challenge::Basic]),
            (&["Negotiate, Basic realm=\"x\""], vec![Challenge::Basic]),
            (
                &["Negotiate YIIJvwYGKwYBBQUCoIIJszCCCa==, Bearer realm=\"https://a/t\""],
                vec![bearer("https://a/t", None)],
            ),
            (
                &[r#"Basic realm="x", Bearer realm="https://a/t",service="s""#],
                vec![Challenge::Basic, bearer("https://a/t", Some("s"))],
            ),
            (
                &[r#"Basic realm="x""#, r#"Bearer realm="https://a/t""#],
                vec![Challenge::Basic, bearer("https://a/t", None)],
            ),
            (&[r#"Digest realm="x", nonce="y", Bearer realm="https://a/t""#], vec![bearer("https://a/t", None)]),
            (&[r#",, Bearer ,realm="https://a/t",,"#], vec![bearer("https://a/t", None)]),
            (&[r#"Bearer realm="https://a/t" realm="https://b/t""#], vec![bearer("https://a/t", None)]),
        ];
        for (fields, want) in cases {
            let mut found = challenges(fields.iter().copied());
            for challenge in &mut found {
                if let Challenge::Bearer { scope, .. } = challenge
                    && let Some(scope) = scope.take()
                {
                    assert!(fields[0].contains(&scope) && scope.starts_with("repository:a:pull"), "{scope}");
                }
            }
            assert_eq!(&found, want, "{fields:?}");
        }
    }

    #[test]
    fn malformed_challenges_are_left_out() {
        for field in [
            "",
            " , ,",
            "Bearer",
            "Bearer realm",
            "Bearer realm=",
            "Bearer realm=\"\"",
            "Bearer realm=\"https://a/t",
            "Bearer realm=\"https://a/t\\",
            "Bearer service=\"s\"",
            "realm=\"https://a/t\"",
            "Digest realm=\"https://a/t\"",
            "=\"\"=,",
            "Bearer realm: https://a/t",
            "é realm=x",
            "\u{0}\u{7f}",
        ] {
            assert_eq!(challenges([field]), [], "{field:?}");
        }
    }

    proptest! {
        #[test]
        fn no_input_panics(field in "\\PC*", written in "((Bearer|Basic|realm|scope|[ ,=\"\\\\a:é\t])){0,40}") {
            challenges([field.as_str(), written.as_str()]);
        }
    }
}
