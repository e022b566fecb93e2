//! Checks of the OCI conformance suite (opencontainers/distribution-spec, `conformance/`) that run without the suite;
//! `tests/conformance/run` runs the suite itself. Each test has the name of the suite's group. It pushes, lists, requests, pulls and
//! deletes the group's content. The table tells where else a group is covered:
//!
//! | the suite's group | covered by |
//! | --- | --- |
//! | Ping | `protocol::base_endpoint_identifies_a_registry` |
//! | Tag listing | `Parcel::is_listed` in every test of data; `protocol::lists_are_paged`, `deletion_of_tags_manifests_and_blobs` |
//! | empty: tags, referrers of a missing manifest | `protocol::invalid_requests_are_refused`; `referrers::empty` |
//! | Blob push; post only; post put; chunked; streaming | `blobs::blobs_*`; `push::single_post_upload` and its neighbours |
//! | Blob upload cancel | `push::cancelled_upload_is_gone` |
//! | Blob mount, anonymous mount, mount of a missing blob | `push::blob_is_mounted_from_its_repository`; `blobs::mount_missing` |
//! | Blob get, head, delete, delete atomic | `blobs::blobs_*`; `protocol::head_has_the_headers_of_get`, `deletion_of_tags_manifests_and_blobs` |
//! | Blob get range | `protocol::ranges_of_a_blob`; `blobs::range_requests` |
//! | Manifest put, get, head by digest and by tag; delete, delete atomic; Tag delete, delete atomic | every test of data; `push::manifests_are_pushed_by_tag_and_by_digest`, `protocol::deletion_of_tags_manifests_and_blobs` |
//! | Manifest put with tag params | `tag_param`, `tag_param_sha512` |
//! | Manifest put with subject | `referrers::artifacts_with_subject`, `index_with_subject`, `missing_subject` |
//! | Referrers | `referrers::empty`, and the tests beside it |
//! | Blobs sha256, Blobs sha512 (bad digests, the empty blob and `{}` with them) | `blobs::blobs_sha256`, `blobs_sha512` |
//! | Image, Image Uncompressed, Image with Large Manifest | `image`, `image_with_large_manifest` |
//! | Index, Nested Index, Empty Index | `index`, `nested_index`, `empty_index` |
//! | Artifact, Artifact Index, Artifact without Layers | `artifact`, `artifact_index`, `artifact_without_layers` |
//! | Data Field, Custom Fields, No Layers, Non-distributable Layers | `data_field`, `custom_fields`, `no_layers`, `non_distributable_layers` |
//! | Sparse Manifests | `sparse_manifests`; `rights::private_blob_is_not_readable_by_a_sparse_manifest` |
//! | Digest Algorithm sha512 | `digest_algorithm_sha512`; `push::sha512` |
//! | Tag Param, Tag Param sha512 | `tag_param`, `tag_param_sha512` |
//! | Bad Digest Image | `bad_digest_image` |
//! | Invalid Manifest Digest, missing-manifest | `push::bad_manifests_are_refused`, `protocol::invalid_requests_are_refused` |

mod blobs;
mod parcel;
mod referrers;

use base64::Engine as _;
use entrepot::oci::{Algorithm, Digest, MediaType};
use serde_json::json;

use crate::support::client::noise;
use crate::support::registry::Registry;

use parcel::{CONFIG, EMPTY, KIND, LAYER, OTHER_KIND, PLAIN_LAYER, Parcel, index_of, put, target};

#[test]
fn image() {
    for media_type in [LAYER, PLAIN_LAYER] {
        let mut parcel = Parcel::new();
        let mut image = parcel.image();
        image["layers"] = json!([parcel.layer(media_type), parcel.layer(media_type)]);
        parcel.add(&image);
        parcel.tag("image");
        parcel.goes_round(&Registry::start());
    }
}

/// Registries should accept manifests of 4 MiB (distribution-spec, "Pushing Manifests"); this one is a little smaller.
#[test]
fn image_with_large_manifest() {
    let mut parcel = Parcel::new();
    let mut image = parcel.image();
    let word = "A".repeat(10_000);
    image["annotations"] = (0..410).map(|n| (format!("org.example.{n}"), json!(word))).collect();
    parcel.add(&image);
    parcel.tag("large");
    assert!((4_000_000..4 << 20).contains(&parcel.manifests[0].len()));
    parcel.goes_round(&Registry::start());
}

