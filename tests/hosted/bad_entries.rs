//! One entry of the store that cannot be used spoils nothing: everything else is served, listed and counted, and the log and
//! `/api/v1/usage` name the entry. A disk that a preloaded library imitates makes directories unreadable, since tests may run as
//! root; those tests are skipped where there is no C compiler.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use entrepot::oci::Digest;
use serde_json::Value;

use crate::support::client::{Client, Image, digest_of, noise};
use crate::support::mirror::{blob, cache, manifest, wait_until_stored};
use crate::support::registry::{Registry, eventually};
use crate::support::slow_disk::SlowDisk;
use crate::support::upstream::Upstream;

/// The way in which an entry cannot be used.
enum Damage {
    /// The directory cannot be listed. The number is that of the error: 13 is EACCES, 5 is EIO, 40 is ELOOP.
    Unlisted(u32),
    /// A file that the store did not write.
    ForeignFile,
    /// A directory whose name fits nothing.
    ForeignFolder,
    /// A directory in the place of a file.
    FolderForFile,
    /// A link to itself in the place of a file. It can be read by no user.
    Unreadable,
    /// A pipe without a writer in the place of a file: its opening waits.
    Pipe,
    /// More bytes than memory in the place of a short file.
    Endless,
}
use Damage::{Endless, FolderForFile, ForeignFile, ForeignFolder, Pipe, Unlisted, Unreadable};

const HOSTED: &str = "docker/registry/v2";

/// Returns the damaged entries. `BROKEN` stands for the first digits of the blobs of the damaged image, and for its digests.
fn cases() -> Vec<(&'static str, Damage)> {
    vec![
        ("HOSTED/repositories/broken", Unlisted(13)),
        ("HOSTED/repositories/broken/app", Unlisted(5)),
        ("HOSTED/repositories/broken/app/_layers/sha256", Unlisted(40)),
        ("HOSTED/repositories/broken/app/_manifests/tags", Unlisted(13)),
        ("HOSTED/repositories/broken/app/_uploads", Unlisted(13)),
        ("HOSTED/repositories/notes.txt", ForeignFile),
        ("HOSTED/repositories/lost+found", ForeignFolder),
        ("HOSTED/repositories/files/_manifests", ForeignFile),
        ("HOSTED/repositories/broken/app/_uploads/.DS_Store", ForeignFile),
        ("HOSTED/repositories/broken/app/_manifests/tags/.DS_Store", ForeignFile),
        ("HOSTED/repositories/broken/app/_layers/sha256/README", ForeignFile),
        ("HOSTED/repositories/broken/app/_manifests/tags/2/current/link", FolderForFile),
        ("HOSTED/repositories/broken/app/_manifests/tags/2/current/link", Unreadable),
        ("HOSTED/blobs/sha256/LAYER", Unlisted(13)),
        ("HOSTED/blobs/sha256/LAYER/data", FolderForFile),
        ("HOSTED/blobs/sha256/LAYER/data", Unreadable),
        ("HOSTED/blobs/sha256/lost+found", ForeignFolder),
        ("HOSTED/blobs/README", ForeignFile),
        ("cache/blobs/sha256/CACHED", Unlisted(13)),
        ("cache/blobs/sha256/CACHED", FolderForFile),
        ("cache/blobs/sha256/CACHED", Unreadable),
        ("cache/blobs/README", ForeignFile),
        ("cache/partial/sha256/README", ForeignFile),
        ("cache/repositories/docker.io/library/broken", Unlisted(5)),
        ("cache/repositories/docker.io/library/broken/_links/sha256", Unlisted(13)),
        ("cache/repositories/docker.io/library/broken/_links/sha256/README", ForeignFile),
        ("cache/repositories/docker.io/library/broken/_tags/2", FolderForFile),
    ]
}

struct Damaged {
    upstream: Upstream,
    disk: SlowDisk,
    registry: Registry,
    client: Client,
    good: Image,
    broken: Image,
    /// The layer of a mirrored image.
    cached: Digest,
}

impl Damaged {
    fn new() -> Option<Self> {
        let disk = SlowDisk::new()?;
        let upstream = Upstream::start();
        let registry = Registry::configured_in(&disk.environment(), |place| {
            let upstreams = format!("docker.io: {{default: true, endpoints: [\"{}\"]}}", upstream.url());
            let mirror = "mirror:\n  local: [good/**, broken/**, z/**, files]\n  cache: {reserve: 0}\n";
            format!("{}\n{mirror}  upstreams: {{{upstreams}}}\n", place.usual())
        });
        let client = registry.client();
        let good = client.push_image("good/app", "1", &noise(1, 1000));
        let broken = client.push_image("broken/app", "2", &noise(2, 1000));
        client.begin("broken/app");
        client.push_image("z/app", "1", &noise(3, 1000));
        let cached = upstream.image("library/broken", "2", &[&noise(4, 1000)[..]]).layers[0];
        upstream.image("library/good", "1", &[&noise(5, 1000)[..]]);
        for (name, tag) in [("library/good", "1"), ("library/broken", "2")] {
            assert_eq!(client.get(&manifest(name, tag)).status, 200);
        }
        assert_eq!(client.get(&blob("library/broken", cached)).status, 200);
        wait_until_stored(&registry);
        Some(Self { upstream, disk, registry, client, good, broken, cached })
    }

