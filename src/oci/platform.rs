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

    /// Makes a platform from the description of an index's child. An invalid description gives the unknown platform, and one
    /// without a system or an architecture gives none: it may be an image for any machine.
    pub fn described(os: &str, architecture: &str, variant: Option<&str>) -> Option<Self> {
        if os.is_empty() || architecture.is_empty() {
            return None;
        }
        let variant = variant.filter(|variant| !variant.is_empty());
        Some(Self::of_words(os, architecture, variant))
    }

    /// Reads the platform of an image from its configuration (OCI image-spec, Image Configuration). Returns `None` for a configuration
    /// that names none.
    pub fn of_config(body: &[u8]) -> Option<Self> {
        let config: serde_json::Value = serde_json::from_slice(body).ok()?;
        let text = |key: &str| config.get(key).and_then(serde_json::Value::as_str);
        Self::described(text("os").unwrap_or_default(), text("architecture").unwrap_or_default(), text("variant"))
    }

    fn of_words(os: &str, architecture: &str, variant: Option<&str>) -> Self {
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

    /// Returns the images that a machine of this platform would run, of those that are offered: the ones for the platform
    /// itself, else the ones for the nearest platform that it can run, as containerd chooses. A platform without a variant
    /// accepts any variant.
    pub fn choose<'p>(&self, offered: &[&'p Self]) -> Vec<&'p Self> {
        let of = |is_meant: &dyn Fn(&Self) -> bool| -> Vec<&'p Self> {
            offered.iter().copied().filter(|offered| is_meant(offered)).collect()
        };
        let any_variant = |wanted: &Self, offered: &Self| {
            wanted.variant.is_none() && wanted.os == offered.os && wanted.architecture == offered.architecture
        };
        let own = [of(&|offered| offered == self), of(&|offered| any_variant(self, offered))];
        let others = self.fallbacks().into_iter().map(|other| of(&|offered| *offered == other));
        own.into_iter().chain(others).find(|found| !found.is_empty()).unwrap_or_default()
    }

    /// Returns the other platforms whose programs a machine of this platform runs, the nearest first.
    fn fallbacks(&self) -> Vec<Self> {
        let of = |architecture: &str, variant: Option<&str>| Self::spelled(&self.os, architecture, variant);
        let number = self.variant.as_deref().and_then(|variant| variant.strip_prefix('v')?.parse::<u8>().ok());
        let below = |architecture: &str, from: u8, to: u8| -> Vec<Self> {
            (to..from).rev().map(|number| of(architecture, Some(&format!("v{number}")))).collect()
        };
        match self.architecture.as_str() {
            "amd64" => [below("amd64", number.unwrap_or(1), 1), vec![of("386", None)]].concat(),
            "arm" => below("arm", number.unwrap_or(7).min(9), 5),
            "arm64" => [below("arm64", number.unwrap_or(8).min(16), 8), below("arm", 9, 5)].concat(),
            _ => Vec::new(),
        }
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

    /// Returns the platforms of this selection among those that an index offers.
    pub fn choose<'p>(&self, offered: &[&'p Platform]) -> Vec<&'p Platform> {
        match self {
            Self::All => offered.to_vec(),
            Self::These(platforms) => platforms.iter().flat_map(|wanted| wanted.choose(offered)).collect(),
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
    fn platform_of_a_configuration_is_read() {
        for (body, want) in [
            (r#"{"architecture":"arm","os":"linux","variant":"v7","rootfs":{}}"#, Some("linux/arm/v7")),
            (r#"{"architecture":"arm64","os":"linux","variant":"v8"}"#, Some("linux/arm64")),
            (r#"{"architecture":"amd64"}"#, None),
            ("{}", None),
            ("[1]", None),
            ("", None),
        ] {
            assert_eq!(Platform::of_config(body.as_bytes()).map(|found| found.to_string()).as_deref(), want, "{body}");
        }
    }

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
        assert!(Platform::described("linux", "\u{1b}[31m", None).unwrap().is_unknown());
        assert!(
            [("", ""), ("linux", ""), ("", "amd64")].iter().all(|(os, of)| Platform::described(os, of, None).is_none())
        );
    }

    #[test]
    fn selections_include_matching_platforms() {
        for (wanted, offered, want) in [
            (&["linux/arm64"][..], &["linux/arm64/v8", "linux/arm/v7"][..], &["linux/arm64"][..]),
            (&["linux/arm64"], &["linux/arm/v7", "linux/arm/v6"], &["linux/arm/v7"]),
            (&["linux/arm64/v9"], &["linux/arm64"], &["linux/arm64"]),
            (&["linux/arm"], &["linux/arm/v6", "linux/arm/v7"], &["linux/arm/v6", "linux/arm/v7"]),
            (&["linux/arm/v7"], &["linux/arm/v5", "linux/arm/v6"], &["linux/arm/v6"]),
            (&["linux/arm/v6"], &["linux/arm/v7", "linux/arm/v5"], &["linux/arm/v5"]),
            (&["linux/arm/v5"], &["linux/arm/v6"], &[]),
            (&["linux/amd64/v3"], &["linux/amd64", "linux/amd64/v2", "linux/amd64/v4"], &["linux/amd64/v2"]),
            (&["linux/amd64/v2"], &["linux/amd64", "linux/386"], &["linux/amd64"]),
            (&["linux/amd64"], &["linux/amd64", "linux/amd64/v3"], &["linux/amd64"]),
            (&["linux/amd64"], &["linux/386"], &["linux/386"]),
            (&["linux/amd64"], &["linux/arm64", "windows/amd64"], &[]),
            (&["linux/amd64", "linux/arm64"], &["linux/arm64"], &["linux/arm64"]),
            (&["all"], &["linux/s390x", "linux/386"], &["linux/s390x", "linux/386"]),
        ] {
            let offered: Vec<Platform> = offered.iter().map(|text| text.parse().unwrap()).collect();
            let platforms = Platforms::parse(wanted.iter().copied()).unwrap();
            let chosen = platforms.choose(&offered.iter().collect::<Vec<_>>());
            let chosen: Vec<String> = chosen.iter().map(ToString::to_string).collect();
            assert_eq!(chosen, want, "{wanted:?} of {offered:?}");
        }
        for bad in [&[][..], &["all", "linux/amd64"], &["linux"]] {
            assert!(Platforms::parse(bad.iter().copied()).is_err(), "{bad:?}");
        }
    }
}
