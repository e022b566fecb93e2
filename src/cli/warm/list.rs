//! A list of images in a file: one per line, with comments after `#`.

use std::path::{Path, PathBuf};

use crate::cli::outcome::{CommandError, ErrorMessage};
use crate::oci::ImageName;
use crate::sys::{blocking, disk};

/// The most bytes that are read of a file. No list of images is longer.
const MAX_BYTES: u64 = 64 << 20;

/// Reads the images in a file, or in standard input if the file is `-`.
pub(super) async fn read(file: PathBuf) -> Result<Vec<String>, CommandError> {
    let is_stdin = file == Path::new("-");
    let name = if is_stdin { "standard input".to_owned() } else { file.display().to_string() };
    let text = blocking(move || match is_stdin {
        true => std::io::read_to_string(std::io::stdin()),
        false => {
            disk::read_named(&file, MAX_BYTES).and_then(|bytes| String::from_utf8(bytes).map_err(std::io::Error::other))
        }
    });
    let text = text.await.map_err(|error| ErrorMessage(format!("{name}: cannot read the list: {error}")))?;
    parse(&text, &name).map_err(CommandError::Usage)
}

fn parse(text: &str, name: &str) -> Result<Vec<String>, String> {
    let mut images = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        line.parse::<ImageName>().map_err(|error| format!("{name}:{number}: {error}"))?;
        images.push(line.to_owned());
    }
    Ok(images)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_images_and_comments() {
        let text = "\n# base images\nalpine:3.20  # the smallest\n\tghcr.io/org/app\r\n#debian\n";
        assert_eq!(parse(text, "list").unwrap(), ["alpine:3.20", "ghcr.io/org/app"]);
        let error = parse("alpine\n\nalpine debian\n", "list").unwrap_err();
        assert!(error.starts_with("list:3: "), "{error}");
    }
}
