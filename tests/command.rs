//! The command itself: `serve`, `check`, `health`, and how a configuration meets the store that is there.

use std::path::Path;
use std::process::{Command, Output};

use crate::support::registry::{Registry, free_address};

/// Runs the command in a directory of its own, without a word of environment.
fn entrepot(directory: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_entrepot"))
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

fn words(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn check_names_every_mistake_with_its_line() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.yml");
    std::fs::write(&file, "version: 0.1\nstorrage: {}\nhttp: {addr: 5}\nlog: {level: loud}\n").unwrap();
    let output = entrepot(directory.path(), &["check", "config.yml"], &[]);
    assert_eq!(output.status.code(), Some(1));
    let words = words(&output);
    for line in ["config.yml:2", "storage", "config.yml:4", "loud"] {
        assert!(words.contains(line), "{words}");
    }
    let output = entrepot(directory.path(), &["serve", "config.yml"], &[]);
    assert_eq!(output.status.code(), Some(1), "serve says the same");
    let output = entrepot(directory.path(), &["check", "nowhere.yml"], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(entrepot(directory.path(), &["chekc"], &[]).status.code(), Some(2));
}

#[test]
fn the_shipped_configurations_are_right() {
    let directory = tempfile::tempdir().unwrap();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let root = ("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", directory.path().to_str().unwrap());
    for name in ["default.yml", "reference.yml"] {
        let file = shipped.join(name);
        let output = entrepot(directory.path(), &["check", file.to_str().unwrap()], &[root]);
        assert!(output.status.success(), "{name}: {}", words(&output));
    }
    let printed = entrepot(
        directory.path(),
        &["check", "--print", shipped.join("default.yml").to_str().unwrap()],
        &[root, ("REGISTRY_HTTP_ADDR", ":1234")],
    );
    assert!(words(&printed).contains(":1234"), "{}", words(&printed));
}

#[test]
fn health_asks_a_running_server() {
    let registry = Registry::start();
    let directory = tempfile::tempdir().unwrap();
    let url = format!("http://{}", registry.addr());
    assert!(entrepot(directory.path(), &["health", &url], &[]).status.success());
    let nobody = format!("http://{}", free_address());
    let output = entrepot(directory.path(), &["health", &nobody], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(words(&output).contains(&nobody), "{}", words(&output));
}

#[test]
fn serve_says_what_it_does_and_what_is_open() {
    let registry = Registry::with("mirror: {upstreams: {docker.io: {default: true}, ghcr.io: {}}}");
    let log = registry.log().replace("\\\"", "\"");
    for words in [
        &format!("listens on http://{}", registry.addr()),
        "docker.io (https://registry-1.docker.io, the default)",
        "ghcr.io (https://ghcr.io)",
        "local/**",
        &format!("{{\"registry-mirrors\": [\"http://{}\"]}}", registry.addr()),
        "everybody who reaches this address may pull, push and delete",
        registry.data().to_str().unwrap(),
    ] {
        assert!(log.contains(words), "{words}: {log}");
    }
}

#[test]
fn a_stop_is_graceful() {
    let mut registry = Registry::start();
    registry.terminate();
    assert!(registry.wait().success());
    assert!(registry.log().contains("stopped"));
}

/// A store that already holds `team/app`, as a registry:2 leaves it.
fn a_volume() -> Registry {
    let mut registry = Registry::start();
    registry.client().push_image("team/app", "1", b"old");
    registry.terminate();
    registry.wait();
    registry
}

#[test]
fn a_written_mirror_does_not_hide_what_is_there() {
    let volume = a_volume();
    let root = volume.data().display().to_string();
    let directory = tempfile::tempdir().unwrap();
    let storage = format!("version: 0.1\nstorage: {{filesystem: {{rootdirectory: {root}}}}}\n");
    let mirror = "mirror: {upstreams: {docker.io: {default: true}}}\n";
    std::fs::write(directory.path().join("bad.yml"), format!("{storage}{mirror}")).unwrap();
    for command in ["serve", "check"] {
        let output = entrepot(directory.path(), &[command, "bad.yml"], &[]);
        let words = words(&output);
        assert_eq!(output.status.code(), Some(1), "{words}");
        assert!(words.contains("team/app") && words.contains("\"team/**\""), "{words}");
    }
    let local = "mirror: {local: [\"local/**\", \"team/**\"], upstreams: {docker.io: {default: true}}}\n";
    std::fs::write(directory.path().join("good.yml"), format!("{storage}{local}")).unwrap();
    let output = entrepot(directory.path(), &["check", "good.yml"], &[]);
    assert!(output.status.success(), "{}", words(&output));
}

#[test]
fn the_built_in_mirror_gives_way_to_a_volume() {
    let volume = a_volume();
    let directory = tempfile::tempdir().unwrap();
    if ["/etc/entrepot", "/etc/distribution", "/etc/docker/registry"]
        .iter()
        .any(|d| Path::new(d).join("config.yml").exists())
    {
        println!("skipped: this machine has a registry's configuration, which would be taken");
        return;
    }
    let root = volume.data().display().to_string();
    let addr = free_address();
    let mut child = Command::new(env!("CARGO_BIN_EXE_entrepot"))
        .arg("serve")
        .current_dir(directory.path())
        .env_clear()
        .env("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", &root)
        .env("REGISTRY_HTTP_ADDR", addr.to_string())
        .stdout(std::fs::File::create(directory.path().join("out")).unwrap())
        .spawn()
        .unwrap();
    let client = crate::support::client::Client::new(addr);
    let found = crate::support::registry::eventually("an answer", || client.try_get("/v2/team/app/manifests/1"));
    let out = std::fs::read_to_string(directory.path().join("out")).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(found.status, 200);
    assert!(out.contains("team/app") && out.contains("built-in mirror is left out"), "{out}");
}

#[test]
fn a_store_that_cannot_be_written_is_an_error_that_says_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| std::fs::write(directory.path().join(name), content).unwrap();
    let config = "version: 0.1\nstorage: {filesystem: {rootdirectory: data}}\nhttp: {addr: \"127.0.0.1:0\"}\n";
    write("config.yml", config);
    write("data", "a file, where a directory should be");
    let output = entrepot(directory.path(), &["serve", "config.yml"], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(words(&output).contains("rootdirectory"), "{}", words(&output));

    // Root may write everywhere.
    if rustix::process::geteuid().is_root() {
        return;
    }
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::remove_file(directory.path().join("data")).unwrap();
    std::fs::create_dir(directory.path().join("data")).unwrap();
    std::fs::set_permissions(directory.path().join("data"), std::fs::Permissions::from_mode(0o500)).unwrap();
    let output = entrepot(directory.path(), &["serve", "config.yml"], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(words(&output).contains("chown"), "{}", words(&output));
}

#[test]
fn check_looks_at_the_password_file() {
    let directory = tempfile::tempdir().unwrap();
    let config =
        "version: 0.1\nstorage: {filesystem: {rootdirectory: data}}\nauth: {htpasswd: {realm: r, path: users}}\n";
    std::fs::write(directory.path().join("config.yml"), config).unwrap();
    assert!(entrepot(directory.path(), &["check", "config.yml"], &[]).status.success(), "it will be made");
    assert!(!directory.path().join("users").exists(), "check makes nothing");
    std::fs::write(directory.path().join("users"), "alice:plain\n").unwrap();
    let output = entrepot(directory.path(), &["check", "config.yml"], &[]);
    assert!(!output.status.success() && words(&output).contains("users:1"), "{}", words(&output));
}

#[test]
fn variables_of_others_are_no_mistake() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("config.yml"), "version: 0.1\nstorage: filesystem\n").unwrap();
    let others = [
        ("REGISTRY_AUTH_FILE", "/run/auth.json"),
        ("REGISTRY_PORT", "tcp://10.0.0.1:5000"),
        ("REGISTRY_HTPP_ADDR", ":1"),
    ];
    let root = ("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", "data");
    let output = entrepot(directory.path(), &["check", "config.yml"], &[others.as_slice(), &[root]].concat());
    let words = words(&output);
    assert!(output.status.success(), "{words}");
    for expected in ["podman", "Kubernetes", "REGISTRY_HTTP_ADDR"] {
        assert!(words.contains(expected), "{expected}: {words}");
    }
}
