//! Parses manifests. Their bytes are stored and served unchanged.

use serde::Deserialize;
use serde_json::Value;

use super::digest::{Digest, DigestError};
use super::media_type::MediaType;
use super::object::Object;
use super::platform::Platform;

/// The most bytes of a manifest, pushed or mirrored: the customary 4 MiB.
pub const MAX_MANIFEST_BYTES: usize = 4 << 20;

/// A reference to content (OCI image-spec, Content Descriptors), with the fields that a registry uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    pub media_type: MediaType,
    pub digest: Digest,
    pub size: u64,
    /// The author says that clients fetch the content from another server.
    pub foreign: bool,
    /// The addresses of the content on other servers, as written.
    pub urls: Vec<String>,
    /// The platform of an index's child, if the index states it.
    pub platform: Option<Platform>,
    /// The sibling that this child of an index is an attestation for: BuildKit's `vnd.docker.reference.digest`.
    pub attests: Option<Digest>,
}

/// The parsed content of a manifest. [`Manifest::parse`] makes it; every descriptor in it is well formed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    media_type: MediaType,
    /// The media type in the body.
    declared: Option<MediaType>,
    config: Option<Descriptor>,
    layers: Vec<Descriptor>,
    children: Vec<Descriptor>,
    listing: Listing,
    subject: Option<Descriptor>,
    artifact_type: Option<String>,
}

/// Says whether a manifest has a list of manifests, which may be empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listing {
    Present,
    Absent,
    /// It also has this key, which belongs to an image.
    Beside(&'static str),
}

impl Manifest {
    /// Parses the JSON of a manifest that arrived with `content_type`.
    ///
    /// Any JSON object is a manifest. Its descriptors are found by its keys, so unknown types and schema 1 are accepted
    /// as opaque documents. The media type is the body's `mediaType`; else the `Content-Type`, unless that is generic;
    /// else it is derived from the keys. A type that a browser would run or render ([`MediaType::is_inert`]) is passed over.
    pub fn parse(body: &[u8], content_type: Option<&MediaType>) -> Result<Self, ManifestError> {
        if body.len() > MAX_MANIFEST_BYTES {
            return Err(ManifestError::TooLarge(body.len()));
        }
        let Object(raw): Object<RawManifest> =
            serde_json::from_slice(body).map_err(|error| ManifestError::Json(error.to_string()))?;
        let declared = match &raw.media_type {
            Some(text) => Some(MediaType::parse(text).ok_or_else(|| ManifestError::MediaType(text.clone()))?),
            None => None,
        };
        let shape = raw.shape();
        let stated = declared.as_ref().into_iter().chain(content_type.filter(|stated| !stated.is_generic()));
        let media_type = match (stated.clone().find(|stated| stated.is_inert()), shape) {
            (Some(stated), _) => stated.clone(),
            (None, Some(shape)) => MediaType::known(shape),
            (None, None) => {
                return Err(stated.clone().next().cloned().map_or(ManifestError::Shape, ManifestError::Active));
            }
        };
        // Schema 1 lists its layers in another form. Such a manifest is stored and served without reading them.
        let opaque = raw.schema_version == Some(1);
        let list = |raw: Option<Vec<RawObject>>| -> Result<Vec<Descriptor>, ManifestError> {
            raw.filter(|_| !opaque).into_iter().flatten().map(RawDescriptor::parse).collect()
        };
        let listing = raw.listing();
        Ok(Self {
            media_type,
            declared,
            config: raw.config.filter(|_| !opaque).map(RawDescriptor::parse).transpose()?,
            layers: list(raw.layers.or(raw.blobs))?,
            children: list(raw.manifests)?,
            listing,
            subject: raw.subject.map(RawDescriptor::parse).transpose()?,
            artifact_type: raw.artifact_type,
        })
    }

