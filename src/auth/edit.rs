//! Changing a password file: a line is put in, replaced or taken out, and everything else in it stays as it is.

use std::fs::{File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use bcrypt::{HashParts, Version};

use super::htpasswd::{MOST_BYTES, Users};
use crate::config::Secret;
use crate::sys::{disk, random_id};

/// About 70 ms: what `registry:2` uses.
pub(super) const COST: u32 = 10;
/// bcrypt looks at no more bytes of a password than these.
const LONGEST_PASSWORD: usize = 72;
/// Apache's limit for a name.
const LONGEST_NAME: usize = 255;

/// What was done with a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edited {
    /// The file did not exist, and only its owner may read it.
    Made,
    Added,
    /// There was one of this name: it has another password now.
    Changed,
    Removed,
}

/// Why a password file was not changed.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    #[error("{0:?} can be no user's name: {1}")]
    Name(String, &'static str),
    #[error("the password has {0} bytes, and bcrypt takes {LONGEST_PASSWORD}; what lies behind them would not count")]
    LongPassword(usize),
    #[error("the password {0}")]
    Password(&'static str),
    #[error("{}: there is no user {user:?}; `entrepot user list {}` names those there are", path.display(), path.display())]
    NoUser { path: PathBuf, user: String },
    #[error(
        "{}:{line}: this is no line of a password file, which is NAME:HASH with a hash by bcrypt, apr1 or {{SHA}}; nothing was written: \
         name the file of auth.htpasswd.path, or take the line out of it",
        path.display()
    )]
    Line { path: PathBuf, line: usize },
    #[error("{}: the directory {} does not exist; make it first, or name another file", path.display(), disk::parent(path).display())]
    NoDirectory { path: PathBuf },
    #[error("{}: it is being changed by another process; try again", path.display())]
    Busy { path: PathBuf },
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(
        "{}: it belongs to user {owner}, and would not after this change; run it as that user, or as root",
        path.display()
    )]
    Owner { path: PathBuf, owner: u32 },
    #[error("the password cannot be hashed: {0}")]
    Hash(String),
}

/// Gives a user of the file this password (bcrypt); one of another name is added at its end. Blocks.
pub fn set_password(path: &Path, user: &str, password: &Secret) -> Result<Edited, EditError> {
    check_name(user)?;
    check_password(password)?;
    let hash = hash(password)?;
    if let Some(opened) = Opened::open(path)? {
        return replace_password(path, opened, user, &hash);
    }
    let made = make(path, format!("{user}:{hash}\n").as_bytes());
    let Err(source) = made else { return Ok(Edited::Made) };
    match source.kind() {
        io::ErrorKind::NotFound => Err(EditError::NoDirectory { path: path.to_owned() }),
        // Somebody else may just have made it.
        io::ErrorKind::AlreadyExists if let Some(opened) = Opened::open(path)? => {
            replace_password(path, opened, user, &hash)
        }
        _ => Err(EditError::Io { path: path.to_owned(), source }),
    }
}

fn replace_password(path: &Path, opened: Opened, user: &str, hash: &str) -> Result<Edited, EditError> {
    // What is wrong in the user's own line is mended by this.
    check_lines(path, &opened.content, Some(user))?;
    let (mut content, mut was) = (Vec::new(), false);
    for line in opened.content.split_inclusive(|&byte| byte == b'\n') {
        if name_of(line) != Some(user.as_bytes()) {
            content.extend_from_slice(line);
        } else if !was {
            // The first of several: of these the last counted, and none shall count beside the new one.
            content.extend_from_slice(&with_hash(line, hash));
            was = true;
        }
    }
    if !was {
        if !(content.is_empty() || content.ends_with(b"\n")) {
            content.push(b'\n');
        }
        content.extend_from_slice(format!("{user}:{hash}\n").as_bytes());
    }
    opened.replace(&content)?;
    Ok(if was { Edited::Changed } else { Edited::Added })
}

