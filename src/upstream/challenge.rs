//! What a registry asks for in `WWW-Authenticate` (RFC 9110 §11.6.1).

/// A challenge that can be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// Name and password, with each request.
    Basic,
    /// A token from the server at `realm` (distribution-spec's token authentication).
    Bearer { realm: String, service: Option<String> },
}

/// The challenges in some `WWW-Authenticate` fields: several fields, and several challenges in one, in any mixture.
///
/// Lenient, as registries need it: schemes and names in any case, values without quotes, commas in them. Schemes that
/// cannot be answered are left out, and so is what is no challenge at all; nothing is an error.
pub fn challenges<'a>(fields: impl IntoIterator<Item = &'a str>) -> Vec<Challenge> {
    fields.into_iter().flat_map(parse).filter_map(Raw::understand).collect()
}

/// A challenge as it is written; names in lower case.
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
                Some(Challenge::Bearer { realm, service: parameter("service") })
            }
            _ => None,
        }
    }
}

fn parse(field: &str) -> Vec<Raw> {
    let mut found: Vec<Raw> = Vec::new();
    // The challenge that parameters belong to.
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
            // Not a word: step over it.
            rest = rest.get(rest.chars().next().map_or(1, char::len_utf8)..).unwrap_or_default();
        } else if let Some(text) = following.strip_prefix('=') {
            let (value, after) = value(text.trim_start_matches([' ', '\t']));
            if let (Some(raw), Some(value)) = (current.and_then(|at| found.get_mut(at)), value) {
                raw.parameters.push((word.to_ascii_lowercase(), value));
            }
            rest = after;
        } else {
            // A word that stands alone is a scheme without parameters, or the rest of an unquoted `pull,push`: what
            // follows belongs to the scheme before it.
            let alone = following.is_empty() || following.starts_with(',');
            if !alone || current.is_none() {
                current = Some(found.len());
            }
            found.push(Raw { scheme: word.to_ascii_lowercase(), parameters: Vec::new() });
            rest = after;
        }
    }
}

/// A token (RFC 9110 §5.6.2) and what follows it.
fn token(text: &str) -> (&str, &str) {
    let word = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    text.split_at(text.find(|c| !word(c)).unwrap_or(text.len()))
}

/// A parameter's value, quoted or not, and what follows it. `None` where the closing quote is missing.
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
        Challenge::Bearer { realm: realm.to_owned(), service: service.map(str::to_owned) }
    }

    #[test]
    fn good() {
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
            assert_eq!(&challenges(fields.iter().copied()), want, "{fields:?}");
        }
    }

    #[test]
    fn bad() {
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