    /// Checks that it is not an image and an index at once. Clients would read such a manifest in different ways, so
    /// one could verify other content than another one runs (CVE-2021-41190). `registry:2` refuses it too, pushed or
    /// mirrored.
    pub fn check_kind(&self) -> Result<(), ManifestError> {
        match self.listing {
            Listing::Beside(key) => Err(ManifestError::Ambiguous(key)),
            Listing::Present | Listing::Absent => Ok(()),
        }
    }

    /// Checks that it has the keys that its media type requires: an image has a configuration, an index a list of
    /// manifests (OCI image-spec, Image Manifest and Image Index), and that the types of the body and of the `Content-Type`
    /// agree and are inert. The checks apply to pushed manifests only; those of an upstream are served as they are.
    pub fn check(&self, content_type: Option<&MediaType>) -> Result<(), ManifestError> {
        self.check_kind()?;
        let content_type = content_type.filter(|stated| !stated.is_generic());
        if let Some(active) = self.declared.iter().chain(content_type).find(|stated| !stated.is_inert()) {
            return Err(ManifestError::Active(active.clone()));
        }
        if let (Some(declared), Some(stated)) = (&self.declared, content_type)
            && declared != stated
        {
            return Err(ManifestError::Contradiction { declared: declared.clone(), stated: stated.clone() });
        }
        let lacks = match self.media_type.as_str() {
            MediaType::OCI_MANIFEST | MediaType::DOCKER_MANIFEST if self.config.is_none() => "config",
            MediaType::OCI_INDEX | MediaType::DOCKER_LIST if self.listing == Listing::Absent => "manifests",
            _ => return Ok(()),
        };
        Err(ManifestError::Lacks { media_type: self.media_type.clone(), lacks })
    }

    /// Returns the media type to serve it with.
    pub fn media_type(&self) -> &MediaType {
        &self.media_type
    }

    /// Returns true if the body itself contains its media type. Otherwise the store must remember it.
    pub fn declares_media_type(&self) -> bool {
        self.declared.as_ref() == Some(&self.media_type)
    }

    /// Returns the configuration of an image.
    pub fn config(&self) -> Option<&Descriptor> {
        self.config.as_ref()
    }

    /// Returns the layers of an image, or the blobs of an artifact.
    pub fn layers(&self) -> &[Descriptor] {
        &self.layers
    }

    /// Returns the entries of an index. They are usually manifests, but BuildKit's caches list blobs there.
    pub fn children(&self) -> &[Descriptor] {
        &self.children
    }

    /// Returns the manifest that this one refers to (OCI distribution-spec, Listing Referrers).
    pub fn subject(&self) -> Option<&Descriptor> {
        self.subject.as_ref()
    }

    /// Returns the artifact type: `artifactType`, else the media type of the configuration, which an index does not
    /// have (OCI distribution-spec, Listing Referrers).
    pub fn artifact_type(&self) -> Option<&str> {
        let stated = self.artifact_type.as_deref().filter(|stated| !stated.is_empty());
        stated.or(self.config.as_ref().map(|config| config.media_type.as_str()))
    }

    /// Returns all descriptors that a client may pull next: all except the subject.
    pub fn named(&self) -> impl Iterator<Item = &Descriptor> {
        self.config.iter().chain(&self.layers).chain(&self.children)
    }
}

/// The error for a body that is not an acceptable manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    #[error("the manifest has {0} bytes; at most {MAX_MANIFEST_BYTES} are accepted")]
    TooLarge(usize),
    #[error("the manifest is not valid JSON for a manifest: {0}")]
    Json(String),
    #[error("{0:?} in the manifest is not a media type")]
    MediaType(String),
    #[error("the manifest names the digest {digest:?}: {reason}")]
    Digest { digest: String, reason: String },
    #[error(
        "the type of the manifest is unknown: it has no mediaType, config, layers or manifests, and no Content-Type was sent"
    )]
    Shape,
    #[error(
        "the media type {0} is not one of a manifest, since a browser would run or render it; use an application/ type \
         that is neither HTML, XML nor a script"
    )]
    Active(MediaType),
    #[error(
        "the manifest has the mediaType {declared} but was sent with the Content-Type {stated}; send the same type"
    )]
    Contradiction { declared: MediaType, stated: MediaType },
    #[error("the manifest has the media type {media_type} but no `{lacks}`")]
    Lacks { media_type: MediaType, lacks: &'static str },
    #[error(
        "the manifest names the address {url:?} for {digest}, which validation.manifests.urls does not allow; leave `urls` out and \
         push the content"
    )]
    Url { digest: Digest, url: String },
    #[error(
        "the manifest has `manifests` like an index and `{0}` like an image: clients would read it in different ways; \
         leave one of the two out"
    )]
    Ambiguous(&'static str),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawManifest {
    schema_version: Option<u64>,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<RawObject>,
    layers: Option<Vec<RawObject>>,
    blobs: Option<Vec<RawObject>>,
    manifests: Option<Vec<RawObject>>,
    subject: Option<RawObject>,
}

