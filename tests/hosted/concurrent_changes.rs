//! Changes of pushed content are complete or do not happen: while the client leaves, other clients push, or another process works on
//! the same directory.

use std::fs;
use std::io::{BufReader, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use socket2::SockRef;

use crate::support::client::{Answer, Client, digest_of, noise};
use crate::support::registry::{Place, Registry, eventually};
use crate::support::slow_disk::SlowDisk;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Writes a repository that takes long to delete: many tags of one image, in the layout of `registry:2`.
fn with_many_tags(registry: &Registry, repository: &str, tags: usize) {
    let image = registry.client().push_image(repository, "base", b"layer");
    let directory = registry.data().join(format!("docker/registry/v2/repositories/{repository}/_manifests/tags"));
    for number in 0..tags {
        let tag = directory.join(format!("z{number}/current"));
        fs::create_dir_all(&tag).unwrap();
        fs::write(tag.join("link"), image.digest.to_string()).unwrap();
    }
}

/// Waits until the deletion of a repository made by [`with_many_tags`] has removed a tag. From then on all of them are gone.
fn wait_for_deletion(registry: &Registry, repository: &str, tags: usize) {
    let directory = registry.data().join(format!("docker/registry/v2/repositories/{repository}/_manifests/tags"));
    let left = || fs::read_dir(&directory).map_or(0, Iterator::count);
    eventually("the begin of the deletion", || (left() < tags + 1).then_some(()));
}

/// Pushes an image under several tags. Returns the statuses of the pushes, and of a GET of each tag after them.
fn pushed(client: &Client, repository: &str, tags: &[String]) -> Vec<u16> {
    let image = client.push_image(repository, "new", &noise(tags.len() as u64, 100));
    tags.iter().map(|tag| client.put_manifest(repository, tag, &image.manifest).status).collect()
}

fn held(client: &Client, repository: &str, tags: &[String]) -> Vec<u16> {
    tags.iter().map(|tag| client.get(&format!("/v2/{repository}/manifests/{tag}")).status).collect()
}

/// Resets the connection, as it happens when a client is killed.
fn break_off(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

fn names(number: usize) -> Vec<String> {
    (0..number).map(|number| format!("new{number}")).collect()
}

#[test]
fn abandoned_deletion_removes_no_later_push() {
    let registry = Registry::start();
    let client = registry.client();
    for round in 0..2 {
        let (repository, tags) = (format!("team/big{round}"), names(10));
        with_many_tags(&registry, &repository, 500);
        let stream = client.request("DELETE", &format!("/api/v1/images/{repository}")).send_head();
        // A deletion that has not begun could begin between the pushes, and then rightly removes them.
        wait_for_deletion(&registry, &repository, 500);
        break_off(stream);
        assert_eq!(pushed(&client, &repository, &tags), [201; 10]);
        // The deletion was complete before the pushes.
        let left = client.get(&format!("/v2/{repository}/tags/list")).json()["tags"].as_array().map_or(0, Vec::len);
        assert_eq!(left, 11, "it was half done");
        thread::sleep(Duration::from_millis(300));
        assert_eq!(held(&client, &repository, &tags), [200; 10]);
    }
}

#[test]
fn listed_tag_has_content_after_its_client_left() {
    let registry = Registry::start();
    let client = registry.client();
    let image = client.push_image("team/app", "base", b"layer");
    let mut round = 0;
    let listed = eventually("a push that is interrupted late enough", || {
        round += 1;
        for number in 0..150_u64 {
            let target = format!("/v2/team/app/manifests/t{round}-{number}");
            let length = image.manifest.len().to_string();
            let request = client.request("PUT", &target).header("Content-Type", MANIFEST);
            let mut stream = request.header("Content-Length", &length).send_head();
            stream.write_all(&image.manifest).unwrap();
            thread::sleep(Duration::from_micros(40 * number));
            break_off(stream);
        }
        // A change that has begun is completed.
        thread::sleep(Duration::from_millis(300));
        let listed = client.get("/v2/team/app/tags/list").json()["tags"].as_array().unwrap().clone();
        (listed.len() > 1).then_some(listed)
    });
    for tag in listed.iter().filter_map(|tag| tag.as_str()) {
        assert_eq!(client.get(&format!("/v2/team/app/manifests/{tag}")).status, 200, "{tag} names nothing");
    }
}

#[test]
fn two_processes_in_one_directory_lose_no_push() {
    let one = Registry::start();
    let root = one.data().display().to_string();
    let two = Registry::configured(|place| {
        format!("{}{}storage: {{filesystem: {{rootdirectory: {root}}}}}", place.version(), place.http())
    });
    for round in 0..2 {
        let (repository, tags) = (format!("team/two{round}"), names(12));
        with_many_tags(&one, &repository, 500);
        let client = one.client();
        let target = format!("/api/v1/images/{repository}");
        let deletion = thread::spawn(move || client.request("DELETE", &target).send().status);
        // A push that is acknowledged before the deletion begins is rightly removed.
        wait_for_deletion(&one, &repository, 500);
        let acknowledged = pushed(&two.client(), &repository, &tags);
        assert_eq!(deletion.join().unwrap(), 200);
        assert_eq!(acknowledged, [201; 12]);
        assert_eq!(held(&two.client(), &repository, &tags), [200; 12]);
    }
}

#[test]
fn deletion_does_not_block_other_repositories() {
    let registry = Registry::start();
    with_many_tags(&registry, "team/app", 3);
    // Another process works on the repository, so the deletion lasts as long as the test wants.
    let lock =
        |name: &str| fs::File::options().write(true).open(registry.data().join("entrepot/locks").join(name)).unwrap();
    let held = lock("36");
    held.lock().unwrap();
    let client = registry.client();
    let deletion = thread::spawn(move || client.request("DELETE", "/api/v1/images/team/app").send().status);
    let waiting = lock("36.waiting");
    eventually("the deletion waits for the other process", || match waiting.try_lock_shared() {
        Ok(()) => waiting.unlock().map(|()| None).unwrap(),
        Err(_) => Some(()),
    });
    registry.client().push_image("team/other", "1", b"x");
    assert!(!deletion.is_finished(), "the deletion did not wait for the other process");
    drop(held);
    assert_eq!(deletion.join().unwrap(), 200);
}

/// Returns a repository that shares its lock with `team/app`.
fn neighbour() -> String {
    let lock = |name: &str| u8::from_str_radix(&digest_of(name.as_bytes()).hex()[..2], 16).unwrap() % 64;
    let mut names = (0..).map(|number| format!("team/other{number}"));
    names.find(|name| lock(name) == lock("team/app")).unwrap()
}

/// The disk hangs when files are removed. The content is gone for clients, and no other request waits.
#[test]
fn removal_of_files_holds_up_no_other_request() {
    let Some(disk) = SlowDisk::new() else { return };
    let mut registry = Registry::configured_in(&disk.environment(), Place::usual);
    let client = registry.client();
    let neighbour = neighbour();
    for kind in ["manifests/tag", "manifests/DIGEST", "blobs/LAYER", "repository"] {
        let image = client.push_image("team/app", "tag", &noise(1, 100));
        for number in 0..20 {
            client.put_manifest("team/app", &format!("t{number}"), &image.manifest);
        }
        disk.set(&["remove hold path=/entrepot/trash"]);
        let removed = kind.replace("DIGEST", &image.digest.to_string()).replace("LAYER", &image.layer.to_string());
        let target = match kind {
            "repository" => "/api/v1/images/team/app".to_owned(),
            _ => format!("/v2/team/app/{removed}"),
        };
        let deletion = client.request("DELETE", &target).send_head();
        disk.wait_for(&["begun remove", "/entrepot/trash"]);
        if kind != "repository" {
            assert_eq!(client.get(&target).status, 404, "{kind}: it is gone");
        }
        client.push_image(&neighbour, "1", &noise(2, 100));
        client.push_image("team/app", "meanwhile", &noise(3, 100));
        assert_eq!(client.get("/v2/team/app/manifests/meanwhile").status, 200, "{kind}");
        disk.heal();
        let answer = Answer::read(&mut BufReader::new(&deletion), false).unwrap();
        assert!(matches!(answer.status, 200 | 202), "{kind}: {}", answer.text());
        assert_eq!(client.get("/v2/team/app/manifests/meanwhile").status, 200, "{kind}");
        disk.forget();
    }
    // A kill leaves files, which the next start removes.
    let image = client.push_image("team/app", "tag", &noise(1, 100));
    disk.set(&["remove hold path=/entrepot/trash"]);
    let _deletion = client.request("DELETE", &format!("/v2/team/app/manifests/{}", image.digest)).send_head();
    disk.wait_for(&["begun remove", "/entrepot/trash"]);
    registry.kill();
    disk.heal();
    registry.restart();
    registry.wait_for_log("finished deletions");
    let left = |folder: &str| fs::read_dir(registry.data().join(folder)).map_or(0, Iterator::count);
    eventually("an empty trash", || (left("entrepot/trash") == 0).then_some(()));
    client.push_image("team/app", "tag", &noise(1, 100));
    let tags = client.get("/v2/team/app/tags/list").json();
    assert_eq!(tags["tags"], serde_json::json!(["meanwhile", "tag"]));
}

#[test]
fn interrupted_single_request_push_leaves_nothing() {
    let registry = Registry::start();
    let client = registry.client();
    let blob = noise(6, 300_000);
    let target = format!("/v2/team/app/blobs/uploads/?digest={}", digest_of(&blob));
    let uploads = registry.data().join("docker/registry/v2/repositories/team/app/_uploads");
    let count = || fs::read_dir(&uploads).map_or(0, Iterator::count);
    for sent in [1, 100_000, 299_999] {
        let mut stream = client.request("POST", &target).header("Content-Length", "300000").send_head();
        stream.write_all(&blob[..sent]).unwrap();
        eventually("the start of the upload", || (count() == 1).then_some(()));
        break_off(stream);
        eventually("the removal of the upload", || (count() == 0).then_some(()));
    }
}

#[test]
fn active_upload_is_not_cancelled() {
    let registry = Registry::start();
    let client = registry.client();
    let blob = noise(5, 300_000);
    let upload = client.begin("team/app");
    let target = format!("{upload}?digest={}", digest_of(&blob));
    let mut stream = client.request("PUT", &target).header("Content-Length", "300000").send_head();
    stream.write_all(&blob[..100_000]).unwrap();
    eventually("the upload is in use", || (client.get(&upload).header("range")? != "0-0").then_some(()));
    let refused = client.request("DELETE", &upload).send();
    assert_eq!((refused.status, refused.code().as_str()), (409, "BLOB_UPLOAD_INVALID"), "{}", refused.text());
    stream.write_all(&blob[100_000..]).unwrap();
    assert_eq!(Answer::read(&mut BufReader::new(stream), false).unwrap().status, 201);
    assert_eq!(client.get(&format!("/v2/team/app/blobs/{}", digest_of(&blob))).body, blob);
    let left = client.begin("team/app");
    assert_eq!(client.request("DELETE", &left).send().status, 204);
    assert_eq!(client.get(&left).status, 404);
}