    /// Damages an entry. Returns its path and the rules for the disk.
    fn damage(&self, entry: &str, damage: &Damage) -> (PathBuf, Vec<String>) {
        let is_folder = matches!(damage, Unlisted(_));
        let hosted = |hex: &str| if is_folder { hex[..2].to_owned() } else { format!("{}/{hex}", &hex[..2]) };
        let entry = entry.replace("HOSTED", HOSTED).replace("LAYER", &hosted(&self.broken.layer.hex()));
        let path = self.registry.data().join(entry.replace("CACHED", &hosted(&self.cached.hex())));
        let remove = || {
            let _ = fs::remove_file(&path);
        };
        let make_parent = || fs::create_dir_all(path.parent().unwrap()).unwrap();
        match damage {
            Unlisted(number) => {
                assert!(path.is_dir(), "{}", path.display());
                return (path.clone(), vec![format!("list fail={number} path={}", path.display())]);
            }
            ForeignFile => {
                make_parent();
                fs::write(&path, b"not ours").unwrap();
            }
            ForeignFolder => fs::create_dir_all(&path).unwrap(),
            FolderForFile => {
                remove();
                fs::create_dir_all(path.join("inside")).unwrap();
            }
            Pipe => {
                remove();
                assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
            }
            Endless => File::options().write(true).open(&path).unwrap().set_len(1 << 40).unwrap(),
            Unreadable => {
                assert!(path.is_file(), "{}", path.display());
                remove();
                symlink(&path, &path).unwrap();
            }
        }
        (path, Vec::new())
    }

    fn get(&self, target: &str) -> Value {
        let answer = self.client.get(target);
        assert_eq!(answer.status, 200, "{target}: {}", answer.text());
        answer.json()
    }

    /// Checks that everything about other content works.
    fn rest_is_served(&self, case: &str) {
        let client = &self.client;
        for target in ["/v2/good/app/manifests/1", "/v2/z/app/manifests/1"] {
            assert_eq!(client.get(target).status, 200, "{case}: {target}");
        }
        let hit = client.get(&manifest("library/good", "1"));
        assert_eq!((hit.status, cache(&hit)), (200, "hit"), "{case}");
        let fetched = blob("library/good", self.upstream.blob("library/good", case.as_bytes()));
        assert_eq!(client.get(&fetched).status, 200, "{case}: a fill");
        client.push_image("good/app", "new", &noise(6, 1000));
        assert_eq!(client.request("DELETE", "/v2/good/app/manifests/new").send().status, 202, "{case}");
        // Another repository holds the blob. Whether the damaged one does is not known.
        let mount = format!("/v2/z/app/blobs/uploads/?mount={}", self.good.layer);
        assert_eq!(client.request("POST", &mount).send().status, 201, "{case}: a mount");
        let unknown = format!("/v2/z/app/blobs/uploads/?mount={}", digest_of(b"nowhere"));
        assert_eq!(client.request("POST", &unknown).send().status, 202, "{case}: a mount of nothing");
        let names = self.get("/v2/_catalog");
        for name in ["good/app", "z/app", "docker.io/library/good"] {
            assert!(names["repositories"].as_array().unwrap().contains(&name.into()), "{case}: {names}");
        }
    }

    /// Checks that the rest is counted, and that the entry is named once.
    fn rest_is_counted(&self, place: &Path, case: &str) {
        let usage = self.get("/api/v1/usage");
        assert!(usage["hosted"]["blobs"].as_u64().unwrap() >= 4, "{case}: {usage}");
        assert!(usage["cache"]["blobs"].as_u64().unwrap() >= 2, "{case}: {usage}");
        let place = place.display().to_string();
        let bad = usage["bad_entries"].as_array().unwrap();
        assert_eq!(bad.iter().filter(|entry| entry["place"] == *place).count(), 1, "{case}: {usage}");
        for listing in ["/api/v1/usage/repositories", "/api/v1/repositories"] {
            let answer = self.client.get(listing);
            assert!(answer.status == 200 && answer.whole, "{case}: {listing}: {}", answer.text());
            for name in ["good/app", "z/app", "docker.io/library/good"] {
                assert!(answer.text().contains(&format!("{name}\"")), "{case}: {listing}: {}", answer.text());
            }
        }
        self.registry.wait_for_log(&place);
        self.get("/api/v1/usage");
        let log = self.registry.log();
        let named = |line: &&str| line.contains("an entry ") && line.contains(&format!("{place}\""));
        assert_eq!(log.lines().filter(named).count(), 1, "{case}");
    }
}