type RawObject = Object<RawDescriptor>;

impl RawManifest {
    fn listing(&self) -> Listing {
        match (&self.manifests, &self.config, &self.layers) {
            (None, ..) => Listing::Absent,
            (Some(_), None, None) => Listing::Present,
            (Some(_), Some(_), _) => Listing::Beside("config"),
            (Some(_), None, Some(_)) => Listing::Beside("layers"),
        }
    }

    /// Derives the media type from the keys.
    fn shape(&self) -> Option<&'static str> {
        match self {
            Self { schema_version: Some(1), .. } => Some(MediaType::DOCKER_SCHEMA1_SIGNED),
            Self { manifests: Some(_), .. } => Some(MediaType::OCI_INDEX),
            Self { config: Some(_), .. } | Self { layers: Some(_), .. } => Some(MediaType::OCI_MANIFEST),
            _ => None,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    media_type: Option<String>,
    digest: String,
    size: u64,
    urls: Option<Vec<String>>,
    /// Not parsed here, since an unusual platform must not make the whole manifest invalid.
    platform: Option<Value>,
    annotations: Option<Value>,
}

/// The annotation of an attestation. BuildKit lists an attestation beside its image.
const ATTESTS: &str = "vnd.docker.reference.digest";

impl RawDescriptor {
    fn parse(Object(raw): RawObject) -> Result<Descriptor, ManifestError> {
        let text = raw.media_type.unwrap_or_else(|| MediaType::OCTET_STREAM.to_owned());
        let media_type = MediaType::parse(&text).ok_or(ManifestError::MediaType(text))?;
        let digest = raw
            .digest
            .parse()
            .map_err(|error: DigestError| ManifestError::Digest { digest: raw.digest, reason: error.to_string() })?;
        let urls = raw.urls.unwrap_or_default();
        let foreign = media_type.is_foreign() || !urls.is_empty();
        let attests = raw.annotations.as_ref().and_then(|all| all.get(ATTESTS)?.as_str()?.parse().ok());
        let platform = raw.platform.as_ref().filter(|value| !value.is_null()).and_then(platform);
        Ok(Descriptor { media_type, digest, size: raw.size, foreign, urls, platform, attests })
    }
}

fn platform(value: &Value) -> Option<Platform> {
    let text = |key: &str| value.get(key).and_then(Value::as_str);
    Platform::described(text("os").unwrap_or_default(), text("architecture").unwrap_or_default(), text("variant"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn parse(json: &str) -> Result<Manifest, ManifestError> {
        Manifest::parse(json.as_bytes(), None)
    }

    #[test]
    fn image_is_parsed_with_config_and_layers() {
        let json = format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{DIGEST}","size":2}},
               "layers":[{{"mediaType":"application/vnd.oci.image.layer.nondistributable.v1.tar","digest":"{DIGEST}","size":3}}]}}"#
        );
        let manifest = parse(&json).unwrap();
        assert_eq!(manifest.media_type().as_str(), MediaType::OCI_MANIFEST);
        assert!(!manifest.declares_media_type());
        assert_eq!(manifest.config().unwrap().size, 2);
        assert!(manifest.layers()[0].foreign);
        assert_eq!(manifest.named().count(), 2);
    }

