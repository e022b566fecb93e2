//! Content that is pushed, requested, pulled and deleted again.

use entrepot::oci::{Algorithm, Digest, MediaType};
use serde_json::{Value, json};

use crate::support::client::{Answer, Client, noise};
use crate::support::registry::Registry;

use super::blobs::post_put;

pub const REPOSITORY: &str = "conformance/one";
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub const PLAIN_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
pub const KIND: &str = "application/vnd.example.one";
pub const OTHER_KIND: &str = "application/vnd.example.two";

/// Content of one kind: blobs, manifests in the order of pushing, and tags of some of them.
pub struct Parcel {
    pub algorithm: Algorithm,
    pub blobs: Vec<Vec<u8>>,
    pub manifests: Vec<Vec<u8>>,
    pub tags: Vec<(String, usize)>,
    seed: u64,
}

impl Parcel {
    pub fn new() -> Self {
        Self::of(Algorithm::Sha256)
    }

    pub fn of(algorithm: Algorithm) -> Self {
        Self { algorithm, blobs: Vec::new(), manifests: Vec::new(), tags: Vec::new(), seed: 0 }
    }

    pub fn descriptor(&self, media_type: &str, content: &[u8]) -> Value {
        let digest = Digest::of(self.algorithm, content).to_string();
        json!({"mediaType": media_type, "digest": digest, "size": content.len()})
    }

    pub fn blob(&mut self, media_type: &str, content: Vec<u8>) -> Value {
        let descriptor = self.descriptor(media_type, &content);
        if !self.blobs.contains(&content) {
            self.blobs.push(content);
        }
        descriptor
    }

    pub fn layer(&mut self, media_type: &str) -> Value {
        self.seed += 1;
        let content = noise(self.seed, 1000);
        self.blob(media_type, content)
    }

    pub fn config(&mut self) -> Value {
        self.seed += 1;
        let config = json!({"architecture": "amd64", "os": "linux", "author": self.seed.to_string()});
        self.blob(CONFIG, config.to_string().into_bytes())
    }

