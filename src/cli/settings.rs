//! Which configuration a command works with, and what it means for the store that is already there.

use std::path::{Path, PathBuf};

use super::examine::examine;
use crate::config::{self, Config, Draft, Loaded, Mirror, MirrorOrigin, Problem, Problems, RootOrigin, Source};
use crate::oci::{HostName, RepositoryName};
use crate::store::Store;
use crate::sys::{Clock, blocking, disk};

/// Looked for in this order when no file is named.
const PLACES: [&str; 3] =
    ["/etc/entrepot/config.yml", "/etc/distribution/config.yml", "/etc/docker/registry/config.yml"];

/// What the configuration is called that is used without a file.
const BUILT_IN: &str = "config/default.yml (built in)";

/// Where `registry:2` keeps its data, and where images of registries have their volume.
const VOLUME: &str = "/var/lib/registry";

/// Repositories named in one message; more are counted.
const NAMED_AT_MOST: usize = 10;

/// A command failed: one or several lines for stderr.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Trouble(pub String);

impl Trouble {
    pub(super) fn new(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

impl From<Problems> for Trouble {
    fn from(problems: Problems) -> Self {
        Self(problems.to_string())
    }
}

/// A configuration, fitted to the store it meets.
pub(super) struct Settings {
    /// The configuration's path, or that it is the built-in one.
    pub source: String,
    loaded: Loaded,
    /// What a user should know about how the configuration met the store.
    pub notes: Vec<String>,
}

impl Settings {
    /// Finds, reads and validates the configuration, with the files that it names, and fits it to the store.
    pub(super) async fn load(path: Option<&Path>) -> Result<Self, Trouble> {
        let (source, mut draft) = read(path).await?;
        let hidden = examine(&mut draft).await;
        Ok(Self::settle(source, draft, &hidden)?)
    }

    /// Fits a configuration without a mistake to the store that it meets, which holds `hidden` that the mirror's rules would hide.
    pub(super) fn settle(source: String, draft: Draft, hidden: &[RepositoryName]) -> Result<Self, Problems> {
        let mut loaded = draft.conclude()?;
        let notes = if hidden.is_empty() { None } else { Some(reconcile(&mut loaded.config, hidden)) };
        Ok(Self { source, loaded, notes: notes.into_iter().collect() })
    }

    pub(super) fn config(&self) -> &Config {
        &self.loaded.config
    }

    pub(super) fn warnings(&self) -> &[Problem] {
        &self.loaded.warnings
    }

    /// The store, untouched as yet.
    pub(super) fn store(&self, clock: Clock) -> Store {
        Store::new(&self.config().storage.root, clock)
    }
}

/// Where the store is, where the built-in configuration leaves that open.
async fn place_store(draft: &mut Draft) {
    if draft.config().is_some_and(|config| config.storage.origin == RootOrigin::Default) {
        let volume = blocking(|| disk::metadata(Path::new(VOLUME)).is_ok_and(|found| found.is_dir())).await;
        draft.place_store(PathBuf::from(if volume { VOLUME } else { "./data" }));
    }
}

/// The store holds repositories that the mirror's rules would hide, and nobody wrote those rules.
fn reconcile(config: &mut Config, hidden: &[RepositoryName]) -> String {
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
            "the store already holds {names}; the built-in mirror is left out, so that everything here can be pulled \
             and pushed as before. To mirror as well, write a configuration with mirror.upstreams, and mirror.local \
             with patterns for these names"
        );
    }
    format!(
        "the store holds {names} of an earlier registry; with proxy: these are not served from there but fetched again"
    )
}

/// What to say at `mirror.local` where it hides repositories that are there.
pub(super) fn covering(config: &Config, root: &Path, hidden: &[RepositoryName]) -> String {
    format!(
        "does not cover {}, which the store {} holds: they would be hidden behind an upstream's names; {}",
        named(hidden),
        root.display(),
        remedy(config, hidden)
    )
}

fn named(names: &[RepositoryName]) -> String {
    let listed: Vec<&str> = names.iter().take(NAMED_AT_MOST).map(RepositoryName::as_str).collect();
    let more = names.len().saturating_sub(NAMED_AT_MOST);
    let repositories = if names.len() == 1 { "the repository" } else { "the repositories" };
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{repositories} {}{rest}", listed.join(", "))
}

