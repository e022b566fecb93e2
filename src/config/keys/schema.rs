//! The data about one key: its name, its shape, its default, and whether this version supports it.
//!
//! The section files declare the keys. Reading, `check --print`, `check --schema` and the variables all use the same declarations.

use std::sync::Arc;

use serde_json::Value;

/// A key of a section.
#[derive(Clone, Debug)]
pub(in crate::config) struct Key {
    pub(in crate::config) name: &'static str,
    pub(in crate::config) shape: KeyShape,
    pub(in crate::config) support: Support,
    /// True if the key chooses a driver by its presence, as `auth.htpasswd` does, even without a value.
    pub(in crate::config) is_driver: bool,
    /// The default as it would be written; `None` if there is none, or for a section.
    pub(in crate::config) default: Option<Value>,
}

/// The shape of the value of a key.
#[derive(Clone, Debug)]
pub(in crate::config) enum KeyShape {
    Scalar(Notation),
    /// A list of scalars. A single one may be written without brackets.
    List,
    /// A map from any names to scalars or lists of them.
    Texts,
    Section(Arc<[Key]>),
    /// A section in which one key chooses a driver. A bare word may stand for the section: `storage: filesystem`.
    DriverSection(Arc<[Key]>),
    /// A map from any names to sections, each of which may be empty.
    Named(Arc<[Key]>),
    /// A list of sections.
    Sections(Arc<[Key]>),
    /// A value that is not examined.
    Anything,
}

/// Describes how a scalar is written, for editors that read `check --schema`. The parser of the key decides which values are
/// valid.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) enum Notation {
    Text,
    Flag,
    Duration,
    /// A duration, or a number of nanoseconds.
    GoDuration,
    Size,
    /// A number from the first to the second.
    Number(u64, u64),
    /// `auto`, or a number from the first to the second.
    Auto(u64, u64),
    /// One of these words, in upper or lower case.
    Words(&'static [&'static str]),
    /// A text that this regular expression matches.
    Pattern(&'static str),
    /// The version of the format.
    Version,
}

/// The support of this version for a key of `registry:2` or of our own.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) enum Support {
    Supported,
    /// The key has no effect, and needs no warning, since nothing is lost without it.
    Silent,
    /// The key has no effect, which is a warning unless its value is `unless`.
    Ignored {
        unless: &'static str,
        why: &'static str,
    },
    /// The key is an error unless its value is `unless`, for a protection must not be missing unnoticed.
    Refused {
        unless: &'static str,
        instead: &'static str,
    },
    /// The section is an error if one of the keys at the paths `filled` has a value. Otherwise the section has no effect, which
    /// is a warning.
    RefusedIf {
        filled: &'static [&'static str],
        instead: &'static str,
        otherwise: &'static str,
    },
}

/// Returns the paths of all supported keys that hold values, with `NAME` for any name and `0` for any element of a list:
/// `mirror.upstreams.NAME.tagttl`, `mirror.prefetch.0.image`.
#[cfg(test)]
pub(in crate::config) fn supported(keys: &[Key]) -> Vec<String> {
    let mut paths = Vec::new();
    walk(keys, "", &mut |path, key| {
        let value = matches!(key.shape, KeyShape::Scalar(_) | KeyShape::List | KeyShape::Texts);
        if value && matches!(key.support, Support::Supported) {
            paths.push(path.to_owned());
        }
    });
    paths
}

/// Calls `visit` for each key in and below `keys`, with its path.
pub(in crate::config) fn walk(keys: &[Key], within: &str, visit: &mut dyn FnMut(&str, &Key)) {
    for key in keys {
        let path = join(within, key.name);
        visit(&path, key);
        match &key.shape {
            KeyShape::Section(keys) | KeyShape::DriverSection(keys) => walk(keys, &path, visit),
            KeyShape::Named(keys) => walk(keys, &join(&path, "NAME"), visit),
            KeyShape::Sections(keys) => walk(keys, &join(&path, "0"), visit),
            KeyShape::Scalar(_) | KeyShape::List | KeyShape::Texts | KeyShape::Anything => {}
        }
    }
}

/// Returns the path of `key` in the section at `path`.
pub(in crate::config) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// Returns the name among `known` that `name` is probably a misspelling of.
pub(super) fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let name = name.to_ascii_lowercase();
    let length = name.chars().count();
    let close = |other: &str| {
        let other = other.to_ascii_lowercase();
        let begins = length >= 4 && other.len() >= 4 && (other.starts_with(&name) || name.starts_with(&other));
        let distance = strsim::osa_distance(&name, &other);
        (begins || distance <= 1.max(length / 3)).then_some(distance)
    };
    known.filter_map(|other| close(other).map(|distance| (distance, other))).min().map(|(_, other)| other)
}
