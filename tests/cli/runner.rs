//! Runs the built command and reads its output.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::support::registry::Registry;

/// `alice:secret`, as `htpasswd -B` writes it.
pub const ALICE: &str = "alice:$2y$05$Z2UyzlpcairrQQKgFnpHnelQ.J6CK7OXQtyT9HbBvC8MAthihNobu\n";

/// The notice that follows a deletion of hosted content.
pub const LEFT: &str = "the disk space of pushed images is not freed: Entrepot has no garbage collection yet\n";

/// Returns the command. Of this machine's environment, it has only `PATH`.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_entrepot"));
    command.args(arguments).env_clear().env("PATH", std::env::var("PATH").unwrap()).env("HOME", "/nonexistent");
    command
}

pub fn run_with(mut command: Command, input: &str) -> Output {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A command that rejects its arguments does not read its input, so the write may fail.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

pub fn run(arguments: &[&str]) -> Output {
    run_with(command(arguments), "")
}

/// Runs the command; the environment names the server.
pub fn run_at(registry: &Registry, arguments: &[&str]) -> Output {
    let mut command = command(arguments);
    command.env("ENTREPOT_SERVER", format!("http://{}", registry.addr()));
    run_with(command, "")
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Returns the messages of a command, without the notice that the server takes long to answer: on a busy machine every
/// command may print it.
pub fn stderr(output: &Output) -> String {
    let is_slow = |line: &&str| line.starts_with("http://") && line.ends_with(" has not answered for 10 s; waiting\n");
    String::from_utf8_lossy(&output.stderr).split_inclusive('\n').filter(|line| !is_slow(line)).collect()
}

/// Returns the output of a command that succeeded without a message.
#[track_caller]
pub fn good(output: &Output) -> String {
    assert!(output.status.success() && stderr(output).is_empty(), "{:?}: {}", output.status, stderr(output));
    stdout(output)
}

/// Checks the exit code and the message of a command that failed. The message is one line.
#[track_caller]
pub fn bad(output: &Output, code: i32, words: &[&str]) {
    let message = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{message}");
    for word in words {
        assert!(message.contains(word), "{word:?}: {message}");
    }
    assert!(message.lines().count() == 1 && message.starts_with("entrepot: "), "{message}");
}

pub fn objects(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Returns each line's words.
pub fn words(text: &str) -> Vec<Vec<&str>> {
    text.lines().map(|line| line.split_whitespace().collect()).collect()
}

/// Runs the command in a directory, with these variables only.
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

/// Returns the lines that `check` wrote to standard error.
pub fn message_lines(output: &Output) -> Vec<String> {
    String::from_utf8_lossy(&output.stderr).lines().map(str::to_owned).collect()
}
