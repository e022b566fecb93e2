//! What refers to a manifest: signatures, attestations, SBOMs.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value, json};

use super::object::Object;
use super::{Digest, MAX_MANIFEST_BYTES, Manifest, MediaType, Tag};

/// The manifests that refer to one (distribution-spec, "Listing Referrers"): their descriptors, each as it came.
///
/// They are kept as text, which takes a tenth of the memory that a tree of values would: there may be 4 MiB of them in an answer.
#[derive(Clone, Debug, Default)]
pub struct Referrers(Vec<Box<RawValue>>);

/// The longest index of a page, in bytes: clients read none that is longer than a manifest may be. A descriptor that is so long by
/// itself stands alone.
const MOST_BYTES: usize = MAX_MANIFEST_BYTES;

/// What is asked for of the manifests that refer to one.
#[derive(Clone, Debug)]
pub struct ReferrersQuery {
    pub subject: Digest,
    /// Only those of this artifact type.
    pub artifact_type: Option<String>,
    /// At most so many; `None`: as many as fit into an answer.
    pub n: Option<usize>,
    /// Only what comes after this one, which ended the page before.
    pub last: Option<Digest>,
}

/// A part of a list of referrers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReferrersPage {
    pub referrers: Referrers,
    /// More come after this one, the last of the page.
    pub next: Option<Digest>,
}

/// A page that is being filled.
pub struct Filling {
    page: Vec<Box<RawValue>>,
    /// What its index takes, in bytes.
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

/// What a list goes by.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor<'a> {
    #[serde(borrow)]
    digest: Cow<'a, str>,
    #[serde(default)]
    artifact_type: Value,
}

impl Referrers {
    /// Reads an index that came with `content_type`; `None` where it is none. What is no descriptor in it is left out.
    pub fn parse(body: &[u8], content_type: Option<&MediaType>) -> Option<Self> {
        let Object(index): Object<Index> = serde_json::from_slice(body).ok()?;
        let said = index.media_type.as_deref().and_then(MediaType::parse);
        let is_index = [said.as_ref(), content_type].iter().flatten().any(|said| said.as_str() == MediaType::OCI_INDEX);
        is_index.then(|| Self::of(index.manifests))
    }

    /// Those of these that are descriptors.
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

    /// The descriptor of a manifest, as the list of what it refers to holds it.
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

    /// The part that is asked for. A list that fits into one answer stays in the order that it came in; what needs several is
    /// given in the order of the digests, so that the list may change between two pages.
    pub fn cut(mut self, asked: &ReferrersQuery) -> ReferrersPage {
        self.0.retain(|one| asked.wants(one));
        if asked.last.is_none() && self.0.len() <= asked.most() && self.to_index().len() <= MOST_BYTES {
            return ReferrersPage { referrers: self, next: None };
        }
        let digested = |one: Box<RawValue>| Some((digest(&one)?, one));
        let mut ordered: Vec<(Digest, Box<RawValue>)> = self.0.into_iter().filter_map(digested).collect();
        ordered.sort_by_key(|(digest, _)| *digest);
        ordered.dedup_by_key(|(digest, _)| *digest);
        let mut filling = asked.begin();
        let after = ordered.into_iter().filter(|(digest, _)| asked.last.is_none_or(|last| last < *digest));
        // Up to the first that does not fit.
        let _ = after.map(|(_, one)| one).all(|one| filling.add(one));
        filling.finish()
    }

    /// The image index that lists them.
    pub fn to_index(&self) -> Vec<u8> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Index<'a> {
            schema_version: u8,
            media_type: &'static str,
            manifests: &'a [Box<RawValue>],
        }
        let index = Index { schema_version: 2, media_type: MediaType::OCI_INDEX, manifests: &self.0 };
        serde_json::to_vec(&index).expect("what was JSON is JSON again")
    }
}

impl PartialEq for Referrers {
    fn eq(&self, other: &Self) -> bool {
        self.0.iter().map(|one| one.get()).eq(other.0.iter().map(|one| one.get()))
    }
}

impl ReferrersQuery {
    /// The most entries of one page, whatever is asked for.
    const MOST: usize = 10_000;

    fn most(&self) -> usize {
        self.n.unwrap_or(Self::MOST).min(Self::MOST)
    }

    /// An empty page, to be filled with as many as are asked for.
    pub fn begin(&self) -> Filling {
        let bytes = Referrers::default().to_index().len();
        Filling { page: Vec::new(), bytes, most: self.most(), more: false }
    }

    /// Is the descriptor of the artifact type that is asked for?
    pub fn wants(&self, descriptor: &RawValue) -> bool {
        let is_wanted = |wanted: &str| read(descriptor).is_some_and(|one| one.artifact_type.as_str() == Some(wanted));
        self.artifact_type.as_deref().is_none_or(is_wanted)
    }
}

impl Filling {
    /// Adds one, if there is room for it.
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

/// What a descriptor names, if it is one.
fn digest(descriptor: &RawValue) -> Option<Digest> {
    read(descriptor)?.digest.parse().ok()
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
            (r#"[null,[]]"#, Some(&index), false),
            ("<html>", Some(&index), false),
            ("", Some(&index), false),
        ] {
            assert_eq!(Referrers::parse(body.as_bytes(), content_type).is_some(), want, "{body} {content_type:?}");
        }
    }

    #[test]
    fn descriptors_stay_as_they_came() {
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

    /// Descriptors of so many manifests, with an annotation of so many bytes, in no order, the first of them twice.
    fn many(count: usize, bytes: usize) -> Referrers {
        let descriptor = |n: usize| {
            let digest = Digest::of(Algorithm::Sha256, &(n % count).to_le_bytes()).to_string();
            raw(&json!({"mediaType": "a/b", "digest": digest, "size": 1, "annotations": {"a": "b".repeat(bytes)}}))
        };
        Referrers::of((0..=count).map(descriptor).collect())
    }

    /// All pages of a list: how many each has, and how many different ones there are together.
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
    fn pages_hold_everything_once() {
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
    fn what_a_manifest_is_listed_with() {
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
    fn fallback_tags() {
        let sha256 = Digest::of(Algorithm::Sha256, b"");
        assert_eq!(Tag::of_referrers(&sha256).as_str(), format!("sha256-{}", sha256.hex()));
        let sha512 = Digest::of(Algorithm::Sha512, b"");
        assert_eq!(Tag::of_referrers(&sha512).as_str(), format!("sha512-{}", &sha512.hex()[..64]));
    }
}
