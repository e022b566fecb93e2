//! Repositories in the store that the rules of the mirror would hide.
//!
//! A mirror may be added to the configuration of an older store. A repository `team/app` that was pushed before would then
//! be unreachable, because the mirror's rules assign this name to an upstream.

use std::path::Path;

use crate::config::{Config, Mirror, MirrorOrigin};
use crate::oci::{HostName, RepositoryName};

/// The number of repositories that a message names. The others are counted.
const MAX_NAMED: usize = 10;

/// Adapts a mirror that is not written in a configuration file to a store with repositories that it would hide. Returns a note
/// for the user.
pub(super) fn reconcile(config: &mut Config, hidden: &[RepositoryName]) -> String {
    let names = named(hidden);
    if config.mirror.origin == MirrorOrigin::BuiltIn {
        config.mirror = Mirror {
            origin: MirrorOrigin::Absent,
            local: Vec::new(),
            upstreams: Default::default(),
            default: None,
            ..config.mirror.clone()
        };
        return format!(
            "the store already holds {names}; the built-in mirror is left out, so that everything in the store can be pulled \
             and pushed as before. To mirror as well, write a configuration with mirror.upstreams, and list patterns for \
             these names in mirror.local"
        );
    }
    format!(
        "the store holds {names} from an earlier registry; because of `proxy`, these are fetched from the upstream instead of \
         being served from the store"
    )
}

/// Returns the error message for `mirror.local` when it does not cover these repositories. The message continues after the key.
pub(super) fn not_covered(config: &Config, root: &Path, hidden: &[RepositoryName]) -> String {
    format!(
        "does not cover {} in the store {}, so the mirror would hide {}; {}",
        named(hidden),
        root.display(),
        if hidden.len() == 1 { "it" } else { "them" },
        remedy(config, hidden)
    )
}

fn named(names: &[RepositoryName]) -> String {
    let listed: Vec<&str> = names.iter().take(MAX_NAMED).map(RepositoryName::as_str).collect();
    let more = names.len().saturating_sub(MAX_NAMED);
    let repositories = if names.len() == 1 { "the repository" } else { "the repositories" };
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{repositories} {}{rest}", listed.join(", "))
}

/// Returns advice on what to write so that these names are not hidden. A name that begins with an upstream's name always belongs
/// to that upstream: no pattern in `mirror.local` changes that.
fn remedy(config: &Config, hidden: &[RepositoryName]) -> String {
    let upstreams = config.mirror.upstreams.values();
    let taken: Vec<&str> = upstreams.flat_map(|up| up.aliases.iter().chain([&up.name])).map(HostName::as_str).collect();
    let begins_with_upstream = |name: &&RepositoryName| name.parts().next().is_some_and(|first| taken.contains(&first));
    let (lost, coverable): (Vec<_>, Vec<_>) = hidden.iter().partition(|name| begins_with_upstream(name));
    let mut remedy = Vec::new();
    if !coverable.is_empty() {
        let coverable: Vec<RepositoryName> = coverable.into_iter().cloned().collect();
        remedy.push(format!("add to mirror.local: [{}]", patterns(&coverable).join(", ")));
    }
    if let Some(first) = lost.first() {
        remedy.push(format!(
            "{first} begins with the name of a configured upstream, and no pattern can change that: remove that upstream (or \
             alias), or use another rootdirectory for the mirror"
        ));
    }
    remedy.join(". ")
}

/// Returns patterns that cover these names. A name with several parts gives a pattern for its first part, so that the next push
/// below it is covered too.
fn patterns(names: &[RepositoryName]) -> Vec<String> {
    let mut patterns: Vec<String> = names
        .iter()
        .map(|name| match name.as_str().split_once('/') {
            // `library/**` would take all official images of Docker Hub away from it. Only the names in the store are listed.
            Some(("library", _)) | None => format!("\"{name}\""),
            Some((first, _)) => format!("\"{first}/**\""),
        })
        .collect();
    patterns.sort();
    patterns.dedup();
    patterns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_cover_the_names_in_the_store() {
        let names: Vec<RepositoryName> =
            ["app", "library/nginx", "team/a", "team/b"].map(|name| name.parse().unwrap()).to_vec();
        assert_eq!(patterns(&names), ["\"app\"", "\"library/nginx\"", "\"team/**\""]);
        assert_eq!(named(&names[..1]), "the repository app");
    }
}
