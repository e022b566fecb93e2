//! Failures while a blob arrives, and content that must be neither stored nor served.

use std::thread;
use std::time::Duration;

use crate::support::client::noise;
use crate::support::fault::Fault;
use crate::support::mirror::{Slow, blob, cache, manifest, mirror, mirror_with, wait_until_stored};
use crate::support::registry::{Registry, eventually};
use crate::support::upstream::Upstream;

const LAYER: usize = 2 << 20;

/// Returns every file among the complete blobs of the cache.
fn cached_files(mirror: &Registry) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    let mut directories = vec![mirror.data().join("cache/blobs")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() { directories.push(path) } else { files.push(path) }
        }
    }
    files
}

#[test]
fn content_with_a_wrong_digest_is_never_served_whole_or_stored() {
    let upstream = Upstream::start();
    for (seed, size) in [(1, 10), (2, 70_000), (3, LAYER)] {
        let content = noise(seed, size);
        let digest = upstream.blob("library/app", &content);
        let mirror = mirror(&upstream);
        upstream.fault_once("GET", "/blobs/", Fault::Corrupt);
        let target = blob("library/app", digest);
        let readers: Vec<_> = (0..3)
            .map(|_| {
                let (client, target) = (mirror.client(), target.clone());
                thread::spawn(move || client.get(&target))
            })
            .collect();
        let answers: Vec<_> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
        // A reader that came after the damage was found started a new fill, which is correct.
        assert!(answers.iter().any(|answer| answer.status == 502 || !answer.whole), "{size}");
        for answer in answers.iter().filter(|answer| answer.status == 200 && answer.whole) {
            assert!(answer.body == content, "{size}: damaged content was given out as whole");
        }
        let again = mirror.client().get(&target);
        assert!(again.status == 200 && again.whole && again.body == content, "{size}");
        upstream.heal();
    }
}

#[test]
fn damaged_body_is_cut_and_not_stored() {
    let upstream = Upstream::start();
    let digest = upstream.blob("library/app", &noise(4, LAYER));
    let mirror = mirror(&upstream);
    upstream.fault("GET", "/blobs/", Fault::Corrupt);
    let answer = mirror.client().get(&blob("library/app", digest));
    assert!(answer.status == 200 && !answer.whole && answer.body.len() < LAYER);
    assert!(cached_files(&mirror).is_empty());
    let early = mirror.client().request("GET", &blob("library/app", digest)).header("Range", "bytes=10-19").send();
    assert_eq!((early.status, early.whole, early.body.len()), (206, true, 10), "a range before the end passes");
    let last = mirror.client().request("GET", &blob("library/app", digest)).header("Range", "bytes=-10").send();
    assert!(!last.whole || last.status == 502, "a range with the last byte waits for the verification");
}

#[test]
fn interrupted_body_ends_in_an_error_and_the_next_request_resumes() {
    let upstream = Upstream::start();
    let content = noise(5, LAYER);
    let digest = upstream.blob("library/app", &content);
    let mirror = mirror(&upstream);
    let target = blob("library/app", digest);
    upstream.fault("GET", "/blobs/", Fault::Throttle(LAYER as u64 / 2));
    upstream.fault("GET", "/blobs/", Fault::Cut(LAYER as u64 / 2));
    let (slow, first) = Slow::begin(&mirror.client(), &target, 10);
    upstream.heal();
    upstream.fault("GET", "/blobs/", Fault::Status(404));
    let broken = [first, slow.rest()].concat();
    assert!(broken.len() < LAYER && content.starts_with(&broken));
    upstream.heal();
    let whole = mirror.client().get(&target);
    assert!(whole.whole && whole.body == content);
    assert_eq!(upstream.bytes_sent(&digest), LAYER as u64, "stored bytes were not fetched again");
}

