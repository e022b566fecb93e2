//! `entrepot user`: the password file.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use super::runner::{bad, command, good, objects, run_with, stderr, stdout};
use crate::support::registry::{Registry, eventually};

#[test]
fn running_server_reads_a_changed_password_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("users");
    let path = file.to_str().unwrap();
    let made = user(&["add", path, "alice"], "secret\n");
    assert!(made.status.success() && stderr(&made).contains("0600"), "{}", stderr(&made));
    assert_eq!(stdout(&made), format!("alice was added to {path}\n"));
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&file), 0o600);
    let registry = Registry::configured(|place| {
        format!("{}\nauth: {{htpasswd: {{realm: here, path: {}}}}}\n", place.usual(), file.display())
    });
    let may = |name: &str, password: &str| registry.client().login(name, password).get("/v2/").status == 200;
    assert!(may("alice", "secret") && !may("bob", "pass word"));
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(
        good(&user(&["add", path, "bob", "--password-stdin"], "pass word")),
        format!("bob was added to {path}\n")
    );
    assert_eq!(mode(&file), 0o644, "the mode of the file is kept");
    eventually("bob", || may("bob", "pass word").then_some(()));
    assert!(good(&user(&["add", path, "alice"], "other")).contains("has a new password in "));
    eventually("alice's new password", || may("alice", "other").then_some(()));
    assert!(!may("alice", "secret"));
    assert_eq!(good(&user(&["list", path], "")), "alice\nbob\n");
    assert_eq!(objects(&good(&user(&["ls", path, "--json"], ""))), [json!({"name": "alice"}), json!({"name": "bob"})]);
    good(&user(&["remove", path, "bob"], ""));
    eventually("the end of bob's access", || (!may("bob", "pass word")).then_some(()));
    bad(&user(&["remove", path, "bob"], ""), 1, &["no user \"bob\"", path]);
}

/// Runs `entrepot user` with this input.
fn user(arguments: &[&str], input: &str) -> std::process::Output {
    run_with(command(&[&["user"], arguments].concat()), input)
}

/// Makes a file with the user alice, and returns its content.
fn with_alice(path: &str) -> Vec<u8> {
    assert!(user(&["add", path, "alice"], "secret\n").status.success());
    std::fs::read(path).unwrap()
}

#[test]
fn wrong_names_passwords_and_files_change_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("users");
    let path = file.to_str().unwrap();
    let before = with_alice(path);
    for (arguments, input, code, words) in [
        (&["add", path, "a:b"][..], "x", 2, "colon"),
        (&["add", path, "carol"], &"x".repeat(73), 2, "73 bytes"),
        (&["add", path, "carol"], "", 2, "empty"),
        (&["add", path, "carol"], "a\nb", 2, "more than one line"),
        (
            &["list", "/nowhere"],
            "",
            1,
            "/nowhere: the file does not exist; `entrepot user add /nowhere NAME` creates it",
        ),
        (&["remove", "/nowhere", "a"], "", 1, "`entrepot user add /nowhere NAME` creates it"),
        (&["add", "/nowhere/users", "a"], "x", 1, "the directory /nowhere does not exist"),
    ] {
        bad(&user(arguments, input), code, &[words]);
    }
    assert_eq!(std::fs::read(&file).unwrap(), before);
}

#[test]
fn lines_that_cannot_be_used_are_all_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("users");
    let path = file.to_str().unwrap();
    let before = with_alice(path);
    // A file with another kind of line may not be a password file at all.
    let damaged = [&before[..], b"dave plain\n"].concat();
    std::fs::write(&file, &damaged).unwrap();
    for arguments in [&["add", path, "bob"][..], &["list", path]] {
        bad(&user(arguments, "x"), 1, &["users:2: this is not a line of a password file", "nothing was written"]);
    }
    assert_eq!(std::fs::read(&file).unwrap(), damaged);
    std::fs::write(&file, [&before[..], b"dave plain\n", &before, b"no\nerin fine\n"].concat()).unwrap();
    for arguments in [&["list", path][..], &["add", path, "bob"]] {
        bad(
            &user(arguments, "x"),
            1,
            &["users:2: this is not a line", "and neither are the lines 4, 5; nothing was written"],
        );
    }
    std::fs::write(&file, [&before[..], b"dave:plain\nerin:also\n"].concat()).unwrap();
    let listed = user(&["list", path], "");
    assert_eq!(stdout(&listed), "alice\ndave\nerin\n");
    for (line, name) in [(2, "dave"), (3, "erin")] {
        let words = format!("warning: {path}:{line}: the password of {name:?} is stored as plain text");
        assert!(listed.status.success() && stderr(&listed).contains(&words), "{}", stderr(&listed));
    }
    let warned = user(&["add", path, "bob"], "x");
    assert!(warned.status.success() && stderr(&warned).contains(&format!("`entrepot user add {path} dave`")));
    assert!(stderr(&warned).contains(&format!("`entrepot user add {path} erin`")), "{}", stderr(&warned));
    let warned = user(&["add", path, "dave"], "x");
    assert!(warned.status.success() && stderr(&warned).lines().count() == 1, "{}", stderr(&warned));
    good(&user(&["add", path, "erin"], "x"));
}

/// Apache's own tool accepts these lines, where it is installed.
#[test]
fn htpasswd_accepts_written_lines() {
    if Command::new("htpasswd").output().is_err() {
        println!("skipped: htpasswd is not installed");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("users");
    let path = path.to_str().unwrap();
    let longest = "x".repeat(72);
    for (name, password) in [("alice", "pass:wörd"), ("bob", longest.as_str())] {
        assert!(run_with(command(&["user", "add", path, name]), password).status.success());
        let verified = |password: &str| Command::new("htpasswd").args(["-vb", path, name, password]).output().unwrap();
        assert!(verified(password).status.success(), "{}", stderr(&verified(password)));
        assert!(!verified("wrong").status.success());
    }
}
