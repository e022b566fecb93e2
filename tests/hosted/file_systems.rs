//! File systems that lack something: locks, the sync of a directory, or one disk for everything. Tests of a file system that a
//! preloaded library imitates are skipped where there is no C compiler.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::cli::runner::{command, run_with, stderr};
use crate::support::client::{Client, digest_of, noise};
use crate::support::mirror::{blob, cache, wait_until_stored};
use crate::support::registry::{Place, Registry, eventually};
use crate::support::slow_disk::SlowDisk;
use crate::support::upstream::Upstream;

/// What fails on the file system, the ability that the metric names, and a part of the message. The numbers are those of ENOLCK
/// (37), EOPNOTSUPP (95), ENOSYS (38) and EINVAL (22).
const LACKING: [(&str, &str, &str); 5] = [
    ("lock fail=37 path=/data", "locks", "has no file locks"),
    ("lock fail=95 path=/data", "locks", "has no file locks"),
    ("lock fail=38 path=/data", "locks", "has no file locks"),
    ("sync-directory fail=22 path=/data", "directory_sync", "cannot sync a directory"),
    ("sync-directory fail=95 path=/data", "directory_sync", "cannot sync a directory"),
];

/// Returns the configuration of a mirror that checks its storage every second.
fn mirrored(place: &Place, upstream: &Upstream) -> String {
    let upstreams = format!("  upstreams:\n    docker.io: {{default: true, endpoints: [\"{}\"]}}\n", upstream.url());
    let health = "health: {storagedriver: {enabled: true, interval: 1s, threshold: 1}}\n";
    format!("{}\n{health}mirror:\n  local: [local/**]\n{upstreams}  cache: {{reserve: 0}}\n", place.usual())
}

/// Pushes in every way, pulls through the mirror, and deletes. `case` names the file system.
fn everything_works(registry: &Registry, upstream: &Upstream, case: &str) {
    let client = registry.client();
    client.push_image("local/app", "1", &noise(1, 100_000));
    let chunk = noise(2, 200_000);
    let upload = client.begin("local/app");
    let begun = client.request("PATCH", &upload).body(&chunk[..70_000]).send();
    assert_eq!(begun.status, 202, "{case}: {}", begun.text());
    let next = begun.header("location").unwrap();
    let digest = digest_of(&chunk);
    let separator = if next.contains('?') { '&' } else { '?' };
    let end = client.request("PUT", &format!("{next}{separator}digest={digest}")).body(&chunk[70_000..]).send();
    assert_eq!(end.status, 201, "{case}: {}", end.text());
    assert!(client.get(&blob("local/app", digest)).body == chunk, "{case}");
    let layer = noise(3, 3 << 20);
    let fetched = blob("library/app", upstream.blob("library/app", &layer));
    assert!(client.get(&fetched).body == layer, "{case}");
    wait_until_stored(registry);
    let again = client.get(&fetched);
    assert!((again.status, cache(&again)) == (200, "hit") && again.body == layer, "{case}");
    assert_eq!(client.request("DELETE", "/v2/local/app/manifests/1").send().status, 202, "{case}");
    assert_eq!(client.get("/readyz").status, 200, "{case}");
}

/// Checks that the metric names exactly this ability.
fn lacks_only(client: &Client, ability: &str) {
    let metrics = client.get("/metrics").text();
    for known in ["locks", "directory_sync", "one_disk"] {
        let line = format!("entrepot_storage_lacks{{ability=\"{known}\"}} {}", u8::from(known == ability));
        assert!(metrics.contains(&line), "{line}");
    }
}

/// Runs `entrepot check` with the configuration of this server.
fn check(registry: &Registry, environment: &[(&str, String)]) -> (bool, String) {
    let config = registry.data().with_file_name("config.yml");
    let mut check = command(&["check", config.to_str().unwrap()]);
    check.envs(environment.iter().map(|(name, value)| (*name, value)));
    let output = run_with(check, "");
    (output.status.success(), stderr(&output))
}

