//! The platforms that images are built for.

use std::fmt;
use std::str::FromStr;

/// An operating system and an architecture (OCI image-spec, Image Index: `platform`), written `linux/amd64` or
/// `linux/arm/v7`. Each platform has one spelling: `linux/aarch64` and `linux/arm64/v8` become `linux/arm64`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Platform {
    os: String,
    architecture: String,
    variant: Option<String>,
}

impl Platform {
    /// Returns the platform that this program was built for. The system is always Linux, as in containers on any
    /// machine.
    pub fn native() -> Self {
        Self::spelled("linux", std::env::consts::ARCH, None)
    }

    /// Makes a platform from the description of an index's child. An invalid description gives the unknown platform.
    pub fn described(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let variant = variant.filter(|variant| !variant.is_empty());
        if [os, architecture].into_iter().chain(variant).all(is_word) {
            Self::spelled(os, architecture, variant)
        } else {
            Self::spelled("unknown", "unknown", None)
        }
    }

    /// Returns true for `unknown/unknown`, which BuildKit writes for attestations.
    pub fn is_unknown(&self) -> bool {
        self.os == "unknown" || self.architecture == "unknown"
    }

    /// Returns true if an image for `other` satisfies a request for this platform. A platform without a variant accepts
    /// any variant.
    pub fn takes(&self, other: &Self) -> bool {
        let variant = self.variant.is_none() || self.variant == other.variant;
        self.os == other.os && self.architecture == other.architecture && variant
    }

    /// Makes a platform with the architecture names of Go, which the specification uses.
    fn spelled(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let [os, architecture] = [os, architecture].map(str::to_ascii_lowercase);
        let variant = variant.map(str::to_ascii_lowercase);
        let (architecture, variant) = match (architecture.as_str(), variant.as_deref()) {
            ("x86_64" | "x86-64" | "amd64", None | Some("v1")) => ("amd64", None),
            ("aarch64" | "arm64", None | Some("v8" | "8")) => ("arm64", None),
            ("x86" | "i386" | "386", variant) => ("386", variant),
            ("armhf", None) => ("arm", Some("v7")),
            ("armel", None) => ("arm", Some("v6")),
            ("powerpc64", variant) => ("ppc64le", variant),
            ("loongarch64", variant) => ("loong64", variant),
            other => other,
        };
        Self { os, architecture: architecture.to_owned(), variant: variant.map(str::to_owned) }
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let parts: Vec<&str> = text.split('/').collect();
        match parts.as_slice() {
            [os, architecture] if parts.iter().all(|part| is_word(part)) => Ok(Self::spelled(os, architecture, None)),
            [os, architecture, variant] if parts.iter().all(|part| is_word(part)) => {
                Ok(Self::spelled(os, architecture, Some(variant)))
            }
            _ => Err(PlatformError::Shape(text.to_owned())),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

/// A selection of an image's platforms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Platforms {
    All,
    /// These platforms; at least one.
    These(Vec<Platform>),
}

impl Platforms {
    /// Parses a list of platforms. `all` alone selects every platform.
    pub fn parse<'t>(texts: impl IntoIterator<Item = &'t str>) -> Result<Self, PlatformError> {
        let texts: Vec<&str> = texts.into_iter().collect();
        match texts.as_slice() {
            [] => Err(PlatformError::None),
            ["all"] => Ok(Self::All),
            texts if texts.contains(&"all") => Err(PlatformError::AllBesideOthers),
            texts => texts.iter().map(|text| text.parse()).collect::<Result<_, _>>().map(Self::These),
        }
    }

    /// Returns the selection in its written form: `all`, or the platforms.
    pub fn texts(&self) -> Vec<String> {
        match self {
            Self::All => vec!["all".to_owned()],
            Self::These(platforms) => platforms.iter().map(ToString::to_string).collect(),
        }
    }

    /// Returns true if the selection includes this platform.
    pub fn take(&self, platform: &Platform) -> bool {
        match self {
            Self::All => true,
            Self::These(platforms) => platforms.iter().any(|wanted| wanted.takes(platform)),
        }
    }
}

/// The error for a text that is not a platform or a selection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlatformError {
    #[error("{0:?} is not a platform: write OS/ARCHITECTURE or OS/ARCHITECTURE/VARIANT, such as linux/amd64, or all")]
    Shape(String),
    #[error("`all` selects every platform: write it alone")]
    AllBesideOthers,
    #[error("no platform is named: write at least one, such as linux/amd64, or all")]
    None,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_have_one_spelling_each() {
        for (text, want) in [
            ("linux/amd64", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            ("Linux/AMD64/v1", "linux/amd64"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm/v7", "linux/arm/v7"),
            ("linux/armhf", "linux/arm/v7"),
            ("windows/amd64", "windows/amd64"),
        ] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), want, "{text}");
        }
        for bad in ["", "amd64", "linux/", "/amd64", "linux/arm/v7/x", "linux amd64", "linux/a b", "linux//v7"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad:?} was taken for a platform");
        }
        assert!(Platform::native().to_string().starts_with("linux/"));
        assert!(Platform::described("linux", "\u{1b}[31m", None).is_unknown());
    }

    #[test]
    fn selections_include_matching_platforms() {
        for (wanted, platform, want) in [
            (&["linux/arm64"][..], "linux/arm64/v8", true),
            (&["linux/arm"], "linux/arm/v6", true),
            (&["linux/arm/v7"], "linux/arm/v6", false),
            (&["linux/amd64"], "linux/arm64", false),
            (&["linux/amd64"], "windows/amd64", false),
            (&["linux/amd64", "linux/arm64"], "linux/arm64", true),
            (&["all"], "linux/s390x", true),
        ] {
            let platforms = Platforms::parse(wanted.iter().copied()).unwrap();
            assert_eq!(platforms.take(&platform.parse().unwrap()), want, "{wanted:?} and {platform}");
        }
        for bad in [&[][..], &["all", "linux/amd64"], &["linux"]] {
            assert!(Platforms::parse(bad.iter().copied()).is_err(), "{bad:?}");
        }
    }
}
