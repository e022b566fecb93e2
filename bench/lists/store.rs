//! The store that the servers serve.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

use serde_json::json;

use crate::support::client::digest_of;
use crate::support::volume::Volume;

/// The repository that has the tags.
pub const TAGGED: &str = "big/tagged";
/// The repository that has the referrers.
pub const SIGNED: &str = "big/signed";

/// The numbers of entries.
pub struct Sizes {
    pub tags: usize,
    pub repositories: usize,
    pub referrers: usize,
}

impl Sizes {
    pub fn part(part: usize) -> Self {
        Self { tags: 100_000 / part, repositories: 100_000 / part, referrers: 10_000 / part }
    }

    /// The subject of the referrers.
    pub fn subject(&self) -> String {
        digest_of(b"subject").to_string()
    }
}

/// Writes the store with two threads, since it has a million and a half files and directories.
pub fn write(data: &Path, sizes: &Sizes) {
    let volume = Volume::at(data);
    let manifest = manifest(&sizes.subject(), "a/common", 0);
    let (digest, layer) = (volume.manifest(TAGGED, &manifest), volume.layer(TAGGED, b"layer"));
    let half = sizes.repositories / 2;
    thread::scope(|scope| {
        scope.spawn(|| {
            tags(&volume, sizes, &digest.to_string());
            (0..half).for_each(|n| repository(&volume, n, &digest, &layer));
        });
        scope.spawn(|| {
            for n in 0..sizes.referrers {
                volume.manifest(SIGNED, &self::manifest(&sizes.subject(), kind(n), n));
            }
            // The two repositories above count as well.
            (half..sizes.repositories - 2).for_each(|n| repository(&volume, n, &digest, &layer));
        });
    });
    // Without this, the disk would still be writing during the measurements.
    assert!(Command::new("sync").arg("-f").arg(data).status().unwrap().success());
}

/// One in a thousand referrers has the rare type.
fn kind(n: usize) -> &'static str {
    if n.is_multiple_of(1000) { "a/rare" } else { "a/common" }
}

fn manifest(subject: &str, artifact_type: &str, n: usize) -> Vec<u8> {
    let descriptor = |media_type: &str, digest: &str| json!({"mediaType": media_type, "digest": digest, "size": 2});
    json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": artifact_type,
        "config": descriptor("application/vnd.oci.empty.v1+json", &digest_of(b"{}").to_string()),
        "layers": [descriptor("application/octet-stream", &digest_of(b"layer").to_string())],
        "subject": descriptor("application/vnd.oci.image.manifest.v1+json", subject),
        "annotations": {"org.opencontainers.image.created": "2025-01-01T00:00:00Z", "number": n.to_string()},
    })
    .to_string()
    .into_bytes()
}

fn tags(volume: &Volume, sizes: &Sizes, digest: &str) {
    let tags = volume.repository(TAGGED).join("_manifests/tags");
    for n in 0..sizes.tags {
        let current = tags.join(format!("v1.{}.{}", n / 1000, n % 1000)).join("current");
        fs::create_dir_all(&current).unwrap();
        fs::write(current.join("link"), digest).unwrap();
    }
}

/// Writes a repository with one manifest and one layer. A thousand repositories share the first part of their names.
fn repository(volume: &Volume, n: usize, manifest: &entrepot::oci::Digest, layer: &entrepot::oci::Digest) {
    let name = format!("team{}/application-{n}", n / 1000);
    let links = [volume.revision(&name, manifest).join("link"), volume.layer_link(&name, layer)];
    for (link, digest) in links.into_iter().zip([manifest, layer]) {
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        fs::write(link, digest.to_string()).unwrap();
    }
}
