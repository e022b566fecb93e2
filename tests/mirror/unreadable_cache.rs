//! Entries of the cache that cannot be read. They cost the cached copy and not the pull: the upstream has the content too.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::slow_disk::mirror_on;
use crate::support::client::{Client, noise};
use crate::support::mirror::{blob, cache, manifest, mirror, wait_until_stored};
use crate::support::registry::eventually;
use crate::support::slow_disk::SlowDisk;
use crate::support::upstream::{Image, Upstream};

const NAME: &str = "library/app";

/// A kind of entry, and a function that makes one at a path.
type Kind = (&'static str, fn(&Path));

/// An image that a mirror has cached, with the list of its tags.
struct Cached {
    upstream: Upstream,
    image: Image,
    layer: Vec<u8>,
}

impl Cached {
    fn new(seed: u64) -> Self {
        let upstream = Upstream::start();
        let layer = noise(seed, 300_000);
        let image = upstream.image(NAME, "1", &[&layer]);
        Self { upstream, image, layer }
    }

    /// Returns everything that is asked for, and what the answers must be.
    fn targets(&self) -> Vec<(String, Option<&[u8]>)> {
        vec![
            (manifest(NAME, "1"), Some(&self.image.manifest)),
            (manifest(NAME, self.image.manifest_digest), Some(&self.image.manifest)),
            (blob(NAME, self.image.layers[0]), Some(&self.layer)),
            (format!("/v2/{NAME}/tags/list"), None),
        ]
    }

    fn pull(&self, client: &Client) {
        for (target, _) in self.targets() {
            assert_eq!(client.get(&target).status, 200, "{target}");
        }
        eventually("the stored layer", || {
            (cache(&client.get(&blob(NAME, self.image.layers[0]))) == "hit").then_some(())
        });
    }

    /// Checks that everything is served whole, by GET and by HEAD.
    fn is_served(&self, client: &Client, case: &str) {
        for (target, content) in self.targets() {
            let answer = client.get(&target);
            assert!(answer.status == 200 && answer.whole, "{case}: {target}: {} {}", answer.status, answer.text());
            assert!(content.is_none_or(|content| answer.body == content), "{case}: {target}");
            if content.is_some() {
                assert_eq!(client.head(&target).status, 200, "{case}: HEAD {target}");
            }
        }
    }
}

/// Returns the places of the cached layer and manifest, of their links, of the tag, and of the list of tags.
fn places(image: &Image) -> [String; 6] {
    let of_blob = |hex: &String| format!("cache/blobs/sha256/{}/{hex}", &hex[..2]);
    let repository = format!("cache/repositories/docker.io/{NAME}");
    let (layer, manifest) = (image.layers[0].hex(), image.manifest_digest.hex());
    [
        of_blob(&layer),
        of_blob(&manifest),
        format!("{repository}/_links/sha256/{layer}"),
        format!("{repository}/_links/sha256/{manifest}"),
        format!("{repository}/_tags/1"),
        format!("{repository}/_lists/tags"),
    ]
}

#[test]
fn entry_that_the_disk_cannot_read_is_fetched_again() {
    let Some(disk) = SlowDisk::new() else { return };
    let cached = Cached::new(1);
    let mirror = mirror_on(&disk, &cached.upstream);
    let client = mirror.client();
    cached.pull(&client);
    // 5 is EIO, 13 is EACCES, 116 is ESTALE.
    for (operation, error) in [("open", 5), ("read", 5), ("stat", 5), ("open", 13), ("read", 116)] {
        for place in places(&cached.image) {
            if operation == "read" && place == places(&cached.image)[0] {
                // A layer whose file opens is read while it is sent; the test below is about that.
                continue;
            }
            let case = format!("{operation} {error} {place}");
            disk.set(&[&format!("{operation} fail={error} path={place}")]);
            cached.is_served(&client, &case);
            cached.is_served(&client, &format!("{case}, again"));
            disk.heal();
            cached.is_served(&client, &format!("{case}, healed"));
            assert_eq!(cache(&client.get(&manifest(NAME, "1"))), "hit", "{case}");
        }
    }
}

/// A reader that has got its head is cut; each later one gets the content of the upstream, and the file is replaced.
#[test]
fn blob_whose_reading_fails_half_way_is_fetched_again() {
    let Some(disk) = SlowDisk::new() else { return };
    let cached = Cached::new(2);
    let mirror = mirror_on(&disk, &cached.upstream);
    let client = mirror.client();
    cached.pull(&client);
    let [layer, ..] = places(&cached.image);
    let fetched = cached.upstream.requests("GET", "/blobs/");
    // Otherwise the server reads the file from memory.
    let file = fs::File::open(mirror.data().join(&layer)).unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    disk.set(&[&format!("read fail=5 path={layer}")]);
    let target = blob(NAME, cached.image.layers[0]);
    assert!(!client.get(&target).whole, "the file cannot be read");
    disk.heal();
    let again = client.get(&target);
    assert!(again.status == 200 && again.whole && again.body == cached.layer);
    assert!(cached.upstream.requests("GET", "/blobs/") > fetched, "it is fetched again");
    wait_until_stored(&mirror);
    eventually("a hit", || (cache(&client.get(&target)) == "hit").then_some(()));
}

/// A lack of descriptors says nothing about the entry that was to be opened.
#[test]
fn lack_of_descriptors_is_no_bad_entry() {
    let Some(disk) = SlowDisk::new() else { return };
    let cached = Cached::new(3);
    let mirror = mirror_on(&disk, &cached.upstream);
    let client = mirror.client();
    cached.pull(&client);
    for error in [24, 23, 12] {
        disk.set(&[&format!("open fail={error} path=cache/blobs")]);
        assert_eq!(client.get(&blob(NAME, cached.image.layers[0])).status, 500, "{error}");
    }
    disk.heal();
    cached.is_served(&client, "healed");
    let usage = client.get("/api/v1/usage").text();
    assert!(!usage.contains("cache/blobs"), "{usage}");
}

#[test]
fn entry_of_another_kind_is_fetched_again() {
    let kinds: [Kind; 4] = [
        ("a directory", |path| fs::create_dir(path).unwrap()),
        ("a directory with content", |path| fs::create_dir_all(path.join("x")).unwrap()),
        ("a link to itself", |path| symlink(path, path).unwrap()),
        ("a pipe", |path| {
            let made = std::process::Command::new("mkfifo").arg(path).status().unwrap();
            assert!(made.success());
        }),
    ];
    for (kind, make) in kinds {
        for place in 0..6 {
            let cached = Cached::new(4);
            let mut mirror = mirror(&cached.upstream);
            cached.pull(&mirror.client());
            mirror.terminate();
            mirror.wait();
            let path = mirror.data().join(&places(&cached.image)[place]);
            fs::remove_file(&path).unwrap();
            make(&path);
            mirror.restart();
            let case = format!("{} is {kind}", path.display());
            cached.is_served(&mirror.client(), &case);
            cached.is_served(&mirror.client(), &format!("{case}, again"));
        }
    }
}
