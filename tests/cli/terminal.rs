//! Completions, questions at a terminal, signals, closed pipes, and mistyped arguments.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};

use super::runner::{bad, command, good, run, run_with, stderr, stdout};
use crate::support::client::{Client, noise};
use crate::support::fault::Fault;
use crate::support::mirror::{blob, cache, mirror};
use crate::support::registry::{Registry, eventually};
use crate::support::upstream::Upstream;

#[test]
fn completions_exist_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = good(&run(&["completions", shell]));
        for word in ["entrepot", "completions", "warm", "password-stdin"] {
            assert!(script.contains(word), "{shell} does not know {word}");
        }
    }
    assert_eq!(run(&["completions", "tcsh"]).status.code(), Some(2));
    if Command::new("bash").arg("--version").output().is_ok() {
        let script = good(&run(&["completions", "bash"]));
        let checked = run_with(
            {
                let mut bash = Command::new("bash");
                bash.arg("-n");
                bash
            },
            &script,
        );
        assert!(checked.status.success(), "{}", stderr(&checked));
    }
}

#[test]
fn closed_output_ends_commands_quietly() {
    let registry = Registry::start();
    registry.client().push_image("app", "1", b"x");
    let url = format!("http://{}", registry.addr());
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/config/default.yml");
    for arguments in [
        &["ls"][..],
        &["ls", "--json"],
        &["ls", "app"],
        &["du"],
        &["rm", "app:1"],
        &["completions", "bash"],
        &["client", "k3s", "--config", shipped],
        &["check", "--print", shipped],
        &["health", &url],
    ] {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        drop(reader);
        let mut command = command(arguments);
        command.env("ENTREPOT_SERVER", &url).env("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", "/tmp");
        let output = command.stdin(Stdio::null()).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", stderr(&output));
        assert!(!stderr(&output).contains("panicked"), "{arguments:?}: {}", stderr(&output));
    }
    assert_eq!(registry.client().get("/v2/app/manifests/1").status, 404, "the command deleted the image");
}

#[test]
fn mistyped_arguments_get_a_hint() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.yml");
    std::fs::write(&file, "version: 0.1\n").unwrap();
    let file = file.to_str().unwrap();
    bad(&run(&["health", file]), 2, &[file, "is a file", &format!("ENTREPOT_CONFIG={file}")]);
    bad(&run(&["ls", "--server", file]), 2, &["is a file"]);
    let star = run(&["warm", "alpine:3.*"]);
    assert!(star.status.code() == Some(2) && stderr(&star).contains("mirror.prefetch"), "{}", stderr(&star));
    for (server, words) in [
        ("http://me:secret@127.0.0.1:1", "--user"),
        ("ftp://127.0.0.1", "ftp://, but only http:// and https:// work"),
        ("", "address is empty"),
    ] {
        let output = run(&["ls", "--server", server]);
        bad(&output, 2, &[words]);
        assert!(!stderr(&output).contains("secret"));
    }
}

#[test]
fn interrupted_warm_reports_what_continues() {
    let upstream = Upstream::start();
    let image = upstream.image("library/app", "1", &[&noise(1, 200_000)]);
    upstream.fault("GET", &image.layers[0].to_string(), Fault::Throttle(100_000));
    let mirror = mirror(&upstream);
    let mut warm = command(&["warm", "app:1", "--platform", "all"]);
    warm.env("ENTREPOT_SERVER", format!("http://{}", mirror.addr()));
    let mut child = warm.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("the layer to begin", || (upstream.requests("GET", &image.layers[0].to_string()) > 0).then_some(()));
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT).unwrap();
    let mut message = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_to_string(&mut message).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{message}");
    assert!(message.contains("finishes the images that have begun"), "{message}");
    eventually("the layer to be held", || {
        (cache(&mirror.client().head(&blob("library/app", image.layers[0]))) == "hit").then_some(())
    });
}

/// Waits until the terminal of the command that `script` runs does not echo input.
fn wait_for_silence(script: u32) {
    eventually("a terminal that shows nothing", || {
        let children = std::fs::read_to_string(format!("/proc/{script}/task/{script}/children")).ok()?;
        let terminals =
            children.split_whitespace().filter_map(|pid| std::fs::read_link(format!("/proc/{pid}/fd/0")).ok());
        let terminal = terminals.into_iter().find(|path| path.starts_with("/dev/pts"))?;
        let stty = Command::new("stty").arg("-F").arg(terminal).arg("-a").output().unwrap();
        stdout(&stty).split_whitespace().any(|word| word == "-echo").then_some(())
    });
}

/// The command asks for passwords, and before it deletes whole repositories, at a terminal. `script` of util-linux provides one.
#[test]
fn commands_ask_at_a_terminal() {
    if Command::new("script").arg("--version").output().is_err() {
        println!("skipped: script is not installed");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("users");
    let at_terminal = |arguments: &str, answers: &[(&str, &str)]| {
        let entrepot = env!("CARGO_BIN_EXE_entrepot");
        let mut script = Command::new("script");
        script.args(["-qec", &format!("{entrepot} {arguments}"), "/dev/null"]);
        let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (mut input, mut output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut message = Vec::new();
        for (question, answer) in answers {
            // Input that arrives before the question is discarded, so wait for the question.
            while !String::from_utf8_lossy(&message).contains(question) {
                let piece = output.fill_buf().unwrap().to_vec();
                assert!(!piece.is_empty(), "{}", String::from_utf8_lossy(&message));
                output.consume(piece.len());
                message.extend(piece);
            }
            if !question.contains("[y/N]") {
                wait_for_silence(child.id());
            }
            input.write_all(format!("{answer}\n").as_bytes()).unwrap();
        }
        output.read_to_end(&mut message).unwrap();
        (child.wait().unwrap().code(), String::from_utf8_lossy(&message).into_owned())
    };
    let add = format!("user add {} alice", file.display());
    let (code, message) = at_terminal(&add, &[("New password", "secret"), ("again", "secret")]);
    assert!(code == Some(0) && !message.contains("secret"), "{message}");
    let (code, message) = at_terminal(&add, &[("New password", "secret"), ("again", "other")]);
    assert!(
        code == Some(1) && message.contains("the two passwords are not the same; nothing was changed"),
        "{message}"
    );

    let registry = Registry::start();
    let client: Client = registry.client();
    client.push_image("app", "1", b"x");
    let rm = format!("rm app --server http://{}", registry.addr());
    let (code, message) = at_terminal(&rm, &[("[y/N]", "n")]);
    assert!(code == Some(1) && message.contains("nothing was deleted"), "{message}");
    assert_eq!(client.get("/v2/app/manifests/1").status, 200);
    let (code, message) = at_terminal(&rm, &[("[y/N]", "y")]);
    assert!(code == Some(0) && message.contains("deleted all of app: 1 tag"), "{message}");
    assert_eq!(client.get("/v2/app/manifests/1").status, 404);
}