/// Takes a user out of the file. Blocks.
pub fn remove_user(path: &Path, user: &str) -> Result<Edited, EditError> {
    let missing = || io::Error::new(io::ErrorKind::NotFound, "there is no such file");
    let opened = Opened::open(path)?;
    let opened = opened.ok_or_else(|| EditError::Io { path: path.to_owned(), source: missing() })?;
    let lines = opened.content.split_inclusive(|&byte| byte == b'\n');
    let content = lines.filter(|line| name_of(line) != Some(user.as_bytes())).collect::<Vec<_>>().concat();
    if content.len() == opened.content.len() {
        return Err(EditError::NoUser { path: path.to_owned(), user: user.to_owned() });
    }
    opened.replace(&content)?;
    Ok(Edited::Removed)
}

/// The names in the file, in its order, each once. Blocks.
pub fn list_users(path: &Path) -> Result<Vec<String>, EditError> {
    let content =
        disk::read_named(path, MOST_BYTES).map_err(|source| EditError::Io { path: path.to_owned(), source })?;
    check_lines(path, &content, None)?;
    let mut names: Vec<String> = Vec::new();
    for name in content.split(|&byte| byte == b'\n').filter_map(name_of) {
        let name = String::from_utf8_lossy(name).into_owned();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

/// What a server would not take in this file: the first line that is wrong, and why. Blocks.
pub fn complaint(path: &Path) -> Option<String> {
    let content = disk::read_named(path, MOST_BYTES).ok()?;
    Users::parse(&content).err().map(|bad| format!("{}:{}: {}", path.display(), bad.line, bad.problem))
}

/// A file that is something else is left alone; `but` is whose line may be wrong.
fn check_lines(path: &Path, content: &[u8], but: Option<&str>) -> Result<(), EditError> {
    let lines: Vec<&[u8]> = content.split(|&byte| byte == b'\n').collect();
    let is_theirs = |line: usize| but.is_some() && name_of(lines[line - 1]) == but.map(str::as_bytes);
    match Users::bad_lines(content).into_iter().find(|bad| !is_theirs(bad.line)) {
        Some(bad) => Err(EditError::Line { path: path.to_owned(), line: bad.line }),
        None => Ok(()),
    }
}

fn check_name(user: &str) -> Result<(), EditError> {
    let problem = match user {
        "" => "it is empty",
        user if user.contains(':') => "a colon ends the name in the file",
        user if user.starts_with('#') => "its line would be a comment",
        user if user.contains(char::is_control) => "it holds a control character",
        user if user.trim() != user => "it begins or ends with a space",
        user if user.len() > LONGEST_NAME => "it is longer than 255 bytes",
        _ => return Ok(()),
    };
    Err(EditError::Name(user.to_owned(), problem))
}

fn check_password(password: &Secret) -> Result<(), EditError> {
    match password.reveal() {
        "" => Err(EditError::Password("is empty")),
        text if text.len() > LONGEST_PASSWORD => Err(EditError::LongPassword(text.len())),
        text if text.contains(char::is_control) => Err(EditError::Password("holds a control character")),
        _ => Ok(()),
    }
}

/// As `htpasswd -B` writes it: every reader of such files knows `$2y$`.
fn hash(password: &Secret) -> Result<String, EditError> {
    let parts: Result<HashParts, _> = bcrypt::hash_with_result(password.reveal(), COST);
    Ok(parts.map_err(|error| EditError::Hash(error.to_string()))?.format_for_version(Version::TwoY))
}

/// The name that a line is for; none in a comment or an empty line.
fn name_of(line: &[u8]) -> Option<&[u8]> {
    let line = line.trim_ascii();
    if line.starts_with(b"#") {
        return None;
    }
    let end = line.iter().position(|&byte| byte == b':')?;
    Some(&line[..end]).filter(|name| !name.is_empty())
}

/// A line with another hash: a comment behind it, and the way it ends, stay.
fn with_hash(line: &[u8], hash: &str) -> Vec<u8> {
    let text = line.trim_ascii_end();
    let ending = if line.len() > text.len() { &line[text.len()..] } else { b"\n" };
    let mut parts = text.splitn(3, |&byte| byte == b':');
    let (name, _, comment) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    let mut new = [name, b":", hash.as_bytes()].concat();
    if let Some(comment) = comment {
        new.extend_from_slice(b":");
        new.extend_from_slice(comment);
    }
    new.extend_from_slice(ending);
    new
}

/// A password file that is being changed: nobody else changes it meanwhile.
struct Opened {
    /// As it was named, for errors.
    named: PathBuf,
    /// Where it really lies: a link to it stays one.
    path: PathBuf,
    /// Locked as long as it is open.
    file: File,
    content: Vec<u8>,
}

impl Opened {
    /// `None` where there is no file.
    fn open(path: &Path) -> Result<Option<Self>, EditError> {
        let named = path.to_owned();
        let failed = |source| EditError::Io { path: path.to_owned(), source };
        let Some(path) = disk::optional(disk::resolve(path)).map_err(failed)? else { return Ok(None) };
        let file = disk::open(&path).map_err(failed)?;
        let locked = disk::try_lock(&file).and_then(|locked| Ok(locked && disk::names(&path, &file)?));
        if !locked.map_err(failed)? {
            return Err(EditError::Busy { path: named });
        }
        let content = disk::read_named(&path, MOST_BYTES).map_err(failed)?;
        Ok(Some(Self { named, path, file, content }))
    }

    /// A server sees the old content or the new, and may read it as before: mode and owner stay.
    fn replace(self, content: &[u8]) -> Result<(), EditError> {
        let failed = |source| EditError::Io { path: self.named.clone(), source };
        let was = self.file.metadata().map_err(failed)?;
        let temporary = disk::parent(&self.path).join(format!(".htpasswd-{}", random_id()));
        let write = || {
            let mut new = disk::make_new(&temporary, 0o600)?;
            new.write_all(content)?;
            disk::give(&new, was.uid(), was.gid())?;
            new.set_permissions(Permissions::from_mode(was.mode() & 0o7777))?;
            new.sync_all()?;
            disk::rename_durably(&temporary, &self.path)
        };
        let written = write();
        if written.is_err() {
            let _ = disk::remove(&temporary);
        }
        written.map_err(|source| match source.kind() {
            io::ErrorKind::PermissionDenied if disk::process_owner().0 != was.uid() => {
                EditError::Owner { path: self.named.clone(), owner: was.uid() }
            }
            io::ErrorKind::ResourceBusy => {
                let hint =
                    "it is mounted by itself, and cannot be replaced: change it where it lies, or mount its directory";
                failed(io::Error::other(hint))
            }
            _ => failed(source),
        })
    }
}

/// Makes a password file that only its owner may read, and nobody sees before it is whole. One that is there stays.
pub(super) fn make(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = disk::parent(path).join(format!(".htpasswd-{}", random_id()));
    let write = || {
        let mut new = disk::make_new(&temporary, 0o600)?;
        new.write_all(content)?;
        new.sync_all()?;
        disk::name_durably(&temporary, path)
    };
    let written = write();
    if written.is_err() {
        let _ = disk::remove(&temporary);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    fn users(path: &Path) -> Users {
        Users::parse(&disk::read(path).unwrap()).unwrap()
    }

    #[test]
    fn everything_else_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("users");
        let sha = "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=";
        let before = format!("# team\n\nbob:{sha}: from nginx\r\n  alice:{sha}\nbob:{sha}\n# end");
        disk::write_replace(&path, before.as_bytes()).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        assert_eq!(set_password(&path, "bob", &secret("new")).unwrap(), Edited::Changed);
        let text = String::from_utf8(disk::read(&path).unwrap()).unwrap();
        let lines: Vec<&str> = text.split('\n').collect();
        assert!(lines[2].starts_with("bob:$2y$10$") && lines[2].ends_with(": from nginx\r"), "{text}");
        assert_eq!([lines[0], lines[1], lines[3], lines[4]], ["# team", "", &format!("  alice:{sha}"), "# end"]);
        assert!(users(&path).find("bob").unwrap().verify(&secret("new")));
        assert_eq!(set_password(&path, "carol", &secret("x")).unwrap(), Edited::Added);
        assert_eq!(list_users(&path).unwrap(), ["bob", "alice", "carol"]);
        assert_eq!(remove_user(&path, "bob").unwrap(), Edited::Removed);
        assert!(matches!(remove_user(&path, "bob"), Err(EditError::NoUser { .. })));
        assert!(matches!(remove_user(&path, "al"), Err(EditError::NoUser { .. })));
        assert_eq!(list_users(&path).unwrap(), ["alice", "carol"]);
        assert_eq!(disk::metadata(&path).unwrap().mode() & 0o777, 0o640);
        assert_eq!(disk::list(directory.path()).unwrap().len(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_new_file_is_its_owners() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("users");
        assert!(remove_user(&path, "alice").is_err() && list_users(&path).is_err());
        assert_eq!(set_password(&path, "alice", &secret("secret")).unwrap(), Edited::Made);
        assert_eq!(disk::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(users(&path).find("alice").unwrap().verify(&secret("secret")));
        let nowhere = set_password(&directory.path().join("no/users"), "alice", &secret("secret")).unwrap_err();
        assert!(nowhere.to_string().contains("/no does not exist"), "{nowhere}");
    }

    #[test]
    fn what_is_no_password_file_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("users");
        let sha = "alice:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=";
        for (text, line) in [
            ("version: 0.1\nhttp:\n  addr: :5000\n".to_owned(), 1),
            ("root:*:19000:0:99999:7:::\nalice:$6$salt$hash:19000::::::\n".to_owned(), 1),
            (format!("# users\n{sha}\n\nbob:plain\n"), 4),
            ("just words\n".to_owned(), 1),
            ("\u{7f}ELF\0".to_owned(), 1),
        ] {
            disk::write_replace(&path, text.as_bytes()).unwrap();
            for error in [set_password(&path, "alice", &secret("x")).unwrap_err(), list_users(&path).unwrap_err()] {
                assert!(matches!(error, EditError::Line { line: found, .. } if found == line), "{text:?}: {error}");
                assert!(error.to_string().contains("nothing was written"), "{error}");
            }
            assert_eq!(disk::read(&path).unwrap(), text.as_bytes());
        }
        disk::write_replace(&path, format!("{sha}\nbob:plain\n").as_bytes()).unwrap();
        assert_eq!(set_password(&path, "bob", &secret("x")).unwrap(), Edited::Changed, "it mends the line");
    }

    /// Of two who find none and make one, the second must not take the first one's user away.
    #[test]
    fn what_somebody_else_has_just_made_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("users");
        make(&path, b"first\n").unwrap();
        assert_eq!(make(&path, b"second\n").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(disk::read(&path).unwrap(), b"first\n");
        assert_eq!(disk::list(directory.path()).unwrap().len(), 1, "nothing is left beside it");
        let (link, missing) = (directory.path().join("link"), directory.path().join("missing"));
        std::os::unix::fs::symlink(&missing, &link).unwrap();
        assert!(matches!(set_password(&link, "alice", &secret("x")), Err(EditError::Io { .. })));
        assert!(link.is_symlink() && !missing.exists(), "a link to what is not there is not replaced");
    }

    #[test]
    fn a_link_stays_a_link_and_a_file_in_use_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let (path, link) = (directory.path().join("users"), directory.path().join("link"));
        set_password(&path, "alice", &secret("secret")).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(set_password(&link, "bob", &secret("secret")).unwrap(), Edited::Added);
        assert!(link.is_symlink() && users(&path).find("bob").is_some());
        let held = disk::open(&path).unwrap();
        assert!(disk::try_lock(&held).unwrap());
        assert!(matches!(set_password(&path, "carol", &secret("secret")), Err(EditError::Busy { .. })));
    }

    #[test]
    fn what_can_be_no_name_and_no_password() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("users");
        for name in ["", "a:b", "#a", "a\n", " a", "a ", &"a".repeat(256)] {
            assert!(matches!(set_password(&path, name, &secret("secret")), Err(EditError::Name(..))), "{name:?}");
        }
        for password in ["", "a\0b", "a\nb", &"x".repeat(73), &"ä".repeat(37)] {
            let error = set_password(&path, "alice", &secret(password)).unwrap_err().to_string();
            assert!(error.starts_with("the password"), "{error}");
        }
        assert!(!path.exists());
        let longest = "x".repeat(72);
        set_password(&path, "alice", &secret(&longest)).unwrap();
        assert!(users(&path).find("alice").unwrap().verify(&secret(&longest)));
        assert!(!users(&path).find("alice").unwrap().verify(&secret(&longest[..71])));
    }
}
