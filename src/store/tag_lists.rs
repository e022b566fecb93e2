//! The tags of a repository, in byte order, a page at a time.
//!
//! A long list is kept in memory, so that whoever leafs through it does not have the whole directory read for every page. What is
//! kept is a hint, never an answer: each page looks first whether anything came or went since, whoever did it.

mod turns;

use std::collections::BinaryHeap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::Page;
use super::listed::{Listed, Look};
use crate::oci::Tag;
use crate::sys::disk;
use turns::{Company, Turns};

/// The lists of tags that are kept, by their directories.
pub struct TagLists {
    kept: moka::sync::Cache<PathBuf, Arc<Kept>>,
    /// Who reads a directory now. A directory that has just changed is read too, but not by everybody at once.
    turns: Turns<Sorted>,
}

struct Kept {
    listed: Listed,
    tags: Arc<Sorted>,
}

/// Names in byte order, in one piece of memory.
#[derive(Default)]
struct Sorted {
    /// In the order that they were read in.
    text: String,
    spans: Vec<Span>,
}

/// Where a name lies.
#[derive(Clone, Copy)]
struct Span {
    begin: u32,
    end: u32,
}

/// What a look at a directory comes to.
enum Found {
    Page(Page<String>),
    /// It is to be read.
    Anew(Listed),
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
        let kept = moka::sync::Cache::builder().max_capacity(Self::MOST_BYTES as u64).weigher(weigh).build();
        Self { kept, turns: Turns::new() }
    }

    /// At most `most` of the tags that have a directory in this one, those that come after `after`. To be called off the async
    /// threads.
    pub fn page(
        &self,
        directory: &Path,
        after: Option<&str>,
        most: usize,
        now: SystemTime,
    ) -> io::Result<Page<String>> {
        if let Found::Page(page) = self.look(directory, after, most, now)? {
            return Ok(page);
        }
        let place = self.turns.queue(directory);
        let mut turn = place.wait();
        if let Some(tags) = turn.brought() {
            drop(turn);
            return Ok(tags.page(after, most));
        }
        // Somebody else may have read it before this one came to ask.
        let listed = match self.look(directory, after, most, now)? {
            Found::Page(page) => return Ok(page),
            Found::Anew(listed) => listed,
        };
        let wanted = turn.begin() == Company::Others || listed.is_known();
        let (page, tags) = read(directory, First::new(after, most), wanted.then(Sorted::default))?;
        let tags = tags.map(Arc::new);
        if let Some(tags) = tags.clone().filter(|tags| listed.is_known() && tags.spans.len() > Self::LONG) {
            self.kept.insert(directory.to_owned(), Arc::new(Kept { listed, tags }));
        }
        turn.finish(tags);
        Ok(page)
    }

    fn look(&self, directory: &Path, after: Option<&str>, most: usize, now: SystemTime) -> io::Result<Found> {
        let kept = self.kept.get(directory);
        let listed = kept.as_ref().map_or_else(Listed::default, |kept| kept.listed);
        Ok(match (listed.look(directory, now)?, kept) {
            (Look::Same, Some(kept)) => Found::Page(kept.tags.page(after, most)),
            (Look::Anew(listed), _) => Found::Anew(listed),
            (Look::Gone | Look::Same, _) => {
                self.kept.invalidate(directory);
                Found::Page(Page::default())
            }
        })
    }
}

/// Reads a directory of tags: the first of them, and all, where those are wanted and not too many.
fn read(directory: &Path, mut first: First, mut all: Option<Sorted>) -> io::Result<(Page<String>, Option<Sorted>)> {
    disk::each(directory, |entry| {
        if !entry.is_dir || entry.name.parse::<Tag>().is_err() {
            return;
        }
        if let Some(sorted) = &mut all {
            sorted.push(&entry.name);
            if sorted.len_bytes() > TagLists::MOST_BYTES / 2 {
                all = None;
            }
        }
        if first.takes(&entry.name) {
            first.add(entry.name);
        }
    })?;
    all.iter_mut().for_each(Sorted::sort);
    Ok((first.into_page(), all))
}

impl Sorted {
    /// They are in order only after [`Self::sort`].
    fn push(&mut self, name: &str) {
        let at = |length: usize| u32::try_from(length).expect("what is collected is shorter than 4 GiB");
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

    /// What is in it, in bytes.
    fn len_bytes(&self) -> usize {
        self.text.len() + self.spans.len() * size_of::<Span>()
    }

    /// What it takes, in bytes.
    fn bytes(&self) -> usize {
        self.text.capacity() + self.spans.capacity() * size_of::<Span>()
    }

    fn get(&self, index: usize) -> &str {
        let Span { begin, end } = self.spans[index];
        &self.text[begin as usize..end as usize]
    }

    fn page(&self, after: Option<&str>, most: usize) -> Page<String> {
        let begin = after.map_or(0, |after| self.count_up_to(after));
        let end = begin.saturating_add(most).min(self.spans.len());
        let entries = (begin..end).map(|index| self.get(index).to_owned()).collect();
        Page { entries, more: end < self.spans.len() }
    }

    /// How many of them are `last` or come before it.
    fn count_up_to(&self, last: &str) -> usize {
        let (mut from, mut to) = (0, self.spans.len());
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

    fn into_page(self) -> Page<String> {
        let mut entries = self.chosen.into_sorted_vec();
        let more = entries.len() > self.most;
        entries.truncate(self.most);
        Page { entries, more }
    }
}

#[cfg(test)]
mod tests;
