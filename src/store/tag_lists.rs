//! The tags of a repository, in byte order, a page at a time.
//!
//! A long list is kept in memory, so that whoever leafs through it does not have the whole directory read for every page. What is
//! kept is a hint, never an answer: each page looks first whether anything came or went since, whoever did it.

use std::collections::BinaryHeap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::Excerpt;
use super::listed::{Listed, Look};
use crate::oci::Tag;
use crate::sys::disk;

/// The lists of tags that are kept, by their directories.
pub struct TagLists(moka::sync::Cache<PathBuf, Arc<Kept>>);

struct Kept {
    listed: Listed,
    tags: Sorted,
}

/// Names in byte order, in one piece of memory.
#[derive(Default)]
struct Sorted {
    text: String,
    /// Where each of them ends.
    ends: Vec<u32>,
}

impl TagLists {
    /// What all of them together take at most, in bytes. A list that is longer than half of it is read for each page.
    const MOST_BYTES: usize = 16 << 20;

    /// A list that is no longer than this is read as fast as it is found.
    const LONG: usize = 500;

    pub fn new() -> Self {
        let weigh = |path: &PathBuf, kept: &Arc<Kept>| {
            let bytes = path.as_os_str().len() + kept.tags.bytes() + size_of::<Kept>();
            u32::try_from(bytes).unwrap_or(u32::MAX)
        };
        Self(moka::sync::Cache::builder().max_capacity(Self::MOST_BYTES as u64).weigher(weigh).build())
    }

    /// At most `most` of the tags that have a directory in this one, those that come after `after`. To be called off the async
    /// threads.
    pub fn page(&self, directory: &Path, after: Option<&str>, most: usize, now: SystemTime) -> io::Result<Excerpt> {
        let kept = self.0.get(directory);
        let listed = kept.as_ref().map_or_else(Listed::default, |kept| kept.listed);
        match (listed.look(directory, now)?, kept) {
            (Look::Same, Some(kept)) => Ok(kept.tags.page(after, most)),
            (Look::Anew(listed), _) => self.read(directory, listed, First::new(after, most)),
            (Look::Gone | Look::Same, _) => {
                self.0.invalidate(directory);
                Ok(Excerpt::default())
            }
        }
    }

    fn read(&self, directory: &Path, listed: Listed, mut first: First) -> io::Result<Excerpt> {
        let mut all = listed.is_known().then(Vec::new);
        let mut bytes = 0;
        disk::each(directory, |entry| {
            if !entry.is_dir || entry.name.parse::<Tag>().is_err() {
                return;
            }
            if first.takes(&entry.name) {
                first.add(entry.name.clone());
            }
            bytes += Sorted::bytes_of(&entry.name);
            if bytes > Self::MOST_BYTES / 2 {
                all = None;
            }
            all.iter_mut().for_each(|all| all.push(entry.name.clone()));
        })?;
        if let Some(all) = all.filter(|all| all.len() > Self::LONG) {
            self.0.insert(directory.to_owned(), Arc::new(Kept { listed, tags: Sorted::new(all) }));
        }
        Ok(first.into_excerpt())
    }
}

impl Sorted {
    fn new(mut names: Vec<String>) -> Self {
        names.sort_unstable();
        let mut sorted = Self::default();
        for name in names {
            sorted.text.push_str(&name);
            sorted.ends.push(u32::try_from(sorted.text.len()).expect("what is kept is shorter than 4 GiB"));
        }
        sorted
    }

    fn bytes_of(name: &str) -> usize {
        name.len() + size_of::<u32>()
    }

    fn bytes(&self) -> usize {
        self.text.capacity() + self.ends.capacity() * size_of::<u32>()
    }

    fn get(&self, index: usize) -> &str {
        let begin = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[begin as usize..self.ends[index] as usize]
    }

    fn page(&self, after: Option<&str>, most: usize) -> Excerpt {
        let begin = after.map_or(0, |after| self.count_up_to(after));
        let end = begin.saturating_add(most).min(self.ends.len());
        let entries = (begin..end).map(|index| self.get(index).to_owned()).collect();
        Excerpt { entries, more: end < self.ends.len() }
    }

    /// How many of them are `last` or come before it.
    fn count_up_to(&self, last: &str) -> usize {
        let (mut from, mut to) = (0, self.ends.len());
        while from < to {
            let middle = from.midpoint(to);
            if self.get(middle) <= last { from = middle + 1 } else { to = middle }
        }
        from
    }
}

/// The first of many names, chosen while they pass: it holds one more than it is to give, however many there are.
struct First {
    after: Option<String>,
    most: usize,
    /// The last of them on top.
    chosen: BinaryHeap<String>,
}

impl First {
    fn new(after: Option<&str>, most: usize) -> Self {
        Self { after: after.map(str::to_owned), most, chosen: BinaryHeap::new() }
    }

    /// Is it one of the first, as far as they are known?
    fn takes(&self, name: &str) -> bool {
        let is_asked_for = self.after.as_deref().is_none_or(|after| after < name);
        let has_room = self.chosen.len() <= self.most;
        is_asked_for && (has_room || self.chosen.peek().is_some_and(|last| name < last.as_str()))
    }

    fn add(&mut self, name: String) {
        if self.chosen.len() > self.most {
            self.chosen.pop();
        }
        self.chosen.push(name);
    }

    fn into_excerpt(self) -> Excerpt {
        let mut entries = self.chosen.into_sorted_vec();
        let more = entries.len() > self.most;
        entries.truncate(self.most);
        Excerpt { entries, more }
    }
}

#[cfg(test)]
mod tests;