/// Returns the temporary files below a directory, links to directories included.
fn temporary(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            found.extend(temporary(&path));
        } else if name.starts_with(".tmp-") || name.starts_with(".probe-") {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn store_works_without_locks_or_directory_sync_and_says_so() {
    for (rule, ability, words) in LACKING {
        let Some(disk) = SlowDisk::new() else { return };
        disk.set(&[rule]);
        let upstream = Upstream::start();
        let registry = Registry::configured_in(&disk.environment(), |place| mirrored(place, &upstream));
        everything_works(&registry, &upstream, rule);
        lacks_only(&registry.client(), ability);
        registry.wait_for_log(words);
        let (valid, said) = check(&registry, &disk.environment());
        assert!(valid && said.contains(words), "{rule}: {said}");
        assert_eq!(temporary(&registry.data()), Vec::<String>::new(), "{rule}");
    }
}

/// Images that are pushed at the same time lock the same repository. Without locks of the file system, those of the process hold.
#[test]
fn pushes_at_the_same_time_work_without_locks() {
    let Some(disk) = SlowDisk::new() else { return };
    disk.set(&["lock fail=37 path=/data"]);
    let upstream = Upstream::start();
    let registry = Registry::configured_in(&disk.environment(), |place| mirrored(place, &upstream));
    let client = registry.client();
    std::thread::scope(|scope| {
        for tag in 0..8 {
            let client = &client;
            scope.spawn(move || client.push_image("local/app", &tag.to_string(), &noise(tag, 1000)));
        }
    });
    let tags = client.get("/v2/local/app/tags/list").json();
    assert_eq!(tags["tags"].as_array().unwrap().len(), 8);
}

/// `blobs/`, one of its parents, or a folder of the cache is a link to another disk.
#[test]
fn store_on_two_disks_copies_and_says_so() {
    let Some(other) = other_disk() else { return };
    for linked in ["docker/registry/v2/blobs", "docker/registry/v2/repositories", "cache/blobs", "cache/partial"] {
        let upstream = Upstream::start();
        let target = other.path().join(linked);
        fs::create_dir_all(&target).unwrap();
        let registry = Registry::configured(|place| {
            let link = place.directory.join("data").join(linked);
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(&target, link).unwrap();
            mirrored(place, &upstream)
        });
        everything_works(&registry, &upstream, linked);
        lacks_only(&registry.client(), "one_disk");
        registry.wait_for_log("different file systems");
        let (valid, said) = check(&registry, &[]);
        assert!(valid && said.contains("different file systems"), "{linked}: {said}");
        assert_eq!(temporary(&registry.data()), Vec::<String>::new(), "{linked}");
    }
}

/// A store that a push would fail on is refused by `check` and at the start, and is not ready. The message names the step and
/// the directory.
#[test]
fn store_that_cannot_take_a_push_is_refused() {
    // 5 is EIO.
    let cases = [
        ("rename fail=5 path=/data/docker/registry/v2/blobs", "cannot move a file to"),
        ("sync fail=5 path=/data/docker/registry/v2/repositories", "cannot create and sync a file in"),
        ("sync-directory fail=5 path=/data/docker/registry/v2/blobs", "cannot move a file to"),
        ("lock fail=5 path=/data/docker/registry/v2/repositories", "cannot lock a file in"),
        ("rename fail=5 path=/data/cache/blobs", "cannot move a file to"),
    ];
    for (rule, words) in cases {
        let Some(disk) = SlowDisk::new() else { return };
        let upstream = Upstream::start();
        let mut registry = Registry::configured_in(&disk.environment(), |place| mirrored(place, &upstream));
        let client = registry.client();
        everything_works(&registry, &upstream, rule);
        disk.set(&[rule]);
        eventually("a server that is not ready", || (client.get("/readyz").status == 503).then_some(()));
        registry.wait_for_log(words);
        let (valid, said) = check(&registry, &disk.environment());
        assert!(!valid && said.contains(words) && said.contains(rule.rsplit('=').next().unwrap()), "{rule}: {said}");
        let before = registry.log().len();
        assert!(!registry.try_restart(), "{rule}: the server starts");
        let refusal = registry.log().split_off(before);
        assert!(refusal.contains("cannot be used") && refusal.contains(words), "{rule}: {refusal}");
        disk.heal();
        assert!(registry.try_restart(), "{rule}");
    }
}

/// The disk hangs where a push would change it. The server starts all the same, since it can serve what the disk holds.
#[test]
fn disk_that_hangs_does_not_hold_up_the_start() {
    for rule in ["rename hold path=/data/cache/blobs", "sync hold path=/data/docker", "lock hold path=/data/docker"] {
        let Some(disk) = SlowDisk::new() else { return };
        let upstream = Upstream::start();
        let mut registry = Registry::configured_in(&disk.environment(), |place| mirrored(place, &upstream));
        let client = registry.client();
        let content = noise(4, 1000);
        let digest = client.push_blob("local/app", &content);
        client.get(&blob("library/app", upstream.blob("library/app", &content)));
        wait_until_stored(&registry);
        disk.set(&[rule]);
        registry.kill();
        registry.restart();
        assert!(client.get(&blob("local/app", digest)).body == content, "{rule}");
        disk.heal();
    }
}

/// Returns a directory on another disk than the one of temporary files. Says so and returns `None` if there is none.
pub(super) fn other_disk() -> Option<tempfile::TempDir> {
    let disk = |path: &Path| fs::metadata(path).map(|found| found.dev()).ok();
    let memory = Path::new("/dev/shm");
    if disk(memory).is_none_or(|memory| Some(memory) == disk(&std::env::temp_dir())) {
        println!("skipped: /dev/shm is not another file system than the directory of temporary files");
        return None;
    }
    Some(tempfile::tempdir_in(memory).unwrap())
}
