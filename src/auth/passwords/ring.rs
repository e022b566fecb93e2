//! Lines that have their turns one after the other.

use std::collections::VecDeque;

/// A line of things that wait, or a ring of such lines.
pub(super) trait WaitingLine: Default {
    type Item;

    fn len(&self) -> usize;

    /// Removes the entries whose waiter has left.
    fn forget_gone(&mut self);

    /// Takes what has its turn.
    fn next(&mut self) -> Option<Self::Item>;

    /// Drops the last one of the longest line.
    fn shrink(&mut self);
}

/// Lines, each with its key. The first has its turn next, and then goes to the end.
#[derive(Debug)]
pub(super) struct Ring<K, L>(VecDeque<(K, L)>);

impl<K, L> Default for Ring<K, L> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<K: PartialEq, L: WaitingLine> Ring<K, L> {
    /// Returns the length of the line with this key.
    pub(super) fn len_of(&self, key: &K) -> usize {
        self.0.iter().find(|(known, _)| known == key).map_or(0, |(_, line)| line.len())
    }

    /// Returns the line with this key. A new one has its turn last.
    pub(super) fn line(&mut self, key: K) -> &mut L {
        let known = self.0.iter().position(|(known, _)| *known == key);
        let index = known.unwrap_or_else(|| {
            self.0.push_back((key, L::default()));
            self.0.len() - 1
        });
        &mut self.0[index].1
    }

    /// Drops one of the longest line, if that is longer by more than one than a line of this length. Returns false if none is.
    pub(super) fn make_room(&mut self, length: usize) -> bool {
        let longest = self.longest().filter(|line| line.len() > length + 1);
        longest.map(WaitingLine::shrink).is_some()
    }

    /// Returns the longest line; of several, the last.
    fn longest(&mut self) -> Option<&mut L> {
        self.0.iter_mut().map(|(_, line)| line).max_by_key(|line| line.len())
    }
}

impl<K: PartialEq, L: WaitingLine> WaitingLine for Ring<K, L> {
    type Item = L::Item;

    fn len(&self) -> usize {
        self.0.iter().map(|(_, line)| line.len()).sum()
    }

    fn forget_gone(&mut self) {
        self.0.iter_mut().for_each(|(_, line)| line.forget_gone());
        self.0.retain(|(_, line)| line.len() > 0);
    }

    fn next(&mut self) -> Option<Self::Item> {
        let (key, mut line) = self.0.pop_front()?;
        let next = line.next();
        if line.len() > 0 {
            self.0.push_back((key, line));
        }
        next
    }

    fn shrink(&mut self) {
        if let Some(line) = self.longest() {
            line.shrink();
        }
    }
}