#[test]
fn upstream_errors_keep_their_meaning() {
    let upstream = Upstream::start();
    let mut mirror = mirror_with(&upstream, ", connecttimeout: 2s, firstbytetimeout: 1s", "");
    let client = mirror.client();
    let digest = upstream.blob("library/app", &noise(6, LAYER));
    upstream.image("library/app", "1", &[b"x"]);
    for (faults, status, code) in [
        (vec![Fault::Status(401)], 403, "DENIED"),
        (vec![Fault::Status(403)], 403, "DENIED"),
        (vec![Fault::Status(429), Fault::RetryAfter("17")], 429, "TOOMANYREQUESTS"),
        (vec![Fault::Status(500)], 502, "UNAVAILABLE"),
        (vec![Fault::Status(503)], 502, "UNAVAILABLE"),
        (vec![Fault::Hang], 504, "UNAVAILABLE"),
        (vec![Fault::Length(3), Fault::Corrupt], 502, "UNAVAILABLE"),
    ] {
        for target in [blob("library/app", digest), manifest("library/app", "1")] {
            for fault in &faults {
                upstream.fault("GET", "", fault.clone());
            }
            let answer = client.get(&target);
            upstream.heal();
            if answer.status == 200 && !answer.whole {
                continue;
            }
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (status, code),
                "{faults:?} {target}: {}",
                answer.text()
            );
            if status == 429 {
                assert_eq!(answer.header("retry-after"), Some("17"));
            }
            if matches!(status, 429 | 504) {
                // Otherwise the mirror would not ask this upstream for a while.
                mirror.restart();
            }
            if status == 403 {
                assert!(answer.text().contains("mirror.upstreams.docker.io"), "{}", answer.text());
                assert!(answer.header("www-authenticate").is_none(), "a 401 would ask the client for a login here");
            }
        }
    }
    for (target, code) in [
        (blob("library/app", crate::support::client::digest_of(b"nowhere")), "BLOB_UNKNOWN"),
        (manifest("library/app", "2"), "MANIFEST_UNKNOWN"),
    ] {
        let answer = client.get(&target);
        assert_eq!((answer.status, answer.code().as_str()), (404, code));
    }
    upstream.gone();
    let answer = client.get(&manifest("library/app", "never"));
    assert_eq!((answer.status, answer.code().as_str()), (503, "UNAVAILABLE"));
    assert_eq!(client.get("/v2/").status, 200, "/v2/ never asks an upstream");
}

#[test]
fn cached_file_of_a_wrong_length_is_fetched_again() {
    let upstream = Upstream::start();
    let layer = noise(8, LAYER);
    let image = upstream.image("library/app", "1", &[&layer]);
    let mirror = mirror(&upstream);
    let client = mirror.client();
    assert_eq!(client.get(&manifest("library/app", "1")).status, 200);
    assert_eq!(client.get(&blob("library/app", image.layers[0])).body.len(), LAYER);
    wait_until_stored(&mirror);
    for file in cached_files(&mirror) {
        let len = file.metadata().unwrap().len();
        std::fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(len / 2).unwrap();
    }
    let again = client.get(&blob("library/app", image.layers[0]));
    assert!(cache(&again) == "miss" && again.whole && again.body == layer);
    let manifest = client.get(&manifest("library/app", "1"));
    assert_eq!((manifest.status, manifest.body.as_slice()), (200, &image.manifest[..]));
    assert!(client.get("/metrics").text().contains("entrepot_damaged_blobs_total 2"));
}

#[test]
fn eviction_takes_the_least_recently_used_blob_and_no_private_image() {
    let upstream = Upstream::start();
    let mirror = mirror_with(&upstream, "", "  cache: {maxsize: 5MiB, reserve: 0}");
    let client = mirror.client();
    let private = client.push_image("local/app", "1", &noise(9, LAYER));
    let digests: Vec<_> = (0..2).map(|seed| upstream.blob("library/app", &noise(20 + seed, LAYER))).collect();
    for digest in &digests {
        assert_eq!(client.get(&blob("library/app", digest)).status, 200);
        wait_until_stored(&mirror);
        thread::sleep(std::time::Duration::from_millis(5));
    }
    // Using the first blob again makes the second one the least recently used.
    assert_eq!(cache(&client.get(&blob("library/app", digests[0]))), "hit");
    let third = upstream.blob("library/app", &noise(30, LAYER));
    assert_eq!(client.get(&blob("library/app", third)).status, 200);
    wait_until_stored(&mirror);
    for (digest, want) in [(digests[0], "hit"), (third, "hit"), (digests[1], "miss")] {
        assert_eq!(cache(&client.get(&blob("library/app", digest))), want);
    }
    assert_eq!(client.get(&blob("local/app", private.layer)).body.len(), LAYER);
    let metrics = client.get("/metrics").text();
    assert!(metrics.contains("entrepot_evictions_total 2"), "{metrics}");
}

