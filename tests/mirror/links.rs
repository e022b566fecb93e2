//! The links of mirrored repositories to content: they take space, and go with the content that they are for.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use entrepot::oci::{Digest, MediaType};
use serde_json::json;

use crate::support::client::{digest_of, noise};
use crate::support::mirror::{blob, cache, manifest, mirror, mirror_with, wait_until_stored};
use crate::support::registry::{Registry, eventually};
use crate::support::upstream::Upstream;

const MIB: usize = 1 << 20;

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files
}

/// Returns the links of all mirrored repositories.
fn links(mirror: &Registry) -> Vec<PathBuf> {
    let files = files_below(&mirror.data().join("cache/repositories"));
    files.into_iter().filter(|file| file.to_string_lossy().contains("/_links/")).collect()
}

/// Returns the links to a digest.
fn links_to(mirror: &Registry, digest: &Digest) -> usize {
    links(mirror).iter().filter(|link| link.ends_with(digest.hex())).count()
}

fn blobs(mirror: &Registry) -> Vec<PathBuf> {
    files_below(&mirror.data().join("cache/blobs"))
}

/// Returns the bytes of all cached blobs.
fn blob_bytes(mirror: &Registry) -> u64 {
    blobs(mirror).iter().map(|file| file.metadata().unwrap().len()).sum()
}

fn pull(mirror: &Registry, name: &str, digest: &Digest) {
    assert_eq!(mirror.client().get(&blob(name, digest)).status, 200);
    wait_until_stored(mirror);
}

