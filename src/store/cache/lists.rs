//! Lists of mirrored repositories: the tags that an upstream has, and the referrers of each manifest.

use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

use super::paths::{change_on_disk, on_disk};
use super::records::{ListHead, ReferrersRecord};
use super::store::CacheStore;
use crate::oci::{Digest, MirroredName, Tag};
use crate::store::StoreError;
use crate::sys::disk;

impl CacheStore {
    /// Reads the list of an upstream's tags. Returns when the upstream sent it, in seconds since 1970, and the value
    /// that `read` makes of the tags. `read` gets them in byte order, one after the other: there may be millions.
    pub async fn tag_list<T: Send + 'static>(
        &self,
        name: &MirroredName,
        read: impl FnOnce(&mut dyn Iterator<Item = String>) -> T + Send + 'static,
    ) -> Result<Option<(u64, T)>, StoreError> {
        let path = self.paths.tag_list(name);
        let opened = path.clone();
        let list = on_disk("read", &path, move || {
            let Some((head, lines)) = open(&opened)? else { return Ok(None) };
            let mut failure = None;
            let mut tags = lines.map_while(|line| line.map_err(|error| failure = Some(error)).ok());
            let value = read(&mut tags);
            match failure {
                Some(error) => disk::located(&opened, Err(error)),
                None => Ok(Some((head.seen, value))),
            }
        });
        self.unless_unreadable(list.await)
    }

    /// Stores the list of an upstream's tags, which are in byte order.
    pub async fn set_tag_list(&self, name: &MirroredName, tags: Vec<String>, seen: u64) -> Result<(), StoreError> {
        let path = self.paths.tag_list(name);
        let to = path.clone();
        change_on_disk("write", &path, move || write(&to, ListHead { seen }, tags.iter().map(String::as_str))).await
    }

    /// Removes a tag from the list. A list that cannot be read is not used either.
    pub async fn unlist(&self, name: &MirroredName, tag: &Tag) -> Result<(), StoreError> {
        let path = self.paths.tag_list(name);
        let (listed, tag) = (path.clone(), tag.clone());
        let bad = Arc::clone(&self.bad);
        change_on_disk("write", &path, move || {
            let read = open(&listed).and_then(|list| {
                let Some((head, lines)) = list else { return Ok(None) };
                Ok(Some((head, disk::located(&listed, lines.collect::<io::Result<Vec<_>>>())?)))
            });
            let (head, tags) = match read {
                Ok(Some(list)) => list,
                Ok(None) => return Ok(()),
                Err(error) if bad.note_error(&error) => return Ok(()),
                Err(error) => return Err(error),
            };
            match tags.iter().any(|listed| listed == tag.as_str()) {
                true => write(&listed, head, tags.iter().map(String::as_str).filter(|listed| *listed != tag.as_str())),
                false => Ok(()),
            }
        })
        .await
    }

    /// Removes the list of tags.
    pub async fn remove_tag_list(&self, name: &MirroredName) -> Result<(), StoreError> {
        let path = self.paths.tag_list(name);
        let gone = path.clone();
        change_on_disk("remove", &path, move || disk::remove(&gone).map(|_| ())).await
    }

    /// Reads the list of the referrers of a manifest.
    pub async fn referrers(
        &self,
        name: &MirroredName,
        subject: &Digest,
    ) -> Result<Option<ReferrersRecord>, StoreError> {
        let json = self.read_record(self.paths.referrers(name, subject)).await?;
        Ok(json.and_then(|json| ReferrersRecord::from_json(&json)))
    }

    /// Stores the list of the referrers of a manifest.
    pub async fn set_referrers(
        &self,
        name: &MirroredName,
        subject: &Digest,
        record: &ReferrersRecord,
    ) -> Result<(), StoreError> {
        let (path, json) = (self.paths.referrers(name, subject), record.to_json());
        let to = path.clone();
        change_on_disk("write", &path, move || disk::write_replace(&to, &json)).await
    }

    /// Removes the list of the referrers of a manifest.
    pub async fn remove_referrers(&self, name: &MirroredName, subject: &Digest) -> Result<(), StoreError> {
        let path = self.paths.referrers(name, subject);
        let gone = path.clone();
        change_on_disk("remove", &path, move || disk::remove(&gone).map(|_| ())).await
    }
}

/// Opens a list of tags and returns its head and its lines. Returns `None` for a damaged list: the upstream is then
/// asked again.
fn open(path: &Path) -> io::Result<Option<(ListHead, impl Iterator<Item = io::Result<String>> + use<>)>> {
    let Some(file) = disk::optional(disk::open(path))? else { return Ok(None) };
    let mut lines = BufReader::new(file).lines();
    let head = disk::located(path, lines.next().transpose())?.and_then(|line| ListHead::from_json(line.as_bytes()));
    Ok(head.map(|head| (head, lines)))
}

/// Writes a head and one tag on each line. The write is durable, since a line cannot tell that others are missing.
fn write<'a>(path: &Path, head: ListHead, tags: impl Iterator<Item = &'a str>) -> io::Result<()> {
    let mut text = head.to_json();
    for tag in tags {
        text.push(b'\n');
        text.extend_from_slice(tag.as_bytes());
    }
    text.push(b'\n');
    disk::write_atomic(path, &text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use crate::sys::Clock;

    #[tokio::test]
    async fn tag_list_is_stored_changed_and_removed() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(directory.path(), Clock::system()).cache;
        let name = "docker.io/library/app".parse().unwrap();
        let read = async || store.tag_list(&name, |tags| tags.collect::<Vec<_>>()).await.unwrap();
        assert_eq!(read().await, None);
        store.set_tag_list(&name, vec!["1".to_owned(), "2".to_owned()], 7).await.unwrap();
        assert_eq!(read().await, Some((7, vec!["1".to_owned(), "2".to_owned()])));
        store.unlist(&name, &"1".parse().unwrap()).await.unwrap();
        store.unlist(&name, &"3".parse().unwrap()).await.unwrap();
        assert_eq!(read().await, Some((7, vec!["2".to_owned()])));
        assert!(store.repositories().await.unwrap().is_empty(), "a list is not content");
        let path = store.paths.tag_list(&name);
        disk::write_replace(&path, b"no list\n1\n").unwrap();
        assert_eq!(read().await, None);
        store.remove_tag_list(&name).await.unwrap();
        assert!(!path.exists());
    }
}
