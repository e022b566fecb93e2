//! Parsing an htpasswd file and verifying its hashes.

use std::collections::HashMap;
use std::hint::black_box;
use std::ops::Range;
use std::str::FromStr as _;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};

use super::apr1;
use crate::config::Secret;

/// The size limit of a password file, in bytes: 100 bytes for each of 160,000 users.
pub(super) const MAX_BYTES: u64 = 16 << 20;

/// The bcrypt cost of new hashes, as in `registry:2`: a hash takes about 70 ms.
pub(super) const BCRYPT_COST: u32 = 10;

/// The advice for a line that no command can repair.
const REMOVE_LINE: &str = "remove the line, then add its user with `entrepot user add FILE USER`";

/// A line that cannot be used, and the reason.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::auth) struct BadLine {
    /// The number of the line, from 1.
    pub(in crate::auth) line: usize,
    pub(in crate::auth) problem: String,
    pub(in crate::auth) shape: LineShape,
    /// The user of the line, if it names one.
    user: Option<String>,
}

/// Tells whether a line that cannot be used is a user's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::auth) enum LineShape {
    /// `USER:TEXT` or `USER:TEXT:COMMENT`, where TEXT is no supported hash. A new password replaces the text.
    User,
    /// Any other text. The file may be of another kind.
    Other,
}

/// The users of a password file and their hashes.
#[derive(Debug)]
pub(in crate::auth) struct Users {
    hashes: HashMap<String, Arc<Hash>>,
    /// The work of a login with this file: that of its costliest hashes.
    work: LoginWork,
}

/// The hashes that every login computes, whichever user it names, so that the time of an answer tells nothing about the user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct LoginWork {
    /// The highest cost of a bcrypt hash in the file.
    bcrypt: Option<u32>,
    /// There is an apr1 hash in the file.
    apr1: bool,
}

impl Users {
    /// Parses lines of `USER:HASH`, or of `USER:HASH:COMMENT` as nginx allows. Skips empty lines and lines that begin with `#`. If
    /// a user has two lines, the later one counts, as in `registry:2`.
    pub(in crate::auth) fn parse(content: &[u8]) -> Result<Self, BadLine> {
        let (users, bad) = Self::read(content);
        bad.into_iter().next().map_or(Ok(users), Err)
    }

    /// Parses like [`Self::parse`], but leaves out lines that cannot be used, and returns them. A user whose last line cannot be used
    /// has no password. Fails if there are such lines and no user is left.
    pub(super) fn parse_usable(content: &[u8]) -> Result<(Self, Vec<BadLine>), BadLine> {
        let (users, mut bad) = Self::read(content);
        if users.len() == 0 && !bad.is_empty() { Err(bad.swap_remove(0)) } else { Ok((users, bad)) }
    }

    fn read(content: &[u8]) -> (Self, Vec<BadLine>) {
        let (mut hashes, mut bad) = (HashMap::new(), Vec::new());
        for entry in entries(content) {
            match entry {
                Ok((user, hash)) => drop(hashes.insert(user.to_owned(), Arc::new(hash))),
                Err(line) => {
                    line.user.as_ref().map(|user| hashes.remove(user));
                    bad.push(line);
                }
            }
        }
        let work =
            hashes.values().fold(LoginWork::default(), |work: LoginWork, hash: &Arc<Hash>| work.with(hash.scheme));
        (Self { hashes, work }, bad)
    }

    /// Returns every line that cannot be parsed.
    pub(super) fn bad_lines(content: &[u8]) -> Vec<BadLine> {
        entries(content).filter_map(Result::err).collect()
    }

    pub(in crate::auth) fn len(&self) -> usize {
        self.hashes.len()
    }

    pub(in crate::auth) fn find(&self, user: &str) -> Option<&Arc<Hash>> {
        self.hashes.get(user)
    }

    /// Returns true if the file has this user with this password. It takes the same time for every user of the file and for unknown
    /// ones, up to seconds. Blocks.
    pub(in crate::auth) fn verify(&self, user: &str, password: &Secret) -> bool {
        let found = self.find(user);
        let matches = found.is_some_and(|hash| hash.verify(password));
        self.work.rest(found.map(|hash| hash.scheme)).compute(password);
        matches
    }
}

impl LoginWork {
    fn with(self, scheme: Scheme) -> Self {
        match scheme {
            Scheme::Bcrypt { cost } => Self { bcrypt: self.bcrypt.max(Some(cost)), ..self },
            Scheme::Apr1 => Self { apr1: true, ..self },
            // This takes a microsecond.
            Scheme::Sha1 => self,
        }
    }

