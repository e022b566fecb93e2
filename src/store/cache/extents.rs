//! The extents of a file: the spans of bytes that have arrived.

use crate::oci::Span;

/// A set of bytes, as sorted spans that neither touch nor overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extents {
    spans: Vec<Span>,
}

impl Extents {
    /// Returns the number of bytes that have arrived from the beginning on without a hole.
    pub fn prefix(&self) -> u64 {
        match self.spans.first() {
            Some(first) if first.start == 0 => first.end,
            _ => 0,
        }
    }

    /// Returns the end of the last span.
    pub fn end(&self) -> u64 {
        self.spans.last().map_or(0, |last| last.end)
    }

    /// Returns the number of bytes that have arrived.
    pub fn total(&self) -> u64 {
        self.spans.iter().map(|span| span.len()).sum()
    }

    /// Returns the end of the bytes that have arrived from `position` on without a hole; `position` itself if its byte
    /// has not arrived.
    pub fn end_of(&self, position: u64) -> u64 {
        let at = self.spans.partition_point(|span| span.end <= position);
        self.spans.get(at).filter(|span| span.start <= position).map_or(position, |span| span.end)
    }

    /// Returns the first span of `within` that has not arrived.
    pub fn first_missing(&self, within: Span) -> Option<Span> {
        let start = self.end_of(within.start);
        let next = self.spans.get(self.spans.partition_point(|span| span.start < start));
        let end = next.map_or(within.end, |next| next.start.min(within.end));
        (start < end).then_some(Span { start, end })
    }

    /// Returns the spans of `within` that are neither in this set nor in `other`.
    pub fn missing_in_both(&self, other: &Self, within: Span) -> Vec<Span> {
        let mut both = self.clone();
        other.spans.iter().for_each(|span| both.insert(*span));
        let mut missing = Vec::new();
        while let Some(span) = both.first_missing(within) {
            both.insert(span);
            missing.push(span);
        }
        missing
    }

    /// Returns the number of bytes of this span that have not arrived.
    pub fn missing_in(&self, within: Span) -> u64 {
        let at = self.spans.partition_point(|span| span.end <= within.start);
        let touching = self.spans[at..].iter().take_while(|span| span.start < within.end);
        let held: u64 = touching.map(|span| span.end.min(within.end) - span.start.max(within.start)).sum();
        within.len() - held
    }

    /// Returns true if any bytes of this span have arrived.
    pub fn touches(&self, span: Span) -> bool {
        let at = self.spans.partition_point(|other| other.end <= span.start);
        self.spans.get(at).is_some_and(|other| other.start < span.end) && !span.is_empty()
    }

    /// Adds a span and merges it with those that it touches or overlaps.
    pub fn insert(&mut self, span: Span) {
        if span.is_empty() {
            return;
        }
        let from = self.spans.partition_point(|other| other.end < span.start);
        let to = self.spans.partition_point(|other| other.start <= span.end);
        let merged = self.spans[from..to]
            .iter()
            .fold(span, |all, other| Span { start: all.start.min(other.start), end: all.end.max(other.end) });
        self.spans.splice(from..to, [merged]);
    }

    /// Formats the spans for the journal beside a partial file: one `START END` a line, in decimal.
    pub fn to_journal(&self) -> String {
        self.spans.iter().map(|span| format!("{} {}\n", span.start, span.end)).collect()
    }

    /// Reads a journal. A malformed line and all lines after it are left out: a journal may claim less than the file
    /// holds, never more.
    pub fn from_journal(text: &str) -> Self {
        let mut extents = Self::default();
        for line in text.lines() {
            let span = line.split_once(' ').and_then(|(start, end)| Some((start.parse().ok()?, end.parse().ok()?)));
            match span {
                Some((start, end)) if start < end => extents.insert(Span { start, end }),
                _ => break,
            }
        }
        extents
    }

    /// Removes everything from `end` on.
    pub fn truncate(&mut self, end: u64) {
        self.spans.retain(|span| span.start < end);
        if let Some(last) = self.spans.last_mut() {
            last.end = last.end.min(end);
        }
    }

    /// Removes a span.
    pub fn remove(&mut self, gone: Span) {
        if gone.is_empty() {
            return;
        }
        let kept = self.spans.drain(..).flat_map(|span| {
            let before = Span { start: span.start, end: span.end.min(gone.start) };
            let after = Span { start: span.start.max(gone.end), end: span.end };
            [before, after].into_iter().filter(|rest| rest.start < rest.end)
        });
        self.spans = kept.collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The set behaves like a set of single bytes, and survives its journal.
        #[test]
        fn extents_behave_like_a_set_of_bytes(spans in proptest::collection::vec((0u64..60, 0u64..12), 0..20), cut in 0u64..80) {
            let mut extents = Extents::default();
            let mut bytes = [false; 80];
            for (start, len) in spans {
                extents.insert(Span { start, end: start + len });
                bytes[start as usize..(start + len) as usize].fill(true);
            }
            let prefix = bytes.iter().position(|held| !held).unwrap_or(80) as u64;
            prop_assert_eq!(extents.prefix(), prefix);
            prop_assert_eq!(extents.total(), bytes.iter().filter(|held| **held).count() as u64);
            prop_assert_eq!(&Extents::from_journal(&extents.to_journal()), &extents);
            for position in 0..80 {
                let end = (position..80).find(|at| !bytes[*at]).unwrap_or(80);
                prop_assert_eq!(extents.end_of(position as u64), end as u64);
                let within = Span { start: position as u64, end: 70.max(position as u64) };
                let missing = (position..70).find(|at| !bytes[*at]).map(|start| {
                    let end = (start..70).find(|at| bytes[*at]).unwrap_or(70);
                    Span { start: start as u64, end: end as u64 }
                });
                prop_assert_eq!(extents.first_missing(within), missing);
                let absent = (position..within.end as usize).filter(|at| !bytes[*at]).count();
                prop_assert_eq!(extents.missing_in(within), absent as u64);
                let any = bytes.get(position..70).is_some_and(|bytes| bytes.contains(&true));
                prop_assert_eq!(extents.touches(within), any);
            }
            let (mut holed, gone) = (extents.clone(), Span { start: cut / 2, end: cut });
            holed.remove(gone);
            let left = bytes.iter().enumerate().filter(|(at, held)| **held && !(cut / 2..cut).contains(&(*at as u64)));
            prop_assert_eq!(holed.total(), left.count() as u64);
            prop_assert!(!holed.touches(gone));
            extents.truncate(cut);
            let kept = bytes[..cut as usize].iter().filter(|held| **held).count() as u64;
            prop_assert_eq!(extents.total(), kept);
        }
    }

    #[test]
    fn removing_an_empty_span_changes_nothing() {
        let mut extents = Extents::from_journal("0 10\n");
        extents.remove(Span { start: 5, end: 5 });
        assert_eq!((extents.to_journal().as_str(), extents.prefix()), ("0 10\n", 10));
    }

    #[test]
    fn damaged_journal_claims_less() {
        assert_eq!(Extents::from_journal("0 10\n20 3").total(), 10);
        assert_eq!(Extents::from_journal("0 10\n2").total(), 10);
        assert_eq!(Extents::from_journal("x").total(), 0);
    }
}
