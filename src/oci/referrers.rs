//! What refers to a manifest: signatures, attestations, SBOMs.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Digest, MediaType, Tag};

/// The manifests that refer to one (distribution-spec, "Listing Referrers"): their descriptors, each as it came.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Referrers(Vec<Value>);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    media_type: Option<String>,
    manifests: Vec<Value>,
}

impl Referrers {
    /// Reads an index that came with `content_type`; `None` where it is none. What is no descriptor in it is left out.
    pub fn parse(body: &[u8], content_type: Option<&MediaType>) -> Option<Self> {
        let index: Index = serde_json::from_slice(body).ok()?;
        let said = index.media_type.as_deref().and_then(MediaType::parse);
        let is_index = [said.as_ref(), content_type].iter().flatten().any(|said| said.as_str() == MediaType::OCI_INDEX);
        is_index.then(|| Self::of(index.manifests))
    }

    /// Those of these that are descriptors.
    pub fn of(mut descriptors: Vec<Value>) -> Self {
        descriptors.retain(|one| one["digest"].as_str().is_some_and(|digest| digest.parse::<Digest>().is_ok()));
        Self(descriptors)
    }

    pub fn descriptors(&self) -> &[Value] {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds the next page.
    pub fn append(&mut self, mut next: Self) {
        self.0.append(&mut next.0);
    }

    /// Those of one artifact type.
    pub fn of_type(mut self, artifact_type: &str) -> Self {
        self.0.retain(|one| one["artifactType"].as_str() == Some(artifact_type));
        self
    }

    /// The image index that lists them.
    pub fn to_index(&self) -> Vec<u8> {
        let index = json!({"schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": self.0});
        serde_json::to_vec(&index).expect("what was JSON is JSON again")
    }
}

impl Tag {
    /// The tag of the index that lists a manifest's referrers where there is no API for them (distribution-spec, "Referrers
    /// Tag Schema"): at most 64 characters of the digest, so that it is a tag for every algorithm.
    pub fn of_referrers(subject: &Digest) -> Self {
        let hex = subject.hex();
        let tag = format!("{}-{}", subject.algorithm().as_str(), &hex[..hex.len().min(64)]);
        tag.parse().expect("letters, digits and a dash make a tag")
    }
}

#[cfg(test)]
mod tests {
    use super::super::Algorithm;
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn one(artifact_type: &str) -> String {
        format!(
            r#"{{"mediaType":"a/b","digest":"{DIGEST}","size":1,"artifactType":"{artifact_type}","annotations":{{"a":"b"}}}}"#
        )
    }

    #[test]
    fn what_is_an_index() {
        let index = MediaType::known(MediaType::OCI_INDEX);
        let named = format!(r#"{{"mediaType":"{index}","manifests":[]}}"#);
        for (body, content_type, want) in [
            (r#"{"manifests":[]}"#, Some(&index), true),
            (&named, None, true),
            (&named, Some(&MediaType::known(MediaType::OCTET_STREAM)), true),
            (r#"{"manifests":[]}"#, None, false),
            (r#"{"manifests":null}"#, Some(&index), false),
            ("{}", Some(&index), false),
            ("<html>", Some(&index), false),
            ("", Some(&index), false),
        ] {
            assert_eq!(Referrers::parse(body.as_bytes(), content_type).is_some(), want, "{body} {content_type:?}");
        }
    }

    #[test]
    fn descriptors_stay_as_they_came() {
        let index = MediaType::known(MediaType::OCI_INDEX);
        let body = format!(r#"{{"manifests":[{},{},{{"digest":"x"}},7]}}"#, one("x/sig"), one("x/sbom"));
        let all = Referrers::parse(body.as_bytes(), Some(&index)).unwrap();
        assert_eq!(all.descriptors().len(), 2);
        assert_eq!(all.descriptors()[0].to_string(), one("x/sig"));
        assert_eq!(Referrers::parse(&all.to_index(), None), Some(all.clone()));
        let mut twice = all.clone().of_type("x/sbom");
        assert_eq!(twice.descriptors()[0].to_string(), one("x/sbom"));
        twice.append(all.clone());
        assert_eq!(twice.descriptors().len(), 3);
        assert!(all.of_type("").is_empty());
    }

    #[test]
    fn fallback_tags() {
        let sha256 = Digest::of(Algorithm::Sha256, b"");
        assert_eq!(Tag::of_referrers(&sha256).as_str(), format!("sha256-{}", sha256.hex()));
        let sha512 = Digest::of(Algorithm::Sha512, b"");
        assert_eq!(Tag::of_referrers(&sha512).as_str(), format!("sha512-{}", &sha512.hex()[..64]));
    }
}
