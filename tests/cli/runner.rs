//! Runs the built command and reads its output.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::support::registry::Registry;

/// `alice:secret`, as `htpasswd -B` writes it.
pub const ALICE: &str = "alice:$2y$05$Z2UyzlpcairrQQKgFnpHnelQ.J6CK7OXQtyT9HbBvC8MAthihNobu\n";

/// What is said once when something hosted is deleted.
pub const LEFT: &str = "the bytes stay until garbage is collected\n";

/// The command, with nothing of this machine's environment but where programs are.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_entrepot"));
    command.args(arguments).env_clear().env("PATH", std::env::var("PATH").unwrap()).env("HOME", "/nonexistent");
    command
}

pub fn run_with(mut command: Command, input: &str) -> Output {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // One that refuses its arguments reads nothing.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

pub fn run(arguments: &[&str]) -> Output {
    run_with(command(arguments), "")
}

/// Against a server that is named by the environment.
pub fn run_at(registry: &Registry, arguments: &[&str]) -> Output {
    let mut command = command(arguments);
    command.env("ENTREPOT_SERVER", format!("http://{}", registry.addr()));
    run_with(command, "")
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What a command printed, which did what was asked and had nothing to complain about.
#[track_caller]
pub fn good(output: &Output) -> String {
    assert!(output.status.success() && stderr(output).is_empty(), "{:?}: {}", output.status, stderr(output));
    stdout(output)
}

/// A command's one line of complaint.
#[track_caller]
pub fn bad(output: &Output, code: i32, words: &[&str]) {
    let told = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{told}");
    for word in words {
        assert!(told.contains(word), "{word:?}: {told}");
    }
    assert!(told.lines().count() == 1 && told.starts_with("entrepot: "), "{told}");
}

pub fn objects(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Each line's words.
pub fn words(text: &str) -> Vec<Vec<&str>> {
    text.lines().map(|line| line.split_whitespace().collect()).collect()
}

/// Runs the command in a directory of its own, without a word of environment.
pub fn entrepot(directory: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_entrepot"))
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

pub fn all_output(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// What `check` says, line by line.
pub fn said(output: &Output) -> Vec<String> {
    String::from_utf8_lossy(&output.stderr).lines().map(str::to_owned).collect()
}
