//! Reads files that a user names: configurations, passwords, certificates, secrets. The user may mistype the name, and
//! the file may be a device that never ends.

use std::error::Error;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use super::owner::process_owner;

/// The most bytes of a named file: more than any configuration, certificate or secret has.
pub const NAMED_BYTES: u64 = 4 << 20;

/// The reason why an existing file is not read. The text continues a sentence after the file's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UnsuitableFile {
    Device,
    Socket,
    /// The file has more bytes than this.
    TooLong(u64),
}

impl fmt::Display for UnsuitableFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const WRITE: &str = "write the path of a file";
        match self {
            Self::Device => write!(f, "it is a device; {WRITE}"),
            Self::Socket => write!(f, "it is a socket; {WRITE}"),
            Self::TooLong(most) => {
                write!(
                    f,
                    "it has more than {} MiB, the most that is read; write the path of a smaller file",
                    most >> 20
                )
            }
        }
    }
}

impl Error for UnsuitableFile {}

impl From<UnsuitableFile> for io::Error {
    fn from(unsuitable: UnsuitableFile) -> Self {
        Self::new(io::ErrorKind::InvalidInput, unsuitable)
    }
}

/// Reads a file that a user named, or a pipe to its end. Content of more than `most` bytes is an error, and so are
/// devices and sockets. The call waits while a pipe has no writer.
pub fn read_named(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let kind = fs::metadata(path)?.file_type();
    if kind.is_char_device() || kind.is_block_device() {
        return Err(UnsuitableFile::Device.into());
    }
    if kind.is_socket() {
        return Err(UnsuitableFile::Socket.into());
    }
    let mut content = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut content)?;
    if content.len() as u64 > most { Err(UnsuitableFile::TooLong(most).into()) } else { Ok(content) }
}

/// Explains why a file that a user named cannot be read, with advice: `it does not exist; write …`.
pub fn explain(path: &Path, error: &io::Error) -> String {
    if let Some(unsuitable) = error.get_ref().and_then(|error| error.downcast_ref::<UnsuitableFile>()) {
        return unsuitable.to_string();
    }
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory if path.starts_with("~") => {
            "it does not exist, and `~` is not replaced here; write the whole path".to_owned()
        }
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            // A user may have expected another starting point for a relative path.
            let from = std::env::current_dir().ok().filter(|_| path.is_relative());
            let from = from.map(|from| format!(" in {}, where this was started", from.display())).unwrap_or_default();
            format!("it does not exist{from}; make it, or write the path of an existing file")
        }
        io::ErrorKind::IsADirectory => "it is a directory; write the path of a file in it".to_owned(),
        io::ErrorKind::PermissionDenied => {
            let (user, group) = process_owner();
            format!(
                "the user {user}:{group} that this runs as may not read it; let that user read it, or run as its owner"
            )
        }
        _ => format!("it cannot be read: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::files::{optional, read, write_replace};
    use super::*;

    #[test]
    fn files_and_pipes_are_read_up_to_a_length() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        write_replace(&file, &[b'x'; 3 << 20]).unwrap();
        assert_eq!(read_named(&file, 3 << 20).unwrap().len(), 3 << 20);
        let (pipe, mut end) = io::pipe().unwrap();
        let pipe = std::os::fd::AsRawFd::as_raw_fd(&pipe);
        io::Write::write_all(&mut end, b"piped").unwrap();
        drop(end);
        assert_eq!(read_named(Path::new(&format!("/dev/fd/{pipe}")), 5).unwrap(), b"piped");
        let socket = directory.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        for (path, words) in [
            (file.as_path(), "it has more than 2 MiB, the most that is read; write the path of a smaller file"),
            (Path::new("/dev/zero"), "it is a device; write the path of a file"),
            (&socket, "it is a socket; write the path of a file"),
            (directory.path(), "it is a directory; write the path of a file in it"),
        ] {
            let error = read_named(path, 2 << 20).unwrap_err();
            assert_eq!(explain(path, &error), words);
        }
        assert!(optional(read_named(&directory.path().join("missing"), 1)).unwrap().is_none());
    }

    #[test]
    fn unreadable_files_are_explained() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing");
        let explained = |path: &Path| explain(path, &read(path).unwrap_err());
        assert!(explained(&missing).starts_with("it does not exist; make it"), "{}", explained(&missing));
        assert!(
            explained(Path::new("missing/file")).contains(", where this was started; "),
            "a relative path is shown with its starting point"
        );
        assert!(explained(Path::new("~/missing")).contains("`~` is not replaced"));
        assert!(explained(directory.path()).contains("a directory; write the path of a file in it"));
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let (user, group) = process_owner();
        let refused = explain(&missing, &denied);
        assert!(refused.contains(&format!("user {user}:{group} that this runs as may not read it")), "{refused}");
    }
}
