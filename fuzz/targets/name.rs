//! Names, tags, references, hosts, images, patterns and platforms: accepted as the specification says, and printed as they were read.
#![cfg_attr(fuzzing, no_main)]

use std::fmt::{Debug, Display};
use std::str::FromStr;

use entrepot::oci::{
    HostName, ImageName, ImagePattern, MirroredName, Pattern, Platform, Reference, RepositoryName, Tag, Target,
};

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|text: &str| run(text));

pub fn run(text: &str) {
    assert_eq!(unchanged::<RepositoryName>(text).is_some(), is_name(text), "{text:?}");
    assert_eq!(unchanged::<Tag>(text).is_some(), is_tag(text), "{text:?}");
    unchanged::<Reference>(text);
    unchanged::<ImagePattern>(text);
    settled::<HostName>(text);
    settled::<MirroredName>(text);
    settled::<Platform>(text);
    if let Some(pattern) = unchanged::<Pattern>(text) {
        a_pattern(text, &pattern);
    }
    if let Ok(image) = text.parse::<ImageName>() {
        an_image(&image);
    }
    if let Ok(name) = text.parse::<RepositoryName>() {
        a_name(&name);
    }
}

/// Checks that a parsed value is printed as it was read.
fn unchanged<T: FromStr + Display>(text: &str) -> Option<T> {
    let found = text.parse::<T>().ok()?;
    assert_eq!(found.to_string(), text);
    Some(found)
}

/// Checks that a printed value parses to the same value, and is printed the same again.
fn settled<T: FromStr + Display + PartialEq + Debug>(text: &str) {
    let Ok(found) = text.parse::<T>() else { return };
    let printed = found.to_string();
    let again = printed.parse::<T>().ok().expect("what is printed can be read");
    assert_eq!((&again, again.to_string()), (&found, printed));
}

fn a_name(name: &RepositoryName) {
    assert!(name.as_str().split('/').all(|part| !matches!(part, "" | "." | "..")), "{name} leads elsewhere");
    assert!(name.parts().collect::<Vec<_>>().join("/") == name.as_str());
    assert_eq!(Target::Hosted(name.clone()).to_string(), name.as_str());
    if let Ok(longer) = name.within("a") {
        assert_eq!(longer.to_string(), format!("a/{name}"));
    }
    // A name without stars is a pattern that matches only itself.
    let pattern: Pattern = name.as_str().parse().expect("names are patterns");
    assert!(pattern.matches(name.as_str()));
    assert!(!pattern.matches(&format!("{name}/a")));
}

fn a_pattern(text: &str, pattern: &Pattern) {
    if !text.contains('*') {
        assert!(pattern.matches(text));
    }
    let everything: Pattern = "**".parse().expect("a pattern");
    assert!(everything.matches(text));
}

fn an_image(image: &ImageName) {
    let joint = match image.reference() {
        Reference::Tag(_) => ':',
        Reference::Digest(_) => '@',
    };
    let printed = format!("{}{joint}{}", image.repository(), image.reference());
    assert_eq!(printed.parse::<ImageName>().as_ref(), Ok(image), "{printed}");
}

/// distribution-spec: `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*`, and at most 255 bytes.
fn is_name(text: &str) -> bool {
    let part = |part: &str| {
        let mut rest = part;
        loop {
            let word = rest.find(|c: char| !matches!(c, 'a'..='z' | '0'..='9')).unwrap_or(rest.len());
            if word == 0 {
                return false;
            }
            rest = &rest[word..];
            if rest.is_empty() {
                return true;
            }
            let dashes = rest.len() - rest.trim_start_matches('-').len();
            let joint = match () {
                () if dashes > 0 => dashes,
                () if rest.starts_with("__") => 2,
                () if rest.starts_with(['.', '_']) => 1,
                () => return false,
            };
            rest = &rest[joint..];
        }
    };
    text.len() <= 255 && text.split('/').all(part)
}

/// distribution-spec: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
fn is_tag(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (1..=128).contains(&text.len()) && text.starts_with(word) && text.chars().all(|c| word(c) || matches!(c, '.' | '-'))
}
