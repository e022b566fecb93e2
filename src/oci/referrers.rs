//! Lists of referrers: the signatures, attestations and SBOMs that refer to a manifest.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value, json};

use super::digest::Digest;
use super::manifest::{MAX_MANIFEST_BYTES, Manifest};
use super::media_type::MediaType;
use super::name::Tag;
use super::object::Object;

/// The referrers of a manifest (OCI distribution-spec, Listing Referrers): their descriptors, byte for byte.
///
/// The descriptors are kept as text, which takes a tenth of the memory of a tree of values. A response may have 4 MiB
/// of them.
#[derive(Clone, Debug, Default)]
pub struct Referrers(Vec<Box<RawValue>>);

/// The most bytes of a page's index, since clients read no index longer than a manifest. A descriptor that is longer by
/// itself gets a page of its own.
const MOST_BYTES: usize = MAX_MANIFEST_BYTES;

/// A request for a page of referrers.
#[derive(Clone, Debug)]
pub struct ReferrersQuery {
    pub subject: Digest,
    /// Selects the referrers of this artifact type.
    pub artifact_type: Option<String>,
    /// The most entries of the page; `None` means as many as fit into a response.
    pub n: Option<usize>,
    /// Selects the referrers after this one, which ended the previous page.
    pub last: Option<Digest>,
}

/// A page of a list of referrers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReferrersPage {
    pub referrers: Referrers,
    /// The last referrer of the page, if more follow after it.
    pub next: Option<Digest>,
}

/// Builds a page within its limits.
pub struct ReferrersPageBuilder {
    page: Vec<Box<RawValue>>,
    /// The length of the page's index in bytes.
    bytes: usize,
    most: usize,
    more: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    media_type: Option<String>,
    manifests: Vec<Box<RawValue>>,
}

/// The fields of a descriptor that lists are filtered and ordered by.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor<'a> {
    #[serde(borrow)]
    digest: Cow<'a, str>,
    #[serde(default)]
    artifact_type: Value,
}

impl Referrers {
    /// Reads an index that arrived with `content_type`; `None` means that it is not an index. Entries that are not
    /// descriptors are left out.
    pub fn parse(body: &[u8], content_type: Option<&MediaType>) -> Option<Self> {
        let Object(index): Object<Index> = serde_json::from_slice(body).ok()?;
        let stated = index.media_type.as_deref().and_then(MediaType::parse);
        let types = [stated.as_ref(), content_type];
        let is_index = types.iter().flatten().any(|media_type| media_type.as_str() == MediaType::OCI_INDEX);
        is_index.then(|| Self::of(index.manifests))
    }

    /// Makes a list of the values that are descriptors.
    pub fn of(mut descriptors: Vec<Box<RawValue>>) -> Self {
        descriptors.retain(|one| digest(one).is_some());
        Self(descriptors)
    }

