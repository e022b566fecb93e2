//! A list of images: one on each line, comments behind `#`.

use std::path::{Path, PathBuf};

use super::super::Ended;
use super::super::settings::Trouble;
use crate::oci::ImageName;
use crate::sys::{blocking, disk};

/// More than any list of images has, in bytes.
const MOST: u64 = 64 << 20;

/// The images in a file, or on standard input (`-`).
pub(super) async fn read(file: PathBuf) -> Result<Vec<String>, Ended> {
    let stdin = file == Path::new("-");
    let name = if stdin { "standard input".to_owned() } else { file.display().to_string() };
    let text = blocking(move || match stdin {
        true => std::io::read_to_string(std::io::stdin()),
        false => {
            disk::read_named(&file, MOST).and_then(|bytes| String::from_utf8(bytes).map_err(std::io::Error::other))
        }
    });
    let text = text.await.map_err(|error| Trouble(format!("{name}: the list cannot be read: {error}")))?;
    parse(&text, &name).map_err(Ended::Usage)
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
    fn images_and_comments() {
        let text = "\n# base images\nalpine:3.20  # the smallest\n\tghcr.io/org/app\r\n#debian\n";
        assert_eq!(parse(text, "list").unwrap(), ["alpine:3.20", "ghcr.io/org/app"]);
        let error = parse("alpine\n\nalpine debian\n", "list").unwrap_err();
        assert!(error.starts_with("list:3: "), "{error}");
    }
}
