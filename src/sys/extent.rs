//! A stretch of an open file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;

use super::blocking;

/// A stretch of an open file, to be sent as it is. It stays readable when the file is unlinked.
#[derive(Clone, Debug)]
pub struct Extent {
    pub file: Arc<File>,
    pub offset: u64,
    pub len: u64,
}

impl Extent {
    /// Reads up to `most` bytes from its beginning and moves past them. Empty only at its end; a file that is shorter than
    /// the extent is an error.
    pub async fn read(&mut self, most: usize) -> io::Result<Bytes> {
        let want = usize::try_from(self.len).unwrap_or(usize::MAX).min(most);
        if want == 0 {
            return Ok(Bytes::new());
        }
        let (file, offset) = (Arc::clone(&self.file), self.offset);
        let piece = match read_cached(&file, offset, want) {
            Some(piece) => piece,
            None => blocking(move || read_at(&file, offset, want)).await?,
        };
        self.offset += piece.len() as u64;
        self.len -= piece.len() as u64;
        Ok(piece)
    }
}

/// What the page cache holds, without waiting for the disk; `None` when a thread must wait for it.
fn read_cached(file: &File, offset: u64, want: usize) -> Option<Bytes> {
    let mut buffer = vec![0; want];
    let slices = &mut [io::IoSliceMut::new(&mut buffer)];
    let read = rustix::io::preadv2(file, slices, offset, rustix::io::ReadWriteFlags::NOWAIT).ok()?;
    buffer.truncate(read);
    (read > 0).then(|| buffer.into())
}

fn read_at(file: &File, offset: u64, want: usize) -> io::Result<Bytes> {
    let mut buffer = vec![0; want];
    let read = file.read_at(&mut buffer, offset)?;
    if read == 0 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file is shorter than it was"));
    }
    buffer.truncate(read);
    Ok(buffer.into())
}
