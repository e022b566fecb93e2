//! The name of a repository as an argument.

use crate::oci::ImageRepository;

/// Checks the spelling of a repository's name. A tag or digest after it is an error.
pub(in crate::cli) fn repository(text: &str) -> Result<String, String> {
    text.parse::<ImageRepository>().map(|_| text.to_owned()).map_err(|error| match text.rsplit_once([':', '@']) {
        Some((repository, _)) if repository.parse::<ImageRepository>().is_ok() => {
            format!("give a repository without a tag or digest: write {repository}")
        }
        _ => error.to_string(),
    })
}
