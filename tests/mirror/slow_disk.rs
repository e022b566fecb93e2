//! A disk that is slow, hangs or fails while blobs arrive. Each test is skipped where there is no C compiler.

use std::thread;
use std::time::{Duration, Instant};

use entrepot::oci::MediaType;

use crate::support::client::{Answer, Client, digest_of, noise};
use crate::support::fault::Fault;
use crate::support::mirror::{Slow, age, blob, cache, manifest, wait_until_stored};
use crate::support::registry::{Registry, eventually};
use crate::support::slow_disk::SlowDisk;
use crate::support::upstream::Upstream;

const LAYER: usize = 8 << 20;

/// The file of a blob that is arriving.
const PARTIAL: &str = "path=/partial/";

/// Starts a mirror whose files are on this disk.
pub(super) fn mirror_on(disk: &SlowDisk, upstream: &Upstream) -> Registry {
    let url = upstream.url();
    Registry::configured_in(&disk.environment(), |place| {
        let upstreams = format!("  upstreams:\n    docker.io: {{default: true, endpoints: [\"{url}\"]}}\n");
        format!("{}\nmirror:\n{upstreams}  cache: {{reserve: 0}}\n", place.usual())
    })
}

/// Sends a request from a thread of its own.
fn in_background(client: &Client, method: &'static str, target: &str) -> thread::JoinHandle<Answer> {
    let (client, target) = (client.clone(), target.to_owned());
    thread::spawn(move || client.request(method, &target).send())
}

/// Returns true if the fill of the only running blob has `arrived` bytes.
fn has_arrived(client: &Client, arrived: usize) -> bool {
    let fills: serde_json::Value = serde_json::from_slice(&client.get("/api/v1/fills").body).unwrap();
    fills["fills"][0]["arrived"].as_u64() == Some(arrived as u64)
}

/// Checks that everything that does not need the hanging disk answers.
fn others_are_served(client: &Client, hit: &str, case: &str) {
    for target in ["/livez", "/metrics", "/v2/", "/api/v1/fills"] {
        assert_eq!(client.get(target).status, 200, "{case}: {target}");
    }
    let answer = client.get(hit);
    assert!((answer.status, cache(&answer), answer.whole) == (200, "hit", true), "{case}: {hit}");
}

/// The first connection sends a wrong byte, and its first write hangs. Once, the connection was given up after some
/// seconds, another one fetched the same bytes, and the hanging write landed after the hash had been found right.
#[test]
fn hanging_write_of_wrong_bytes_never_becomes_part_of_a_complete_blob() {
    let Some(disk) = SlowDisk::new() else { return };
    let upstream = Upstream::start();
    let content = noise(1, LAYER);
    let digest = upstream.blob("library/app", &content);
    let mirror = mirror_on(&disk, &upstream);
    let target = blob("library/app", digest);
    upstream.fault("GET", "/blobs/", Fault::Throttle(1 << 20));
    upstream.fault_once("GET", "/blobs/", Fault::Corrupt);
    disk.set(&[&format!("write hold {PARTIAL} times=1")]);
    let reader = in_background(&mirror.client(), "GET", &target);
    disk.wait_for(&["begun write", "/partial/"]);
    // Leaves time for the fault: everything else arrives, and the connection whose write hangs may be replaced.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(12) && !has_arrived(&mirror.client(), LAYER) {
        thread::sleep(Duration::from_millis(50));
    }
    // The hash is found right before the write lands, if it can be.
    thread::sleep(Duration::from_secs(1));
    disk.heal();
    let first = reader.join().unwrap();
    assert!(!first.whole || first.body == content, "wrong bytes were given out as whole");
    upstream.heal();
    for _ in 0..2 {
        let again = mirror.client().get(&target);
        assert!(again.status == 200 && again.whole && again.body == content, "the cache holds wrong bytes");
    }
}