#[test]
fn blob_larger_than_the_cache_is_served_and_not_stored() {
    let upstream = Upstream::start();
    let content = noise(10, LAYER);
    let digest = upstream.blob("library/app", &content);
    let mirror = mirror_with(&upstream, "", "  cache: {maxsize: 1MiB, reserve: 0}");
    let target = blob("library/app", digest);
    for _ in 0..2 {
        let answer = mirror.client().get(&target);
        assert!(answer.status == 200 && answer.whole && answer.body == content);
        let range = mirror.client().request("GET", &target).header("Range", "bytes=100000-100009").send();
        assert_eq!((range.status, range.body.as_slice()), (206, &content[100_000..100_010]));
    }
    upstream.fault("GET", "/blobs/", Fault::Corrupt);
    let damaged = mirror.client().get(&target);
    assert!(!damaged.whole, "the content is verified all the same");
    upstream.heal();
    // Without a `Content-Length`, the server learns the size only while it reads.
    upstream.fault("GET", "/blobs/", Fault::NoLength);
    let answer = mirror.client().get(&target);
    assert!(answer.status == 200 && answer.whole && answer.body == content);
    assert!(cached_files(&mirror).is_empty());
    wait_until_stored(&mirror);
}

#[test]
fn cache_survives_a_restart() {
    let upstream = Upstream::start();
    let digest = upstream.blob("library/app", &noise(11, LAYER));
    let mut mirror = mirror(&upstream);
    assert_eq!(mirror.client().get(&blob("library/app", digest)).status, 200);
    wait_until_stored(&mirror);
    upstream.gone();
    mirror.restart();
    assert_eq!(cache(&mirror.client().get(&blob("library/app", digest))), "hit");
    eventually("the index", || {
        mirror.client().get("/metrics").text().contains(&format!("entrepot_cache_bytes {LAYER}\n")).then_some(())
    });
}

#[test]
fn disagreeing_sources_never_complete_unverified_bytes() {
    let upstream = Upstream::start();
    let content = noise(40, LAYER);
    let digest = upstream.blob("library/one", &content);
    upstream.blob("library/two", &content);
    // The first source sends wrong bytes and is cut in the middle. The second declares another size and sends the missing bytes.
    upstream.fault("GET", "library/one/blobs", Fault::Corrupt);
    upstream.fault("GET", "library/one/blobs", Fault::Throttle(LAYER as u64 / 4));
    upstream.fault("GET", "library/one/blobs", Fault::Cut(LAYER as u64 / 2));
    upstream.fault("GET", "library/two/blobs", Fault::IgnoreRange);
    upstream.fault("GET", "library/two/blobs", Fault::Length(LAYER as u64 + 1000));
    let mirror = mirror(&upstream);
    let (first, begun) = Slow::begin(&mirror.client(), &blob("library/one", digest), 10);
    assert!(begun != content[..10], "the wrong bytes are arriving");
    let (client, target) = (mirror.client(), blob("library/two", digest));
    let second = thread::spawn(move || client.get(&target));
    let received = begun.len() + first.rest().len();
    assert!(received < LAYER, "{received} unverified bytes ended cleanly");
    let second = second.join().unwrap();
    assert!(second.status != 200 || !second.whole || second.body == content);
    let asked = upstream.requests("GET", "library/two/blobs");
    assert_eq!(asked, 2, "the second source proved its right by a byte, and was asked for the rest");
}

