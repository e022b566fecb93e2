//! A driver without files, paths, folders, times of change and locks between processes: it proves that hosted content
//! needs none of them.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::store::StoredBlob;
use crate::store::driver::{Child, Driver, Durability, LocalFile, ObjectStat, OpenedWriter, Writer};
use crate::store::key::ObjectKey;
use crate::sys::{Clock, ReadAt};

/// Holds all objects in memory.
#[derive(Debug)]
pub struct MemoryDriver {
    clock: Clock,
    objects: Mutex<BTreeMap<String, Object>>,
}

#[derive(Clone, Debug)]
struct Object {
    content: Arc<Content>,
    modified: SystemTime,
}

/// The bytes of one object. A reader keeps them when the object is replaced or removed.
#[derive(Debug)]
struct Content(Mutex<Vec<u8>>);

impl MemoryDriver {
    pub fn new(clock: Clock) -> Self {
        Self { clock, objects: Mutex::default() }
    }

    fn objects(&self) -> MutexGuard<'_, BTreeMap<String, Object>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn insert(&self, key: &ObjectKey, content: Vec<u8>) {
        let content = Arc::new(Content(Mutex::new(content)));
        self.objects().insert(key.as_str().to_owned(), Object { content, modified: self.clock.now() });
    }
}

impl Content {
    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Driver for MemoryDriver {
    fn describe(&self, key: &ObjectKey) -> String {
        format!("memory:{key}")
    }

    fn read(&self, key: &ObjectKey) -> io::Result<Option<Vec<u8>>> {
        Ok(self.objects().get(key.as_str()).map(|object| object.content.bytes().clone()))
    }

    fn write(&self, key: &ObjectKey, content: &[u8], _: Durability) -> io::Result<()> {
        self.insert(key, content.to_owned());
        Ok(())
    }

    fn open(&self, key: &ObjectKey) -> io::Result<Option<StoredBlob>> {
        let object = self.objects().get(key.as_str()).cloned();
        Ok(object.map(|object| {
            let size = object.content.bytes().len() as u64;
            StoredBlob::new(object.content, size)
        }))
    }

    fn stat(&self, key: &ObjectKey) -> io::Result<Option<ObjectStat>> {
        let object = self.objects().get(key.as_str()).cloned();
        let stat =
            |object: Object| ObjectStat { size: object.content.bytes().len() as u64, modified: Some(object.modified) };
        Ok(object.map(stat))
    }

    fn exists(&self, key: &ObjectKey) -> io::Result<bool> {
        let inside = format!("{key}/");
        Ok(self.objects().keys().any(|name| name == key.as_str() || name.starts_with(&inside)))
    }

    fn each_child(&self, folder: &ObjectKey, visit: &mut dyn FnMut(Child)) -> io::Result<()> {
        let inside = format!("{folder}/");
        let mut children = BTreeMap::new();
        for name in self.objects().keys().filter_map(|name| name.strip_prefix(&inside)) {
            match name.split_once('/') {
                Some((child, _)) => children.insert(child.to_owned(), true),
                None => children.insert(name.to_owned(), false),
            };
        }
        children.into_iter().for_each(|(name, is_folder)| visit(Child { name, is_folder }));
        Ok(())
    }

    fn remove(&self, key: &ObjectKey) -> io::Result<bool> {
        Ok(self.objects().remove(key.as_str()).is_some())
    }

    fn remove_tree(&self, folder: &ObjectKey) -> io::Result<bool> {
        let inside = format!("{folder}/");
        let mut objects = self.objects();
        let before = objects.len();
        objects.retain(|name, _| !name.starts_with(&inside));
        Ok(objects.len() < before)
    }

    fn move_tree(&self, from: &ObjectKey, to: &ObjectKey) -> io::Result<bool> {
        let inside = format!("{from}/");
        let mut objects = self.objects();
        let names: Vec<String> = objects.keys().filter(|name| name.starts_with(&inside)).cloned().collect();
        for name in &names {
            let object = objects.remove(name).expect("the lock is held since the name was found");
            objects.insert(format!("{to}/{}", &name[inside.len()..]), object);
        }
        Ok(!names.is_empty())
    }

    fn open_writer(&self, key: &ObjectKey) -> io::Result<OpenedWriter> {
        if self.stat(key)?.is_none() {
            self.insert(key, Vec::new());
        }
        let object = self.objects().get(key.as_str()).cloned();
        Ok(object.map_or(OpenedWriter::Moved, |object| OpenedWriter::Writer(object.content)))
    }

    fn commit(&self, from: &ObjectKey, to: &ObjectKey) -> io::Result<()> {
        let mut objects = self.objects();
        let object = objects.remove(from.as_str()).ok_or(io::ErrorKind::NotFound)?;
        objects.insert(to.as_str().to_owned(), object);
        Ok(())
    }

    fn adopt(&self, file: &LocalFile, to: &ObjectKey) -> io::Result<bool> {
        let Some(blob) = file.open()? else { return Ok(false) };
        let mut content = vec![0; usize::try_from(blob.size).expect("a blob of a test fits in memory")];
        let read = blob.content.read_at(&mut content, 0)?;
        assert_eq!(read, content.len(), "a blob of a test is read at once");
        self.insert(to, content);
        Ok(true)
    }
}

impl ReadAt for Content {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let bytes = self.bytes();
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let read = buffer.len().min(bytes.len() - from);
        buffer[..read].copy_from_slice(&bytes[from..from + read]);
        Ok(read)
    }
}

impl Writer for Content {
    fn size(&self) -> io::Result<u64> {
        Ok(self.bytes().len() as u64)
    }

    fn write_at(&self, content: &[u8], offset: u64) -> io::Result<()> {
        let mut bytes = self.bytes();
        bytes.truncate(usize::try_from(offset).unwrap_or(usize::MAX));
        bytes.extend_from_slice(content);
        Ok(())
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        self.bytes().truncate(usize::try_from(length).unwrap_or(usize::MAX));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