    /// Returns the work that is left after the hash of a user was verified.
    fn rest(self, done: Option<Scheme>) -> RestOfWork {
        let from = match done {
            Some(Scheme::Bcrypt { cost }) => Some(cost),
            _ => None,
        };
        // A hash of cost N takes 2^N steps. After one of cost N, one each of N, N+1, … M-1 make up for one of M.
        let costs = match (from, self.bcrypt) {
            (_, None) => 0..0,
            (None, Some(most)) => most..most + 1,
            (Some(from), Some(most)) => from..most,
        };
        RestOfWork { costs, apr1: self.apr1 && !matches!(done, Some(Scheme::Apr1)) }
    }
}

/// Hashes whose results do not matter.
#[derive(Debug, PartialEq, Eq)]
struct RestOfWork {
    costs: Range<u32>,
    apr1: bool,
}

impl RestOfWork {
    fn compute(self, password: &Secret) {
        let password = password.reveal().as_bytes();
        for cost in self.costs {
            drop(black_box(bcrypt::hash_with_salt(password, cost, [0; 16])));
        }
        if self.apr1 {
            drop(black_box(apr1::hash(password, b"decoy")));
        }
    }
}

/// Parses each line that names a user.
fn entries(content: &[u8]) -> impl Iterator<Item = Result<(&str, Hash), BadLine>> {
    without_mark(content).split(|&b| b == b'\n').enumerate().filter_map(|(index, line)| {
        let bad = |shape, problem, user| BadLine { line: index + 1, problem, shape, user };
        let Ok(line) = str::from_utf8(line).map(str::trim) else {
            return Some(Err(bad(LineShape::Other, format!("this line is not UTF-8; {REMOVE_LINE}"), None)));
        };
        let names_a_user = !line.is_empty() && !line.starts_with('#');
        let user = || line.split_once(':').map(|(user, _)| user.to_owned());
        names_a_user.then(|| parse_line(line).map_err(|problem| bad(shape(line), problem, user())))
    })
}

/// Removes the byte order mark that editors of Windows write at the beginning of a file.
pub(super) fn without_mark(content: &[u8]) -> &[u8] {
    content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content)
}

/// Returns the shape of a line that cannot be parsed.
fn shape(line: &str) -> LineShape {
    let parts: Vec<&str> = line.splitn(4, ':').collect();
    match parts[..] {
        [user, text] | [user, text, _]
            if !user.is_empty() && !text.is_empty() && !text.contains(char::is_whitespace) =>
        {
            LineShape::User
        }
        _ => LineShape::Other,
    }
}

fn parse_line(line: &str) -> Result<(&str, Hash), String> {
    let Some((user, rest)) = line.split_once(':').filter(|(user, _)| !user.is_empty()) else {
        return Err(format!("a line has the form USER:HASH; {REMOVE_LINE}"));
    };
    let text = rest.split_once(':').map_or(rest, |(hash, _comment)| hash);
    let hash = Hash::parse(text).map_err(|problem| {
        // The suggested command can be typed unchanged only if the name needs no quoting.
        let name = if is_plain(user) { user } else { "USER" };
        format!("the password of {user:?} {problem}; set it again with `entrepot user add FILE {name}`")
    })?;
    Ok((user, hash))
}

/// Returns true if a shell reads the name as one word and a program does not read it as an option.
fn is_plain(user: &str) -> bool {
    !user.starts_with('-') && user.chars().all(|c| c.is_alphanumeric() || "-_.@+".contains(c))
}

/// The hash of a password.
pub(in crate::auth) struct Hash {
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
            return Err("is stored as plain text, by crypt or in another form that is not supported");
        };
        Ok(Self { text: text.to_owned(), scheme })
    }

    /// Returns the hash as it is written in the file.
    pub(in crate::auth) fn text(&self) -> &str {
        &self.text
    }

    /// Returns true if this is the password. Bcrypt takes up to seconds; the time does not depend on the result. Blocks.
    pub(in crate::auth) fn verify(&self, password: &Secret) -> bool {
        let password = password.reveal().as_bytes();
        match self.scheme {
            // Bcrypt ignores all bytes after the 72nd, here as everywhere.
            Scheme::Bcrypt { .. } => bcrypt::verify(password, &self.text).unwrap_or(false),
            Scheme::Apr1 => {
                let parts = self.text.strip_prefix("$apr1$").and_then(apr1::split);
                parts.is_some_and(|(salt, hash)| is_equal(&apr1::hash(password, salt.as_bytes()), hash))
            }
            Scheme::Sha1 => is_equal(&format!("{{SHA}}{}", STANDARD.encode(Sha1::digest(password))), &self.text),
        }
    }
}

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hash(****)")
    }
}

