//! The tags of a repository in byte order, a page at a time.
//!
//! A long list is kept in memory, so that the whole folder is not listed again for every page of a client. Before each
//! page, the folder is compared: if any process has added or removed an entry, it is listed again.

use std::collections::BinaryHeap;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use super::queue::{ListQueue, Waiting};
use super::state::{Comparison, FolderState};
use crate::oci::Tag;
use crate::store::Page;
use crate::store::driver::Driver;
use crate::store::key::ObjectKey;

/// The lists of tags in memory, by their folders.
pub struct TagLists {
    kept: moka::sync::Cache<ObjectKey, Arc<Kept>>,
    /// The callers that list a folder now. A folder that has just changed must be listed for each page, but by one
    /// caller at a time.
    queue: ListQueue<Sorted>,
}

struct Kept {
    state: FolderState,
    tags: Arc<Sorted>,
}

/// Names in byte order, in one piece of memory.
#[derive(Default)]
struct Sorted {
    /// The names, in the order in which they were read.
    text: String,
    spans: Vec<Span>,
}

/// Where a name lies in the text.
#[derive(Clone, Copy)]
struct Span {
    begin: u32,
    end: u32,
}

/// The result of a lookup in memory.
enum Found {
    Page(Page<String>),
    /// The folder must be listed. Keep this state with the list.
    Stale(FolderState),
}

impl TagLists {
    /// The largest size of all lists together, in bytes. A list that is longer than half of it is read for each page.
    const MAX_BYTES: usize = 16 << 20;

    /// Reading a list that is not longer than this takes as little time as finding it in memory.
    const LONG: usize = 500;

    pub fn new() -> Self {
        let weigh = |folder: &ObjectKey, kept: &Arc<Kept>| {
            let bytes = folder.as_str().len() + kept.tags.bytes() + size_of::<Kept>();
            u32::try_from(bytes).unwrap_or(u32::MAX)
        };
        let kept = moka::sync::Cache::builder().max_capacity(Self::MAX_BYTES as u64).weigher(weigh).build();
        Self { kept, queue: ListQueue::new() }
    }

    /// Returns up to `limit` of the tags after `after` that have a folder in this one. Blocks.
    pub fn page(
        &self,
        driver: &dyn Driver,
        folder: &ObjectKey,
        (after, limit): (Option<&str>, usize),
        now: SystemTime,
    ) -> io::Result<Page<String>> {
        let look = || self.look(driver, folder, now, |tags| tags.page(after, limit));
        if let Found::Page(page) = look()? {
            return Ok(page);
        }
        let place = self.queue.join(folder);
        let mut permit = place.wait();
        if let Some(tags) = permit.result() {
            drop(permit);
            return Ok(tags.page(after, limit));
        }
        // Another caller may have listed the folder before this one joined the queue.
        let state = match look()? {
            Found::Page(page) => return Ok(page),
            Found::Stale(state) => state,
        };
        let wanted = permit.begin() == Waiting::Others || state.is_known();
        let (page, tags) = read(driver, folder, First::new(after, limit), wanted.then(Sorted::default))?;
        let tags = tags.map(Arc::new);
        if let Some(tags) = tags.clone().filter(|tags| state.is_known() && tags.spans.len() > Self::LONG) {
            self.kept.insert(folder.clone(), Arc::new(Kept { state, tags }));
        }
        permit.finish(tags);
        Ok(page)
    }

    fn look(
        &self,
        driver: &dyn Driver,
        folder: &ObjectKey,
        now: SystemTime,
        page: impl Fn(&Sorted) -> Page<String>,
    ) -> io::Result<Found> {
        let kept = self.kept.get(folder);
        let state = kept.as_ref().map_or_else(FolderState::default, |kept| kept.state);
        Ok(match (state.compare(driver, folder, now)?, kept) {
            (Comparison::Unchanged, Some(kept)) => Found::Page(page(&kept.tags)),
            (Comparison::Stale(state), _) => Found::Stale(state),
            (Comparison::Gone | Comparison::Unchanged, _) => {
                self.kept.invalidate(folder);
                Found::Page(Page::default())
            }
        })
    }
}

