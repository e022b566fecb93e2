//! The names of repositories in byte order, from a tree of folders that is kept in memory.
//!
//! The tree is a hint. For each page, every folder that could contribute a name is compared with one `stat`. A folder
//! is listed again if any process added or removed an entry. So a page shows the folders as they are at the time of the
//! request. If the tree is not known yet, the page only takes longer.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use tokio::sync::Mutex;

use super::state::{Comparison, FolderState};
use crate::store::bad_entries::{BadEntries, Wanted};
use crate::store::driver::{Backend, Driver};
use crate::store::key::ObjectKey;
use crate::store::{Page, StoreError};
use crate::sys::Clock;

/// The repositories below one folder.
#[derive(Clone)]
pub struct Names {
    backend: Backend,
    root: ObjectKey,
    is_name: fn(&str) -> bool,
    /// An async lock: a page holds it while it compares folders.
    tree: Arc<Mutex<Tree>>,
    clock: Clock,
    bad: Arc<BadEntries>,
}

/// A part of a repository that has a folder of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Manifests = 1,
    Layers = 2,
    Uploads = 4,
    /// The content that a mirrored repository may serve.
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

/// Several [`Part`]s, one bit for each.
#[derive(Clone, Copy, Debug, Default)]
struct Parts(u8);

struct Tree {
    root: ObjectKey,
    is_name: fn(&str) -> bool,
    /// Every known folder, by its path below the root, which is "". A folder comes before the folders inside it.
    known: BTreeMap<Box<str>, Folder>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Folder {
    state: FolderState,
    parts: Parts,
}

/// Reads folders for one page.
struct Reader<'r> {
    driver: &'r dyn Driver,
    clock: &'r Clock,
    bad: &'r BadEntries,
}

impl Names {
    /// Returns the repositories below `root`. A folder whose path is no name (`is_name`) is left out with everything in
    /// it.
    pub fn new(
        backend: Backend,
        root: ObjectKey,
        is_name: fn(&str) -> bool,
        clock: Clock,
        bad: Arc<BadEntries>,
    ) -> Self {
        let tree = Arc::new(Mutex::new(Tree::new(root.clone(), is_name)));
        Self { backend, root, is_name, tree, clock, bad }
    }