/// Compares two texts in a time that does not depend on where they differ.
fn is_equal(computed: &str, stored: &str) -> bool {
    verify_slices_are_equal(computed.as_bytes(), stored.as_bytes()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The hashes come from `htpasswd -nbB`, `-nbm` and `-nbs`. The users `alicea` and `aliceb` have the bcrypt prefixes `$2a$` and
    /// `$2b$`.
    const FILE: &str = "\
# people with an account
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
    fn hashes_equal_those_of_apache() {
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
    fn bad_lines_are_reported_without_their_hash() {
        for (line, said) in [
            ("alice", "USER:HASH; remove the line"),
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
    fn every_login_does_the_work_of_the_costliest_hashes() {
        const FIVE: &str = "b:$2y$05$qaErZWxMsUBEvhedM1xrauAZiIWwYM4v4t7iUwkCIoKW9keU2DX92\n";
        const EIGHT: &str = "c:$2y$08$qaErZWxMsUBEvhedM1xrauAZiIWwYM4v4t7iUwkCIoKW9keU2DX92\n";
        const APR1: &str = "m:$apr1$qmBcBxl7$tS3uAoHL6xesR9wf38ufd1\n";
        const SHA: &str = "s:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n";
        let rest = |file: &str, user: &str| {
            let users = Users::parse(file.as_bytes()).unwrap();
            let rest = users.work.rest(users.find(user).map(|hash| hash.scheme));
            (rest.costs.collect::<Vec<_>>(), rest.apr1)
        };
        let all = [FIVE, EIGHT, APR1, SHA].concat();
        // 2^5 + 2^5 + 2^6 + 2^7 = 2^8.
        assert_eq!(rest(&all, "b"), (vec![5, 6, 7], true));
        assert_eq!(rest(&all, "c"), (vec![], true));
        assert_eq!(rest(&all, "m"), (vec![8], false));
        assert_eq!(rest(&all, "s"), (vec![8], true));
        assert_eq!(rest(&all, "unknown"), (vec![8], true));
        assert_eq!(rest(&[FIVE, SHA].concat(), "unknown"), (vec![5], false));
        assert_eq!(rest(&[APR1, SHA].concat(), "s"), (vec![], true));
        assert_eq!(rest(SHA, "unknown"), (vec![], false));
        assert_eq!(rest("", "unknown"), (vec![], false));
        let users = Users::parse(all.as_bytes()).unwrap();
        assert!(users.verify("s", &secret("secret")) && users.verify("b", &secret("secret")));
        assert!(!users.verify("s", &secret("")) && !users.verify("unknown", &secret("secret")));
    }

    #[test]
    fn lines_that_cannot_be_used_cost_only_their_own_users_the_password() {
        const GOOD: &str = "a:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n";
        let names = |content: &[u8]| {
            let (users, bad) = Users::parse_usable(content).map_err(|bad| bad.line)?;
            let mut names: Vec<String> = users.hashes.keys().cloned().collect();
            names.sort();
            Ok::<_, usize>((names.join(" "), bad.iter().map(|bad| bad.line).collect::<Vec<_>>()))
        };
        let with = |more: &[u8]| names(&[GOOD.as_bytes(), more].concat());
        let only_a = |lines: &[usize]| Ok(("a".to_owned(), lines.to_vec()));
        assert_eq!(with(b"old:ab1Fg.9kQ2xYz\n"), only_a(&[2]));
        assert_eq!(with(b"plain:secret\n# comment\nno colon\n:empty\n\xff:x\n"), only_a(&[2, 4, 5, 6]));
        assert_eq!(with(b"b:$6$x$y\nb:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="), Ok(("a b".to_owned(), vec![2])));
        // The last line of a user counts.
        assert_eq!(with(b"a:secret\n"), Err(2));
        assert_eq!(names(b"b:secret\nc:secret\n"), Err(1));
        assert_eq!(names(&[b"\xef\xbb\xbf", GOOD.as_bytes()].concat()), only_a(&[]));
        assert_eq!(names(b""), Ok((String::new(), vec![])));
    }

    #[test]
    fn later_line_of_a_user_counts() {
        let users = Users::parse(b"a:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\na:{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk=").unwrap();
        assert!(users.find("a").unwrap().verify(&secret("")));
    }
}
