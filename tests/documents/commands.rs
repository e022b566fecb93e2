//! Commands and configurations in the documents, tried against the built binary.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Output};

use pulldown_cmark::{CodeBlockKind, Event, Parser, Tag, TagEnd};

/// The sections of a configuration. A YAML block with other keys belongs to another program.
const SECTIONS: &[&str] = &["version", "log", "storage", "http", "auth", "health", "proxy", "mirror", "validation"];

/// A call of `entrepot` in a document: the command and its long flags.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Call {
    command: String,
    flags: Vec<String>,
}

/// Describes each call in a document that the binary does not understand.
pub(super) fn unknown(path: &str, text: &str) -> Vec<String> {
    let scripts = blocks(text).into_iter().filter(|(language, _)| language == "sh");
    let calls: BTreeSet<Call> = scripts.flat_map(|(_, script)| calls(&script)).collect();
    let mut helps: BTreeMap<String, Option<String>> = BTreeMap::new();
    let mut found = Vec::new();
    for Call { command, flags } in calls {
        let help = helps.entry(command.clone()).or_insert_with(|| help(&command));
        match help {
            None => found.push(format!("{path}: there is no command `entrepot {command}`")),
            Some(help) => {
                let missing = flags.iter().filter(|flag| !help.split_whitespace().any(|word| word == *flag));
                found.extend(missing.map(|flag| format!("{path}: `entrepot {command}` has no flag {flag}")));
            }
        }
    }
    found
}

/// Describes each configuration in a document that `entrepot check` refuses, unless the next block shows its mistakes as they are
/// printed. A configuration that names files of the reader's machine is not tried.
pub(super) fn refused(path: &str, text: &str) -> Vec<String> {
    let blocks = blocks(text);
    let configurations = blocks
        .iter()
        .enumerate()
        .filter(|(_, (language, text))| language == "yaml" && is_configuration(text) && !names_files(text));
    let described = configurations.filter_map(|(at, (_, text))| {
        let mistakes = mistakes(text).unwrap_or_default();
        // Mistakes of a store that has content cannot be tried here: they come without a summary.
        let shown = blocks.get(at + 1).filter(|(_, next)| next.starts_with("config.yml:"));
        let is_right = shown.map_or(mistakes.is_empty(), |(_, next)| !next.contains(" mistake") || *next == mistakes);
        (!is_right).then(|| format!("{path}: {mistakes}\n{text}"))
    });
    described.collect()
}

/// Returns the fenced blocks of a document, with their languages.
fn blocks(text: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut inside = false;
    for event in Parser::new(text) {
        match event {
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(language))) => {
                found.push((language.to_string(), String::new()));
                inside = true;
            }
            Event::Text(line) if inside => found.last_mut().expect("a block has begun").1.push_str(&line),
            Event::End(TagEnd::CodeBlock) => inside = false,
            _ => {}
        }
    }
    found
}

/// Returns the calls of `entrepot` in a shell script.
fn calls(script: &str) -> Vec<Call> {
    let script = script.replace("\\\n", " ");
    let lines = script.lines().map(|line| line.split(" #").next().unwrap_or_default());
    lines.flat_map(|line| line.split(['|', '>', '<', ';', '&'])).filter_map(call).collect()
}

/// Returns the call in a simple command, after assignments and `sudo` or `env`.
fn call(text: &str) -> Option<Call> {
    let mut words = text.split_whitespace().skip_while(|word| word.contains('=') || matches!(*word, "sudo" | "env"));
    let command = words.next().filter(|word| *word == "entrepot").and_then(|_| words.next())?;
    let flags = words.filter(|word| word.starts_with("--"));
    let flags = flags.map(|flag| flag.split('=').next().unwrap_or(flag).to_owned()).collect();
    Some(Call { command: command.to_owned(), flags })
}

/// Returns true if all keys at the top are sections of a configuration.
fn is_configuration(text: &str) -> bool {
    let keys = text.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_alphabetic()));
    let mut keys = keys.map(|line| line.split(':').next().unwrap_or(line)).peekable();
    keys.peek().is_some() && keys.all(|key| SECTIONS.contains(&key))
}

/// Returns true if the text names files that only the reader has.
fn names_files(text: &str) -> bool {
    ["file:/", "/etc/ssl/", "credentials:", "htpasswd:"].iter().any(|name| text.contains(name))
}

fn help(command: &str) -> Option<String> {
    let output = entrepot(&[command, "--help"], Path::new("."));
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).replace([',', '<', '['], " "))
}

/// Returns the mistakes that `entrepot check` finds in a configuration, if any.
fn mistakes(text: &str) -> Option<String> {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let version = if text.contains("version:") { "" } else { "version: 0.1\n" };
    std::fs::write(directory.path().join("config.yml"), format!("{version}{text}")).expect("the file can be written");
    let output = entrepot(&["check", "config.yml"], directory.path());
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

fn entrepot(arguments: &[&str], directory: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_entrepot"));
    command.args(arguments).current_dir(directory);
    command.env("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", directory.join("data"));
    command.output().expect("the binary runs")
}

#[test]
fn calls_in_scripts() {
    let call = |command: &str, flags: &[&str]| Call {
        command: command.to_owned(),
        flags: flags.iter().map(ToString::to_string).collect(),
    };
    for (script, want) in [
        ("entrepot ls", vec![call("ls", &[])]),
        ("entrepot ls --json | jq -r .tag    # --no-flag", vec![call("ls", &["--json"])]),
        ("entrepot warm a \\\n  --file b", vec![call("warm", &["--file"])]),
        ("X=1 entrepot serve c.yml", vec![call("serve", &[])]),
        ("env 'A.B=1h' entrepot check --print", vec![call("check", &["--print"])]),
        ("sudo entrepot user add users alice < password.txt", vec![call("user", &[])]),
        ("curl x | entrepot du --server=http://a", vec![call("du", &["--server"])]),
        ("echo entrepot ls", vec![]),
        ("docker run -d --name entrepot entrepot", vec![]),
    ] {
        assert_eq!(calls(script), want, "{script}");
    }
}

#[test]
fn documents_good_and_bad() {
    for (text, good) in [
        ("```sh\nentrepot ls --json\n```", true),
        ("```\nentrepot nonsense\n```", true),
        ("```sh\nentrepot nonsense\n```", false),
        ("```sh\nentrepot ls --nonsense\n```", false),
        ("```yaml\nhttp: {addr: \":5000\"}\n```", true),
        ("```yaml\nimage: a\n```", true),
        ("```yaml\nhttp: {adr: \":5000\"}\n```", false),
        ("```yaml\nhttp: {adr: \":5000\"}\n```\n\n```\nconfig.yml:2:8: …\n```", true),
        ("```yaml\nhttp: {adr: \":5000\"}\n```\n\n```\nconfig.yml:2:8: …\n1 mistake\n```", false),
        ("```yaml\nversion: 0.2\n```", false),
    ] {
        let found = [unknown("a.md", text), refused("a.md", text)].concat();
        assert_eq!(found.is_empty(), good, "{text}: {found:?}");
    }
}