#[test]
fn server_answers_while_every_write_of_the_disk_hangs() {
    let Some(disk) = SlowDisk::new() else { return };
    let upstream = Upstream::start();
    let (held, arriving) =
        (upstream.blob("library/app", &noise(2, 100)), upstream.blob("library/app", &noise(3, LAYER)));
    let mirror = mirror_on(&disk, &upstream);
    let client = mirror.client();
    let (held, arriving) = (blob("library/app", held), blob("library/app", arriving));
    assert_eq!(client.get(&held).status, 200);
    disk.set(&["write hold path=/data/"]);
    let first = in_background(&client, "GET", &arriving);
    disk.wait_for(&["begun write", "/partial/"]);
    others_are_served(&client, &held, "a blob is arriving");
    // The fill ends, and the next one of the same digest begins, while the write hangs.
    let digest = arriving.rsplit('/').next().unwrap();
    assert_eq!(client.request("DELETE", &format!("/api/v1/fills/{digest}")).send().status, 202);
    let second = in_background(&client, "GET", &arriving);
    for _ in 0..5 {
        others_are_served(&client, &held, "a fill was stopped");
    }
    disk.heal();
    assert!(!first.join().unwrap().whole);
    let second = second.join().unwrap();
    // It may have joined the fill that was cancelled.
    assert!(second.whole || second.status != 200 || second.body.len() < LAYER);
    assert!(client.get(&arriving).body == noise(3, LAYER));
}

#[test]
fn verified_blob_is_served_to_its_end_while_its_sync_hangs() {
    let Some(disk) = SlowDisk::new() else { return };
    let upstream = Upstream::start();
    let contents = [noise(4, 10), noise(5, 60_000), noise(6, 2 << 20)];
    let mirror = mirror_on(&disk, &upstream);
    let client = mirror.client();
    disk.set(&["sync hold path=/cache/", "rename hold path=/cache/blobs/"]);
    let targets: Vec<String> =
        contents.iter().map(|content| blob("library/app", upstream.blob("library/app", content))).collect();
    for (target, content) in targets.iter().zip(&contents) {
        let answer = client.get(target);
        assert!(answer.status == 200 && answer.whole && answer.body == *content);
        // Nothing is fetched for the second request.
        let again = client.get(target);
        assert!((cache(&again), again.whole) == ("hit", true) && again.body == *content);
        let head = client.head(target);
        assert_eq!((head.status, cache(&head)), (200, "hit"));
    }
    assert_eq!(upstream.requests("GET", "/blobs/"), contents.len());
    assert!(disk.affected().iter().any(|call| call.starts_with("begun sync")));
    // Removing a blob waits until it is stored, so that it is gone afterwards.
    let removal = in_background(&client, "DELETE", &targets[0]);
    disk.heal();
    assert_eq!(removal.join().unwrap().status, 202);
    let fetched = upstream.requests("GET", "/blobs/");
    for (target, status) in targets.iter().zip(["miss", "hit", "hit"]) {
        assert_eq!(cache(&client.get(target)), status);
    }
    assert_eq!(upstream.requests("GET", "/blobs/"), fetched + 1);
}

/// A journal of the first fill that lands after the second one has begun would claim bytes that are not there.
#[test]
fn next_fill_begins_after_the_journal_of_the_one_before_has_landed() {
    let Some(disk) = SlowDisk::new() else { return };
    let upstream = Upstream::start();
    let content = noise(7, LAYER);
    let digest = upstream.blob("library/app", &content);
    let mirror = mirror_on(&disk, &upstream);
    let (client, target) = (mirror.client(), blob("library/app", digest));
    upstream.fault("GET", "/blobs/", Fault::Throttle(1 << 20));
    disk.set(&["rename hold path=/extents times=1", "open delay=0 path=/data"]);
    let (slow, _) = Slow::begin(&client, &target, 10);
    disk.wait_for(&["begun rename", "/extents"]);
    assert_eq!(client.request("DELETE", &format!("/api/v1/fills/{digest}")).send().status, 202);
    let _ = slow.rest();
    upstream.heal();
    let second = in_background(&client, "GET", &target);
    // Leaves time for the fault: the second fill opens the file while the journal of the first one hangs.
    thread::sleep(Duration::from_secs(1));
    disk.set(&["open delay=0 path=/data"]);
    let second = second.join().unwrap();
    assert!(second.whole && second.body == content, "{}", second.status);
    let calls = disk.affected();
    let landed = calls.iter().position(|call| call.starts_with("done rename")).unwrap();
    let is_open =
        |call: &String| call.contains("begun open") && call.contains("/partial/") && call.ends_with("/data -1");
    let opened: Vec<usize> = (0..calls.len()).filter(|at| is_open(&calls[*at])).collect();
    assert!(opened.len() == 2 && opened[1] > landed, "{calls:#?}");
}

