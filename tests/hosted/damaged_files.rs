//! Files of pushed content with wrong bytes are not served where the server can tell, and pushing the content again repairs them.

use std::fs;
use std::path::{Path, PathBuf};

use entrepot::oci::Digest;

use crate::support::client::noise;
use crate::support::registry::Registry;

/// Returns the path of the file that holds a blob or a manifest.
fn file(registry: &Registry, digest: &Digest) -> PathBuf {
    let hex = digest.hex();
    registry.data().join("docker/registry/v2/blobs/sha256").join(&hex[..2]).join(&hex).join("data")
}

#[test]
fn damaged_manifest_is_missing_until_it_is_pushed_again() {
    let registry = Registry::start();
    let client = registry.client();
    let image = client.push_image("team/app", "latest", b"layer");
    let file = file(&registry, &image.digest);
    let digest = image.digest.to_string();
    let mut altered = image.manifest.clone();
    altered.swap(10, 11);
    let longer = [&image.manifest[..], b"\n"].concat();
    for damage in [&b""[..], &image.manifest[..100], &altered, &longer] {
        fs::write(&file, damage).unwrap();
        for reference in ["latest", &digest] {
            let target = format!("/v2/team/app/manifests/{reference}");
            assert_eq!(client.head(&target).status, 404, "{reference} with {} bytes", damage.len());
            assert_eq!(client.get(&target).code(), "MANIFEST_UNKNOWN", "{reference} with {} bytes", damage.len());
        }
        assert_eq!(client.get(&format!("/v2/team/app/blobs/{digest}")).code(), "BLOB_UNKNOWN");
        let line = registry.wait_for_log("damaged");
        assert!(line.contains(r#""level":"error""#) && line.contains("push it again"), "{line}");
        assert!(line.contains(file.to_str().unwrap()), "{line}");

        let pushed = client.request("PUT", &format!("/v2/team/app/manifests/{digest}")).header("If-None-Match", "*");
        assert_eq!(pushed.body(&image.manifest).send().status, 201, "the tag is missing, so the condition holds");
        assert_eq!(fs::read(&file).unwrap(), image.manifest);
        let served = client.get("/v2/team/app/manifests/latest");
        assert_eq!((served.status, served.body == image.manifest), (200, true));
    }
}

#[test]
fn damaged_blob_is_repaired_by_a_push() {
    let registry = Registry::start();
    let client = registry.client();
    let content = noise(31, 100_000);
    let digest = client.push_blob("team/app", &content);
    let (file, target) = (file(&registry, &digest), format!("/v2/team/app/blobs/{digest}"));
    for damage in [&noise(32, 100_000)[..], &content[..50_000]] {
        fs::write(&file, damage).unwrap();
        client.push_blob("team/app", &content);
        assert!(client.get(&target).body == content, "after {} wrong bytes", damage.len());
    }
    // A client asks first whether the blob exists.
    fs::write(&file, b"").unwrap();
    assert_eq!(client.head(&target).status, 404);
    assert_eq!(client.get(&target).code(), "BLOB_UNKNOWN");
    assert!(registry.wait_for_log("damaged").contains(file.to_str().unwrap()));
    let mount = client.request("POST", &format!("/v2/team/other/blobs/uploads/?mount={digest}&from=team/app")).send();
    assert_eq!(mount.status, 202, "the blob cannot be mounted");
    client.push_blob("team/app", &content);
    assert!(client.get(&target).body == content);

    let empty = client.push_blob("team/app", b"");
    let served = client.get(&format!("/v2/team/app/blobs/{empty}"));
    assert_eq!((served.status, served.body.len()), (200, 0), "an empty blob is served");
}

/// A storage that fails does not tell whether the content exists. With 404 a client would take it for absent: it would push
/// the content again, or copy another image than the one that is stored. With 500 it tries again later.
#[test]
fn unreadable_storage_is_not_reported_as_absent_content() {
    let registry = Registry::start();
    let client = registry.client();
    let image = client.push_image("team/app", "v1", b"layer");
    let repository = registry.data().join("docker/registry/v2/repositories/team/app");
    let blob = format!("/v2/team/app/blobs/{}", image.layer);
    let link = repository.join("_layers/sha256").join(image.layer.hex()).join("link");
    // A link to itself can be read by no user.
    let unreadable = |path: &Path, target: &str| {
        let aside = path.with_extension("aside");
        fs::rename(path, &aside).unwrap();
        std::os::unix::fs::symlink(path, path).unwrap();
        let (head, get) = (client.head(target), client.get(target));
        fs::remove_file(path).unwrap();
        fs::rename(&aside, path).unwrap();
        assert_eq!((head.status, get.status, get.code().as_str()), (500, 500, "UNKNOWN"), "{target}");
        assert!(!get.text().contains("_layers") && !get.text().contains("_manifests"), "{}", get.text());
        registry.wait_for_log(path.file_name().unwrap().to_str().unwrap());
        assert_eq!(client.get(target).status, 200, "{target}");
    };
    unreadable(&link, &blob);
    unreadable(&repository.join("_layers"), &blob);
    unreadable(&repository.join("_manifests"), "/v2/team/app/manifests/v1");
    unreadable(&repository.join("_manifests"), "/v2/team/app/tags/list");
    // Without manifests, the layers tell whether the repository exists.
    fs::remove_dir_all(repository.join("_manifests")).unwrap();
    unreadable(&repository.join("_layers"), "/v2/team/app/tags/list");
}
