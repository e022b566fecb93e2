use std::time::Duration;

use super::*;
use crate::store::driver::DiskDriver;
use crate::sys::{Clock, disk};

#[test]
fn first_names_are_selected_from_many() {
    for (after, limit, want, more) in [
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
        let (names, mut first) = (["c", "A", "d", "a", "_", "b"], First::new(after, limit));
        for name in names {
            if first.takes(name) {
                first.add(name.to_owned());
            }
            assert!(first.chosen.len() <= limit + 1);
        }
        let mut kept = Sorted::default();
        names.iter().for_each(|name| kept.push(name));
        kept.sort();
        for found in [first.into_page(), kept.page(after, limit)] {
            assert_eq!((found.entries.join(" ").as_str(), found.more), (want, more), "{limit} after {after:?}");
        }
    }
}

struct Tags {
    directory: tempfile::TempDir,
    driver: DiskDriver,
    lists: TagLists,
    clock: Clock,
}

impl Tags {
    fn new(count: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let driver = DiskDriver::new(directory.path());
        let tags = Self { directory, driver, lists: TagLists::new(), clock: Clock::system() };
        (0..count).for_each(|number| tags.add(&format!("v{number:05}")));
        tags
    }

    fn add(&self, tag: &str) {
        disk::make_dir(&self.directory.path().join(tag)).unwrap();
    }

    /// Lists at a time when the last change is settled.
    fn page(&self, after: &str, limit: usize) -> Page<String> {
        let now = self.clock.now() + Duration::from_secs(10);
        self.lists.page(&self.driver, &ObjectKey::default(), (Some(after), limit), now).unwrap()
    }

    fn is_kept(&self) -> bool {
        self.lists.kept.contains_key(&ObjectKey::default())
    }
}

/// Waits for a tick of the file system's clock. With a clock that is ahead, each change seems settled at once, so the
/// next one must get another time.
fn tick() {
    std::thread::sleep(Duration::from_millis(25));
}

#[test]
fn kept_list_follows_the_folder() {
    let tags = Tags::new(TagLists::LONG + 1);
    disk::write_replace(&tags.directory.path().join("v00000a"), b"a file is not a tag").unwrap();
    tags.add("no tag");
    let now = tags.clock.now();
    let page = tags.lists.page(&tags.driver, &ObjectKey::default(), (None, 2), now).unwrap();
    assert_eq!((page.entries, page.more), (vec!["v00000".to_owned(), "v00001".to_owned()], true));
    assert!(!tags.is_kept(), "a folder that has just changed may change again without showing it");

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
fn every_tag_is_listed_once() {
    let tags = Tags::new(TagLists::LONG * 3);
    for limit in [1, 7, 1000] {
        let (mut found, mut last) = (Vec::new(), String::new());
        loop {
            let page = tags.page(&last, limit);
            found.extend(page.entries);
            last = found.last().cloned().unwrap_or_default();
            if !page.more {
                break;
            }
        }
        assert_eq!(found.len(), TagLists::LONG * 3, "{limit} at a time");
        assert!(found.is_sorted() && tags.is_kept());
    }
}

#[test]
fn short_list_is_not_kept() {
    let tags = Tags::new(TagLists::LONG);
    assert_eq!(tags.page("", 1).entries, ["v00000"]);
    assert!(!tags.is_kept());
}

#[test]
fn memory_of_a_list_is_at_most_twice_its_content() {
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
fn waiting_callers_do_not_list_the_folder() {
    let tags = Tags::new(1);
    let (lists, folder, now) = (&tags.lists, ObjectKey::default(), tags.clock.now());
    let place = lists.queue.join(&folder);
    let mut permit = place.wait();
    // The shared result differs from the content of the folder, so that the test can tell them apart.
    let mut shared = Sorted::default();
    shared.push("shared");
    let ask = || assert_eq!(lists.page(&tags.driver, &folder, (None, 1), now).unwrap().entries, ["shared"]);
    std::thread::scope(|scope| {
        let asking = [(); 8].map(|()| scope.spawn(ask));
        while lists.queue.arrived(&folder) < 9 {
            assert!(!asking.iter().any(|asked| asked.is_finished()), "it did not wait");
            std::thread::yield_now();
        }
        assert_eq!(permit.begin(), Waiting::Others);
        permit.finish(Some(Arc::new(shared)));
    });
    assert!(!tags.is_kept(), "it has just changed");
    drop(place);
    assert_eq!(lists.page(&tags.driver, &folder, (None, 1), now).unwrap().entries, ["v00000"]);
}
