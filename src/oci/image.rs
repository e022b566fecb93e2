//! Parses image names as users write them: `alpine`, `ghcr.io/org/app:1.2`, `alpine@sha256:…`.

use std::fmt;
use std::str::FromStr;

use super::name::{NameError, Reference, RepositoryName, Tag};
use super::pattern::glob_matches;
use super::target::HostName;

/// The tag of an image name that contains none.
const LATEST: &str = "latest";

/// The repository of an image: `[REGISTRY/]NAME`.
///
/// The first part is a registry by the rule that clients use: it contains a dot or a port, or is `localhost`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ImageRepository {
    registry: Option<HostName>,
    name: RepositoryName,
}

impl ImageRepository {
    pub fn registry(&self) -> Option<&HostName> {
        self.registry.as_ref()
    }

    /// Returns its name within the registry.
    pub fn name(&self) -> &RepositoryName {
        &self.name
    }

    fn parse(text: &str) -> Result<Self, Reason> {
        let (registry, name) = match text.split_once('/') {
            Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (Some(first.parse()?), rest),
            _ => (None, text),
        };
        Ok(Self { registry, name: name.parse()? })
    }
}

impl fmt::Display for ImageRepository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.registry {
            Some(registry) => write!(f, "{registry}/{}", self.name),
            None => self.name.fmt(f),
        }
    }
}

impl FromStr for ImageRepository {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        Self::parse(text).map_err(|reason| ImageError { image: text.to_owned(), reason })
    }
}

/// One image: `[REGISTRY/]NAME[:TAG][@DIGEST]`. Without a tag and a digest, the tag is `latest`. With a digest, the tag
/// is ignored.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ImageName {
    repository: ImageRepository,
    reference: Reference,
}

impl ImageName {
    pub fn repository(&self) -> &ImageRepository {
        &self.repository
    }

    pub fn reference(&self) -> &Reference {
        &self.reference
    }
}

impl FromStr for ImageName {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        let parse = || {
            let parts = Parts::of(text);
            let tag: Tag = parts.tag.unwrap_or(LATEST).parse()?;
            let reference = match parts.digest {
                Some(digest) => Reference::Digest(digest.parse().map_err(NameError::from)?),
                None => Reference::Tag(tag),
            };
            Ok(Self { repository: ImageRepository::parse(parts.repository)?, reference })
        };
        parse().map_err(|reason| ImageError { image: text.to_owned(), reason })
    }
}

/// The content to delete: `[REGISTRY/]NAME[:TAG|@DIGEST]`. Without a tag and a digest it is the whole repository, and
/// not the tag `latest`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageSelection {
    repository: ImageRepository,
    reference: Option<Reference>,
}

impl ImageSelection {
    pub fn repository(&self) -> &ImageRepository {
        &self.repository
    }

    /// Returns the tag or the digest; `None` means the whole repository.
    pub fn reference(&self) -> Option<&Reference> {
        self.reference.as_ref()
    }
}

impl FromStr for ImageSelection {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        let parse = || {
            let parts = Parts::of(text);
            let reference = match (parts.tag, parts.digest) {
                (None, None) => None,
                (Some(tag), None) => Some(Reference::Tag(tag.parse()?)),
                (None, Some(digest)) => Some(Reference::Digest(digest.parse().map_err(NameError::from)?)),
                (Some(_), Some(_)) => return Err(Reason::TagAndDigest),
            };
            Ok(Self { repository: ImageRepository::parse(parts.repository)?, reference })
        };
        parse().map_err(|reason| ImageError { image: text.to_owned(), reason })
    }
}

impl fmt::Display for ImageSelection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.repository.fmt(f)?;
        match &self.reference {
            None => Ok(()),
            Some(Reference::Tag(tag)) => write!(f, ":{tag}"),
            Some(Reference::Digest(digest)) => write!(f, "@{digest}"),
        }
    }
}

/// A set of images of one repository. It is written like an [`ImageName`]; `*` in the tag matches any run of
/// characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImagePattern {
    text: String,
    repository: ImageRepository,
    tags: TagPattern,
}

/// The images of a repository that a pattern selects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagPattern {
    One(Reference),
    /// Tags that match this glob.
    Glob(String),
}

impl ImagePattern {
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn repository(&self) -> &ImageRepository {
        &self.repository
    }

    pub fn tags(&self) -> &TagPattern {
        &self.tags
    }
}

impl TagPattern {
    pub fn matches(&self, tag: &Tag) -> bool {
        match self {
            Self::One(reference) => *reference == Reference::Tag(tag.clone()),
            Self::Glob(glob) => glob_matches(glob.as_bytes(), tag.as_str().as_bytes()),
        }
    }
}

impl FromStr for ImagePattern {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        let fail = |reason| ImageError { image: text.to_owned(), reason };
        let parts = Parts::of(text);
        let Some(glob) = parts.tag.filter(|tag| tag.contains('*')) else {
            let ImageName { repository, reference } = text.parse()?;
            return Ok(Self { text: text.to_owned(), repository, tags: TagPattern::One(reference) });
        };
        if parts.digest.is_some() {
            return Err(fail(Reason::PatternAndDigest));
        }
        // The glob is valid if replacing each star by a letter makes a tag.
        glob.replace('*', "x").parse::<Tag>().map_err(|error| fail(error.into()))?;
        let repository = ImageRepository::parse(parts.repository).map_err(fail)?;
        Ok(Self { text: text.to_owned(), repository, tags: TagPattern::Glob(glob.to_owned()) })
    }
}

