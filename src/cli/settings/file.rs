//! Finding and reading the configuration file.

use std::path::{Path, PathBuf};

use crate::cli::outcome::ErrorMessage;
use crate::config::{self, Draft, RootOrigin, SourceText};
use crate::sys::{blocking, disk};

/// The paths that are tried in this order when no file is named.
pub(super) const PLACES: [&str; 3] =
    ["/etc/entrepot/config.yml", "/etc/distribution/config.yml", "/etc/docker/registry/config.yml"];

/// The name of the built-in configuration in messages.
pub(super) const BUILT_IN: &str = "config/default.yml (built in)";

/// The directory in which `registry:2` keeps its data. Container images of registries have their volume there.
const VOLUME: &str = "/var/lib/registry";

/// Finds and reads a configuration. Returns its name for messages and the draft, which may still contain mistakes.
pub(in crate::cli) async fn read(path: Option<&Path>) -> Result<(String, Draft), ErrorMessage> {
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
    let (built_in, source) = (path.is_none(), name.clone());
    let draft = blocking(move || Draft::read(SourceText { name, text: &text, built_in }, &environment, &read_secret));
    let mut draft = draft.await;
    if built_in {
        place_store(&mut draft).await;
    }
    Ok((source, draft))
}

async fn find(environment: &[(String, String)]) -> Option<PathBuf> {
    let named = environment.iter().find(|(name, value)| name == "ENTREPOT_CONFIG" && !value.is_empty());
    if let Some((_, path)) = named {
        return Some(PathBuf::from(path));
    }
    let exists = |place: &&str| disk::metadata(Path::new(place)).is_ok();
    blocking(move || PLACES.into_iter().find(exists)).await.map(PathBuf::from)
}

async fn read_file(path: &Path) -> Result<String, ErrorMessage> {
    let named = path.to_owned();
    let content = blocking(move || disk::read_named(&named, disk::NAMED_BYTES)).await;
    let unreadable = |error| {
        ErrorMessage(format!("cannot read the configuration {}: {}", path.display(), disk::explain(path, &error)))
    };
    let not_text = |_| ErrorMessage(format!("the configuration {} is not UTF-8 text", path.display()));
    String::from_utf8(content.map_err(unreadable)?).map_err(not_text)
}

/// Reads a secret from the file that a value like `file:PATH` names.
fn read_secret(path: &Path) -> Result<String, String> {
    let content = disk::read_named(path, disk::NAMED_BYTES).map_err(|error| disk::explain(path, &error))?;
    let text = String::from_utf8(content).map_err(|_| "it is not UTF-8 text; write the secret there".to_owned())?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

/// Chooses the store's directory where the built-in configuration leaves that open.
async fn place_store(draft: &mut Draft) {
    if draft.config().is_some_and(|config| config.storage.origin == RootOrigin::Default) {
        let has_volume = blocking(|| disk::metadata(Path::new(VOLUME)).is_ok_and(|found| found.is_dir())).await;
        draft.set_store_root(PathBuf::from(if has_volume { VOLUME } else { "./data" }));
    }
}