#[test]
fn index() {
    let mut parcel = Parcel::new();
    let index = index_of(&mut parcel, &["amd64", "arm64"]);
    parcel.add(&index);
    parcel.tag("index");
    parcel.goes_round(&Registry::start());
}

#[test]
fn nested_index() {
    let mut parcel = Parcel::new();
    let children = [["amd64", "arm64"], ["s390x", "riscv64"]].map(|architectures| {
        let index = index_of(&mut parcel, &architectures);
        parcel.add(&index)
    });
    parcel.add(&json!({"schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": children}));
    parcel.tag("nested");
    parcel.goes_round(&Registry::start());
}

#[test]
fn empty_index() {
    let mut parcel = Parcel::new();
    let index = index_of(&mut parcel, &[]);
    parcel.add(&index);
    parcel.tag("empty");
    parcel.goes_round(&Registry::start());
}

#[test]
fn artifact() {
    let mut parcel = Parcel::new();
    let layer = parcel.layer(KIND);
    let artifact = parcel.artifact(KIND, layer);
    parcel.add(&artifact);
    parcel.tag("artifact");
    parcel.goes_round(&Registry::start());
}

#[test]
fn artifact_index() {
    let mut parcel = Parcel::new();
    let children = [KIND, OTHER_KIND].map(|kind| {
        let layer = parcel.layer(kind);
        let artifact = parcel.artifact(kind, layer);
        parcel.add(&artifact)
    });
    let media_type = MediaType::OCI_INDEX;
    parcel.add(&json!({"schemaVersion": 2, "mediaType": media_type, "artifactType": KIND, "manifests": children}));
    parcel.tag("artifact-index");
    parcel.goes_round(&Registry::start());
}

/// Its only layer is the empty descriptor (image-spec, "Guidelines for Artifact Usage").
#[test]
fn artifact_without_layers() {
    let mut parcel = Parcel::new();
    let nothing = parcel.blob(EMPTY, b"{}".to_vec());
    let artifact = parcel.artifact(KIND, nothing);
    parcel.add(&artifact);
    parcel.tag("without-layers");
    parcel.goes_round(&Registry::start());
}

#[test]
fn data_field() {
    let mut parcel = Parcel::new();
    let mut image = parcel.image();
    let encode = |content: &[u8]| base64::engine::general_purpose::STANDARD.encode(content);
    image["config"]["data"] = encode(&parcel.blobs[0]).into();
    for (layer, content) in image["layers"].as_array_mut().unwrap().iter_mut().zip(&parcel.blobs[1..]) {
        layer["data"] = encode(content).into();
    }
    parcel.add(&image);
    parcel.tag("data-field");
    parcel.goes_round(&Registry::start());
}

/// Two of the layers are fetched by clients from another place, so the registry does not need them.
#[test]
fn non_distributable_layers() {
    let mut parcel = Parcel::new();
    let mut image = parcel.image();
    let layers = image["layers"].as_array_mut().unwrap();
    for (seed, suffix) in [(301, "tar+gzip"), (302, "tar")] {
        let digest = Digest::of(Algorithm::Sha256, &noise(seed, 100));
        let media_type = format!("application/vnd.oci.image.layer.nondistributable.v1.{suffix}");
        let url = format!("https://elsewhere.example/{digest}");
        layers.insert(0, json!({"mediaType": media_type, "digest": digest.to_string(), "size": 100, "urls": [url]}));
    }
    parcel.add(&image);
    parcel.tag("non-distributable");
    parcel.goes_round(&Registry::with("validation: {manifests: {urls: {allow: ['^https://']}}}"));
}