impl fmt::Display for ImagePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The parts of an image name.
struct Parts<'t> {
    repository: &'t str,
    tag: Option<&'t str>,
    digest: Option<&'t str>,
}

impl<'t> Parts<'t> {
    fn of(text: &'t str) -> Self {
        let (rest, digest) = text.split_once('@').map_or((text, None), |(rest, digest)| (rest, Some(digest)));
        match rest.rsplit_once(':') {
            // A colon before the last slash belongs to a port.
            Some((repository, tag)) if !tag.contains('/') => Self { repository, tag: Some(tag), digest },
            _ => Self { repository: rest, tag: None, digest },
        }
    }
}

/// The error for a text that is not an image name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{image:?} is not an image's name: {reason}")]
pub struct ImageError {
    image: String,
    reason: Reason,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Reason {
    #[error("{0}")]
    Registry(String),
    #[error(transparent)]
    Name(#[from] NameError),
    #[error("a digest names one image; leave out the digest or the `*`")]
    PatternAndDigest,
    #[error("it has a tag and a digest; write one of the two, so that the meaning is clear")]
    TagAndDigest,
}

impl From<String> for Reason {
    fn from(reason: String) -> Self {
        Self::Registry(reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn image_names_are_parsed_and_bad_ones_refused() {
        for (text, registry, name, reference) in [
            ("alpine", None, "alpine", "latest"),
            ("alpine:3.20", None, "alpine", "3.20"),
            ("library/alpine", None, "library/alpine", "latest"),
            ("org/app/part", None, "org/app/part", "latest"),
            ("ghcr.io/org/app:tag", Some("ghcr.io"), "org/app", "tag"),
            ("GHCR.io/org/app", Some("ghcr.io"), "org/app", "latest"),
            ("localhost/app", Some("localhost"), "app", "latest"),
            ("registry.corp:443/app", Some("registry.corp:443"), "app", "latest"),
            ("host:5000/app:1", Some("host:5000"), "app", "1"),
            (&format!("docker.io/library/alpine@{DIGEST}"), Some("docker.io"), "library/alpine", DIGEST),
            (&format!("alpine:3@{DIGEST}"), None, "alpine", DIGEST),
        ] {
            let image: ImageName = text.parse().unwrap();
            let repository = image.repository();
            assert_eq!(repository.registry().map(HostName::as_str), registry, "{text}");
            assert_eq!(
                (repository.name().as_str(), image.reference().to_string().as_str()),
                (name, reference),
                "{text}"
            );
        }
        for bad in [
            "",
            "Alpine",
            "alpine:",
            "alpine:a b",
            "alpine@",
            "alpine@latest",
            "https://ghcr.io/org/app",
            "ghcr.io/",
            "a:b@sha256:0",
            "alpine:3.*",
            &format!("alpine:a b@{DIGEST}"),
        ] {
            let error = bad.parse::<ImageName>().expect_err(bad).to_string();
            assert!(error.contains("is not an image's name: "), "{error}");
        }
    }

    #[test]
    fn selections_are_parsed_and_bad_ones_refused() {
        for (text, repository, reference) in [
            ("app", "app", None),
            ("app:1", "app", Some("1")),
            ("host:5000/team/app", "host:5000/team/app", None),
            ("host:5000/team/app:1", "host:5000/team/app", Some("1")),
            (&format!("docker.io/library/alpine@{DIGEST}"), "docker.io/library/alpine", Some(DIGEST)),
        ] {
            let selection: ImageSelection = text.parse().unwrap();
            assert_eq!(selection.repository().to_string(), repository, "{text}");
            assert_eq!(selection.reference().map(ToString::to_string).as_deref(), reference, "{text}");
            assert_eq!(selection.to_string(), text);
        }
        for bad in ["", "app:", "app@", "app@latest", "App", "app:*", "https://a.io/app", &format!("app:1@{DIGEST}")] {
            assert!(bad.parse::<ImageSelection>().is_err(), "{bad:?} was taken for a selection");
        }
    }

    #[test]
    fn patterns_match_tags_and_bad_ones_are_refused() {
        for (text, tag, want) in [
            ("alpine", "latest", true),
            ("alpine", "3", false),
            ("library/alpine:3.*", "3.20", true),
            ("library/alpine:3.*", "3", false),
            ("ghcr.io/org/app:*", "x", true),
            ("app:v*-slim", "v1-slim", true),
            ("app:v*-slim", "v1", false),
        ] {
            let pattern: ImagePattern = text.parse().unwrap();
            assert_eq!(pattern.tags().matches(&tag.parse().unwrap()), want, "{text} on {tag}");
        }
        for bad in ["alpine*", "alpine:-*", "*:1", "app:a/*", &format!("app:*@{DIGEST}"), "app:*:"] {
            assert!(bad.parse::<ImagePattern>().is_err(), "{bad:?} was taken for a pattern");
        }
    }
}