#[test]
fn one_bad_entry_leaves_the_rest_served_listed_and_counted() {
    for (entry, damage) in cases() {
        let Some(mut damaged) = Damaged::new() else { return };
        let (place, rules) = damaged.damage(entry, &damage);
        let case = place.display().to_string();
        // Nothing is in memory after a start.
        damaged.registry.kill();
        damaged.disk.set(&rules.iter().map(String::as_str).collect::<Vec<_>>());
        damaged.registry.restart();
        damaged.registry.wait_for_log("indexed the cache");
        damaged.rest_is_served(&case);
        damaged.rest_is_counted(&place, &case);
        // A mended entry is not named any more.
        damaged.disk.heal();
        if !matches!(damage, Unlisted(_)) {
            let _ = fs::remove_dir_all(&place);
            let _ = fs::remove_file(&place);
        }
        eventually("a store without bad entries", || {
            let bad = damaged.get("/api/v1/usage")["bad_entries"].clone();
            bad.as_array().unwrap().is_empty().then_some(())
        });
    }
}

/// Lists of one repository go on beside its bad entry.
#[test]
fn one_bad_entry_of_a_repository_leaves_its_other_entries() {
    let Some(damaged) = Damaged::new() else { return };
    let client = &damaged.client;
    let image = client.push_image("good/app", "2", &noise(7, 1000));
    let repository = damaged.registry.data().join(HOSTED).join("repositories/good/app");
    let link = repository.join("_manifests/tags/2/current/link");
    fs::remove_file(&link).unwrap();
    fs::create_dir(&link).unwrap();
    let tags = damaged.get("/api/v1/repositories/good/app/tags");
    let listed: Vec<&str> = tags["tags"].as_array().unwrap().iter().filter_map(|tag| tag["tag"].as_str()).collect();
    assert_eq!(listed, ["1"], "{tags}");
    let referrer = |n: u64| {
        let subject = format!(
            r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{}","size":1}}"#,
            image.digest
        );
        let config =
            format!(r#"{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"{}","size":1000}}"#, image.layer);
        let body = format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{config},"layers":[],"subject":{subject},"annotations":{{"n":"{n}"}}}}"#
        );
        let digest = digest_of(body.as_bytes());
        assert_eq!(client.put_manifest("good/app", &digest.to_string(), body.as_bytes()).status, 201);
        digest
    };
    let (first, second) = (referrer(1), referrer(2));
    let hex = first.hex();
    let data = damaged.registry.data().join(HOSTED).join(format!("blobs/sha256/{}/{hex}/data", &hex[..2]));
    fs::remove_file(&data).unwrap();
    symlink(&data, &data).unwrap();
    let referrers = damaged.get(&format!("/v2/good/app/referrers/{}", image.digest));
    let digests: Vec<&str> =
        referrers["manifests"].as_array().unwrap().iter().filter_map(|one| one["digest"].as_str()).collect();
    assert_eq!(digests, [second.to_string()]);
    // A tag that cannot be read does not keep another manifest from being deleted.
    let target = format!("/v2/good/app/manifests/{}", damaged.good.digest);
    assert_eq!(client.request("DELETE", &target).send().status, 202);
    let bad = damaged.get("/api/v1/usage")["bad_entries"].to_string();
    assert!(bad.contains(link.to_str().unwrap()) && bad.contains(data.to_str().unwrap()), "{bad}");
}

/// A pipe or an endless file in the place of a link fails the requests that need it, at once, and no others of its repository.
#[test]
fn links_that_are_no_short_files_hold_up_no_request() {
    for damage in [Pipe, Endless] {
        let Some(damaged) = Damaged::new() else { return };
        let client = &damaged.client;
        let image = client.push_image("broken/app", "3", &noise(8, 1000));
        let (link, _) = damaged.damage("HOSTED/repositories/broken/app/_manifests/tags/2/current/link", &damage);
        assert_eq!(client.get("/v2/broken/app/manifests/2").status, 500);
        let target = format!("/v2/broken/app/manifests/{}", image.digest);
        assert_eq!(client.request("DELETE", &target).send().status, 202);
        client.push_image("broken/app", "4", &noise(9, 1000));
        let bad = damaged.get("/api/v1/usage")["bad_entries"].to_string();
        assert!(bad.contains(link.to_str().unwrap()), "{bad}");
        // A push of the tag mends it.
        assert_eq!(client.put_manifest("broken/app", "2", &damaged.broken.manifest).status, 201);
        assert_eq!(client.get("/v2/broken/app/manifests/2").status, 200);
        assert_eq!(damaged.get("/api/v1/usage")["bad_entries"].to_string(), "[]");
    }
}