    pub fn descriptors(&self) -> &[Box<RawValue>] {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds the next page.
    pub fn append(&mut self, mut next: Self) {
        self.0.append(&mut next.0);
    }

    /// Makes the descriptor of a manifest for the list of its subject's referrers.
    pub fn describe(digest: &Digest, manifest: &Manifest, body: &[u8]) -> Box<RawValue> {
        #[derive(Deserialize)]
        struct Annotated {
            annotations: Map<String, Value>,
        }
        let mut descriptor =
            json!({"mediaType": manifest.media_type().as_str(), "digest": digest.to_string(), "size": body.len()});
        if let Some(artifact_type) = manifest.artifact_type() {
            descriptor["artifactType"] = artifact_type.into();
        }
        if let Ok(Object(Annotated { annotations })) = serde_json::from_slice(body) {
            descriptor["annotations"] = annotations.into();
        }
        to_raw_value(&descriptor).expect("a value is JSON")
    }

    /// Returns the requested page. A list that fits into one response keeps its order. A longer list is sorted by
    /// digest, so that it may change between two pages.
    pub fn cut(mut self, asked: &ReferrersQuery) -> ReferrersPage {
        self.0.retain(|one| asked.wants(one));
        if asked.last.is_none() && self.0.len() <= asked.most() && self.to_index().len() <= MOST_BYTES {
            return ReferrersPage { referrers: self, next: None };
        }
        let digested = |one: Box<RawValue>| Some((digest(&one)?, one));
        let mut ordered: Vec<(Digest, Box<RawValue>)> = self.0.into_iter().filter_map(digested).collect();
        ordered.sort_by_key(|(digest, _)| *digest);
        ordered.dedup_by_key(|(digest, _)| *digest);
        let mut builder = asked.begin();
        let after = ordered.into_iter().filter(|(digest, _)| asked.last.is_none_or(|last| last < *digest));
        // The first descriptor that does not fit ends the page.
        let _ = after.map(|(_, one)| one).all(|one| builder.add(one));
        builder.finish()
    }

    /// Returns the image index that lists them.
    pub fn to_index(&self) -> Vec<u8> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Index<'a> {
            schema_version: u8,
            media_type: &'static str,
            manifests: &'a [Box<RawValue>],
        }
        let index = Index { schema_version: 2, media_type: MediaType::OCI_INDEX, manifests: &self.0 };
        serde_json::to_vec(&index).expect("JSON values can be serialized")
    }
}

impl PartialEq for Referrers {
    fn eq(&self, other: &Self) -> bool {
        self.0.iter().map(|one| one.get()).eq(other.0.iter().map(|one| one.get()))
    }
}

impl ReferrersQuery {
    /// The most entries of one page, whatever `n` is.
    const MOST: usize = 10_000;

    fn most(&self) -> usize {
        self.n.unwrap_or(Self::MOST).min(Self::MOST)
    }

    /// Begins an empty page with the limits of this request.
    pub fn begin(&self) -> ReferrersPageBuilder {
        let bytes = Referrers::default().to_index().len();
        ReferrersPageBuilder { page: Vec::new(), bytes, most: self.most(), more: false }
    }

    /// Returns true if the descriptor has the requested artifact type.
    pub fn wants(&self, descriptor: &RawValue) -> bool {
        let is_wanted = |wanted: &str| read(descriptor).is_some_and(|one| one.artifact_type.as_str() == Some(wanted));
        self.artifact_type.as_deref().is_none_or(is_wanted)
    }
}

impl ReferrersPageBuilder {
    /// Adds a descriptor. Returns false if it does not fit.
    pub fn add(&mut self, descriptor: Box<RawValue>) -> bool {
        let comma = usize::from(!self.page.is_empty());
        let bytes = self.bytes + comma + descriptor.get().len();
        if self.page.len() >= self.most || !self.page.is_empty() && bytes > MOST_BYTES {
            self.more = true;
            return false;
        }
        self.bytes = bytes;
        self.page.push(descriptor);
        true
    }

    pub fn finish(self) -> ReferrersPage {
        let next = self.page.last().filter(|_| self.more).and_then(|last| digest(last));
        ReferrersPage { referrers: Referrers(self.page), next }
    }
}

fn read(descriptor: &RawValue) -> Option<Descriptor<'_>> {
    serde_json::from_str(descriptor.get()).ok().map(|Object(descriptor)| descriptor)
}

/// Returns the digest in a descriptor; `None` if the value is not a descriptor.
fn digest(descriptor: &RawValue) -> Option<Digest> {
    read(descriptor)?.digest.parse().ok()
}

impl Tag {
    /// Returns the fallback tag: the tag of the index that lists a manifest's referrers in registries without the
    /// referrers API (OCI distribution-spec, Referrers Tag Schema). It contains at most 64 digits of the hash, so that
    /// it is a valid tag for every algorithm.
    pub fn of_referrers(subject: &Digest) -> Self {
        let hex = subject.hex();
        let tag = format!("{}-{}", subject.algorithm().as_str(), &hex[..hex.len().min(64)]);
        tag.parse().expect("letters, digits and a dash make a tag")
    }
}

