use std::path::Path;
use std::time::Duration;

use super::*;
use crate::oci::RepositoryName;
use crate::store::driver::DiskDriver;
use crate::sys::disk;

const MANIFESTS: &[Part] = &[Part::Manifests];

fn names(root: &Path, clock: &Clock) -> Names {
    let backend = Backend::new(Arc::new(DiskDriver::new(root)));
    Names::new(
        backend,
        ObjectKey::default(),
        |name| name.parse::<RepositoryName>().is_ok(),
        clock.clone(),
        Arc::default(),
    )
}

/// Reads all names in pages of `limit`, and checks them against all names at once.
async fn paged(names: &Names, limit: usize) -> Vec<String> {
    let (mut all, mut last) = (Vec::new(), None);
    loop {
        let page = names.page(MANIFESTS, last.as_deref(), limit).await.unwrap();
        assert!(page.entries.len() <= limit);
        all.extend(page.entries);
        if !page.more {
            assert_eq!(names.all(MANIFESTS).await.unwrap(), all);
            return all;
        }
        last = all.last().cloned();
    }
}

fn make(root: &Path, name: &str, part: &str) {
    disk::make_dir(&root.join(name).join(part)).unwrap();
}

#[tokio::test]
async fn names_are_paged_in_byte_order() {
    let directory = tempfile::tempdir().unwrap();
    let (root, clock) = (directory.path().join("repositories"), Clock::system());
    let names = names(&root, &clock);
    assert_eq!(paged(&names, 1).await, [""; 0], "the root does not exist");
    for name in ["b", "a/b", "a-b", "a", "a.b/c", "a/b/c", "a_b", "aa", "z/y/x"] {
        make(&root, name, "_manifests/tags");
    }
    make(&root, "layers/only", "_layers");
    make(&root, "No/Name", "_manifests");
    make(&root, "a/_manifests", "_manifests");
    disk::write_replace(&root.join("file"), b"").unwrap();
    for limit in 1..=10 {
        let want = ["a", "a-b", "a.b/c", "a/b", "a/b/c", "a_b", "aa", "b", "z/y/x"];
        assert_eq!(paged(&names, limit).await, want, "{limit} at a time");
    }
    for (last, first) in
        [("a-b", "a.b/c"), ("a/a", "a/b"), ("a.b", "a.b/c"), ("a-", "a-b"), ("é", ""), ("/", "a"), ("~", "")]
    {
        let page = names.page(MANIFESTS, Some(last), 1).await.unwrap();
        assert_eq!(page.entries.first().map_or("", String::as_str), first, "after {last:?}");
    }
    assert_eq!(names.page(MANIFESTS, None, 0).await.unwrap(), Page::default());
    assert_eq!(names.all(&[Part::Layers, Part::Manifests]).await.unwrap().len(), 10);
}

#[tokio::test]
async fn upstream_is_the_first_part_of_a_mirrored_name() {
    let directory = tempfile::tempdir().unwrap();
    let store = crate::store::Store::new(directory.path(), Clock::system());
    let root = directory.path().join("cache/repositories");
    for name in ["docker.io/library/a", "r.corp/x", "r.corp:443/x", "docker.io/Bad", "r.corp"] {
        make(&root, name, "_links");
    }
    let found = store.cache.repositories_after(None, 100).await.unwrap();
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(found, ["docker.io/library/a", "r.corp/x", "r.corp:443/x"]);
    assert_eq!(store.cache.repositories_after(Some("r.corp/x"), 100).await.unwrap().len(), 1);
}

/// Another process may change the directories. The next page shows it, whether or not their times can be trusted yet.
#[tokio::test]
async fn changes_of_other_processes_are_seen() {
    for ahead in [Duration::ZERO, Duration::from_secs(10)] {
        let directory = tempfile::tempdir().unwrap();
        let (root, clock) = (directory.path().to_owned(), Clock::system());
        // With a clock that is ahead, each change seems settled at once. Then a tick of the file system's clock must
        // pass before the next change.
        clock.advance(ahead);
        let tick = || std::thread::sleep(if ahead.is_zero() { Duration::ZERO } else { Duration::from_millis(25) });
        let names = names(&root, &clock);
        let pool = ["a", "a/b", "a-b", "a.b", "a/b/c", "a/b-c", "a/c", "b", "b/a", "b/a/a"];
        let mut held = std::collections::BTreeSet::new();
        let mut state = 7_usize;
        for step in 0..120 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let name = pool[(state >> 33) % pool.len()];
            tick();
            match (state >> 45) % 4 {
                0 => {
                    disk::remove_dir(&root.join(name)).unwrap();
                    held.retain(|held: &&str| *held != name && !held.starts_with(&format!("{name}/")));
                }
                1 => {
                    disk::remove_dir(&root.join(name).join("_manifests")).unwrap();
                    held.remove(name);
                }
                _ => {
                    make(&root, name, "_manifests");
                    held.insert(name);
                }
            }
            let want: Vec<&str> = held.iter().copied().collect();
            assert_eq!(paged(&names, 1 + step % 3).await, want, "step {step}, {ahead:?} ahead");
        }
    }
}

#[tokio::test]
async fn unchanged_folder_is_not_listed_again() {
    let directory = tempfile::tempdir().unwrap();
    let now = Clock::system().now();
    let driver = DiskDriver::new(directory.path());
    let root = ObjectKey::default();
    let compare = |state: FolderState, now| state.compare(&driver, &root, now).unwrap();
    let Comparison::Stale(unsettled) = compare(FolderState::default(), now) else { panic!("never listed") };
    assert!(matches!(compare(unsettled, now), Comparison::Stale(_)), "it may change again within the same tick");
    let Comparison::Stale(settled) = compare(unsettled, now + Duration::from_secs(10)) else {
        panic!("not settled before")
    };
    assert!(matches!(compare(settled, now), Comparison::Unchanged));
    std::thread::sleep(Duration::from_millis(25));
    make(directory.path(), "new", "_manifests");
    assert!(matches!(compare(settled, now + Duration::from_secs(10)), Comparison::Stale(_)));
    let gone = FolderState::default().compare(&driver, &ObjectKey::new("gone"), now).unwrap();
    assert!(matches!(gone, Comparison::Gone));
}
