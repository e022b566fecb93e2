//! Manifests: parsing is repeatable, accepts only JSON, and the parsed fields survive being written out and parsed again.
#![cfg_attr(fuzzing, no_main)]

use entrepot::oci::{Descriptor, MAX_MANIFEST_BYTES, Manifest, ManifestError, MediaType, Referrers};
use serde_json::{Map, Value, json};

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|input: (u8, &[u8])| run(input));

pub fn run(input: (u8, &[u8])) {
    let (choice, body) = input;
    let content_type = match choice % 4 {
        0 => None,
        1 => Some(MediaType::known(MediaType::OCI_MANIFEST)),
        2 => Some(MediaType::known(MediaType::OCI_INDEX)),
        _ => Some(MediaType::known("application/json")),
    };
    let found = Manifest::parse(body, content_type.as_ref());
    assert_eq!(found, Manifest::parse(body, content_type.as_ref()));
    match found {
        Ok(manifest) => a_manifest(&manifest, body),
        Err(error) => an_error(&error, body),
    }
    if let Some(referrers) = Referrers::parse(body, content_type.as_ref()) {
        let index = referrers.to_index();
        assert_eq!(Referrers::parse(&index, None).as_ref(), Some(&referrers));
        Manifest::parse(&index, None).ok();
    }
}

fn a_manifest(manifest: &Manifest, body: &[u8]) {
    assert!(body.len() <= MAX_MANIFEST_BYTES);
    let start = body.iter().find(|byte| !byte.is_ascii_whitespace());
    assert_eq!(start, Some(&b'{'), "a body that is no JSON object");
    let media_type = manifest.media_type();
    assert_eq!(MediaType::parse(media_type.as_str()).as_ref(), Some(media_type));
    assert!(media_type.is_inert());
    if let Ok(json) = serde_json::from_slice::<Value>(body) {
        let declared = json.get("mediaType").and_then(Value::as_str);
        let declared = declared.and_then(MediaType::parse).filter(MediaType::is_inert);
        assert_eq!(manifest.declares_media_type(), declared.is_some());
        if let Some(declared) = declared {
            assert_eq!(*media_type, declared);
        }
    }
    let named = manifest.named().count();
    let parts = usize::from(manifest.config().is_some()) + manifest.layers().len() + manifest.children().len();
    assert_eq!(named, parts);
    // `check` depends only on the parsed fields.
    let written = written(manifest);
    let again = Manifest::parse(&written, None).expect("what was written out can be read");
    assert_eq!((again.config(), again.layers()), (manifest.config(), manifest.layers()));
    assert_eq!((again.children(), again.subject()), (manifest.children(), manifest.subject()));
    assert_eq!((again.media_type(), again.artifact_type()), (media_type, manifest.artifact_type()));
}

fn an_error(error: &ManifestError, body: &[u8]) {
    let said = error.to_string();
    assert!(!said.is_empty());
    if let ManifestError::TooLarge(len) = error {
        assert_eq!(*len, body.len());
    }
}

fn written(manifest: &Manifest) -> Vec<u8> {
    let mut json = Map::new();
    json.insert("mediaType".to_owned(), manifest.media_type().as_str().into());
    if let Some(artifact_type) = manifest.artifact_type() {
        json.insert("artifactType".to_owned(), artifact_type.into());
    }
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            json.insert(key.to_owned(), value);
        }
    };
    put("config", manifest.config().map(descriptor));
    put("subject", manifest.subject().map(descriptor));
    put("layers", Some(manifest.layers().iter().map(descriptor).collect()));
    put("manifests", Some(manifest.children().iter().map(descriptor).collect()));
    serde_json::to_vec(&json).expect("JSON")
}

fn descriptor(one: &Descriptor) -> Value {
    let mut json = json!({
        "mediaType": one.media_type.as_str(),
        "digest": one.digest.to_string(),
        "size": one.size,
    });
    if !one.urls.is_empty() {
        json["urls"] = json!(one.urls);
    }
    if let Some(platform) = &one.platform {
        let text = platform.to_string();
        let mut parts = text.split('/');
        let mut part = || parts.next().unwrap_or_default().to_owned();
        json["platform"] = json!({"os": part(), "architecture": part(), "variant": part()});
    }
    if let Some(attests) = one.attests {
        json["annotations"] = json!({"vnd.docker.reference.digest": attests.to_string()});
    }
    json
}
