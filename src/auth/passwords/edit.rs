//! Changing a password file: adding, replacing and removing the line of one user. All other lines stay as they are.

use std::fs::Permissions;
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use bcrypt::{HashParts, Version};

use super::create::create;
use super::error::with_file_name;
use super::htpasswd::{BCRYPT_COST, BadLine, LineShape, MAX_BYTES, Users, without_mark};
use crate::config::Secret;
use crate::sys::disk::LockedFile;
use crate::sys::{disk, random_id};

/// The longest password, in bytes. Bcrypt ignores all bytes after these.
const MAX_PASSWORD_BYTES: usize = 72;
/// The longest name, in bytes, as in Apache.
const MAX_NAME_BYTES: usize = 255;

/// The change that was made to a password file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edited {
    /// The file was created with this user. Only its owner may read it.
    Made,
    Added,
    /// The user existed and has a new password.
    Changed,
    Removed,
}

/// The reason why a password file was not changed.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    #[error("{0:?} cannot be the name of a user: {1}")]
    Name(String, &'static str),
    #[error("the password has {0} bytes; bcrypt uses only the first {MAX_PASSWORD_BYTES}, so choose a shorter one")]
    LongPassword(usize),
    #[error("the password {0}")]
    Password(&'static str),
    #[error("{}: there is no user {user:?}; `entrepot user list {}` lists the users", path.display(), path.display())]
    NoUser { path: PathBuf, user: String },
    #[error(
        "{}:{}: this is not a line of a password file (NAME:HASH with a hash by bcrypt, apr1 or {{SHA}}){}; nothing was written: \
         give the file of auth.htpasswd.path, or remove the line",
        path.display(), lines[0], also(&lines[1..])
    )]
    Lines { path: PathBuf, lines: Vec<usize> },
    #[error("{}: the file does not exist; `entrepot user add {} NAME` creates it", path.display(), path.display())]
    NoFile { path: PathBuf },
    #[error("{}: the directory {} does not exist; create it first, or give another file", path.display(), disk::parent(path).display())]
    NoDirectory { path: PathBuf },
    #[error("{}: another process is changing the file; try again", path.display())]
    Busy { path: PathBuf },
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(
        "{}: the file belongs to user {owner}, and this process cannot keep that owner; run the command as that user, or as root",
        path.display()
    )]
    Owner { path: PathBuf, owner: u32 },
    #[error("the password cannot be hashed: {0}")]
    Hash(String),
}

/// Sets the password of a user, hashed with bcrypt. Adds a new user at the end of the file, and creates a missing file. Blocks.
pub fn set_password(path: &Path, user: &str, password: &Secret) -> Result<Edited, EditError> {
    check_name(user)?;
    check_password(password)?;
    let hash = hash(password)?;
    if let Some(opened) = Opened::open(path)? {
        return replace_password(path, opened, user, &hash);
    }
    let created = create(path, format!("{user}:{hash}\n").as_bytes());
    let Err(source) = created else { return Ok(Edited::Made) };
    match source.kind() {
        io::ErrorKind::NotFound => Err(EditError::NoDirectory { path: path.to_owned() }),
        // Another process may have created the file in the meantime.
        io::ErrorKind::AlreadyExists if let Some(opened) = Opened::open(path)? => {
            replace_password(path, opened, user, &hash)
        }
        _ => Err(EditError::Io { path: path.to_owned(), source }),
    }
}

fn replace_password(path: &Path, opened: Opened, user: &str, hash: &str) -> Result<Edited, EditError> {
    check_lines(path, &opened.content, Some(user))?;
    let (mut content, mut found) = (Vec::new(), false);
    for line in opened.content.split_inclusive(|&byte| byte == b'\n') {
        if name_of(line) != Some(user.as_bytes()) {
            content.extend_from_slice(line);
        } else if !found {
            // If the user has several lines, the first is changed and the others are dropped: the last one would count.
            content.extend_from_slice(&with_hash(line, hash));
            found = true;
        }
    }
    if !found {
        if !(content.is_empty() || content.ends_with(b"\n")) {
            content.push(b'\n');
        }
        content.extend_from_slice(format!("{user}:{hash}\n").as_bytes());
    }
    opened.replace(&content)?;
    Ok(if found { Edited::Changed } else { Edited::Added })
}

/// Removes a user from the file. Blocks.
pub fn remove_user(path: &Path, user: &str) -> Result<Edited, EditError> {
    let opened = Opened::open(path)?.ok_or_else(|| EditError::NoFile { path: path.to_owned() })?;
    let lines = opened.content.split_inclusive(|&byte| byte == b'\n');
    let content = lines.filter(|line| name_of(line) != Some(user.as_bytes())).collect::<Vec<_>>().concat();
    if content.len() == opened.content.len() {
        return Err(EditError::NoUser { path: path.to_owned(), user: user.to_owned() });
    }
    opened.replace(&content)?;
    Ok(Edited::Removed)
}