#[test]
fn failing_disk_costs_the_cached_copy_and_not_the_pull() {
    let Some(disk) = SlowDisk::new() else { return };
    let upstream = Upstream::start();
    let mirror = mirror_on(&disk, &upstream);
    let client = mirror.client();
    const NO_SPACE: u8 = 28;
    const IO_ERROR: u8 = 5;
    let cases = [
        ("write", PARTIAL),
        ("write", "path=/extents"),
        ("write", "path=/.tmp-"),
        ("sync", PARTIAL),
        ("sync", "path=/cache/blobs"),
        ("rename", "path=/cache/blobs/"),
        ("rename", "path=/extents"),
        ("open", PARTIAL),
        ("truncate", PARTIAL),
        ("remove", PARTIAL),
        ("make", "path=/partial/"),
        ("make", "path=/cache/blobs/"),
        ("rename", "path=/_links/"),
    ];
    for (seed, (operation, path)) in (10..).zip(cases) {
        for (size, error) in [(100, IO_ERROR), (LAYER, IO_ERROR), (LAYER, NO_SPACE)] {
            let content = noise(seed * 10 + u64::from(error), size);
            let target = blob("library/app", upstream.blob("library/app", &content));
            let case = format!("{operation} {path} {size} {error}");
            disk.set(&[&format!("{operation} fail={error} {path}")]);
            let answer = client.get(&target);
            assert!(answer.status == 200 && answer.whole && answer.body == content, "{case}: {}", answer.text());
            disk.heal();
            let again = client.get(&target);
            assert!(again.status == 200 && again.whole && again.body == content, "{case}: {}", again.text());
        }
    }
}

/// Whichever call of the disk hangs, only the request that needs it waits.
#[test]
fn one_hanging_call_of_the_disk_holds_up_one_request() {
    let Some(disk) = SlowDisk::new() else { return };
    let upstream = Upstream::start();
    let mirror = mirror_on(&disk, &upstream);
    let client = mirror.client();
    let held = blob("library/app", upstream.blob("library/app", &noise(50, 100)));
    assert_eq!(client.get(&held).status, 200);
    client.push_image("local/app", "1", &noise(51, 1000));
    let stored = |seed| {
        let digest = upstream.blob("library/app", &noise(seed, 100));
        assert_eq!(client.get(&blob("library/app", digest)).status, 200);
        eventually("the stored blob", || {
            let stored = mirror.data().join(format!("cache/blobs/sha256/{}/{}", &digest.hex()[..2], digest.hex()));
            stored.exists().then_some(())
        });
        digest
    };
    let (opened, removed) = (stored(52), stored(53));
    let missing = upstream.blob("library/app", &noise(54, LAYER));
    for (rule, method, target) in [
        (format!("open hold path={}", opened.hex()), "GET", blob("library/app", opened)),
        (format!("remove hold path={}", removed.hex()), "DELETE", blob("library/app", removed)),
        (format!("read hold {PARTIAL}"), "GET", blob("library/app", missing)),
        (format!("sync hold {PARTIAL}"), "GET", blob("library/app", missing)),
        ("stat hold path=/repositories/local/app".to_owned(), "GET", "/v2/local/app/tags/list".to_owned()),
        ("list hold path=/repositories".to_owned(), "GET", "/v2/_catalog".to_owned()),
        ("write hold path=/_uploads/".to_owned(), "POST", "/v2/local/app/blobs/uploads/".to_owned()),
        ("any hold path=/data/private".to_owned(), "GET", "/v2/local/app/manifests/1".to_owned()),
    ] {
        disk.set(&[&rule]);
        let waiting = in_background(&client, method, &target);
        // Leaves time for the call to hang. Some requests need no such call, when memory has the answer.
        thread::sleep(Duration::from_millis(300));
        for _ in 0..3 {
            others_are_served(&client, &held, &rule);
        }
        disk.heal();
        let answer = waiting.join().unwrap();
        assert!((200..300).contains(&answer.status), "{rule}: {}", answer.text());
    }
}

