//! Password files and `Authorization`: a bad line is named and never quoted, a user is somebody in the file, no password is shown.
#![no_main]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use entrepot::auth::Credentials;
use entrepot::auth::fuzzing::{PasswordFile, revealed};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    a_file(data);
    if let Ok(text) = str::from_utf8(data) {
        a_header(text);
        a_login(text);
    }
});

fn a_file(data: &[u8]) {
    let lines: Vec<&[u8]> = data.split(|b| *b == b'\n').collect();
    match PasswordFile::parse(data) {
        Ok(file) => {
            assert!(file.users() <= lines.len());
            assert_eq!(file.has_decoy(), file.users() > 0);
            for line in lines.iter().filter_map(|line| str::from_utf8(line).ok()) {
                let Some((user, rest)) = line.trim().split_once(':') else { continue };
                if user.is_empty() || user.starts_with('#') {
                    continue;
                }
                let hash = file.hash(user).expect("whoever has a line is known");
                assert!(text_of(data).contains(hash));
                // Somebody may be called like a hash.
                let is_name =
                    text_of(data).lines().any(|line| line.split(':').next().unwrap_or_default().contains(hash));
                assert!(is_name || !format!("{file:?}").contains(hash), "a hash is shown");
                // Only what is cheap; a hash is not its own password.
                if hash.starts_with("{SHA}") {
                    assert!(!file.opens(user, rest));
                }
            }
        }
        Err((number, problem)) => {
            let line = lines.get(number - 1).expect("a line of the file");
            let Ok(line) = str::from_utf8(line) else { return };
            let (user, rest) = line.trim().split_once(':').unwrap_or(("", line.trim()));
            let hash = rest.split(':').next().unwrap_or_default();
            // Words of ours may happen to stand in a short one, and the name is said, as a literal.
            if hash.len() > 24 && !format!("{user:?}").contains(hash) {
                assert!(!problem.contains(hash), "{problem}");
            }
            assert!(PasswordFile::parse(&lines[..number - 1].join(&b'\n')).is_ok(), "an earlier line is bad");
        }
    }
}

fn text_of(data: &[u8]) -> String {
    String::from_utf8_lossy(data).into_owned()
}

fn a_header(text: &str) {
    assert!(matches!(Credentials::from_header(None), Ok(Credentials::None)));
    match Credentials::from_header(Some(text)) {
        Ok(found) => {
            assert!(!matches!(found, Credentials::None), "a header is ignored");
            let Some((user, password)) = revealed(&found) else { return };
            assert!(!user.contains(':') && password.len() <= 1024);
            let again = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
            let again = Credentials::from_header(Some(&again)).expect("parsed credentials can be sent again");
            assert_eq!(revealed(&again), Some((user, password)));
            if password.len() > 8 && !user.contains(password) {
                assert!(!format!("{found:?}").contains(password), "a password is shown");
            }
        }
        Err(refusal) => assert!(!refusal.to_string().is_empty()),
    }
}

/// Any user and password that a client can spell arrive as they were.
fn a_login(text: &str) {
    let header = format!("bAsIc {}", STANDARD.encode(text));
    match (Credentials::from_header(Some(&header)), text.split_once(':')) {
        (Ok(found), Some((user, password))) => assert_eq!(revealed(&found), Some((user, password))),
        (Err(_), Some((_, password))) => assert!(password.len() > 1024),
        (Err(_), None) => {}
        (found, split) => panic!("{split:?} was read as {found:?}"),
    }
}