/// Returns the names of the users in the order of the file, each once. Blocks.
pub fn list_users(path: &Path) -> Result<Vec<String>, EditError> {
    let content = disk::optional(disk::read_named(path, MAX_BYTES));
    let content = content.map_err(|source| EditError::Io { path: path.to_owned(), source })?;
    let content = content.ok_or_else(|| EditError::NoFile { path: path.to_owned() })?;
    check_lines(path, &content, None)?;
    let mut names: Vec<String> = Vec::new();
    for name in without_mark(&content).split(|&byte| byte == b'\n').filter_map(name_of) {
        let name = String::from_utf8_lossy(name).into_owned();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

/// Returns each line that a server cannot use, with the reason. Blocks.
pub fn bad_lines(path: &Path) -> Vec<String> {
    let content = disk::read_named(path, MAX_BYTES).unwrap_or_default();
    let shown = path.display();
    let line = |bad: BadLine| format!("{shown}:{}: {}", bad.line, with_file_name(&bad.problem, path));
    Users::bad_lines(&content).into_iter().map(line).collect()
}

/// Checks that the file is a password file, so that no other file is changed by mistake. A line without a supported hash is no
/// obstacle, and neither is any line of the user `except`.
fn check_lines(path: &Path, content: &[u8], except: Option<&str>) -> Result<(), EditError> {
    let lines: Vec<&[u8]> = content.split(|&byte| byte == b'\n').collect();
    let is_excepted = |line: usize| except.is_some() && name_of(lines[line - 1]) == except.map(str::as_bytes);
    let is_allowed = |bad: &BadLine| bad.shape == LineShape::User || is_excepted(bad.line);
    let bad = Users::bad_lines(content).into_iter().filter(|bad| !is_allowed(bad));
    let lines: Vec<usize> = bad.map(|bad| bad.line).collect();
    if lines.is_empty() { Ok(()) } else { Err(EditError::Lines { path: path.to_owned(), lines }) }
}

/// Names the lines that are bad besides the first one.
fn also(lines: &[usize]) -> String {
    let numbers: Vec<String> = lines.iter().map(ToString::to_string).collect();
    match lines {
        [] => String::new(),
        [_] => format!(", and neither is line {}", numbers[0]),
        _ => format!(", and neither are the lines {}", numbers.join(", ")),
    }
}

fn check_name(user: &str) -> Result<(), EditError> {
    let problem = match user {
        "" => "it is empty",
        user if user.contains(':') => "in the file a colon ends the name",
        user if user.starts_with('#') => "its line would be a comment",
        user if user.contains(char::is_control) => "it contains a control character",
        user if user.trim() != user => "it begins or ends with a space",
        user if user.len() > MAX_NAME_BYTES => "it is longer than 255 bytes",
        _ => return Ok(()),
    };
    Err(EditError::Name(user.to_owned(), problem))
}

fn check_password(password: &Secret) -> Result<(), EditError> {
    match password.reveal() {
        "" => Err(EditError::Password("is empty")),
        text if text.len() > MAX_PASSWORD_BYTES => Err(EditError::LongPassword(text.len())),
        text if text.contains(char::is_control) => Err(EditError::Password("contains a control character")),
        _ => Ok(()),
    }
}

/// Hashes a password as `htpasswd -B` does. The prefix is `$2y$`, which every reader of such files knows.
fn hash(password: &Secret) -> Result<String, EditError> {
    let parts: Result<HashParts, _> = bcrypt::hash_with_result(password.reveal(), BCRYPT_COST);
    Ok(parts.map_err(|error| EditError::Hash(error.to_string()))?.format_for_version(Version::TwoY))
}

/// Returns the name of the user of a line, or `None` for a comment and an empty line.
fn name_of(line: &[u8]) -> Option<&[u8]> {
    let line = line.trim_ascii();
    if line.starts_with(b"#") {
        return None;
    }
    let end = line.iter().position(|&byte| byte == b':')?;
    Some(&line[..end]).filter(|name| !name.is_empty())
}

/// Replaces the hash in a line. The comment behind the hash and the line ending stay.
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

/// A password file that is locked while it is being changed.
struct Opened {
    /// The path as the user gave it, for errors.
    named: PathBuf,
    /// The path with symbolic links resolved, so that a link to the file stays a link.
    path: PathBuf,
    /// The open file, which holds the lock.
    file: LockedFile,
    content: Vec<u8>,
}

impl Opened {
    /// Opens and locks the file. Returns `None` if it does not exist.
    fn open(path: &Path) -> Result<Option<Self>, EditError> {
        let named = path.to_owned();
        let failed = |source| EditError::Io { path: path.to_owned(), source };
        let Some(path) = disk::optional(disk::resolve(path)).map_err(failed)? else { return Ok(None) };
        let file = disk::open(&path).map_err(failed)?;
        let locked = disk::try_lock(file).map_err(failed)?;
        let Some(file) = locked else { return Err(EditError::Busy { path: named }) };
        if !disk::names(&path, file.file()).map_err(failed)? {
            return Err(EditError::Busy { path: named });
        }
        let content = without_mark(&disk::read_named(&path, MAX_BYTES).map_err(failed)?).to_vec();
        Ok(Some(Self { named, path, file, content }))
    }

    /// Replaces the file at once: a server sees the old content or the new. Mode and owner stay, so that a server may still read it.
    fn replace(self, content: &[u8]) -> Result<(), EditError> {
        let failed = |source| EditError::Io { path: self.named.clone(), source };
        let old = self.file.file().metadata().map_err(failed)?;
        let temporary = disk::parent(&self.path).join(format!(".htpasswd-{}", random_id()));
        let write = || {
            let mut new = disk::make_new(&temporary, 0o600)?;
            new.write_all(content)?;
            disk::give(&new, old.uid(), old.gid())?;
            new.set_permissions(Permissions::from_mode(old.mode() & 0o7777))?;
            new.sync_all()?;
            disk::rename_durably(&temporary, &self.path)
        };
        let written = write();
        if written.is_err() {
            let _ = disk::remove(&temporary);
        }
        written.map_err(|source| match source.kind() {
            io::ErrorKind::PermissionDenied if disk::process_owner().0 != old.uid() => {
                EditError::Owner { path: self.named.clone(), owner: old.uid() }
            }
            io::ErrorKind::ResourceBusy => {
                let hint =
                    "the file itself is a mount point and cannot be replaced; change it outside the container, or mount its directory";
                failed(io::Error::other(hint))
            }
            _ => failed(source),
        })
    }
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
    fn edit_keeps_all_other_lines_and_the_mode() {
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
        assert_eq!(disk::list(directory.path()).unwrap().len(), 1, "no temporary file is left");
    }

    #[test]
    fn new_file_is_readable_by_its_owner_only() {
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
    fn other_files_are_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("users");
        let sha = "alice:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=";
        for (text, line) in [
            ("version: 0.1\nhttp:\n  addr: :5000\n".to_owned(), 1),
            ("root:*:19000:0:99999:7:::\nalice:$6$salt$hash:19000::::::\n".to_owned(), 1),
            (format!("# users\n{sha}\n\nbob\n"), 4),
            ("just words\n".to_owned(), 1),
            ("\u{7f}ELF\0".to_owned(), 1),
        ] {
            disk::write_replace(&path, text.as_bytes()).unwrap();
            for error in [set_password(&path, "alice", &secret("x")).unwrap_err(), list_users(&path).unwrap_err()] {
                assert!(matches!(error, EditError::Lines { ref lines, .. } if lines[0] == line), "{text:?}: {error}");
                assert!(error.to_string().contains("nothing was written"), "{error}");
            }
            assert_eq!(disk::read(&path).unwrap(), text.as_bytes());
        }
        disk::write_replace(&path, format!("{sha}\nbob:plain\n").as_bytes()).unwrap();
        assert_eq!(
            set_password(&path, "bob", &secret("x")).unwrap(),
            Edited::Changed,
            "a malformed line of the same user is replaced"
        );
    }

    /// The advice for each malformed line must work, also if there are several.
    #[test]
    fn plain_passwords_can_be_replaced_one_after_another() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("users");
        disk::write_replace(&path, b"alice:plain\nbob:plain:comment\n").unwrap();
        assert_eq!(set_password(&path, "alice", &secret("x")).unwrap(), Edited::Changed);
        let [warning] = &bad_lines(&path)[..] else { panic!("{:?}", bad_lines(&path)) };
        assert!(warning.contains(&format!("`entrepot user add {} bob`", path.display())), "{warning}");
        assert_eq!(set_password(&path, "bob", &secret("x")).unwrap(), Edited::Changed);
        assert!(bad_lines(&path).is_empty());
    }

    /// If two processes create the file at once, the second must not replace the file of the first.
    #[test]
    fn create_never_replaces_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("users");
        create(&path, b"first\n").unwrap();
        assert_eq!(create(&path, b"second\n").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(disk::read(&path).unwrap(), b"first\n");
        assert_eq!(disk::list(directory.path()).unwrap().len(), 1, "no temporary file is left");
        let (link, missing) = (directory.path().join("link"), directory.path().join("missing"));
        std::os::unix::fs::symlink(&missing, &link).unwrap();
        assert!(matches!(set_password(&link, "alice", &secret("x")), Err(EditError::Io { .. })));
        assert!(link.is_symlink() && !missing.exists(), "a dangling link is not replaced");
    }

    #[test]
    fn edit_keeps_a_link_and_refuses_a_locked_file() {
        let directory = tempfile::tempdir().unwrap();
        let (path, link) = (directory.path().join("users"), directory.path().join("link"));
        set_password(&path, "alice", &secret("secret")).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(set_password(&link, "bob", &secret("secret")).unwrap(), Edited::Added);
        assert!(link.is_symlink() && users(&path).find("bob").is_some());
        let held = disk::open(&path).unwrap();
        let held = disk::try_lock(held).unwrap();
        assert!(held.is_some());
        assert!(matches!(set_password(&path, "carol", &secret("secret")), Err(EditError::Busy { .. })));
    }

    #[test]
    fn impossible_names_and_passwords_are_refused() {
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
