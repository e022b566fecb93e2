//! Password files and `Authorization`: messages and `Debug` do not depend on passwords, and each user of a file is found.
#![cfg_attr(fuzzing, no_main)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use entrepot::auth::Credentials;
use entrepot::auth::fuzzing::{PasswordFile, revealed};

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));

pub fn run(data: &[u8]) {
    a_file(data);
    if let Ok(text) = str::from_utf8(data) {
        a_header(text);
        a_login(text);
    }
}

fn a_file(data: &[u8]) {
    let lines: Vec<&[u8]> = data.split(|b| *b == b'\n').collect();
    match PasswordFile::parse(data) {
        Ok(file) => {
            assert!(file.users() <= lines.len());
            for line in lines.iter().filter_map(|line| str::from_utf8(line).ok()) {
                let Some((user, rest)) = line.trim().split_once(':') else { continue };
                if user.is_empty() || user.starts_with('#') {
                    continue;
                }
                let hash = file.hash(user).expect("each user in the file is found");
                assert!(text_of(data).contains(hash));
                // A user's name may contain a hash.
                let is_name =
                    text_of(data).lines().any(|line| line.split(':').next().unwrap_or_default().contains(hash));
                assert!(is_name || !format!("{file:?}").contains(hash), "a hash is shown");
                // SHA1 alone is cheap enough to try. A hash is not its own password.
                if hash.starts_with("{SHA}") {
                    assert!(!file.opens(user, rest));
                }
            }
        }
        Err((number, problem)) => {
            let line = lines.get(number - 1).expect("a line of the file");
            if let Ok(line) = str::from_utf8(line) {
                let other = with_another_password(line.trim());
                let other = PasswordFile::parse(other.as_bytes()).map(|_| ());
                assert_eq!(other, Err((1, problem)), "the message depends on the password");
            }
            assert!(PasswordFile::parse(&lines[..number - 1].join(&b'\n')).is_ok(), "an earlier line is bad");
        }
    }
}

/// Returns a bad line of the same form with another password. A message that is the same for both lines does not reveal the
/// password, even where the user's name or a word of the message happens to equal the password.
fn with_another_password(line: &str) -> String {
    let Some((user, rest)) = line.split_once(':').filter(|(user, _)| !user.is_empty()) else { return "other".to_owned() };
    let hash = rest.split(':').next().unwrap_or_default();
    let scheme = ["$apr1$", "{SHA}", "$2a$", "$2b$", "$2y$"].into_iter().find(|scheme| hash.starts_with(scheme));
    format!("{user}:{}", scheme.unwrap_or("other"))
}

fn text_of(data: &[u8]) -> String {
    String::from_utf8_lossy(data).into_owned()
}

fn a_header(text: &str) {
    assert!(matches!(Credentials::from_header(None), Ok(Credentials::None)));
    match Credentials::from_header(Some(text)) {
        Ok(found) => {
            assert!(!matches!(found, Credentials::None) || is_empty(text), "a header is ignored");
            let Some((user, password)) = revealed(&found) else { return };
            assert!(!user.contains(':') && password.len() <= 1024);
            let again = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
            let again = Credentials::from_header(Some(&again)).expect("parsed credentials can be sent again");
            assert_eq!(revealed(&again), Some((user, password)));
            let other = format!("Basic {}", STANDARD.encode(format!("{user}:other")));
            let other = Credentials::from_header(Some(&other)).expect("credentials with another password");
            assert_eq!(format!("{found:?}"), format!("{other:?}"), "the password is shown");
        }
        Err(refusal) => assert!(!refusal.to_string().is_empty()),
    }
}

/// Returns true if a header contains no login: only a scheme, or an empty name with an empty password. Both count as no credentials.
fn is_empty(header: &str) -> bool {
    let value = header.trim().split_once(' ').map_or("", |(_, value)| value.trim());
    value.is_empty() || STANDARD.decode(value).is_ok_and(|decoded| decoded == b":")
}

/// Checks that a user and a password arrive as the client sent them.
fn a_login(text: &str) {
    let header = format!("bAsIc {}", STANDARD.encode(text));
    match (Credentials::from_header(Some(&header)), text.split_once(':')) {
        (Ok(Credentials::None), None) => assert!(text.is_empty()),
        (Ok(found), Some(("", ""))) => assert!(matches!(found, Credentials::None)),
        (Ok(found), Some((user, password))) => assert_eq!(revealed(&found), Some((user, password))),
        (Err(_), Some((_, password))) => assert!(password.len() > 1024),
        (Err(_), None) => {}
        (found, split) => panic!("{split:?} was read as {found:?}"),
    }
}
