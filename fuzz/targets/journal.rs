//! The journal of arrived bytes: extents are sorted and separate after any reading, insertion or removal.
#![cfg_attr(fuzzing, no_main)]

use arbitrary::Arbitrary;
use entrepot::oci::Span;
use entrepot::store::Extents;

#[derive(Arbitrary, Debug)]
pub struct Input<'a> {
    steps: Vec<Step>,
    journal: &'a str,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Step {
    Insert(u64, u32),
    Remove(u64, u32),
    Truncate(u64),
    /// Nearby positions, so that extents meet.
    Near(u8, u8),
    Gone(u8, u8),
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|input: Input<'_>| run(input));

pub fn run(input: Input<'_>) {
    let mut extents = Extents::from_journal(input.journal);
    sound(&extents);
    assert_eq!(Extents::from_journal(input.journal), extents);
    for step in input.steps {
        take(&mut extents, step);
        sound(&extents);
    }
}

fn take(extents: &mut Extents, step: Step) {
    let span = |start: u64, len: u64| Span { start, end: start.saturating_add(len) };
    let before = extents.total();
    match step {
        Step::Insert(start, len) => add(extents, span(start, len.into())),
        Step::Near(start, len) => add(extents, span(start.into(), len.into())),
        Step::Remove(start, len) => forget(extents, span(start, len.into())),
        Step::Gone(start, len) => forget(extents, span(start.into(), len.into())),
        Step::Truncate(end) => {
            extents.truncate(end);
            assert!(extents.end() <= end && extents.total() <= before);
        }
    }
}

fn add(extents: &mut Extents, span: Span) {
    let (before, missing) = (extents.total(), extents.missing_in(span));
    extents.insert(span);
    assert_eq!(extents.total(), before + missing);
    assert_eq!((extents.missing_in(span), extents.first_missing(span)), (0, None));
    assert!(span.is_empty() || extents.touches(span) && extents.end_of(span.start) >= span.end);
}

fn forget(extents: &mut Extents, span: Span) {
    let (before, held) = (extents.total(), span.len() - extents.missing_in(span));
    extents.remove(span);
    assert_eq!(extents.total(), before - held);
    assert!(!extents.touches(span));
    assert_eq!(extents.missing_in(span), span.len());
}

/// Checks that the journal of the extents is sorted, without empty, touching or overlapping extents, and reads back the same.
fn sound(extents: &Extents) {
    let journal = extents.to_journal();
    let (mut end, mut total) = (None, 0);
    for line in journal.lines() {
        let (from, to) = line.split_once(' ').expect("two numbers");
        let (from, to): (u64, u64) = (from.parse().expect("a number"), to.parse().expect("a number"));
        assert!(from < to && end.is_none_or(|end| end < from), "{journal}");
        (end, total) = (Some(to), total + (to - from));
    }
    assert_eq!((extents.end(), extents.total()), (end.unwrap_or(0), total));
    assert!(extents.prefix() <= extents.total());
    assert_eq!(Extents::from_journal(&journal), *extents);
}