/// The records of an evicted repository are gone for clients before they are removed from the disk, which hangs.
#[test]
fn removal_of_an_evicted_repository_holds_up_no_pull() {
    let Some(disk) = SlowDisk::new() else { return };
    let upstream = Upstream::start();
    let mirror = mirror_on(&disk, &upstream);
    let client = mirror.client();
    let pull = |seed| client.get(&blob("library/app", upstream.blob("library/app", &noise(seed, 100)))).status;
    assert!((70..80).all(|seed| pull(seed) == 200));
    wait_until_stored(&mirror);
    disk.set(&["remove hold path=/cache/trash"]);
    let eviction = in_background(&client, "DELETE", "/api/v1/images/docker.io/library/app");
    disk.wait_for(&["begun remove", "/cache/trash"]);
    // These write links of the repository that is being evicted.
    assert!((75..85).all(|seed| pull(seed) == 200));
    wait_until_stored(&mirror);
    disk.heal();
    assert_eq!(eviction.join().unwrap().status, 200);
    assert!((75..85).all(|seed| pull(seed) == 200));
}

/// Once, each of these links kept a thread, and 512 of them kept every request that needs the disk.
#[test]
fn hanging_links_keep_no_thread_for_each_caller() {
    let Some(disk) = SlowDisk::new() else { return };
    let upstream = Upstream::start();
    let mirror = mirror_on(&disk, &upstream);
    let client = mirror.client();
    let held = blob("library/other", upstream.blob("library/other", &noise(60, 100)));
    assert_eq!(client.get(&held).status, 200);
    wait_until_stored(&mirror);
    disk.set(&["rename hold path=/_links/"]);
    for seed in 1000..1600 {
        let content = noise(seed, 10);
        assert!(client.get(&blob("library/app", upstream.blob("library/app", &content))).body == content);
    }
    others_are_served(&client, &held, "600 links hang");
    disk.heal();
    wait_until_stored(&mirror);
}

#[test]
fn stopping_server_finishes_storing() {
    let Some(disk) = SlowDisk::new() else { return };
    let upstream = Upstream::start();
    let content = noise(61, LAYER);
    let target = blob("library/app", upstream.blob("library/app", &content));
    let mut mirror = mirror_on(&disk, &upstream);
    disk.set(&["sync hold path=/cache/"]);
    assert!(mirror.client().get(&target).body == content);
    mirror.terminate();
    mirror.wait_for_log("stopping");
    disk.heal();
    assert!(mirror.wait().success());
    upstream.gone();
    mirror.restart();
    let again = mirror.client().get(&target);
    assert!(cache(&again) == "hit" && again.body == content);
}

