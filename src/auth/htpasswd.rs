//! The text of an htpasswd file, and the hashes in it.

use std::collections::HashMap;
use std::str::FromStr as _;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};

use super::apr1;
use crate::config::Secret;

/// More than any password file has, in bytes: 100 for each of 160,000 users.
pub(super) const MOST_BYTES: u64 = 16 << 20;

/// What is wrong with a line, counted from 1.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadLine {
    pub(super) line: usize,
    pub(super) problem: String,
}

/// The users of one file.
#[derive(Debug)]
pub(super) struct Users {
    hashes: HashMap<String, Arc<Hash>>,
    /// The costliest hash of all: what the password of an unknown user is held against, so that the time of an answer does
    /// not tell who exists.
    decoy: Option<Arc<Hash>>,
}

impl Users {
    /// Reads lines of `USER:HASH` (or `USER:HASH:COMMENT`, as nginx allows); empty ones and those after `#` are skipped. Of
    /// two lines for one user the later one counts, as in `registry:2`.
    pub(super) fn parse(content: &[u8]) -> Result<Self, BadLine> {
        let mut hashes = HashMap::new();
        for entry in entries(content) {
            let (user, hash) = entry?;
            hashes.insert(user.to_owned(), Arc::new(hash));
        }
        let decoy = hashes.values().max_by_key(|hash| hash.cost()).cloned();
        Ok(Self { hashes, decoy })
    }

    /// Every line that cannot be read.
    pub(super) fn bad_lines(content: &[u8]) -> Vec<BadLine> {
        entries(content).filter_map(Result::err).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.hashes.len()
    }

    pub(super) fn find(&self, user: &str) -> Option<&Arc<Hash>> {
        self.hashes.get(user)
    }

    pub(super) fn decoy(&self) -> Option<&Arc<Hash>> {
        self.decoy.as_ref()
    }
}

/// The lines that name a user.
fn entries(content: &[u8]) -> impl Iterator<Item = Result<(&str, Hash), BadLine>> {
    content.split(|&b| b == b'\n').enumerate().filter_map(|(index, line)| {
        let bad = |problem: String| BadLine { line: index + 1, problem };
        let Ok(line) = str::from_utf8(line).map(str::trim) else {
            return Some(Err(bad(
                "this line is not UTF-8; write it anew with `entrepot user add FILE USER`".to_owned()
            )));
        };
        let names_a_user = !line.is_empty() && !line.starts_with('#');
        names_a_user.then(|| parse_line(line).map_err(bad))
    })
}

fn parse_line(line: &str) -> Result<(&str, Hash), String> {
    let Some((user, rest)) = line.split_once(':').filter(|(user, _)| !user.is_empty()) else {
        return Err("a line is written USER:HASH; `entrepot user add FILE USER` writes one".to_owned());
    };
    let text = rest.split_once(':').map_or(rest, |(hash, _comment)| hash);
    let hash = Hash::parse(text).map_err(|problem| {
        // A command that can be typed as it stands, or one to fill in.
        let name = if is_plain(user) { user } else { "USER" };
        format!("the password of {user:?} {problem}; set it anew with `entrepot user add FILE {name}`")
    })?;
    Ok((user, hash))
}

/// Does a shell take this name for one word, and a program for no option?
fn is_plain(user: &str) -> bool {
    !user.starts_with('-') && user.chars().all(|c| c.is_alphanumeric() || "-_.@+".contains(c))
}

/// A stored password.
pub(super) struct Hash {
    text: String,
    scheme: Scheme,
}

#[derive(Clone, Copy)]
enum Scheme {
    Bcrypt { cost: u32 },
    Apr1,
    Sha1,
}

impl Hash {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let scheme = if let Some(rest) = text.strip_prefix("$apr1$") {
            apr1::split(rest).map(|_| Scheme::Apr1).ok_or("is not a well-formed apr1 hash")?
        } else if let Some(rest) = text.strip_prefix("{SHA}") {
            let hash = STANDARD.decode(rest).ok().filter(|hash| hash.len() == 20);
            hash.map(|_| Scheme::Sha1).ok_or("is not a well-formed {SHA} hash")?
        } else if ["$2a$", "$2b$", "$2y$"].iter().any(|prefix| text.starts_with(prefix)) {
            let cost = bcrypt::HashParts::from_str(text).map(|parts| parts.get_cost());
            let cost = cost.ok().filter(|cost| (4..=31).contains(cost)).ok_or("is not a well-formed bcrypt hash")?;
            Scheme::Bcrypt { cost }
        } else {
            return Err("is stored as plain text, by crypt or in another form that is not accepted");
        };
        Ok(Self { text: text.to_owned(), scheme })
    }

    /// The hash as it stands in the file.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Is this the password? Takes its time (bcrypt: up to seconds), which does not depend on the answer.
    pub(super) fn verify(&self, password: &Secret) -> bool {
        let password = password.reveal().as_bytes();
        match self.scheme {
            // More than 72 bytes are cut off, as everywhere.
            Scheme::Bcrypt { .. } => bcrypt::verify(password, &self.text).unwrap_or(false),
            Scheme::Apr1 => {
                let parts = self.text.strip_prefix("$apr1$").and_then(apr1::split);
                parts.is_some_and(|(salt, hash)| same(&apr1::hash(password, salt.as_bytes()), hash))
            }
            Scheme::Sha1 => same(&format!("{{SHA}}{}", STANDARD.encode(Sha1::digest(password))), &self.text),
        }
    }

    /// Orders hashes by how long they take.
    fn cost(&self) -> u32 {
        match self.scheme {
            Scheme::Bcrypt { cost } => cost,
            Scheme::Apr1 => 1,
            Scheme::Sha1 => 0,
        }
    }
}

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hash(****)")
    }
}

