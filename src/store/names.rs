//! The names of repositories, in byte order, from a tree of directories that is kept in memory.
//!
//! The tree is a hint, never an answer: each page looks at every directory that could give it a name, one `stat` for each, and
//! lists those again in which something came or went, whoever did it. So a page is what the directories hold when it is asked for,
//! before the tree is known as well as later; it is only dearer then.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound::{Excluded, Unbounded};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Mutex;

use super::listed::{Listed, Look};
use super::{Page, StoreError, on_disk};
use crate::sys::{Clock, disk};

/// The repositories below one directory.
#[derive(Clone)]
pub struct Names {
    root: Arc<Path>,
    /// An async lock: a page holds it while it looks at directories.
    tree: Arc<Mutex<Tree>>,
    clock: Clock,
}

/// What a repository has a directory for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Manifests = 1,
    Layers = 2,
    Uploads = 4,
    /// Of a mirrored repository: what it may serve.
    Links = 8,
}

impl Part {
    fn of(entry: &str) -> Option<Self> {
        match entry {
            "_manifests" => Some(Self::Manifests),
            "_layers" => Some(Self::Layers),
            "_uploads" => Some(Self::Uploads),
            "_links" => Some(Self::Links),
            _ => None,
        }
    }
}

/// Several [`Part`]s, a bit for each.
#[derive(Clone, Copy, Debug, Default)]
struct Parts(u8);

struct Tree {
    root: PathBuf,
    is_name: fn(&str) -> bool,
    /// Every directory that is known of, by its path below the root, which is "". What stands above another comes before it.
    known: BTreeMap<Box<str>, Directory>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Directory {
    listed: Listed,
    parts: Parts,
}

impl Names {
    /// Those below `root`. Directories whose path below it is no name (`is_name`) are left out, with all that is in them.
    pub fn new(root: PathBuf, is_name: fn(&str) -> bool, clock: Clock) -> Self {
        let known = BTreeMap::from([(Box::default(), Directory::default())]);
        let tree = Tree { root: root.clone(), is_name, known };
        Self { root: root.into(), tree: Arc::new(Mutex::new(tree)), clock }
    }

    /// At most `most` repositories that have one of `parts`, those that come after `after`.
    pub async fn page(
        &self,
        parts: &'static [Part],
        after: Option<&str>,
        most: usize,
    ) -> Result<Page<String>, StoreError> {
        let mut tree = Arc::clone(&self.tree).lock_owned().await;
        let (after, clock) = (after.unwrap_or_default().to_owned(), self.clock.clone());
        on_disk("list", &self.root, move || tree.page(parts, after, most, &clock)).await
    }

    /// All of them, a thousand at a time: nobody who wants a page waits for the end of this.
    pub async fn all(&self, parts: &'static [Part]) -> Result<Vec<String>, StoreError> {
        let mut all = Vec::new();
        loop {
            let Page { entries, more } = self.page(parts, all.last().map(String::as_str), 1000).await?;
            all.extend(entries);
            if !more {
                return Ok(all);
            }
        }
    }
}

impl Tree {
    fn page(&mut self, parts: &[Part], after: String, most: usize, clock: &Clock) -> io::Result<Page<String>> {
        let mut found = Page::default();
        if most == 0 {
            return Ok(found);
        }
        for above in above(&after) {
            self.look(above, clock)?;
        }
        let mut at = after.into_boxed_str();
        while let Some((name, _)) = self.known.range::<str, _>((Excluded(&*at), Unbounded)).next() {
            at = name.clone();
            if !self.look(&at, clock)?.has_any(parts) {
                continue;
            }
            if found.entries.len() == most {
                found.more = true;
                break;
            }
            found.entries.push(at.to_string());
        }
        Ok(found)
    }

    /// Makes what is known of one directory true, and says what is in it.
    fn look(&mut self, name: &str, clock: &Clock) -> io::Result<Parts> {
        let Some(known) = self.known.get(name).copied() else { return Ok(Parts::default()) };
        let path = self.path(name);
        match known.listed.look(&path, clock.now())? {
            Look::Same => Ok(known.parts),
            Look::Anew(listed) => self.list(name, &path, listed),
            Look::Gone => {
                self.forget(name);
                Ok(Parts::default())
            }
        }
    }

    fn list(&mut self, name: &str, path: &Path, listed: Listed) -> io::Result<Parts> {
        let (mut parts, mut inner) = (Parts::default(), Vec::new());
        disk::each(path, |entry| match Part::of(&entry.name) {
            Some(part) => parts.add(part),
            // What begins with an underscore is a repository's own; names cannot.
            None if !entry.is_dir || entry.name.starts_with('_') => {}
            None => {
                let inside = if name.is_empty() { entry.name } else { format!("{name}/{}", entry.name) };
                if (self.is_name)(&inside) {
                    inner.push(inside.into_boxed_str());
                }
            }
        })?;
        inner.sort_unstable();
        let gone: Vec<Box<str>> =
            self.inside(name).filter(|held| inner.binary_search(held).is_err()).cloned().collect();
        gone.iter().for_each(|gone| self.forget(gone));
        for inside in inner {
            self.known.entry(inside).or_default();
        }
        self.known.insert(name.into(), Directory { listed, parts });
        Ok(parts)
    }

    /// The known directories that lie directly in this one.
    fn inside(&self, name: &str) -> impl Iterator<Item = &Box<str>> {
        let first = if name.is_empty() { String::new() } else { format!("{name}/") };
        let begin = first.len();
        let within = self.known.range::<str, _>((Excluded(first.as_str()), Unbounded)).map(|(name, _)| name);
        within.take_while(move |name| name.starts_with(&first)).filter(move |name| !name[begin..].contains('/'))
    }

    /// Forgets a directory and all that is in it; of the root, only the latter.
    fn forget(&mut self, name: &str) {
        let mut open: Vec<Box<str>> = self.inside(name).cloned().collect();
        while let Some(inner) = open.pop() {
            open.extend(self.inside(&inner).cloned());
            self.known.remove(&inner);
        }
        match name {
            "" => drop(self.known.insert(name.into(), Directory::default())),
            _ => drop(self.known.remove(name)),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        if name.is_empty() { self.root.clone() } else { self.root.join(name) }
    }
}

impl Parts {
    fn add(&mut self, part: Part) {
        self.0 |= part as u8;
    }

    fn has_any(self, parts: &[Part]) -> bool {
        parts.iter().any(|part| self.0 & *part as u8 != 0)
    }
}

/// What comes before `after`, or is it, and may yet hold what comes after it, the outermost first: `a` and `a/b` for `a/b/c`, but
/// also `a` for `a-b`, since `a-b` comes before `a/b`.
fn above(after: &str) -> impl Iterator<Item = &str> {
    let ends = after.bytes().enumerate().filter(|(_, byte)| *byte <= b'/').map(|(end, _)| end);
    let root = (!after.is_empty()).then_some("");
    root.into_iter().chain(ends.map(|end| &after[..end])).chain([after])
}

#[cfg(test)]
mod tests;
