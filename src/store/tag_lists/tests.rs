use std::time::Duration;

use super::*;
use crate::sys::Clock;

#[test]
fn the_first_of_many() {
    for (after, most, want, more) in [
        (None, 9, "A _ a b c d", false),
        (None, 6, "A _ a b c d", false),
        (None, 5, "A _ a b c", true),
        (None, 1, "A", true),
        (None, 0, "", true),
        (Some("a"), 2, "b c", true),
        (Some("a"), 3, "b c d", false),
        (Some("aa"), 1, "b", true),
        (Some("d"), 1, "", false),
        (Some("0"), 1, "A", true),
    ] {
        let (names, mut first) = (["c", "A", "d", "a", "_", "b"], First::new(after, most));
        for name in names {
            if first.takes(name) {
                first.add(name.to_owned());
            }
            assert!(first.chosen.len() <= most + 1);
        }
        let mut kept = Sorted::default();
        names.iter().for_each(|name| kept.push(name));
        kept.sort();
        for found in [first.into_page(), kept.page(after, most)] {
            assert_eq!((found.entries.join(" ").as_str(), found.more), (want, more), "{most} after {after:?}");
        }
    }
}

struct Tags {
    directory: tempfile::TempDir,
    lists: TagLists,
    clock: Clock,
}

impl Tags {
    fn new(count: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let tags = Self { directory, lists: TagLists::new(), clock: Clock::system() };
        (0..count).for_each(|number| tags.add(&format!("v{number:05}")));
        tags
    }

    fn add(&self, tag: &str) {
        disk::make_dir(&self.directory.path().join(tag)).unwrap();
    }

    /// As long after the last change as a list is not believed.
    fn page(&self, after: &str, most: usize) -> Page<String> {
        let now = self.clock.now() + Duration::from_secs(10);
        self.lists.page(self.directory.path(), Some(after), most, now).unwrap()
    }

    fn is_kept(&self) -> bool {
        self.lists.kept.contains_key(self.directory.path())
    }
}

/// So far ahead, every change seems settled: then one tick of the file system's clock has to pass before the next.
fn tick() {
    std::thread::sleep(Duration::from_millis(25));
}

#[test]
fn a_kept_list_is_what_the_directory_is() {
    let tags = Tags::new(TagLists::LONG + 1);
    disk::write_replace(&tags.directory.path().join("v00000a"), b"a file is no tag").unwrap();
    tags.add("no tag");
    let now = tags.clock.now();
    let page = tags.lists.page(tags.directory.path(), None, 2, now).unwrap();
    assert_eq!((page.entries, page.more), (vec!["v00000".to_owned(), "v00001".to_owned()], true));
    assert!(!tags.is_kept(), "what has just changed may change again without showing it");

    assert_eq!(tags.page("v00000", 1).entries, ["v00001"]);
    assert!(tags.is_kept());
    assert_eq!(tags.page("v00000", 1).entries, ["v00001"]);
    tick();
    tags.add("v00000b");
    assert_eq!(tags.page("v00000", 1).entries, ["v00000b"]);
    tick();
    disk::remove_dir(&tags.directory.path().join("v00000b")).unwrap();
    assert_eq!(tags.page("v00000", 1).entries, ["v00001"]);
    disk::remove_dir(tags.directory.path()).unwrap();
    assert_eq!(tags.page("v00000", 1), Page::default());
    assert!(!tags.is_kept());
}

#[test]
fn every_tag_comes_once() {
    let tags = Tags::new(TagLists::LONG * 3);
    for most in [1, 7, 1000] {
        let (mut found, mut last) = (Vec::new(), String::new());
        loop {
            let page = tags.page(&last, most);
            found.extend(page.entries);
            last = found.last().cloned().unwrap_or_default();
            if !page.more {
                break;
            }
        }
        assert_eq!(found.len(), TagLists::LONG * 3, "{most} at a time");
        assert!(found.is_sorted() && tags.is_kept());
    }
}

#[test]
fn a_short_list_is_not_kept() {
    let tags = Tags::new(TagLists::LONG);
    assert_eq!(tags.page("", 1).entries, ["v00000"]);
    assert!(!tags.is_kept());
}

#[test]
fn collecting_takes_about_what_is_kept() {
    let mut sorted = Sorted::default();
    for number in 0..100_000 {
        sorted.push(&format!("v{number:05}"));
        // A vector doubles as it grows.
        assert!(sorted.bytes() <= 2 * sorted.len_bytes() + 64, "{number}");
    }
    sorted.sort();
    assert_eq!(sorted.bytes(), sorted.len_bytes());
}

#[test]
fn those_that_wait_do_not_read() {
    let tags = Tags::new(1);
    let (lists, directory, now) = (&tags.lists, tags.directory.path(), tags.clock.now());
    let place = lists.turns.queue(directory);
    let mut turn = place.wait();
    // What is brought to them is told from what they would read.
    let mut brought = Sorted::default();
    brought.push("brought");
    let ask = || assert_eq!(lists.page(directory, None, 1, now).unwrap().entries, ["brought"]);
    std::thread::scope(|scope| {
        let asking = [(); 8].map(|()| scope.spawn(ask));
        while lists.turns.came(directory) < 9 {
            assert!(!asking.iter().any(|asked| asked.is_finished()), "it did not wait");
            std::thread::yield_now();
        }
        assert_eq!(turn.begin(), Company::Others);
        turn.finish(Some(Arc::new(brought)));
    });
    assert!(!tags.is_kept(), "it has just changed");
    drop(place);
    assert_eq!(lists.page(directory, None, 1, now).unwrap().entries, ["v00000"]);
}
