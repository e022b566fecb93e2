//! A file of the cache that is open for reading.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use crate::store::StoredBlob;
use crate::store::bad_entries::BadEntries;
use crate::sys::ReadAt;

/// The content of a cached blob. If a read fails, the file counts as absent until it is replaced: each later reader would get a
/// body that is cut at the same byte, although the upstream has the content.
#[derive(Debug)]
struct CachedFile {
    content: Arc<dyn ReadAt>,
    path: PathBuf,
    bad: Arc<BadEntries>,
}

/// Returns the blob with a content that notes failed reads.
pub(super) fn noting_failures(stored: StoredBlob, path: PathBuf, bad: Arc<BadEntries>) -> StoredBlob {
    let StoredBlob { content, size } = stored;
    StoredBlob::new(Arc::new(CachedFile { content, path, bad }), size)
}

impl ReadAt for CachedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.content.read_at(buffer, offset).inspect_err(|error| self.bad.note_content(&self.path, error))
    }

    fn held(&self, offset: u64, most: usize) -> Option<Bytes> {
        self.content.held(offset, most)
    }

    fn read_cached(&self, offset: u64, most: usize) -> Option<Bytes> {
        self.content.read_cached(offset, most)
    }
}