/// Lists a folder of tags. Returns the first of them, and all of them if they are wanted and not too many.
fn read(
    driver: &dyn Driver,
    folder: &ObjectKey,
    mut first: First,
    mut all: Option<Sorted>,
) -> io::Result<(Page<String>, Option<Sorted>)> {
    driver.each_child(folder, &mut |child| {
        if !child.is_folder || child.name.parse::<Tag>().is_err() {
            return;
        }
        if let Some(sorted) = &mut all {
            sorted.push(&child.name);
            if sorted.len_bytes() > TagLists::MAX_BYTES / 2 {
                all = None;
            }
        }
        if first.takes(&child.name) {
            first.add(child.name);
        }
    })?;
    all.iter_mut().for_each(Sorted::sort);
    Ok((first.into_page(), all))
}

impl Sorted {
    /// Adds a name. The names are in order only after [`Self::sort`].
    fn push(&mut self, name: &str) {
        let at = |length: usize| u32::try_from(length).expect("the collected names are shorter than 4 GiB");
        let begin = at(self.text.len());
        self.text.push_str(name);
        self.spans.push(Span { begin, end: at(self.text.len()) });
    }

    fn sort(&mut self) {
        let Self { text, spans } = self;
        spans.sort_unstable_by_key(|span| &text[span.begin as usize..span.end as usize]);
        text.shrink_to_fit();
        spans.shrink_to_fit();
    }

    /// Returns the size of the names, in bytes.
    fn len_bytes(&self) -> usize {
        self.text.len() + self.spans.len() * size_of::<Span>()
    }

    /// Returns the size of the allocated memory, in bytes.
    fn bytes(&self) -> usize {
        self.text.capacity() + self.spans.capacity() * size_of::<Span>()
    }

    fn get(&self, index: usize) -> &str {
        let Span { begin, end } = self.spans[index];
        &self.text[begin as usize..end as usize]
    }

    fn page(&self, after: Option<&str>, limit: usize) -> Page<String> {
        let begin = after.map_or(0, |after| self.count_up_to(after));
        let end = begin.saturating_add(limit).min(self.spans.len());
        let entries = (begin..end).map(|index| self.get(index).to_owned()).collect();
        Page { entries, more: end < self.spans.len() }
    }

    /// Returns the number of names that are `last` or come before it.
    fn count_up_to(&self, last: &str) -> usize {
        let (mut from, mut to) = (0, self.spans.len());
        while from < to {
            let middle = from.midpoint(to);
            if self.get(middle) <= last { from = middle + 1 } else { to = middle }
        }
        from
    }
}

/// Selects the first of many names while they are read. It holds one name more than the limit, so that it knows whether
/// others follow.
struct First {
    after: Option<String>,
    limit: usize,
    /// The selected names, the last of them on top.
    chosen: BinaryHeap<String>,
}

impl First {
    fn new(after: Option<&str>, limit: usize) -> Self {
        Self { after: after.map(str::to_owned), limit, chosen: BinaryHeap::new() }
    }

    /// Returns true if the name is one of the first that were read so far.
    fn takes(&self, name: &str) -> bool {
        let is_wanted = self.after.as_deref().is_none_or(|after| after < name);
        let has_space = self.chosen.len() <= self.limit;
        is_wanted && (has_space || self.chosen.peek().is_some_and(|last| name < last.as_str()))
    }

    fn add(&mut self, name: String) {
        if self.chosen.len() > self.limit {
            self.chosen.pop();
        }
        self.chosen.push(name);
    }

    fn into_page(self) -> Page<String> {
        let mut entries = self.chosen.into_sorted_vec();
        let more = entries.len() > self.limit;
        entries.truncate(self.limit);
        Page { entries, more }
    }
}

#[cfg(test)]
mod tests;