/// Compares in a time that does not depend on where they differ.
fn same(computed: &str, stored: &str) -> bool {
    verify_slices_are_equal(computed.as_bytes(), stored.as_bytes()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with `htpasswd -nbB`, `-nbm` and `-nbs`; `a` and `b` are other prefixes of the same.
    const FILE: &str = "\
# who may push
aliceB:$2y$05$qaErZWxMsUBEvhedM1xrauAZiIWwYM4v4t7iUwkCIoKW9keU2DX92
alicea:$2a$05$qaErZWxMsUBEvhedM1xrauAZiIWwYM4v4t7iUwkCIoKW9keU2DX92
aliceb:$2b$05$qaErZWxMsUBEvhedM1xrauAZiIWwYM4v4t7iUwkCIoKW9keU2DX92
alicem:$apr1$qmBcBxl7$tS3uAoHL6xesR9wf38ufd1
alices:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=

bobB:$2y$05$k25bMcay9hLh5OZd.FhiJ.sjIJsSLsyzgeIBnJcn6EbhjY5gOzf5G\r
bobm:$apr1$IIKDtBt9$tH20I3jPBOelGcyuthuHZ/: from nginx
  bobs:{SHA}JfOwpCDy5ASLqp0M24rdutzyYk8=
carolB:$2y$05$7JVta2Zpaj62IUYqAXNd4Oes9bKBqWNr.Kh1.rJNGuONcSwsOivD.
carolm:$apr1$SyjI29KF$Qr4PrnERzVH3cjiBTrjUu.
carols:{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk=
daveB:$2y$05$OWDJ29sbU4bYaC0E8TaCm.TJffYB6pL9gN.WTvKFqyQLM2SEwlFF.
davem:$apr1$avg61DzY$1ncyWMoLET69bnJbAqiA3.
daves:{SHA}lI0OH0WdoE/oe0HAdiHwtq5j1Ro=
long80:$2y$04$rpPvxVrZpZt0PR7vsARP5O2m0vrjQBm2DyvYk37h1Neogc7xgMeM2
";

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[test]
    fn same_as_apache() {
        let users = Users::parse(FILE.as_bytes()).unwrap();
        assert_eq!(users.len(), 15);
        let passwords = [("alice", "secret"), ("bob", "pass:word"), ("carol", ""), ("dave", "p\u{e4} ss")];
        for (name, password) in passwords {
            let of_name = users.hashes.iter().filter(|(user, _)| user.starts_with(name));
            for (user, hash) in of_name {
                assert!(hash.verify(&secret(password)), "{user} cannot log in");
                for wrong in ["wrong", "Secret", "secret ", "pass"] {
                    assert!(!hash.verify(&secret(wrong)), "{user} got in with {wrong:?}");
                }
            }
        }
        let long = users.find("long80").unwrap();
        assert!(long.verify(&secret(&"x".repeat(80))) && long.verify(&secret(&"x".repeat(72))));
        assert!(!long.verify(&secret(&"x".repeat(71))));
        assert!(users.find("alice").is_none());
    }

    #[test]
    fn bad_lines_are_named() {
        for (line, said) in [
            ("alice", "USER:HASH"),
            (":{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", "USER:HASH"),
            ("alice:", "plain text"),
            ("alice:secret", "plain text"),
            ("alice:SfG9BVQ2RjjUQ", "plain text"),
            ("alice:$6$xTgtahkVdWWIcGkU$h5lAH68O6yzmA6Gvord8GbJlB/5TK", "entrepot user add FILE alice"),
            ("alice:$2x$05$qaErZWxMsUBEvhedM1xrauAZiIWwYM4v4t7iUwkCIoKW9keU2DX92", "entrepot user add FILE alice"),
            ("o'hara; ls:secret", "entrepot user add FILE USER"),
            ("-h:secret", "entrepot user add FILE USER"),
            ("alice:$2y$05$qaErZWxMsUBEvhedM1xrauAZiIWwYM4v4t7iUwkCIoKW9keU2DX9", "bcrypt"),
            ("alice:$2y$99$qaErZWxMsUBEvhedM1xrauAZiIWwYM4v4t7iUwkCIoKW9keU2DX92", "bcrypt"),
            ("alice:$apr1$qmBcBxl7$tS3uAoHL6xesR9wf38ufd", "apr1"),
            ("alice:{SHA}5en6G6MezRroT3XKqkdPOmY", "{SHA}"),
        ] {
            let bad = Users::parse(format!("# first\n\n{line}\n").as_bytes()).unwrap_err();
            assert_eq!(bad.line, 3);
            assert!(bad.problem.contains(said), "{line}: {}", bad.problem);
            assert!(!bad.problem.contains("SfG9BVQ2RjjUQ") && !bad.problem.contains("secret"), "{}", bad.problem);
        }
        assert_eq!(Users::parse(b"a\xff:b").unwrap_err().line, 1);
    }

    #[test]
    fn the_decoy_is_the_costliest() {
        let decoy = |text: &str| Users::parse(text.as_bytes()).unwrap().decoy().map(|hash| hash.cost());
        assert_eq!(decoy(FILE), Some(5));
        assert_eq!(decoy("a:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="), Some(0));
        assert_eq!(decoy("# nobody\n"), None);
    }

    #[test]
    fn the_later_line_counts() {
        let users = Users::parse(b"a:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\na:{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk=").unwrap();
        assert!(users.find("a").unwrap().verify(&secret("")));
    }
}
