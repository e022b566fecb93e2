//! `validation`: the checks of a push.

use super::scalar_type::Choices;
use super::section::{Keys, Section};

/// The values of `validation`.
#[derive(Clone, Debug)]
pub struct Validation {
    /// `validation.manifests.sparse`.
    pub sparse: Sparse,
}

/// The treatment of a manifest that names content which this registry does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sparse {
    Refuse,
    Allow,
}

const SPARSE: Choices<Sparse> =
    Choices { words: &["refuse", "allow"], values: &[Sparse::Refuse, Sparse::Allow], write: "write refuse or allow" };

impl Default for Validation {
    fn default() -> Self {
        Self { sparse: Sparse::Refuse }
    }
}

impl Section for Validation {
    fn keys(&mut self, keys: &mut Keys<'_, '_>) {
        const URLS: &str = "URLs in manifests are not checked by this version; remove it";
        keys.refused_unless("enabled", "false", URLS);
        keys.ignored(&[("disabled", "`validation.manifests.sparse` alone decides which checks run")]);
        keys.group("manifests", |keys| {
            keys.choice("sparse", &SPARSE, &mut self.sparse);
            keys.refused("urls", URLS);
            let instead = "write `sparse: allow` to accept indexes whose images are missing here, else remove it";
            keys.refused("indexes", instead);
        });
    }
}