    /// Returns up to `limit` repositories after `after` that have one of `parts`.
    pub async fn page(
        &self,
        parts: &'static [Part],
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<String>, StoreError> {
        let (after, clock, bad) = (after.unwrap_or_default().to_owned(), self.clock.clone(), Arc::clone(&self.bad));
        if self.backend.driver().changes().is_none() {
            let mut tree = Tree::new(self.root.clone(), self.is_name);
            let list =
                move |driver: &dyn Driver| tree.page(parts, after, limit, &Reader { driver, clock: &clock, bad: &bad });
            return self.backend.run("list", &self.root, list).await;
        }
        let mut tree = Arc::clone(&self.tree).lock_owned().await;
        let list =
            move |driver: &dyn Driver| tree.page(parts, after, limit, &Reader { driver, clock: &clock, bad: &bad });
        self.backend.run("list", &self.root, list).await
    }

    /// Returns all repositories. It reads a thousand at a time, so that a caller that wants one page does not wait for
    /// the end.
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
    fn new(root: ObjectKey, is_name: fn(&str) -> bool) -> Self {
        Self { root, is_name, known: BTreeMap::from([(Box::default(), Folder::default())]) }
    }

    fn page(&mut self, parts: &[Part], after: String, limit: usize, reader: &Reader) -> io::Result<Page<String>> {
        let mut found = Page::default();
        if limit == 0 {
            return Ok(found);
        }
        for ancestor in ancestors(&after) {
            self.refresh(ancestor, reader)?;
        }
        let mut position = after.into_boxed_str();
        while let Some((name, _)) = self.known.range::<str, _>((Excluded(&*position), Unbounded)).next() {
            position = name.clone();
            if !self.refresh(&position, reader)?.has_any(parts) {
                continue;
            }
            if found.entries.len() == limit {
                found.more = true;
                break;
            }
            found.entries.push(position.to_string());
        }
        Ok(found)
    }

    /// Brings one folder up to date and returns the parts in it. A folder that cannot be read is noted and has none. The root must
    /// be readable.
    fn refresh(&mut self, name: &str, reader: &Reader) -> io::Result<Parts> {
        let refreshed = self.try_refresh(name, reader);
        if name.is_empty() {
            return refreshed;
        }
        let place = || reader.driver.describe(&self.root.join(name));
        Ok(reader.bad.accept(Wanted::Folder, place, refreshed).unwrap_or_default())
    }

    fn try_refresh(&mut self, name: &str, reader: &Reader) -> io::Result<Parts> {
        let Some(known) = self.known.get(name).copied() else { return Ok(Parts::default()) };
        let folder = if name.is_empty() { self.root.clone() } else { self.root.join(name) };
        match known.state.compare(reader.driver, &folder, reader.clock.now())? {
            Comparison::Unchanged => Ok(known.parts),
            Comparison::Stale(state) => self.list(name, &folder, state, reader),
            Comparison::Gone => {
                self.forget(name);
                Ok(Parts::default())
            }
        }
    }

    fn list(&mut self, name: &str, folder: &ObjectKey, state: FolderState, reader: &Reader) -> io::Result<Parts> {
        let (mut parts, mut inner) = (Parts::default(), Vec::new());
        let foreign = |name: &str| reader.bad.foreign(reader.driver.describe(&folder.join(name)), name);
        reader.driver.each_child(folder, &mut |child| match Part::of(&child.name) {
            _ if !child.is_folder => foreign(&child.name),
            Some(part) => parts.add(part),
            // A repository's own entries begin with an underscore; names cannot.
            None if child.name.starts_with('_') => {}
            None => {
                let inside = if name.is_empty() { child.name } else { format!("{name}/{}", child.name) };
                if (self.is_name)(&inside) {
                    inner.push(inside.into_boxed_str());
                } else {
                    foreign(inside.rsplit('/').next().unwrap_or(&inside));
                }
            }
        })?;
        inner.sort_unstable();
        let gone: Vec<Box<str>> =
            self.inside(name).filter(|known| inner.binary_search(known).is_err()).cloned().collect();
        gone.iter().for_each(|gone| self.forget(gone));
        for inside in inner {
            self.known.entry(inside).or_default();
        }
        self.known.insert(name.into(), Folder { state, parts });
        Ok(parts)
    }

    /// Returns the known folders that lie directly in this one.
    fn inside(&self, name: &str) -> impl Iterator<Item = &Box<str>> {
        let first = if name.is_empty() { String::new() } else { format!("{name}/") };
        let begin = first.len();
        let within = self.known.range::<str, _>((Excluded(first.as_str()), Unbounded)).map(|(name, _)| name);
        within.take_while(move |name| name.starts_with(&first)).filter(move |name| !name[begin..].contains('/'))
    }

    /// Forgets a folder and everything in it. The root itself stays, empty.
    fn forget(&mut self, name: &str) {
        let mut open: Vec<Box<str>> = self.inside(name).cloned().collect();
        while let Some(inner) = open.pop() {
            open.extend(self.inside(&inner).cloned());
            self.known.remove(&inner);
        }
        match name {
            "" => drop(self.known.insert(name.into(), Folder::default())),
            _ => drop(self.known.remove(name)),
        }
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

/// Returns the folders that sort before `after`, or are it, and may contain names after it; the outermost comes first.
/// For `a/b/c` they include `a` and `a/b`. For `a-b` they include `a`, since `a-b` sorts before `a/b`.
fn ancestors(after: &str) -> impl Iterator<Item = &str> {
    let ends = after.bytes().enumerate().filter(|(_, byte)| *byte <= b'/').map(|(end, _)| end);
    let root = (!after.is_empty()).then_some("");
    root.into_iter().chain(ends.map(|end| &after[..end])).chain([after])
}

#[cfg(test)]
mod tests;
