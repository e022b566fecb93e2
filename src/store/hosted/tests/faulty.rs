//! A driver that calls a hook before each verb, and when a lock is taken or released. The hook can fail the verb or delay it.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use crate::store::StoredBlob;
use crate::store::driver::{
    Changes, Child, Driver, Durability, FileLocks, LocalFile, LockGuard, ObjectStat, OpenedWriter,
};
use crate::store::key::ObjectKey;
use crate::sys::disk::Share;

/// Gets the name of the verb and the key.
type Hook = Arc<dyn Fn(&str, &ObjectKey) -> io::Result<()> + Send + Sync>;

/// Passes every verb to another driver, unless the hook fails it.
pub struct FaultyDriver {
    inner: Arc<dyn Driver>,
    hook: Mutex<Option<Hook>>,
}

impl FaultyDriver {
    pub fn new(inner: Arc<dyn Driver>) -> Self {
        Self { inner, hook: Mutex::default() }
    }

    /// Calls `hook` before each verb from now on.
    pub fn set_hook(&self, hook: impl Fn(&str, &ObjectKey) -> io::Result<()> + Send + Sync + 'static) {
        *self.hook.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(hook));
    }

    /// Fails these verbs with this error for every key that contains `part`.
    pub fn fail(&self, verbs: &'static [&str], part: &'static str, kind: io::ErrorKind) {
        self.set_hook(move |verb, key| {
            let fails = verbs.contains(&verb) && key.as_str().contains(part);
            if fails { Err(kind.into()) } else { Ok(()) }
        });
    }

    pub fn remove_hook(&self) {
        *self.hook.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn before(&self, verb: &str, key: &ObjectKey) -> io::Result<()> {
        let hook = self.hook.lock().unwrap_or_else(PoisonError::into_inner).clone();
        hook.map_or(Ok(()), |hook| hook(verb, key))
    }
}

impl fmt::Debug for FaultyDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyDriver").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl Driver for FaultyDriver {
    fn describe(&self, key: &ObjectKey) -> String {
        self.inner.describe(key)
    }

    fn read(&self, key: &ObjectKey) -> io::Result<Option<Vec<u8>>> {
        self.before("read", key)?;
        self.inner.read(key)
    }

    fn write(&self, key: &ObjectKey, content: &[u8], durability: Durability) -> io::Result<()> {
        self.before("write", key)?;
        self.inner.write(key, content, durability)
    }

    fn open(&self, key: &ObjectKey) -> io::Result<Option<StoredBlob>> {
        self.before("open", key)?;
        self.inner.open(key)
    }

    fn stat(&self, key: &ObjectKey) -> io::Result<Option<ObjectStat>> {
        self.before("stat", key)?;
        self.inner.stat(key)
    }

    fn exists(&self, key: &ObjectKey) -> io::Result<bool> {
        self.before("exists", key)?;
        self.inner.exists(key)
    }

    fn each_child(&self, folder: &ObjectKey, visit: &mut dyn FnMut(Child)) -> io::Result<()> {
        self.before("each_child", folder)?;
        self.inner.each_child(folder, visit)
    }

    fn remove(&self, key: &ObjectKey) -> io::Result<bool> {
        self.before("remove", key)?;
        self.inner.remove(key)
    }

    fn remove_tree(&self, folder: &ObjectKey) -> io::Result<bool> {
        self.before("remove_tree", folder)?;
        self.inner.remove_tree(folder)
    }

    fn move_tree(&self, from: &ObjectKey, to: &ObjectKey) -> io::Result<bool> {
        self.before("move_tree", from)?;
        self.inner.move_tree(from, to)
    }

    fn open_writer(&self, key: &ObjectKey) -> io::Result<OpenedWriter> {
        self.before("open_writer", key)?;
        self.inner.open_writer(key)
    }

    fn commit(&self, from: &ObjectKey, to: &ObjectKey) -> io::Result<()> {
        self.before("commit", to)?;
        self.inner.commit(from, to)
    }

    fn adopt(&self, file: &LocalFile, to: &ObjectKey) -> io::Result<bool> {
        self.before("adopt", to)?;
        self.inner.adopt(file, to)
    }

    fn remove_empty_folders(&self, key: &ObjectKey, levels: usize) {
        self.inner.remove_empty_folders(key, levels);
    }

    fn changes(&self) -> Option<&dyn Changes> {
        self.inner.changes()
    }

    fn file_locks(&self) -> Option<&dyn FileLocks> {
        self.inner.file_locks().map(|_| self as _)
    }
}

/// The hook learns when a lock is taken and when it is released.
impl FileLocks for FaultyDriver {
    fn create(&self, key: &ObjectKey) -> io::Result<()> {
        self.inner.file_locks().map_or(Ok(()), |locks| locks.create(key))
    }

    fn try_lock(&self, key: &ObjectKey, share: Share) -> io::Result<Option<LockGuard>> {
        let Some(taken) = self.inner.file_locks().map_or(Ok(None), |locks| locks.try_lock(key, share))? else {
            return Ok(None);
        };
        self.before("lock", key)?;
        let hook = self.hook.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(Some(LockGuard::new(TakenLock { _taken: taken, key: key.clone(), hook })))
    }
}

struct TakenLock {
    _taken: LockGuard,
    key: ObjectKey,
    hook: Option<Hook>,
}

impl Drop for TakenLock {
    fn drop(&mut self) {
        if let Some(hook) = &self.hook {
            // The lock is released whatever the hook says.
            let _ = hook("unlock", &self.key);
        }
    }
}
