//! Content with a subject, and the list of referrers.

use entrepot::oci::{Algorithm, Digest, MediaType};
use serde_json::{Value, json};

use crate::support::client::{Client, noise};
use crate::support::registry::Registry;

use super::parcel::{CONFIG, KIND, OTHER_KIND, Parcel, index_of, target};

/// Returns an image, an image that refers to it, and two artifacts of two types that refer to it. The first three may have no tag.
fn artifacts_of_image() -> (Parcel, Value) {
    let mut parcel = Parcel::new();
    let image = parcel.image();
    let subject = parcel.add(&image);
    parcel.tag("subject");
    let mut about = parcel.image();
    about["subject"] = subject.clone();
    parcel.add(&about);
    for kind in [KIND, OTHER_KIND] {
        let layer = parcel.layer("application/octet-stream");
        let mut artifact = parcel.artifact(kind, layer);
        artifact["subject"] = subject.clone();
        parcel.add(&artifact);
        parcel.tag(kind.rsplit('.').next().unwrap());
    }
    (parcel, subject)
}

/// Returns an index, and an index with an artifact type that refers to it.
fn artifact_of_index() -> (Parcel, Value) {
    let mut parcel = Parcel::new();
    let index = index_of(&mut parcel, &["amd64"]);
    let subject = parcel.add(&index);
    parcel.tag("subject");
    let mut about = index_of(&mut parcel, &["amd64"]);
    about["artifactType"] = json!(KIND);
    about["annotations"] = json!({"org.example.word": "index"});
    about["subject"] = subject.clone();
    parcel.add(&about);
    parcel.tag("about");
    (parcel, subject)
}

/// Returns an artifact whose subject is not in the registry.
fn artifact_of_missing_subject() -> (Parcel, Value) {
    let mut parcel = Parcel::new();
    let subject = parcel.descriptor(MediaType::OCI_MANIFEST, &noise(304, 123));
    let layer = parcel.layer(KIND);
    let mut artifact = parcel.artifact(KIND, layer);
    artifact["subject"] = subject.clone();
    parcel.add(&artifact);
    parcel.tag("about");
    (parcel, subject)
}

#[test]
fn artifacts_with_subject() {
    artifacts_of_image().0.goes_round(&Registry::start());
}

#[test]
fn index_with_subject() {
    artifact_of_index().0.goes_round(&Registry::start());
}

#[test]
fn missing_subject() {
    artifact_of_missing_subject().0.goes_round(&Registry::start());
}

/// Returns the list of the referrers of `subject`, which must be a valid index.
fn referrers(client: &Client, subject: &str, kind: Option<&str>) -> Vec<Value> {
    let query =
        kind.map(|kind| format!("?artifactType={}", kind.replace('/', "%2F").replace('+', "%2B"))).unwrap_or_default();
    let answer = client.get(&target("referrers", &format!("{subject}{query}")));
    assert_eq!((answer.status, answer.header("content-type")), (200, Some(MediaType::OCI_INDEX)), "{}", answer.text());
    assert_eq!(answer.header("oci-filters-applied"), kind.map(|_| "artifactType"));
    let index = answer.json();
    assert_eq!((&index["schemaVersion"], &index["mediaType"]), (&json!(2), &json!(MediaType::OCI_INDEX)));
    let mut manifests = index["manifests"].as_array().unwrap().clone();
    manifests.sort_by_key(|descriptor| descriptor["digest"].to_string());
    manifests
}

/// Returns the descriptors that the list of referrers of `subject` must have.
fn described(parcel: &Parcel, subject: &Value) -> Vec<Value> {
    let manifests = parcel.manifests.iter().map(|body| (body, serde_json::from_slice::<Value>(body).unwrap()));
    let about = manifests.filter(|(_, json)| json["subject"]["digest"] == subject["digest"]);
    let mut descriptors: Vec<Value> = about
        .map(|(body, json)| {
            let mut descriptor = parcel.descriptor(json["mediaType"].as_str().unwrap(), body);
            let kind = json.get("artifactType").unwrap_or(&json["config"]["mediaType"]);
            descriptor["artifactType"] = kind.clone();
            if let Some(annotations) = json.get("annotations") {
                descriptor["annotations"] = annotations.clone();
            }
            descriptor
        })
        .collect();
    descriptors.sort_by_key(|descriptor| descriptor["digest"].to_string());
    descriptors
}

/// Checks that the list has all referrers, with and without a filter, until they are deleted.
fn are_listed_as_referrers((parcel, subject): (Parcel, Value)) {
    let registry = Registry::start();
    let client = registry.client();
    let of = subject["digest"].as_str().unwrap();
    assert_eq!(referrers(&client, of, None), Vec::<Value>::new());
    parcel.is_pushed(&client);
    let want = described(&parcel, &subject);
    assert_eq!(referrers(&client, of, None), want);
    for kind in [KIND, OTHER_KIND, CONFIG, "application/vnd.example.none"] {
        let some: Vec<Value> = want.iter().filter(|descriptor| descriptor["artifactType"] == kind).cloned().collect();
        assert_eq!(referrers(&client, of, Some(kind)), some, "{kind}");
    }
    parcel.is_deleted(&client);
    assert_eq!(referrers(&client, of, None), Vec::<Value>::new());
}

#[test]
fn empty() {
    let registry = Registry::start();
    let nothing = Digest::of(Algorithm::Sha256, b"this was never pushed").to_string();
    assert_eq!(referrers(&registry.client(), &nothing, None), Vec::<Value>::new());
    assert_eq!(referrers(&registry.client(), &nothing, Some(KIND)), Vec::<Value>::new());
}

#[test]
fn artifacts_with_subject_referrers() {
    are_listed_as_referrers(artifacts_of_image());
}

#[test]
fn index_with_subject_referrers() {
    are_listed_as_referrers(artifact_of_index());
}

#[test]
fn missing_subject_referrers() {
    are_listed_as_referrers(artifact_of_missing_subject());
}
