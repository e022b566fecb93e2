//! The records of pushes and pulls, which retention will decide by.

use std::fs;
use std::path::PathBuf;
use std::thread;

use crate::support::registry::{Registry, eventually};

#[test]
fn push_and_pull_are_recorded() {
    let registry = Registry::configured(|place| {
        let hash = bcrypt::hash("secret", 4).unwrap();
        let path = place.write("htpasswd", &format!("alice:{hash}\n"));
        let auth = format!("auth:\n  htpasswd: {{realm: r, path: {}}}\n", path.display());
        format!("{}{}storage:{}\n{auth}", place.version(), place.http(), place.root())
    });
    let client = registry.client().login("alice", "secret");
    let image = client.push_image("team/app", "v1", b"layer");
    let records = records(&registry, "team/app");
    let read = |path: &str| {
        let text = std::fs::read(records.join(path)).ok()?;
        serde_json::from_slice::<serde_json::Value>(&text).ok()
    };
    let push = read(&format!("_pushes/sha256/{}", image.digest.hex())).unwrap();
    assert_eq!(push["by"], "alice");
    assert!(push["at"].as_u64().is_some_and(|at| at > 1_700_000_000), "{push}");
    assert_eq!(read("_pulls/v1"), None, "a push is not a pull");
    assert_eq!(client.head("/v2/team/app/manifests/v1").status, 200);
    let pull = eventually("the record of a pull", || read("_pulls/v1"));
    assert!(pull["at"].as_u64() >= push["at"].as_u64(), "{pull}");
}

/// Returns a private registry's records of a repository.
fn records(registry: &Registry, repository: &str) -> PathBuf {
    registry.data().join("entrepot/repositories").join(repository)
}

#[test]
fn record_that_cannot_be_removed_fails_no_deletion() {
    let registry = Registry::start();
    let client = registry.client();
    let image = client.push_image("team/app", "v1", b"layer");
    client.put_manifest("team/app", "v2", &image.manifest);
    // A directory stands where the server removes a file, which fails for every user.
    let records = records(&registry, "team/app");
    let push = records.join("_pushes/sha256").join(image.digest.hex());
    fs::remove_file(&push).unwrap();
    for record in [push, records.join("_pulls/v1"), records.join("_pulls/v2")] {
        fs::create_dir_all(record.join("in the way")).unwrap();
    }
    let delete = |what: &str| client.request("DELETE", &format!("/v2/team/app/manifests/{what}")).send().status;
    assert_eq!(delete("v1"), 202);
    assert_eq!(delete(&image.digest.to_string()), 202);
    assert_eq!((delete("v2"), delete(&image.digest.to_string())), (404, 404));
    registry.wait_for_log("the record of a push or a pull could not be removed");
    client.push_image("team/app", "v1", b"layer");
    assert_eq!(client.get("/v2/team/app/manifests/v1").status, 200);
    assert_eq!(client.request("DELETE", "/api/v1/images/team/app").send().status, 200);
    assert!(!records.join("_pulls").exists() && !records.join("_pushes").exists());
}

#[test]
fn tag_that_is_pushed_again_has_a_first_pull() {
    let registry = Registry::start();
    let client = registry.client();
    let record = records(&registry, "team/app").join("_pulls/v1");
    for _ in 0..3 {
        client.push_image("team/app", "v1", b"layer");
        assert_eq!(client.get("/v2/team/app/manifests/v1").status, 200);
        eventually("the record of the first pull", || record.exists().then_some(()));
        assert_eq!(client.request("DELETE", "/v2/team/app/manifests/v1").send().status, 202);
        assert!(!record.exists());
    }
}

/// Pushes, pulls and deletions of one repository run at the same time, in two processes on one directory.
#[test]
fn records_outlive_no_repository() {
    let mut one = Registry::start();
    let root = one.data().display().to_string();
    let mut two = Registry::configured(|place| {
        format!("{}{}storage: {{filesystem: {{rootdirectory: {root}}}}}", place.version(), place.http())
    });
    for _ in 0..8 {
        let manifest = one.client().push_image("team/app", "v1", b"layer").manifest;
        thread::scope(|scope| {
            for registry in [&one, &two] {
                let client = registry.client();
                scope.spawn(move || (0..3).for_each(|_| drop(client.get("/v2/team/app/manifests/v1"))));
            }
            let (client, body) = (two.client(), &manifest);
            scope.spawn(move || (0..3).for_each(|_| drop(client.put_manifest("team/app", "v1", body))));
            let client = one.client();
            scope.spawn(move || drop(client.request("DELETE", "/api/v1/images/team/app").send()));
        });
    }
    one.client().push_image("team/app", "v1", b"layer");
    assert_eq!(two.client().get("/v2/team/app/manifests/v1").status, 200);
    assert_eq!(one.client().request("DELETE", "/api/v1/images/team/app").send().status, 200);
    // A server that ends gracefully finishes or drops the records that are being written.
    for registry in [&mut one, &mut two] {
        registry.terminate();
        assert!(registry.wait().success());
    }
    let records = records(&one, "team/app");
    for folder in ["_pushes/sha256", "_pulls"] {
        let left = fs::read_dir(records.join(folder)).map_or(0, Iterator::count);
        assert_eq!(left, 0, "{folder}");
    }
}