/// A manifest may name thousands of layers. A request for it does not wait until the links to all of them are removed.
#[test]
fn eviction_of_a_manifest_with_many_layers_does_not_hold_up_a_pull() {
    const LAYERS: usize = 1000;
    let Some(disk) = SlowDisk::new() else { return };
    let upstream = Upstream::start();
    let config = upstream.blob("library/app", b"{}");
    let layers: Vec<String> = (0..LAYERS)
        .map(|at| {
            let digest = digest_of(format!("layer {at}").as_bytes());
            format!(r#"{{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"{digest}","size":7}}"#)
        })
        .collect();
    let body = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config}","size":2}},"layers":[{}]}}"#,
        MediaType::OCI_MANIFEST,
        layers.join(",")
    );
    let digest = upstream.manifest("library/app", "1", MediaType::OCI_MANIFEST, body.as_bytes());
    let mirror = mirror_on(&disk, &upstream);
    let client = mirror.client();
    let links = || client.get("/api/v1/usage").json()["cache"]["links"].as_u64();
    let all = Some(LAYERS as u64 + 2);
    assert_eq!(client.get(&manifest("library/app", digest)).status, 200);
    assert_eq!(links(), all);
    // The links of layers are removed slowly, so that the pull comes in the middle.
    disk.set(&["remove delay=20 path=/_links/"]);
    let evicting = in_background(&client, "DELETE", &manifest("library/app", digest));
    disk.wait_for(&["done", "remove"]);
    let pulled = client.get(&manifest("library/app", digest));
    assert_eq!((pulled.status, cache(&pulled)), (200, "miss"));
    // The manifest is stored again, so the eviction ends and leaves the other links.
    disk.heal();
    assert_eq!(evicting.join().unwrap().status, 202);
    let removed = disk.affected().iter().filter(|call| call.starts_with("done remove")).count();
    assert!(removed < LAYERS, "the pull waited for the removal of all links");
    assert_eq!(links(), all, "the links of the manifest that was stored again stay");
    assert_eq!(cache(&client.get(&manifest("library/app", digest))), "hit");
}

/// A mirror on a full disk serves what its upstream has, and keeps none of it.
#[test]
fn full_disk_does_not_hide_what_the_upstream_has() {
    let Some(disk) = SlowDisk::new() else { return };
    let upstream = Upstream::start();
    let old = upstream.image("library/app", "1", &[&noise(1, 1000)]);
    let mirror = mirror_on(&disk, &upstream);
    let client = mirror.client();
    assert_eq!(client.get(&manifest("library/app", "1")).status, 200);
    let (new, other) =
        (upstream.image("library/app", "1", &[&noise(2, 1000)]), upstream.image("library/other", "1", &[b"x"]));
    age(&mirror, "library/app", "_tags/1", Duration::from_secs(3600));
    disk.set(&["write fail=28 path=/cache/", "make fail=28 path=/cache/"]);
    for _ in 0..2 {
        let moved = client.get(&manifest("library/app", "1"));
        assert_eq!((moved.status, moved.header("warning")), (200, None), "{}", moved.text());
        assert!(moved.body == new.manifest && moved.body != old.manifest, "the tag has moved");
        assert_eq!(
            client.head(&manifest("library/app", "1")).header("docker-content-digest"),
            Some(&*new.manifest_digest.to_string())
        );
    }
    for (target, body) in [
        (manifest("library/app", new.manifest_digest), &new.manifest[..]),
        (manifest("library/app", old.manifest_digest), &old.manifest[..]),
        (manifest("library/other", "1"), &other.manifest[..]),
        (blob("library/app", new.layers[0]), &noise(2, 1000)[..]),
    ] {
        let answer = client.get(&target);
        assert!((answer.status, &answer.body[..]) == (200, body), "{target}: {} {}", answer.status, answer.text());
    }
    assert_eq!(client.head(&manifest("library/other", "1")).status, 200);
    for list in ["tags/list", &format!("referrers/{}", new.manifest_digest)] {
        let answer = client.get(&format!("/v2/library/app/{list}"));
        assert_eq!(answer.status, 200, "{list}: {}", answer.text());
    }
    disk.heal();
    assert!(client.get(&manifest("library/app", "1")).body == new.manifest);
}
