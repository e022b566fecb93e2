//! A full disk: what is worth nothing gives way to a push, then uploads without a request, the oldest first. Each test is skipped
//! where there is no C compiler.

use std::fs::{self, File};
use std::io::{BufReader, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::file_systems::other_disk;
use crate::cli::runner::{command, good, run, run_with, stderr, stdout};
use crate::support::client::{Answer, Client, Image, digest_of, noise};
use crate::support::mirror::{manifest, wait_until_stored};
use crate::support::registry::{Place, Registry, eventually};
use crate::support::slow_disk::SlowDisk;
use crate::support::upstream::Upstream;

/// The size of an idle upload.
const LARGE: u64 = 40 << 20;

struct FullDisk {
    disk: SlowDisk,
    registry: Registry,
    client: Client,
    image: Image,
    /// Uploads without a request, the oldest first.
    idle: Vec<String>,
    /// An upload that a request is writing to. It is older than all others.
    active: String,
    writer: TcpStream,
}

impl FullDisk {
    fn new() -> Option<Self> {
        Self::configured(Place::usual)
    }

    fn configured(config: impl Fn(&Place) -> String) -> Option<Self> {
        let disk = SlowDisk::new()?;
        let registry = Registry::configured_in(&disk.environment(), config);
        let client = registry.client();
        let image = client.push_image("team/app", "1", &noise(1, 1000));
        let idle: Vec<String> = (0..3).map(|_| client.begin("team/idle")).collect();
        let active = client.begin("team/active");
        let writer = client.request("PATCH", &active).header("Content-Length", "8").send_head();
        (&writer).write_all(b"half").unwrap();
        let full = Self { disk, registry, client, image, idle, active, writer };
        eventually("the first half", || {
            (fs::metadata(full.data(&full.active)).is_ok_and(|data| data.len() == 4)).then_some(())
        });
        for (age, upload) in full.idle.iter().rev().chain([&full.active]).enumerate() {
            let old = SystemTime::now() - Duration::from_secs(age as u64);
            for file in [full.data(upload), full.data(upload).with_file_name("startedat")] {
                let file = File::options().write(true).create(true).truncate(false).open(file).unwrap();
                file.set_modified(old).unwrap();
            }
            let data = File::options().write(true).open(full.data(upload)).unwrap();
            if *upload != full.active {
                data.set_len(LARGE).unwrap();
                data.set_modified(old).unwrap();
            }
        }
        Some(full)
    }

    /// Returns the file of an upload.
    fn data(&self, upload: &str) -> PathBuf {
        let (repository, id) = upload.strip_prefix("/v2/").unwrap().split_once("/blobs/uploads/").unwrap();
        let id = id.split(['?', '/']).next().unwrap();
        let repositories = self.registry.data().join("docker/registry/v2/repositories");
        repositories.join(repository).join("_uploads").join(id).join("data")
    }

    /// Returns which idle uploads are left.
    fn left(&self) -> Vec<bool> {
        self.idle.iter().map(|upload| self.data(upload).exists()).collect()
    }

    /// Ends the request that is writing.
    fn finish_writer(&self, case: &str) {
        (&self.writer).write_all(b"done").unwrap();
        let answer = Answer::read(&mut BufReader::new(&self.writer), false).unwrap();
        assert_eq!(answer.status, 202, "{case}: {}", answer.text());
        assert_eq!(fs::read(self.data(&self.active)).unwrap(), b"halfdone", "{case}");
    }
}

/// The writes of a push, each with the path that has no space once.
const PUSHES: [(&str, &str); 5] = [
    ("a blob in one request", "write fail=28 path=team/new/_uploads times=1"),
    ("a chunk", "write fail=122 path=team/new/_uploads times=1"),
    ("a manifest", "write fail=28 path=team/app/_manifests times=1"),
    ("a mount", "write fail=28 path=team/new/_layers times=1"),
    ("the begin of an upload", "make fail=28 path=team/new times=1"),
];

fn push(full: &FullDisk, case: &str) -> Answer {
    let (client, content) = (&full.client, noise(2, 1000));
    let digest = digest_of(&content);
    match case {
        "a blob in one request" => {
            client.request("POST", &format!("/v2/team/new/blobs/uploads/?digest={digest}")).body(&content).send()
        }
        "a chunk" => client.request("PATCH", &client.begin("team/new")).body(&content).send(),
        "a manifest" => client.put_manifest("team/app", "2", &full.image.manifest),
        "a mount" => {
            let target = format!("/v2/team/new/blobs/uploads/?mount={}&from=team/app", full.image.layer);
            client.request("POST", &target).send()
        }
        _ => client.request("POST", "/v2/team/new/blobs/uploads/").send(),
    }
}

#[test]
fn idle_uploads_give_way_to_a_push_and_one_with_a_request_stays() {
    for (case, rule) in PUSHES {
        let Some(full) = FullDisk::new() else { return };
        full.disk.set(&[rule]);
        let pushed = push(&full, case);
        assert!(matches!(pushed.status, 201 | 202), "{case}: {} {}", pushed.status, pushed.text());
        full.disk.wait_for(&["begun"]);
        assert_eq!(full.left(), [false, true, true], "{case}: the oldest goes, then there is space");
        full.registry.wait_for_log("an upload without a request was removed");
        full.finish_writer(case);
        let gone = full.client.request("PATCH", &full.idle[0]).body(b"x").send();
        assert_eq!((gone.status, gone.code().as_str()), (404, "BLOB_UPLOAD_UNKNOWN"), "{case}");
    }
}

#[test]
fn old_temporary_files_and_deleted_content_go_before_uploads() {
    let old = SystemTime::now() - Duration::from_secs(2 * 3600);
    for place in ["docker/registry/v2/repositories/team/app", "cache", "entrepot/locks", "entrepot/trash/deleted"] {
        let Some(full) = FullDisk::new() else { return };
        let file = full.registry.data().join(place).join(".tmp-left");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        File::create(&file).unwrap().set_modified(old).unwrap();
        full.disk.set(&["write fail=28 path=team/app/_manifests times=1"]);
        assert_eq!(push(&full, "a manifest").status, 201, "{place}");
        assert!(!file.exists(), "{place}");
        assert_eq!(full.left(), [true, true, true], "{place}: there is space without them");
        full.finish_writer(place);
    }
}

/// Nothing is left to remove, so the push fails, and the upload with a request stays.
#[test]
fn disk_that_stays_full_refuses_pushes_and_keeps_active_uploads() {
    let Some(full) = FullDisk::new() else { return };
    full.disk.set(&["write fail=28 path=team/new", "write fail=28 path=team/app/_manifests"]);
    for case in ["a manifest", "the begin of an upload"] {
        let refused = push(&full, case);
        assert_eq!(refused.status, 507, "{case}: {}", refused.text());
    }
    assert_eq!(full.left(), [false, false, false]);
    full.finish_writer("full");
    full.disk.heal();
    assert_eq!(push(&full, "a blob in one request").status, 201);
}

/// The upload that a request finishes is held as long as the request makes space. It stays if there is none, for the next attempt.
#[test]
fn upload_that_a_request_finishes_on_a_full_disk_stays() {
    let Some(full) = FullDisk::new() else { return };
    let (client, content) = (&full.client, noise(3, 1000));
    let upload = client.begin("team/new");
    assert_eq!(client.request("PATCH", &upload).body(&content).send().status, 202);
    let end = format!("{upload}?digest={}", digest_of(&content));
    full.disk.set(&["write fail=28 path=team/new/_layers"]);
    for attempt in 0..2 {
        let refused = client.request("PUT", &end).send();
        assert_eq!(refused.status, 507, "{attempt}: {}", refused.text());
        assert_eq!(full.left(), [false, false, false], "{attempt}");
        assert_eq!(fs::read(full.data(&upload)).unwrap(), content, "{attempt}");
    }
    full.disk.heal();
    let pushed = client.request("PUT", &end).send();
    assert_eq!(pushed.status, 201, "{}", pushed.text());
    full.finish_writer("the end of an upload");
}

/// A request that finds no space leaves the upload as it was before, so that the client can repeat it, and takes no space itself.
#[test]
fn upload_whose_last_chunk_finds_no_space_stays() {
    for (method, written) in [("PUT", 600), ("PATCH", 600), ("PUT", 0), ("PATCH", 0)] {
        let Some(full) = FullDisk::new() else { return };
        let (client, content) = (&full.client, noise(3, 1000));
        let upload = client.begin("team/new");
        if written > 0 {
            assert_eq!(client.request("PATCH", &upload).body(&content[..written]).send().status, 202);
        }
        let end = format!("{upload}?digest={}", digest_of(&content));
        let target = if method == "PUT" { &end } else { &upload };
        let last = || client.request(method, target).body(&content[written..]).send();
        full.disk.set(&["write fail=28 path=team/new/_uploads"]);
        for attempt in 0..2 {
            assert_eq!(last().status, 507, "{method} after {written} bytes, attempt {attempt}");
            let state = client.get(&upload);
            let range = format!("0-{}", written.saturating_sub(1));
            assert_eq!((state.status, state.header("range")), (204, Some(range.as_str())), "{method}");
            assert_eq!(fs::read(full.data(&upload)).unwrap_or_default(), content[..written], "{method}");
        }
        full.disk.heal();
        assert_eq!(last().status, if method == "PUT" { 201 } else { 202 }, "{method} after {written} bytes");
        if method == "PATCH" {
            assert_eq!(client.request("PUT", &end).send().status, 201, "after {written} bytes");
        }
        let stored = client.get(&format!("/v2/team/new/blobs/{}", digest_of(&content)));
        assert!(stored.body == content, "{method} after {written} bytes");
        full.finish_writer(method);
    }
}

/// Only what lies on the full disk gives way: what lies on another one frees nothing there.
#[test]
fn full_disk_of_blobs_takes_nothing_from_another_disk() {
    let Some(other) = other_disk() else { return };
    let upstream = Upstream::start();
    upstream.image("library/app", "1", &[&noise(4, 1000)[..]]);
    let full = FullDisk::configured(|place| {
        let blobs = place.directory.join("data/docker/registry/v2/blobs");
        fs::create_dir_all(blobs.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(other.path(), blobs).unwrap();
        let upstreams = format!("docker.io: {{default: true, endpoints: [\"{}\"]}}", upstream.url());
        let mirror = format!("mirror:\n  local: [team/**]\n  cache: {{reserve: 0}}\n  upstreams: {{{upstreams}}}\n");
        format!("{}\n{mirror}", place.usual())
    });
    let Some(full) = full else { return };
    assert_eq!(full.client.get(&manifest("library/app", "1")).status, 200);
    wait_until_stored(&full.registry);
    let cached = || full.client.get("/api/v1/usage").json()["cache"].clone();
    let before = cached();
    assert!(before["blobs"].as_u64() > Some(0), "{before}");
    full.disk.set(&["make fail=28 path=registry/v2/blobs/sha256"]);
    let refused = push(&full, "a blob in one request");
    assert_eq!(refused.status, 507, "{}", refused.text());
    assert_eq!((full.left(), cached()["blobs"].clone()), (vec![true; 3], before["blobs"].clone()));
    // A file of the first disk takes the space of what lies there.
    full.disk.set(&["write fail=28 path=team/new/_uploads times=1"]);
    let pushed = push(&full, "a chunk");
    assert_eq!(pushed.status, 202, "{}", pushed.text());
    assert_eq!((full.left(), cached()["blobs"].as_u64()), (vec![true; 3], Some(0)), "the cache goes first");
    full.finish_writer("two disks");
}

/// A full disk is no reason to take the server away from its clients, but the operator must learn of it.
#[test]
fn full_disk_is_named_by_the_checks() {
    let Some(disk) = SlowDisk::new() else { return };
    let environment = disk.environment();
    let registry = Registry::configured_in(&environment, |place| {
        format!("{}\nhealth: {{storagedriver: {{enabled: true, interval: 100ms, threshold: 1}}}}\n", place.usual())
    });
    let (client, config) = (registry.client(), registry.data().with_file_name("config.yml"));
    client.push_image("team/app", "1", &noise(1, 1000));
    assert_eq!(client.get("/readyz").text(), "ok\n");
    let said = "the disk is full: pulls continue; a push";
    for rule in ["write fail=28 path=.probe-", "write fail=122 path=/data/"] {
        disk.set(&[rule]);
        let ready = eventually(rule, || Some(client.get("/readyz")).filter(|ready| ready.text().contains("full")));
        assert!(ready.status == 200 && ready.text().starts_with(&format!("ok, but {said}")), "{}", ready.text());
        assert_eq!(client.get("/v2/team/app/manifests/1").status, 200);
        registry.wait_for_log(said);
        let url = format!("http://{}", registry.addr());
        assert!(good(&run(&["health", &url])).starts_with(&format!("ok, but {said}")));
        let mut check = command(&["check", config.to_str().unwrap()]);
        check.envs(environment.clone());
        let checked = run_with(check, "");
        assert!(stdout(&checked).contains("is valid"), "{}", stderr(&checked));
        let warning = stderr(&checked);
        assert!(warning.contains("warning") && warning.contains(said) && warning.contains("data"), "{warning}");
        disk.heal();
        eventually("a healthy disk", || (client.get("/readyz").text() == "ok\n").then_some(()));
        registry.wait_for_log("the disk has free space again");
    }
}