#[cfg(test)]
mod tests {
    use super::super::digest::Algorithm;
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn one(artifact_type: &str) -> String {
        format!(
            r#"{{"mediaType":"a/b","digest":"{DIGEST}","size":1,"artifactType":"{artifact_type}","annotations":{{"a":"b"}}}}"#
        )
    }

    #[test]
    fn indexes_are_recognized_by_their_media_type() {
        let index = MediaType::known(MediaType::OCI_INDEX);
        let named = format!(r#"{{"mediaType":"{index}","manifests":[]}}"#);
        for (body, content_type, want) in [
            (r#"{"manifests":[]}"#, Some(&index), true),
            (&named, None, true),
            (&named, Some(&MediaType::known(MediaType::OCTET_STREAM)), true),
            (r#"{"manifests":[]}"#, None, false),
            (r#"{"manifests":null}"#, Some(&index), false),
            ("{}", Some(&index), false),
            (r#"[null,[]]"#, Some(&index), false),
            ("<html>", Some(&index), false),
            ("", Some(&index), false),
        ] {
            assert_eq!(Referrers::parse(body.as_bytes(), content_type).is_some(), want, "{body} {content_type:?}");
        }
    }

    #[test]
    fn descriptors_are_kept_byte_for_byte() {
        let index = MediaType::known(MediaType::OCI_INDEX);
        let body = format!(r#"{{"manifests":[{},{},{{"digest":"x"}},7,["{DIGEST}"]]}}"#, one("x/sig"), one("x/sbom"));
        let all = Referrers::parse(body.as_bytes(), Some(&index)).unwrap();
        assert_eq!(all.descriptors().len(), 2);
        assert_eq!(all.descriptors()[0].to_string(), one("x/sig"));
        assert_eq!(Referrers::parse(&all.to_index(), None), Some(all.clone()));
        let exact =
            one("x/sig").replace("\"size\":1,", "\"size\":1,\"x\":[0.1234567890123456789,18446744073709551617],");
        let again =
            Referrers::parse(format!(r#"{{"manifests":[{exact}]}}"#).as_bytes(), Some(&index)).unwrap().to_index();
        assert!(String::from_utf8(again).unwrap().contains(&exact), "no digit of a number is lost");
        let of_type = |kind: &str| ReferrersQuery { artifact_type: Some(kind.to_owned()), ..everything() };
        let mut twice = all.clone().cut(&of_type("x/sbom")).referrers;
        assert_eq!(twice.descriptors()[0].to_string(), one("x/sbom"));
        twice.append(all.clone());
        assert_eq!(twice.descriptors().len(), 3);
        assert!(all.cut(&of_type("")).referrers.is_empty());
    }

    fn raw(value: &Value) -> Box<RawValue> {
        to_raw_value(value).unwrap()
    }

    fn everything() -> ReferrersQuery {
        ReferrersQuery { subject: DIGEST.parse().unwrap(), artifact_type: None, n: None, last: None }
    }

    /// Makes descriptors of `count` manifests, each with an annotation of `bytes` bytes, unsorted, with the first one
    /// twice.
    fn many(count: usize, bytes: usize) -> Referrers {
        let descriptor = |n: usize| {
            let digest = Digest::of(Algorithm::Sha256, &(n % count).to_le_bytes()).to_string();
            raw(&json!({"mediaType": "a/b", "digest": digest, "size": 1, "annotations": {"a": "b".repeat(bytes)}}))
        };
        Referrers::of((0..=count).map(descriptor).collect())
    }

    /// Requests all pages of a list. Returns the number of entries of each page, and the number of different entries.
    fn pages(list: &Referrers, n: Option<usize>) -> (Vec<usize>, usize) {
        let (mut asked, mut sizes, mut seen) =
            (ReferrersQuery { n, ..everything() }, Vec::new(), std::collections::BTreeSet::new());
        loop {
            let page = list.clone().cut(&asked);
            let bytes = page.referrers.to_index().len();
            assert!(bytes <= MAX_MANIFEST_BYTES || page.referrers.descriptors().len() == 1, "{bytes} bytes");
            sizes.push(page.referrers.descriptors().len());
            seen.extend(page.referrers.descriptors().iter().filter_map(|one| digest(one)));
            match page.next {
                Some(next) => asked.last = Some(next),
                None => return (sizes, seen.len()),
            }
        }
    }

    #[test]
    fn pages_contain_every_referrer_once() {
        for (count, bytes, n, sizes) in [
            (3, 1, None, vec![4]),
            (3, 1, Some(4), vec![4]),
            (3, 1, Some(3), vec![3]),
            (3, 1, Some(2), vec![2, 1]),
            (3, 1, Some(1), vec![1, 1, 1]),
            (3, 1 << 20, None, vec![3]),
            (4, 1 << 20, None, vec![3, 1]),
            (2, 5 << 20, None, vec![1, 1]),
            (10_001, 1, None, vec![10_000, 1]),
            (10_001, 1, Some(20_000), vec![10_000, 1]),
        ] {
            assert_eq!(pages(&many(count, bytes), n), (sizes, count), "{count} of {bytes} bytes, n={n:?}");
        }
        let none = many(3, 1).cut(&ReferrersQuery { n: Some(0), ..everything() });
        assert_eq!((none.referrers.descriptors().len(), none.next), (0, None));
    }

    #[test]
    fn referrer_is_described_with_artifact_type_and_annotations() {
        let subject = format!(r#""subject":{{"digest":"{DIGEST}","size":1}}"#);
        let config = |kind: &str| format!(r#""config":{{"mediaType":"{kind}","digest":"{DIGEST}","size":1}}"#);
        for (body, artifact_type, annotations) in [
            (format!(r#"{{{subject},{},"annotations":{{"k":"v"}}}}"#, config("c/c")), json!("c/c"), json!({"k": "v"})),
            (format!(r#"{{{subject},{},"artifactType":"x/y"}}"#, config("c/c")), json!("x/y"), Value::Null),
            (format!(r#"{{{subject},{},"artifactType":""}}"#, config("c/c")), json!("c/c"), Value::Null),
            (format!(r#"{{{subject},"manifests":[],"artifactType":"x/y"}}"#), json!("x/y"), Value::Null),
            (format!(r#"{{{subject},"manifests":[],"annotations":7}}"#), Value::Null, Value::Null),
            (format!(r#"{{{subject},"manifests":[],"annotations":null}}"#), Value::Null, Value::Null),
        ] {
            let manifest = Manifest::parse(body.as_bytes(), None).unwrap();
            let digest = Digest::of(Algorithm::Sha256, body.as_bytes());
            let described = Referrers::describe(&digest, &manifest, body.as_bytes());
            let described: Value = serde_json::from_str(described.get()).unwrap();
            assert_eq!(described["mediaType"], manifest.media_type().as_str());
            assert_eq!((&described["digest"], &described["size"]), (&json!(digest.to_string()), &json!(body.len())));
            assert_eq!(
                (&described["artifactType"], &described["annotations"]),
                (&artifact_type, &annotations),
                "{body}"
            );
            assert_eq!(described.get("artifactType").is_some(), !artifact_type.is_null(), "{body}");
        }
    }

    #[test]
    fn fallback_tag_has_at_most_64_digits() {
        let sha256 = Digest::of(Algorithm::Sha256, b"");
        assert_eq!(Tag::of_referrers(&sha256).as_str(), format!("sha256-{}", sha256.hex()));
        let sha512 = Digest::of(Algorithm::Sha512, b"");
        assert_eq!(Tag::of_referrers(&sha512).as_str(), format!("sha512-{}", &sha512.hex()[..64]));
    }
}
