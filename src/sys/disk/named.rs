//! Files that somebody names: configurations, passwords, certificates, secrets. The name may be a slip of the hand, and what it
//! leads to may have no end.

use std::error::Error;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// More than any configuration, certificate or secret has, in bytes.
pub const NAMED_BYTES: u64 = 4 << 20;

/// Why what is there is not read. Both go on after the file's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    Device,
    Socket,
    /// It has more bytes than this.
    Long(u64),
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const WRITE: &str = "write the path of a file";
        match self {
            Self::Device => write!(f, "it is a device; {WRITE}"),
            Self::Socket => write!(f, "it is a socket; {WRITE}"),
            Self::Long(most) => {
                write!(f, "it has more than {} MiB, the most that is read; {WRITE} that has less", most >> 20)
            }
        }
    }
}

impl Error for Unfit {}

impl From<Unfit> for io::Error {
    fn from(unfit: Unfit) -> Self {
        Self::new(io::ErrorKind::InvalidInput, unfit)
    }
}

/// Reads a file that somebody named, or a pipe to its end; an error where there are more than `most` bytes, and of what is neither.
/// Waits where nobody writes to the pipe.
pub fn read_named(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let kind = fs::metadata(path)?.file_type();
    if kind.is_char_device() || kind.is_block_device() {
        return Err(Unfit::Device.into());
    }
    if kind.is_socket() {
        return Err(Unfit::Socket.into());
    }
    let mut content = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut content)?;
    if content.len() as u64 > most { Err(Unfit::Long(most).into()) } else { Ok(content) }
}

#[cfg(test)]
mod tests {
    use super::super::{optional, why, write_replace};
    use super::*;

    #[test]
    fn files_and_pipes_up_to_a_length() {
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
            (file.as_path(), "it has more than 2 MiB, the most that is read; write the path of a file that has less"),
            (Path::new("/dev/zero"), "it is a device; write the path of a file"),
            (&socket, "it is a socket; write the path of a file"),
            (directory.path(), "it is a directory; write the path of a file in it"),
        ] {
            let error = read_named(path, 2 << 20).unwrap_err();
            assert_eq!(why(path, &error), words);
        }
        assert!(optional(read_named(&directory.path().join("missing"), 1)).unwrap().is_none());
    }
}