/// Adds a manifest with layers that do not exist, and returns its digest.
fn image_of(upstream: &Upstream, number: usize, layers: usize) -> Digest {
    let descriptor = |what: String| json!({"mediaType": MediaType::OCTET_STREAM, "digest": digest_of(what.as_bytes()).to_string(), "size": what.len()});
    let layers: Vec<_> = (0..layers).map(|layer| descriptor(format!("{number}/{layer}"))).collect();
    let body = json!({"schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST, "config": descriptor(number.to_string()), "layers": layers});
    upstream.manifest("library/app", &number.to_string(), MediaType::OCI_MANIFEST, body.to_string().as_bytes())
}

#[test]
fn links_of_all_repositories_go_with_an_evicted_blob() {
    let upstream = Upstream::start();
    let first = noise(1, 2 * MIB);
    let digest = upstream.blob("library/one", &first);
    upstream.blob("library/two", &first);
    let mirror = mirror_with(&upstream, "", "  cache: {maxsize: 5MiB, reserve: 0}");
    pull(&mirror, "library/one", &digest);
    pull(&mirror, "library/two", &digest);
    assert_eq!(links_to(&mirror, &digest), 2);
    for seed in 2..4 {
        pull(&mirror, "library/one", &upstream.blob("library/one", &noise(seed, 2 * MIB)));
    }
    assert_eq!((links_to(&mirror, &digest), links(&mirror).len()), (0, 2));
    let names = mirror.client().get("/api/v1/repositories").text();
    assert!(names.contains("library/one") && !names.contains("library/two"), "{names}");
    let again = mirror.client().get(&blob("library/two", digest));
    assert!(again.whole && again.body == first);
}

#[test]
fn links_of_manifests_count_for_the_limit_and_go_with_them() {
    let upstream = Upstream::start();
    let digests: Vec<_> = (0..150).map(|number| image_of(&upstream, number, 20)).collect();
    let mirror = mirror_with(&upstream, "", "  cache: {maxsize: 4MiB, reserve: 0}");
    for number in 0..digests.len() {
        assert_eq!(mirror.client().get(&manifest("library/app", number)).status, 200);
    }
    let taken = links(&mirror).len() as u64 * 4096 + blob_bytes(&mirror);
    assert!(taken <= 4 << 20, "{taken} bytes of links and manifests");
    assert_eq!((links_to(&mirror, &digests[0]), links_to(&mirror, &digest_of(b"0/0"))), (0, 0));
    assert_eq!((links_to(&mirror, &digests[149]), links_to(&mirror, &digest_of(b"149/0"))), (1, 1));
    assert_eq!(cache(&mirror.client().get(&manifest("library/app", 149))), "hit");
}

#[test]
fn links_are_counted_in_usage() {
    let upstream = Upstream::start();
    let layer = noise(4, MIB);
    let image = upstream.image("library/app", "1", &[&layer, b"never pulled"]);
    let mut mirror = mirror(&upstream);
    assert_eq!(mirror.client().get(&manifest("library/app", "1")).status, 200);
    pull(&mirror, "library/app", &image.layers[0]);
    for restarted in [false, true] {
        if restarted {
            mirror.restart();
        }
        let client = mirror.client();
        let usage = eventually("the index", || {
            let usage = client.get("/api/v1/usage").json()["cache"].clone();
            (usage["links"] == 4).then_some(usage)
        });
        assert_eq!((usage["links"].as_u64(), usage["link_bytes"].as_u64()), (Some(4), Some(4 * 4096)));
        assert_eq!(links(&mirror).len(), 4);
    }
    let metrics = mirror.client().get("/metrics").text();
    assert!(metrics.contains("entrepot_cache_links 4\n"), "{metrics}");
}

#[test]
fn links_without_content_are_removed_at_start() {
    let upstream = Upstream::start();
    let image = upstream.image("library/app", "1", &[&noise(5, MIB), b"never pulled"]);
    let mut mirror = mirror(&upstream);
    assert_eq!(mirror.client().get(&manifest("library/app", "1")).status, 200);
    pull(&mirror, "library/app", &image.layers[0]);
    mirror.kill();
    let of_layer = links(&mirror).into_iter().find(|link| link.ends_with(image.layers[0].hex())).unwrap();
    let orphan = of_layer.with_file_name(digest_of(b"gone").hex());
    fs::copy(&of_layer, &orphan).unwrap();
    let elsewhere = mirror.data().join("cache/repositories/docker.io/library/other/_links/sha256");
    fs::create_dir_all(&elsewhere).unwrap();
    fs::copy(&of_layer, elsewhere.join(digest_of(b"gone").hex())).unwrap();
    mirror.restart();
    eventually("the sweep", || (links(&mirror).len() == 4).then_some(()));
    assert!(!orphan.exists() && !elsewhere.exists());
    assert_eq!(links_to(&mirror, &image.layers[1]), 1, "a stored manifest names it");
    assert_eq!(cache(&mirror.client().get(&blob("library/app", image.layers[0]))), "hit");
}

#[test]
fn deleted_blob_leaves_no_link_in_any_repository() {
    let upstream = Upstream::start();
    let content = noise(6, MIB);
    let digest = upstream.blob("library/one", &content);
    upstream.blob("library/two", &content);
    let mirror = mirror(&upstream);
    pull(&mirror, "library/one", &digest);
    pull(&mirror, "library/two", &digest);
    assert_eq!(mirror.client().request("DELETE", &blob("library/one", digest)).send().status, 202);
    assert_eq!(links(&mirror), Vec::<PathBuf>::new());
    assert_eq!(mirror.client().request("DELETE", &blob("library/two", digest)).send().status, 404);
    pull(&mirror, "library/one", &digest);
    pull(&mirror, "library/two", &digest);
    let removed = mirror.client().request("DELETE", "/api/v1/images/docker.io/library/one").send();
    assert_eq!(removed.status, 200, "{}", removed.text());
    assert_eq!((links(&mirror).len(), blobs(&mirror).len()), (1, 1), "the other repository keeps it");
    assert_eq!(mirror.client().get("/api/v1/usage").json()["cache"]["links"], 1);
}

/// What an upstream says to a HEAD is only a hint, and no right to the content.
#[test]
fn heads_leave_no_links() {
    let upstream = Upstream::start();
    let digests: Vec<_> = (0..400).map(|seed| upstream.blob("library/app", &noise(1000 + seed, 10))).collect();
    let mirror = mirror_with(&upstream, "", "  cache: {maxsize: 2MiB, reserve: 0}");
    for digest in &digests {
        assert_eq!(mirror.client().head(&blob("library/app", digest)).status, 200);
    }
    assert_eq!(links(&mirror).len(), 0);
    let layer = upstream.blob("library/app", &noise(7, MIB));
    pull(&mirror, "library/app", &layer);
    assert_eq!(cache(&mirror.client().get(&blob("library/app", layer))), "hit");
    assert_eq!(links(&mirror).len(), 1);
}

/// Blobs are stored, evicted and fetched again at the same time. Each stored blob has a link, and the accounts are right.
#[test]
fn stored_blobs_and_their_links_agree_after_many_evictions() {
    let upstream = Upstream::start();
    let mirror = mirror_with(&upstream, "", "  cache: {maxsize: 3MiB, reserve: 0}");
    let contents: Vec<_> = (0..12).map(|seed| noise(2000 + seed, MIB / 2)).collect();
    let digests: Vec<_> = contents.iter().map(|content| upstream.blob("library/app", content)).collect();
    let pulls: Vec<_> = (0..8)
        .map(|offset| {
            let (client, digests, contents) = (mirror.client(), digests.clone(), contents.clone());
            thread::spawn(move || {
                for number in (0..3 * digests.len()).map(|step| (step * (offset + 1) + offset) % digests.len()) {
                    assert!(client.get(&blob("library/app", digests[number])).body == contents[number]);
                }
            })
        })
        .collect();
    pulls.into_iter().for_each(|pull| pull.join().unwrap());
    wait_until_stored(&mirror);
    let name = |path: &PathBuf| path.file_name().unwrap().to_owned();
    let (mut stored, mut linked): (Vec<_>, Vec<_>) =
        (blobs(&mirror).iter().map(name).collect(), links(&mirror).iter().map(name).collect());
    stored.sort();
    linked.sort();
    assert_eq!(stored, linked);
    let usage = mirror.client().get("/api/v1/usage").json()["cache"].clone();
    assert_eq!(
        (usage["bytes"].as_u64(), usage["links"].as_u64()),
        (Some(blob_bytes(&mirror)), Some(linked.len() as u64))
    );
    assert!(blob_bytes(&mirror) + 4096 * linked.len() as u64 <= 3 << 20);
}