/// What to write, so that these names are not hidden. No pattern can take back a name that begins with an upstream's.
fn remedy(config: &Config, hidden: &[RepositoryName]) -> String {
    let upstreams = config.mirror.upstreams.values();
    let taken: Vec<&str> = upstreams.flat_map(|up| up.aliases.iter().chain([&up.name])).map(HostName::as_str).collect();
    let begins_with_one = |name: &&RepositoryName| name.parts().next().is_some_and(|first| taken.contains(&first));
    let (lost, coverable): (Vec<_>, Vec<_>) = hidden.iter().partition(|name| begins_with_one(name));
    let mut remedy = Vec::new();
    if !coverable.is_empty() {
        let coverable: Vec<RepositoryName> = coverable.into_iter().cloned().collect();
        remedy.push(format!("add to it: [{}]", patterns(&coverable).join(", ")));
    }
    if let Some(first) = lost.first() {
        remedy.push(format!(
            "{first} begins with the name of a configured upstream, which no pattern can take back: leave that upstream (or \
             alias) out, or keep this store apart under another rootdirectory"
        ));
    }
    remedy.join(". ")
}

/// Patterns that cover these names: by their first parts where they have several, so that what is pushed next fits too.
fn patterns(names: &[RepositoryName]) -> Vec<String> {
    let mut patterns: Vec<String> = names
        .iter()
        .map(|name| match name.as_str().split_once('/') {
            // Docker Hub's own images begin so: only the ones that are here may be taken from it.
            Some(("library", _)) | None => format!("\"{name}\""),
            Some((first, _)) => format!("\"{first}/**\""),
        })
        .collect();
    patterns.sort();
    patterns.dedup();
    patterns
}

/// Finds and reads a configuration; returns what it is called, too.
pub(super) async fn read(path: Option<&Path>) -> Result<(String, Draft), Trouble> {
    let environment: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let path = match path {
        Some(path) => Some(path.to_owned()),
        None => find(&environment).await,
    };
    let (name, text) = match &path {
        Some(path) => (path.display().to_string(), read_file(path).await?),
        None => (BUILT_IN.to_owned(), config::DEFAULT.to_owned()),
    };
    let (built_in, called) = (path.is_none(), name.clone());
    let draft = blocking(move || Draft::read(Source { name, text: &text, built_in }, &environment, &read_secret));
    let mut draft = draft.await;
    if built_in {
        place_store(&mut draft).await;
    }
    Ok((called, draft))
}

async fn find(environment: &[(String, String)]) -> Option<PathBuf> {
    let named = environment.iter().find(|(name, value)| name == "ENTREPOT_CONFIG" && !value.is_empty());
    if let Some((_, path)) = named {
        return Some(PathBuf::from(path));
    }
    let exists = |place: &&str| disk::metadata(Path::new(place)).is_ok();
    blocking(move || PLACES.into_iter().find(exists)).await.map(PathBuf::from)
}

async fn read_file(path: &Path) -> Result<String, Trouble> {
    let read = path.to_owned();
    let content = blocking(move || disk::read_named(&read, disk::NAMED_BYTES)).await;
    let unreadable =
        |error| Trouble(format!("cannot read the configuration {}: {}", path.display(), disk::why(path, &error)));
    let content = content.map_err(unreadable)?;
    String::from_utf8(content).map_err(|_| Trouble(format!("the configuration {} is not UTF-8 text", path.display())))
}

fn read_secret(path: &Path) -> Result<String, String> {
    let content = disk::read_named(path, disk::NAMED_BYTES).map_err(|error| disk::why(path, &error))?;
    let text = String::from_utf8(content).map_err(|_| "it is not UTF-8 text; write the secret there".to_owned())?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_that_cover_what_is_there() {
        let names: Vec<RepositoryName> =
            ["app", "library/nginx", "team/a", "team/b"].map(|name| name.parse().unwrap()).to_vec();
        assert_eq!(patterns(&names), ["\"app\"", "\"library/nginx\"", "\"team/**\""]);
        assert_eq!(named(&names[..1]), "the repository app");
    }
}
