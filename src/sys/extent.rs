//! A part of an open file, or of other content that can be read at any offset.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;

use super::disk::LockedFile;
use super::tasks::blocking;

/// Content that can be read at any offset: an open file, or an object of another storage.
pub trait ReadAt: fmt::Debug + Send + Sync {
    /// Reads into `buffer` from `offset` on and returns the number of bytes read; 0 at the end of the content. May
    /// block.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Returns up to `most` bytes that this process holds in memory. Never blocks.
    fn held(&self, _offset: u64, _most: usize) -> Option<Bytes> {
        None
    }

    /// Returns up to `most` bytes that are in memory already; `None` when a thread must wait for them. Never blocks.
    fn read_cached(&self, _offset: u64, _most: usize) -> Option<Bytes> {
        None
    }
}

/// A part of content, to be sent unchanged. A file stays readable after it is unlinked.
#[derive(Clone, Debug)]
pub struct Extent {
    content: Arc<dyn ReadAt>,
    offset: u64,
    len: u64,
}

impl Extent {
    /// Selects `len` bytes of `content` from `offset` on.
    pub fn new(content: Arc<dyn ReadAt>, offset: u64, len: u64) -> Self {
        Self { content, offset, len }
    }

    /// Returns true once all bytes were read.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Reads up to `most` bytes from the beginning of the extent and moves past them. Returns no bytes only at the end;
    /// content that is shorter than the extent is an error.
    pub async fn read(&mut self, most: usize) -> io::Result<Bytes> {
        let want = usize::try_from(self.len).unwrap_or(usize::MAX).min(most);
        if want == 0 {
            return Ok(Bytes::new());
        }
        let (content, offset) = (Arc::clone(&self.content), self.offset);
        let piece = match content.read_cached(offset, want) {
            Some(piece) => piece,
            None => blocking(move || read_at(&*content, offset, want)).await?,
        };
        self.offset += piece.len() as u64;
        self.len -= piece.len() as u64;
        Ok(piece)
    }
}

impl ReadAt for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }

    /// Reads from the page cache.
    fn read_cached(&self, offset: u64, most: usize) -> Option<Bytes> {
        let mut buffer = vec![0; most];
        let slices = &mut [io::IoSliceMut::new(&mut buffer)];
        let read = rustix::io::preadv2(self, slices, offset, rustix::io::ReadWriteFlags::NOWAIT).ok()?;
        buffer.truncate(read);
        (read > 0).then(|| buffer.into())
    }
}

impl ReadAt for LockedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        ReadAt::read_at(self.file(), buffer, offset)
    }

    fn read_cached(&self, offset: u64, most: usize) -> Option<Bytes> {
        self.file().read_cached(offset, most)
    }
}

fn read_at(content: &dyn ReadAt, offset: u64, want: usize) -> io::Result<Bytes> {
    let mut buffer = vec![0; want];
    let read = content.read_at(&mut buffer, offset)?;
    if read == 0 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file is shorter than it was"));
    }
    buffer.truncate(read);
    Ok(buffer.into())
}