    #[test]
    fn index_children_are_parsed_with_platform_and_attestation() {
        let child = |more: &str| {
            let json = format!(r#"{{"manifests":[{{"digest":"{DIGEST}","size":2{more}}}]}}"#);
            let descriptor = parse(&json).unwrap().children()[0].clone();
            (descriptor.platform.map(|platform| platform.to_string()), descriptor.attests.is_some())
        };
        let platform = |text: &str| (Some(text.to_owned()), false);
        assert_eq!(child(""), (None, false));
        assert_eq!(child(r#","platform":null,"annotations":null"#), (None, false));
        assert_eq!(
            child(r#","platform":{"os":"linux","architecture":"arm","variant":"v7"}"#),
            platform("linux/arm/v7")
        );
        for empty in [r#""linux""#, "7", "{}", r#"{"os":["linux"]}"#, r#"{"os":"","architecture":""}"#] {
            assert_eq!(child(&format!(r#","platform":{empty}"#)), (None, false), "{empty}");
        }
        let odd = r#","platform":{"os":"a b","architecture":"arm"}"#;
        assert_eq!(child(odd), platform("unknown/unknown"));
        let annotated = format!(r#","annotations":{{"vnd.docker.reference.digest":"{DIGEST}"}}"#);
        assert_eq!(child(&annotated), (None, true));
        assert_eq!(child(r#","annotations":{"vnd.docker.reference.digest":7}"#), (None, false));
    }

    #[test]
    fn media_type_comes_from_the_body_then_the_header_then_the_keys() {
        let index = r#"{"schemaVersion":2,"manifests":[]}"#;
        assert_eq!(parse(index).unwrap().media_type().as_str(), MediaType::OCI_INDEX);
        let header = MediaType::known(MediaType::DOCKER_LIST);
        let manifest = Manifest::parse(index.as_bytes(), Some(&header)).unwrap();
        assert_eq!(manifest.media_type(), &header);
        let named = r#"{"mediaType":"application/vnd.foo+json"}"#;
        assert_eq!(
            Manifest::parse(named.as_bytes(), Some(&header)).unwrap().media_type().as_str(),
            "application/vnd.foo+json"
        );
        assert!(parse(r#"{"schemaVersion":1,"fsLayers":[{"blobSum":"x"}]}"#).unwrap().layers().is_empty());
    }

    #[test]
    fn active_media_types_are_passed_over_and_refused_in_a_push() {
        let oci = MediaType::OCI_MANIFEST;
        let bare = r#"{"layers":[]}"#;
        let typed =
            |text: &str| format!(r#"{{"mediaType":"{text}","config":{{"digest":"{DIGEST}","size":2}},"layers":[]}}"#);
        for (json, header, served, pushed) in [
            (bare, "text/html", Some(oci), "text/html"),
            (bare, "application/xhtml+xml", Some(oci), "application/xhtml+xml"),
            ("{}", "image/svg+xml", None, "image/svg+xml"),
            (&typed("text/html"), oci, Some(oci), "text/html"),
            (&typed("text/html"), "text/html", Some(oci), "text/html"),
            (r#"{"mediaType":"text/javascript"}"#, "application/json", None, "text/javascript"),
            (&typed(oci), "text/html", Some(oci), "text/html"),
            (&typed(oci), MediaType::DOCKER_MANIFEST, Some(oci), "but was sent with the Content-Type"),
            (&typed(oci), "text/plain", Some(oci), ""),
            (&typed(oci), oci, Some(oci), ""),
        ] {
            let header = MediaType::parse(header);
            let parsed = Manifest::parse(json.as_bytes(), header.as_ref());
            let found = parsed.as_ref().ok().map(|manifest| manifest.media_type().as_str());
            assert_eq!(found, served, "{json} {header:?}");
            let refused = parsed.and_then(|manifest| manifest.check(header.as_ref())).err();
            let refused = refused.map_or(String::new(), |error| error.to_string());
            assert!(
                refused.contains(pushed) && refused.is_empty() == pushed.is_empty(),
                "{json} {header:?}: {refused}"
            );
        }
    }

    #[test]
    fn manifests_without_the_keys_of_their_media_type_are_refused() {
        for (json, content_type) in [
            (r#"{"schemaVersion":2}"#, MediaType::OCI_MANIFEST),
            (r#"{"schemaVersion":2,"manifests":[]}"#, MediaType::DOCKER_MANIFEST),
            (r#"{"schemaVersion":2}"#, MediaType::OCI_INDEX),
            (r#"{"mediaType":"application/vnd.oci.image.manifest.v1+json"}"#, "application/json"),
        ] {
            let manifest = Manifest::parse(json.as_bytes(), MediaType::parse(content_type).as_ref()).unwrap();
            assert!(manifest.check(None).is_err(), "{json} as {content_type}");
        }
        let generic = MediaType::parse("application/json");
        assert_eq!(Manifest::parse(b"{}", generic.as_ref()), Err(ManifestError::Shape));
        let index = Manifest::parse(br#"{"manifests":[]}"#, generic.as_ref()).unwrap();
        assert_eq!((index.media_type().as_str(), index.check(None)), (MediaType::OCI_INDEX, Ok(())));
        let own = MediaType::parse("application/vnd.foo+json");
        assert_eq!(Manifest::parse(b"{}", own.as_ref()).unwrap().check(None), Ok(()));
    }

    #[test]
    fn manifests_that_are_image_and_index_are_refused() {
        for (keys, wanted) in [
            (r#""manifests":[]"#, None),
            (r#""layers":[]"#, None),
            (r#""manifests":[],"layers":null,"config":null"#, None),
            (r#""layers":[],"manifests":null"#, None),
            (r#""manifests":[],"layers":[]"#, Some("layers")),
            (r#""layers":[],"config":{},"manifests":[{}]"#, Some("config")),
        ] {
            let json = keys.replace("{}", &format!(r#"{{"digest":"{DIGEST}","size":2}}"#));
            for media_type in [MediaType::OCI_INDEX, MediaType::OCI_MANIFEST, "application/vnd.foo+json"] {
                let found = parse(&format!(r#"{{"mediaType":"{media_type}",{json}}}"#)).unwrap();
                let wanted = wanted.map_or(Ok(()), |key| Err(ManifestError::Ambiguous(key)));
                assert_eq!(found.check_kind(), wanted, "{media_type} {json}");
                assert_eq!(matches!(found.check(None), Err(ManifestError::Ambiguous(_))), wanted.is_err());
            }
        }
    }

    #[test]
    fn malformed_manifests_are_refused() {
        for json in [
            "",
            "[]",
            "{}",
            "null",
            r#"{"schemaVersion":2,"config":{"digest":"sha256:0","size":1}}"#,
            r#"{"schemaVersion":2,"layers":[{"digest":"x"}]}"#,
            r#"{"schemaVersion":2,"layers":{}}"#,
            r#"{"mediaType":"nonsense"}"#,
            r#"{"schemaVersion":2,"manifests":[],"manifests":[]}"#,
            &format!(r#"{{"layers":[{{"digest":"{DIGEST}","size":-1}}]}}"#),
            // Arrays in the order of our struct's fields, which serde would accept without `Object`.
            r#"[2,"application/vnd.foo+json",null,null,null,null,null,null]"#,
            &format!(r#"{{"layers":[["a/b","{DIGEST}",1,null,null,null]]}}"#),
            &format!(r#"{{"config":["a/b","{DIGEST}",1,null,null,null]}}"#),
            &format!(r#"{{"layers":[],"subject":["a/b","{DIGEST}",1,null,null,null]}}"#),
        ] {
            assert!(parse(json).is_err(), "{json} was taken for a manifest");
        }
        let huge = vec![b' '; MAX_MANIFEST_BYTES + 1];
        assert!(matches!(Manifest::parse(&huge, None), Err(ManifestError::TooLarge(_))));
        assert!(parse(&"[".repeat(100_000)).is_err());
    }
}
