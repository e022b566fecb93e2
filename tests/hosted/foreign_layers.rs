//! Layers that a manifest says are on another server (`urls`).

use entrepot::oci::{Digest, MediaType};
use serde_json::{Value, json};

use crate::support::client::{Answer, Client, digest_of};
use crate::support::mirror::{manifest, mirror};
use crate::support::registry::Registry;
use crate::support::upstream::Upstream;

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const FOREIGN: [&str; 3] = [
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
];

fn image(config: (Digest, Option<Value>), layer: (&str, Digest, Option<Value>)) -> Vec<u8> {
    let descriptor = |media_type: &str, digest: Digest, urls: Option<Value>| {
        let mut one = json!({"mediaType": media_type, "digest": digest.to_string(), "size": 5});
        urls.into_iter().for_each(|urls| one["urls"] = urls);
        one
    };
    let config = descriptor("application/vnd.oci.image.config.v1+json", config.0, config.1);
    let layers = [descriptor(layer.0, layer.1, layer.2)];
    json!({"schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST, "config": config, "layers": layers})
        .to_string()
        .into_bytes()
}

struct Pushed {
    _registry: Registry,
    client: Client,
    held: Digest,
    absent: Digest,
}

impl Pushed {
    fn with(validation: &str) -> Self {
        let registry = Registry::with(validation);
        let client = registry.client();
        let held = client.push_blob("team/app", b"hello");
        Self { _registry: registry, client, held, absent: digest_of(b"absent") }
    }

    fn put(&self, body: &[u8]) -> (u16, String) {
        let answer: Answer = self.client.put_manifest("team/app", "1", body);
        (answer.status, if answer.status == 201 { String::new() } else { answer.code() })
    }
}

fn refused(code: &str) -> (u16, String) {
    (400, code.to_owned())
}

#[test]
fn urls_are_refused_without_a_configuration() {
    let pushed = Pushed::with("");
    let (held, absent) = (pushed.held, pushed.absent);
    for urls in [json!([""]), json!(["https://layers.corp/a"]), json!(["x", "y"]), json!(["https://layers.corp/a#b"])] {
        for (layer, digest) in [(LAYER, held), (LAYER, absent), (FOREIGN[0], held), (FOREIGN[0], absent)] {
            let body = image((held, None), (layer, digest, Some(urls.clone())));
            assert_eq!(pushed.put(&body), refused("MANIFEST_INVALID"), "{layer} {urls}");
        }
        for config in [held, absent] {
            let body = image((config, Some(urls.clone())), (LAYER, held, None));
            assert_eq!(pushed.put(&body), refused("MANIFEST_INVALID"), "the configuration with {urls}");
        }
    }
    for (layer, digest, urls, want) in [
        // The type alone exempts nothing.
        (FOREIGN[0], absent, None, refused("MANIFEST_BLOB_UNKNOWN")),
        (FOREIGN[1], absent, Some(json!([])), refused("MANIFEST_BLOB_UNKNOWN")),
        (FOREIGN[2], absent, None, refused("MANIFEST_BLOB_UNKNOWN")),
        (FOREIGN[0], held, None, (201, String::new())),
        (LAYER, held, Some(json!([])), (201, String::new())),
    ] {
        assert_eq!(pushed.put(&image((held, None), (layer, digest, urls.clone()))), want, "{layer} {urls:?}");
    }
}

#[test]
fn allowed_addresses_exempt_non_distributable_layers_only() {
    let pushed =
        Pushed::with("validation: {manifests: {urls: {allow: ['^https://layers\\.corp/'], deny: ['/private/']}}}");
    let (held, absent) = (pushed.held, pushed.absent);
    let good = json!(["https://layers.corp/a"]);
    for foreign in FOREIGN {
        for digest in [held, absent] {
            assert_eq!(pushed.put(&image((held, None), (foreign, digest, Some(good.clone())))).0, 201, "{foreign}");
        }
        for bad in ["https://evil.example/a", "https://layers.corp/private/a", "http://layers.corp/a", ""] {
            let body = image((held, None), (foreign, absent, Some(json!(["https://layers.corp/a", bad]))));
            assert_eq!(pushed.put(&body), refused("MANIFEST_INVALID"), "{bad}");
        }
    }
    let layer = image((held, None), (LAYER, absent, Some(good.clone())));
    assert_eq!(pushed.put(&layer), refused("MANIFEST_BLOB_UNKNOWN"));
    let config = image((absent, Some(good.clone())), (LAYER, held, None));
    assert_eq!(pushed.put(&config), refused("MANIFEST_BLOB_UNKNOWN"));
    assert_eq!(pushed.put(&image((held, None), (LAYER, held, Some(good)))).0, 201);
}

/// The children of an index are manifests, whatever they claim.
#[test]
fn children_with_urls_must_be_held() {
    let pushed = Pushed::with("validation: {manifests: {urls: {allow: ['.']}}}");
    let child =
        json!({"mediaType": FOREIGN[0], "digest": pushed.absent.to_string(), "size": 1, "urls": ["https://a.b/"]});
    let index = json!({"schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": [child]}).to_string();
    let request = pushed.client.request("PUT", "/v2/team/app/manifests/1").header("Content-Type", MediaType::OCI_INDEX);
    let answer = request.body(index.as_bytes()).send();
    assert_eq!((answer.status, answer.code().as_str()), (400, "MANIFEST_BLOB_UNKNOWN"));
}

#[test]
fn mirrored_manifests_keep_their_urls() {
    let upstream = Upstream::start();
    let config = upstream.blob("library/app", b"hello");
    let body = image((config, None), (FOREIGN[2], digest_of(b"absent"), Some(json!(["https://layers.corp/a"]))));
    upstream.manifest("library/app", "1", MediaType::OCI_MANIFEST, &body);
    let mirror = mirror(&upstream);
    let answer = mirror.client().get(&manifest("library/app", "1"));
    assert!(answer.status == 200 && answer.body == body, "{}", answer.text());
}
