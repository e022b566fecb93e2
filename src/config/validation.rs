//! `validation`: the checks of a push.

use std::fmt;
use std::str::FromStr;

use http::Uri;
use regex::Regex;

use super::scalar_type::Choices;
use super::section::{Keys, Section};

/// The values of `validation`.
#[derive(Clone, Debug)]
pub struct Validation {
    /// `validation.manifests.sparse`.
    pub sparse: Sparse,
    /// `validation.manifests.urls`.
    pub urls: LayerUrls,
}

/// The treatment of a manifest that names content which this registry does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sparse {
    Refuse,
    Allow,
}

/// The addresses that pushed manifests may name for their layers, as in `registry:2`. Without a pattern, none is allowed.
#[derive(Clone, Debug, Default)]
pub struct LayerUrls {
    pub allow: Vec<UrlPattern>,
    pub deny: Vec<UrlPattern>,
}

/// A regular expression for addresses. It matches any part of an address, unless `^` and `$` say otherwise.
#[derive(Clone, Debug)]
pub struct UrlPattern(Regex);

impl LayerUrls {
    /// Returns true for an address of HTTP without a fragment that a pattern of `allow` matches, or any if there is none, and that
    /// no pattern of `deny` matches.
    pub fn permits(&self, url: &str) -> bool {
        let is_web = !url.contains('#')
            && url.parse::<Uri>().is_ok_and(|uri| {
                uri.host().is_some_and(|host| !host.is_empty()) && matches!(uri.scheme_str(), Some("http" | "https"))
            });
        let matches = |patterns: &[UrlPattern]| patterns.iter().any(|pattern| pattern.0.is_match(url));
        let is_configured = !self.allow.is_empty() || !self.deny.is_empty();
        is_web && is_configured && (self.allow.is_empty() || matches(&self.allow)) && !matches(&self.deny)
    }
}

impl FromStr for UrlPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |_| format!("{text:?} is no regular expression; write one such as ^https://layers\\.corp/");
        Regex::new(text).map(Self).map_err(wrong)
    }
}

impl fmt::Display for UrlPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

const SPARSE: Choices<Sparse> =
    Choices { words: &["refuse", "allow"], values: &[Sparse::Refuse, Sparse::Allow], write: "write refuse or allow" };

impl Default for Validation {
    fn default() -> Self {
        Self { sparse: Sparse::Refuse, urls: LayerUrls::default() }
    }
}

impl Section for Validation {
    fn keys(&mut self, keys: &mut Keys<'_, '_>) {
        // The checks always run, as in registry:2 unless `disabled` is set.
        keys.silent("enabled");
        keys.ignored(&[("disabled", "`validation.manifests` alone decides which checks run")]);
        keys.group("manifests", |keys| {
            keys.choice("sparse", &SPARSE, &mut self.sparse);
            keys.section("urls", &mut self.urls);
            let instead = "write `sparse: allow` to accept indexes whose images are missing here, else remove it";
            keys.refused("indexes", instead);
        });
    }
}

impl Section for LayerUrls {
    fn keys(&mut self, keys: &mut Keys<'_, '_>) {
        keys.list("allow", &mut self.allow);
        keys.list("deny", &mut self.deny);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_permitted_as_by_registry_2() {
        let patterns = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let permits = |allow: &[&str], deny: &[&str], url: &str| {
            LayerUrls { allow: patterns(allow), deny: patterns(deny) }.permits(url)
        };
        let corp = "https://layers.corp/a";
        for (allow, deny, url, permitted) in [
            (&[][..], &[][..], corp, false),
            (&["^https://layers\\.corp/"], &[], corp, true),
            (&["^https://layers\\.corp/"], &[], "https://layers.corp.evil.example/a", false),
            (&["nothing", "corp"], &[], corp, true),
            (&["corp"], &["/a$"], corp, false),
            (&[], &["evil"], corp, true),
            (&[], &["evil"], "https://evil.example/", false),
            (&["."], &[], "", false),
            (&[""], &[], "", false),
            (&["."], &[], "ftp://layers.corp/a", false),
            (&["."], &[], "layers.corp/a", false),
            (&["."], &[], "https://layers.corp/a#b", false),
            (&["."], &[], "file:///etc/passwd", false),
        ] {
            assert_eq!(permits(allow, deny, url), permitted, "{allow:?} {deny:?} {url:?}");
        }
        assert!("(".parse::<UrlPattern>().is_err());
    }
}