#[test]
fn blob_is_served_although_its_right_cannot_be_recorded() {
    let upstream = Upstream::start();
    let content = noise(41, LAYER);
    let digest = upstream.blob("library/one", &content);
    upstream.blob("library/two", &content);
    let mirror = mirror(&upstream);
    assert_eq!(mirror.client().get(&blob("library/one", digest)).status, 200);
    // A file stands where the directory of records should be.
    let links = mirror.data().join("cache/repositories/docker.io/library/two/_links");
    std::fs::create_dir_all(&links).unwrap();
    std::fs::write(links.join("sha256"), "").unwrap();
    for _ in 0..2 {
        let answer = mirror.client().get(&blob("library/two", digest));
        assert!(answer.status == 200 && answer.whole && answer.body == content);
    }
    assert_eq!(upstream.bytes_sent(&digest), LAYER as u64 + 2, "a byte for each proof");
}

#[test]
fn complete_content_is_not_requested_again() {
    let upstream = Upstream::start();
    let content = noise(42, LAYER);
    let digest = upstream.blob("library/app", &content);
    let mirror = mirror(&upstream);
    // Chunks without a final one: all bytes arrive, but the body never ends.
    upstream.fault("GET", "/blobs/", Fault::NoLength);
    upstream.fault("GET", "/blobs/", Fault::Cut(LAYER as u64));
    let answer = mirror.client().get(&blob("library/app", digest));
    assert!(answer.status == 200 && answer.whole && answer.body == content);
    assert_eq!(upstream.bytes_sent(&digest), LAYER as u64);
}

#[test]
fn partial_with_wrong_content_restarts() {
    let upstream = Upstream::start();
    let content = noise(43, LAYER);
    let digest = upstream.blob("library/app", &content);
    let mirror = mirror(&upstream);
    let partial = mirror.data().join(format!("cache/partial/sha256/{}", digest.hex()));
    std::fs::create_dir_all(&partial).unwrap();
    std::fs::write(partial.join("data"), vec![7; LAYER + 10]).unwrap();
    std::fs::write(partial.join("extents"), format!("0 {}\n", LAYER + 10)).unwrap();
    let answer = mirror.client().get(&blob("library/app", digest));
    assert!(answer.status == 200 && answer.whole && answer.body == content);
    wait_until_stored(&mirror);
    assert_eq!(cached_files(&mirror)[0].metadata().unwrap().len(), LAYER as u64);
}

/// The cache has no space for the content beside the wrong one that was left.
#[test]
fn wrong_content_that_was_left_gives_way_to_the_right_one() {
    const SIZE: usize = 3 << 20;
    let upstream = Upstream::start();
    let content = noise(46, SIZE);
    let digest = upstream.blob("library/app", &content);
    let mirror = mirror_with(&upstream, "", "  cache: {maxsize: 4MiB, reserve: 0}");
    let partial = mirror.data().join(format!("cache/partial/sha256/{}", digest.hex()));
    std::fs::create_dir_all(&partial).unwrap();
    std::fs::write(partial.join("data"), vec![7; SIZE]).unwrap();
    std::fs::write(partial.join("extents"), format!("0 {SIZE}\n")).unwrap();
    // The first client may get bytes that were left, and is cut.
    let first = mirror.client().get(&blob("library/app", digest));
    assert!(!first.whole || first.body == content);
    let second = mirror.client().get(&blob("library/app", digest));
    assert!(second.status == 200 && second.whole && second.body == content);
    wait_until_stored(&mirror);
    assert_eq!(cached_files(&mirror).len(), 1);
    assert!(!partial.exists());
}

/// The server was killed after a blob had been stored, and before its journal was removed.
#[test]
fn journal_without_content_is_removed_at_the_start() {
    let upstream = Upstream::start();
    let mut mirror = mirror(&upstream);
    let partial = mirror.data().join(format!("cache/partial/sha256/{}", "ab".repeat(32)));
    std::fs::create_dir_all(&partial).unwrap();
    std::fs::write(partial.join("extents"), "0 1000\n").unwrap();
    mirror.restart();
    eventually("the journal is removed", || (!partial.join("extents").exists()).then_some(()));
}