    /// Returns an image with two layers.
    pub fn image(&mut self) -> Value {
        let (config, layers) = (self.config(), [self.layer(LAYER), self.layer(LAYER)]);
        json!({"schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST, "config": config, "layers": layers})
    }

    pub fn artifact(&mut self, kind: &str, layer: Value) -> Value {
        let config = self.blob(EMPTY, b"{}".to_vec());
        json!({
            "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST, "artifactType": kind,
            "config": config, "layers": [layer], "annotations": {"org.example.word": kind},
        })
    }

    /// Adds a manifest and returns its descriptor.
    pub fn add(&mut self, manifest: &Value) -> Value {
        let body = manifest.to_string().into_bytes();
        let descriptor = self.descriptor(manifest["mediaType"].as_str().unwrap(), &body);
        self.manifests.push(body);
        descriptor
    }

    /// Tags the manifest that was added last.
    pub fn tag(&mut self, tag: &str) {
        self.tags.push((tag.to_owned(), self.manifests.len() - 1));
    }

    pub fn digest(&self, manifest: usize) -> Digest {
        Digest::of(self.algorithm, &self.manifests[manifest])
    }

    /// Returns every reference of a manifest.
    pub fn references(&self) -> Vec<(String, usize)> {
        let digests = (0..self.manifests.len()).map(|manifest| (self.digest(manifest).to_string(), manifest));
        self.tags.iter().cloned().chain(digests).collect()
    }

    pub fn goes_round(&self, registry: &Registry) {
        let client = registry.client();
        self.is_pushed(&client);
        self.is_listed(&client);
        self.is_pulled(&client);
        self.is_deleted(&client);
    }

    pub fn is_pushed(&self, client: &Client) {
        self.blobs_are_pushed(client);
        for manifest in 0..self.manifests.len() {
            self.is_put(client, &self.digest(manifest).to_string(), manifest);
        }
        for (tag, manifest) in &self.tags {
            self.is_put(client, tag, *manifest);
        }
    }

    pub fn blobs_are_pushed(&self, client: &Client) {
        for blob in &self.blobs {
            let digest = Digest::of(self.algorithm, blob);
            let answer = post_put(client, &digest, blob);
            assert_eq!(answer.status, 201, "{}", answer.text());
        }
    }

    pub fn is_put(&self, client: &Client, reference: &str, manifest: usize) -> Answer {
        let body = &self.manifests[manifest];
        let answer = put(client, reference, body);
        assert_eq!(answer.status, 201, "{reference}: {}", answer.text());
        assert_eq!(answer.header("docker-content-digest"), Some(self.digest(manifest).to_string().as_str()));
        let json: Value = serde_json::from_slice(body).unwrap();
        assert_eq!(answer.header("oci-subject"), json["subject"]["digest"].as_str());
        let there = client.get(answer.header("location").unwrap());
        assert_eq!((there.status, &there.body), (200, body));
        answer
    }

    /// Checks that the list has all tags, and that `last` leaves out the tags up to it.
    pub fn is_listed(&self, client: &Client) {
        let list = |query: &str| -> Vec<String> {
            let answer = client.get(&format!("/v2/{REPOSITORY}/tags/list{query}"));
            assert_eq!(answer.status, 200, "{}", answer.text());
            serde_json::from_value(answer.json()["tags"].clone()).unwrap()
        };
        let mut want: Vec<String> = self.tags.iter().map(|(tag, _)| tag.clone()).collect();
        want.sort();
        assert_eq!(list(""), want);
        for (position, tag) in want.iter().enumerate() {
            assert_eq!(list(&format!("?last={tag}")), want[position + 1..], "{tag}");
        }
    }

    pub fn is_pulled(&self, client: &Client) {
        for (reference, manifest) in self.references() {
            let (target, body) = (target("manifests", &reference), &self.manifests[manifest]);
            let digest = self.digest(manifest).to_string();
            for answer in [client.head(&target), client.get(&target)] {
                assert_eq!(answer.status, 200, "{reference}: {}", answer.text());
                assert_eq!(answer.header("content-type"), Some(media_type(body).as_str()), "{reference}");
                assert_eq!(answer.header("content-length"), Some(body.len().to_string().as_str()), "{reference}");
                assert_eq!(answer.header("docker-content-digest"), Some(digest.as_str()), "{reference}");
            }
            assert_eq!(&client.get(&target).body, body, "{reference}");
        }
        for blob in &self.blobs {
            is_held(client, &Digest::of(self.algorithm, blob), blob);
        }
    }

    /// Deletes the tags first, then each manifest before the content that it names. Each is gone at once.
    pub fn is_deleted(&self, client: &Client) {
        let (tags, digests) = self.references().into_iter().partition::<Vec<_>, _>(|(name, _)| !name.contains(':'));
        for (reference, _) in tags.iter().chain(digests.iter().rev()) {
            is_deleted(client, &target("manifests", reference));
        }
        for blob in &self.blobs {
            is_deleted(client, &target("blobs", &Digest::of(self.algorithm, blob).to_string()));
        }
    }
}

pub fn target(kind: &str, reference: &str) -> String {
    format!("/v2/{REPOSITORY}/{kind}/{reference}")
}

/// The fields of a manifest that describe it.
pub fn media_type(manifest: &[u8]) -> String {
    let json: Value = serde_json::from_slice(manifest).unwrap();
    json["mediaType"].as_str().unwrap().to_owned()
}

pub fn put(client: &Client, reference: &str, body: &[u8]) -> Answer {
    let request = client.request("PUT", &target("manifests", reference));
    request.header("Content-Type", &media_type(body)).body(body).send()
}

pub fn is_held(client: &Client, digest: &Digest, content: &[u8]) {
    let target = target("blobs", &digest.to_string());
    let (head, get) = (client.head(&target), client.get(&target));
    for answer in [&head, &get] {
        assert_eq!(answer.status, 200, "{digest}: {}", answer.text());
        assert_eq!(answer.header("content-length"), Some(content.len().to_string().as_str()), "{digest}");
        assert_eq!(answer.header("docker-content-digest"), Some(digest.to_string().as_str()));
    }
    assert!(head.body.is_empty() && get.whole && get.body == content, "{digest}");
}

pub fn is_deleted(client: &Client, target: &str) {
    assert_eq!(client.request("DELETE", target).send().status, 202, "{target}");
    assert_eq!(client.head(target).status, 404, "{target}");
}

/// Returns an index of images for this number of platforms.
pub fn index_of(parcel: &mut Parcel, architectures: &[&str]) -> Value {
    let children: Vec<Value> = architectures
        .iter()
        .map(|architecture| {
            let image = parcel.image();
            let mut child = parcel.add(&image);
            child["platform"] = json!({"os": "linux", "architecture": architecture});
            child
        })
        .collect();
    json!({"schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": children})
}