#[test]
fn custom_fields() {
    let mut parcel = Parcel::new();
    let config = json!({"architecture": "amd64", "os": "linux", "org.example.unheard": {"of": [1, 2.5, null]}});
    let config = parcel.blob(CONFIG, config.to_string().into_bytes());
    let mut image = parcel.image();
    image["config"] = config;
    image["layers"][0]["org.example.unheard"] = json!("of");
    image["org.example.unheard"] = json!({"of": true});
    let child = parcel.add(&image);
    parcel.tag("custom-image");
    let mut index = json!({"schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": [child]});
    index["manifests"][0]["org.example.unheard"] = json!(["of"]);
    index["org.example.unheard"] = json!(-1);
    parcel.add(&index);
    parcel.tag("custom-index");
    parcel.goes_round(&Registry::start());
}

#[test]
fn no_layers() {
    let mut parcel = Parcel::new();
    let mut image = parcel.image();
    image["layers"] = json!([]);
    parcel.add(&image);
    parcel.tag("no-layers");
    parcel.goes_round(&Registry::start());
}

/// An image with a missing layer, and an index with a missing image.
#[test]
fn sparse_manifests() {
    let mut parcel = Parcel::new();
    let image = parcel.image();
    parcel.blobs.pop();
    parcel.add(&image);
    parcel.tag("sparse-image");
    let mut index = index_of(&mut parcel, &["amd64"]);
    let absent = parcel.descriptor(MediaType::OCI_MANIFEST, &noise(303, 1000));
    index["manifests"].as_array_mut().unwrap().push(absent);
    parcel.add(&index);
    parcel.tag("sparse-index");
    parcel.goes_round(&Registry::with("validation: {manifests: {sparse: allow}}"));
}

#[test]
fn digest_algorithm_sha512() {
    let mut parcel = Parcel::of(Algorithm::Sha512);
    let index = index_of(&mut parcel, &["amd64", "arm64"]);
    parcel.add(&index);
    let registry = Registry::start();
    let client = registry.client();
    parcel.is_pushed(&client);
    parcel.is_pulled(&client);
    parcel.is_deleted(&client);
}

/// Spaces at the end change the digest.
#[test]
fn bad_digest_image() {
    let mut parcel = Parcel::new();
    let image = parcel.image();
    parcel.add(&image);
    let registry = Registry::start();
    let client = registry.client();
    parcel.blobs_are_pushed(&client);
    let digest = parcel.digest(0).to_string();
    let refused = put(&client, &digest, &[&parcel.manifests[0][..], b"  "].concat());
    assert_eq!((refused.status, refused.code().as_str()), (400, "DIGEST_INVALID"));
    assert_eq!(client.head(&target("manifests", &digest)).status, 404);
    let malformed = put(&client, "sha256:nothexadecimal", &parcel.manifests[0]);
    assert_eq!((malformed.status, malformed.code().as_str()), (400, "DIGEST_INVALID"));
}

/// Pushes an index and its images once each, by digest, with all tags in the query.
fn tags_in_the_query(algorithm: Algorithm) {
    let mut parcel = Parcel::of(algorithm);
    let index = index_of(&mut parcel, &["amd64", "arm64"]);
    parcel.add(&index);
    parcel.tag("both");
    parcel.tags.extend((0..parcel.manifests.len()).map(|manifest| (format!("number-{manifest}"), manifest)));
    let registry = Registry::start();
    let client = registry.client();
    parcel.blobs_are_pushed(&client);
    for manifest in 0..parcel.manifests.len() {
        let mut tags: Vec<&str> =
            parcel.tags.iter().filter(|(_, tagged)| *tagged == manifest).map(|(tag, _)| tag.as_str()).collect();
        let query: Vec<String> = tags.iter().map(|tag| format!("tag={tag}")).collect();
        let answer = parcel.is_put(&client, &format!("{}?{}", parcel.digest(manifest), query.join("&")), manifest);
        let named = answer.headers.iter().filter(|(name, _)| name == "oci-tag");
        let mut made: Vec<&str> = named.flat_map(|(_, value)| value.split(',')).map(str::trim).collect();
        tags.sort_unstable();
        made.sort_unstable();
        assert_eq!(made, tags);
    }
    parcel.is_listed(&client);
    parcel.is_pulled(&client);
    parcel.is_deleted(&client);
}

#[test]
fn tag_param() {
    tags_in_the_query(Algorithm::Sha256);
}

#[test]
fn tag_param_sha512() {
    tags_in_the_query(Algorithm::Sha512);
}