#[test]
fn blob_is_fetched_after_a_head_with_a_wrong_length() {
    let upstream = Upstream::start();
    let content = noise(44, LAYER);
    let digest = upstream.blob("library/app", &content);
    let mirror = mirror(&upstream);
    upstream.fault("HEAD", "/blobs/", Fault::Length(7));
    assert_eq!(mirror.client().head(&blob("library/app", digest)).status, 200);
    upstream.heal();
    let answer = mirror.client().get(&blob("library/app", digest));
    assert!(answer.status == 200 && answer.whole && answer.body == content, "{}", answer.status);
}

#[test]
fn failed_fill_restarts_while_a_slow_reader_remains() {
    let upstream = Upstream::start();
    let content = noise(45, LAYER);
    let digest = upstream.blob("library/app", &content);
    let mirror = mirror(&upstream);
    upstream.fault("GET", "/blobs/", Fault::Throttle(LAYER as u64 / 2));
    upstream.fault("GET", "/blobs/", Fault::Cut(LAYER as u64 / 2));
    let target = blob("library/app", digest);
    let (_slow, _) = Slow::begin(&mirror.client(), &target, 10);
    upstream.heal();
    upstream.fault("GET", "/blobs/", Fault::Status(404));
    eventually("the end of the first fill", || {
        mirror.client().get("/metrics").text().contains("entrepot_fills_total{outcome=\"failed\"} 1").then_some(())
    });
    upstream.heal();
    let again = mirror.client().get(&target);
    assert!(again.whole && again.body == content);
    assert_eq!(upstream.bytes_sent(&digest), LAYER as u64);
    wait_until_stored(&mirror);
    assert!(!mirror.data().join(format!("cache/partial/sha256/{}", digest.hex())).exists());
}

#[test]
fn parallel_fills_keep_the_quota() {
    let upstream = Upstream::start();
    let mirror = mirror_with(&upstream, "", "  cache: {maxsize: 5MiB, reserve: 0}");
    for round in 0..4 {
        let pulls: Vec<_> = (0..12)
            .map(|seed| {
                let content = noise(500 + round * 100 + seed, LAYER);
                let (client, target) = (mirror.client(), blob("library/app", upstream.blob("library/app", &content)));
                thread::spawn(move || assert!(client.get(&target).body == content))
            })
            .collect();
        pulls.into_iter().for_each(|pull| pull.join().unwrap());
        wait_until_stored(&mirror);
        let held: u64 = cached_files(&mirror).iter().map(|file| file.metadata().map_or(0, |file| file.len())).sum();
        assert!(held <= 5 << 20, "{held} bytes in round {round}");
    }
}

#[test]
fn source_that_failed_is_asked_again_while_the_fill_runs_for_another_source() {
    let upstream = Upstream::start();
    let content = noise(70, 12 << 20);
    let digest = upstream.blob("library/app", &content);
    assert_eq!(upstream.blob("library/copy", &content), digest);
    let mirror = mirror(&upstream);
    // The fill begins for a source whose refusals come late. Meanwhile the other source joins.
    upstream.fault("GET", "/v2/library/app/", Fault::Latency(Duration::from_millis(700)));
    upstream.fault("GET", "/v2/library/app/", Fault::Status(503));
    upstream.fault("GET", "/v2/library/copy/", Fault::Throttle(1 << 20));
    let client = mirror.client();
    let failing = thread::spawn(move || client.get(&blob("library/app", digest)).status);
    eventually("the first source", || (upstream.requests("GET", "/v2/library/app/") > 0).then_some(()));
    let (slow, first) = Slow::begin(&mirror.client(), &blob("library/copy", digest), 10);
    assert!([502, 503].contains(&failing.join().unwrap()));
    upstream.heal();
    upstream.fault("GET", "/v2/library/copy/", Fault::Throttle(1 << 20));
    let answer = mirror.client().request("GET", &blob("library/app", digest)).header("Range", "bytes=0-9").send();
    assert!(answer.status == 206 && answer.body == content[..10], "{}", answer.status);
    upstream.heal();
    assert!([first, slow.rest()].concat() == content);
}
