//! `entrepot serve`: its start, its stop, and how a configuration meets the store that is already there.

use std::path::Path;
use std::process::{Command, Output};

use super::runner::{all_output, entrepot};
use crate::support::registry::{Registry, free_address};

#[test]
fn wrong_command_line_gets_a_message_of_one_line() {
    let directory = tempfile::tempdir().unwrap();
    for (arguments, want) in [
        (&["serve", "--config", "a.yml"][..], "usage: entrepot serve [CONFIG]"),
        (&["rm"], "usage: entrepot rm"),
        (&["chek"], "a similar subcommand exists: 'check'"),
        (&["warm", "--platfrom", "linux/amd64", "a"], "'--platform'"),
    ] {
        let output = entrepot(directory.path(), arguments, &[]);
        let words = all_output(&output);
        assert_eq!(output.status.code(), Some(2), "{words}");
        assert!(words.starts_with("entrepot: ") && words.contains(want) && words.lines().count() == 1, "{words}");
    }
    let help = entrepot(directory.path(), &["rm", "--help"], &[]);
    assert!(help.status.success() && help.stderr.is_empty());
}

#[test]
fn check_shows_the_place_of_the_built_in_store() {
    let places = ["entrepot", "distribution", "docker/registry"].map(|place| format!("/etc/{place}/config.yml"));
    if let Some(place) = places.iter().find(|place| Path::new(place).exists()) {
        println!("skipped: this machine has {place}, which goes before the built-in configuration");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let shown = all_output(&entrepot(directory.path(), &["check", "--print"], &[]));
    let root = if Path::new("/var/lib/registry").is_dir() { "/var/lib/registry" } else { "./data" };
    let line = format!("rootdirectory: {root}");
    assert!(shown.lines().any(|shown| shown.trim().replace('"', "") == line), "{shown}");
}

/// registry:2 starts on this configuration and answers at the same address.
#[test]
fn serve_starts_where_registry_2_does() {
    let registry = Registry::configured(|place| {
        format!(
            "version: 0.1\nlog: {{level: info}}\nstorage:\n  filesystem: {{rootdirectory: {}, maxsize: 10GiB}}\nhttp:\n  addr: {}\n  \
             prefix: /registry\n  draintimeout: 5000000000\n  tls: {{certificate: \"\", key: \"\"}}\nauth: none\n\
             health: {{storagedriver: {{enabled: true, interval: 10000000000, threshold: 3}}}}\n",
            place.directory.join("data").display(),
            place.addr
        )
    });
    let client = registry.client();
    assert_eq!((client.get("/registry/v2/").status, client.get("/v2/").status), (200, 404));
    assert!(client.request("POST", "/registry/v2/team/app/blobs/uploads/").body(b"").send().status == 202);
    for words in
        ["http.tls names no certificate", "auth.none", "http.prefix is", "draintimeout is 5000000000", "maxsize"]
    {
        let line = registry.wait_for_log(words);
        assert!(line.contains("warn"), "{line}");
    }
}

#[test]
fn serve_logs_its_address_mirrors_and_access() {
    let registry = Registry::with("mirror: {upstreams: {docker.io: {default: true}, ghcr.io: {}}}");
    // The log has a thread of its own, and this is the last line of the start.
    registry.wait_for_log("without a login");
    let log = registry.log().replace("\\\"", "\"");
    for words in [
        &format!("listens on http://{}", registry.addr()),
        "docker.io (https://registry-1.docker.io, the default)",
        "ghcr.io (https://ghcr.io)",
        "local/**",
        &format!("{{\"registry-mirrors\": [\"http://{}\"]}}", registry.addr()),
        "without a login, every client that reaches this address may pull, push and delete",
        registry.data().to_str().unwrap(),
        "the configuration was read",
        "config.yml",
    ] {
        assert!(log.contains(words), "{words}: {log}");
    }
}

#[test]
fn prefix_is_part_of_the_printed_address() {
    let registry = Registry::configured(|place| {
        let mirror = "mirror: {upstreams: {docker.io: {default: true}}}";
        format!("{}{}  prefix: /behind/\nstorage:{}\n{mirror}\n", place.version(), place.http(), place.root())
    });
    registry.wait_for_log("without a login");
    let log = registry.log();
    assert!(log.contains(&format!("listens on http://{}/behind", registry.addr())), "{log}");
    assert!(log.contains("a proxy must lead /v2/ to /behind/v2/"), "{log}");
    assert!(!log.contains("registry-mirrors"), "dockerd refuses a mirror with a path: {log}");
}

#[test]
fn stop_is_graceful() {
    let mut registry = Registry::start();
    registry.terminate();
    assert!(registry.wait().success());
    assert!(registry.log().contains("stopped"));
}

/// Returns a store that contains `team/app`, as registry:2 leaves it.
fn a_volume() -> Registry {
    let mut registry = Registry::start();
    registry.client().push_image("team/app", "1", b"old");
    registry.terminate();
    registry.wait();
    registry
}

#[test]
fn configured_mirror_does_not_hide_stored_repositories() {
    let volume = a_volume();
    let root = volume.data().display().to_string();
    let directory = tempfile::tempdir().unwrap();
    let storage = format!("version: 0.1\nstorage: {{filesystem: {{rootdirectory: {root}}}}}\n");
    let mirror = "mirror: {upstreams: {docker.io: {default: true}}}\n";
    std::fs::write(directory.path().join("bad.yml"), format!("{storage}{mirror}")).unwrap();
    for command in ["serve", "check"] {
        let output = entrepot(directory.path(), &[command, "bad.yml"], &[]);
        let words = all_output(&output);
        assert_eq!(output.status.code(), Some(1), "{words}");
        assert!(words.contains("team/app") && words.contains("\"team/**\""), "{words}");
    }
    let local = "mirror: {local: [\"local/**\", \"team/**\"], upstreams: {docker.io: {default: true}}}\n";
    std::fs::write(directory.path().join("good.yml"), format!("{storage}{local}")).unwrap();
    let output = entrepot(directory.path(), &["check", "good.yml"], &[]);
    assert!(output.status.success(), "{}", all_output(&output));
}

#[test]
fn built_in_mirror_is_left_out_on_an_old_volume() {
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
        .stderr(std::fs::File::create(directory.path().join("log")).unwrap())
        .spawn()
        .unwrap();
    let client = crate::support::client::Client::new(addr);
    let found = crate::support::registry::eventually("an answer", || client.try_get("/v2/team/app/manifests/1"));
    let out = std::fs::read_to_string(directory.path().join("out")).unwrap();
    let log = std::fs::read_to_string(directory.path().join("log")).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(found.status, 200);
    assert!(out.contains("team/app") && out.contains("built-in mirror is left out"), "{out}");
    for text in [&out, &log] {
        assert!(text.contains("the built-in one, since none of /etc/entrepot/config.yml, "), "{text}");
    }
}

#[test]
fn unwritable_store_is_an_error_with_a_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| std::fs::write(directory.path().join(name), content).unwrap();
    let config = "version: 0.1\nstorage: {filesystem: {rootdirectory: data}}\nhttp: {addr: \"127.0.0.1:0\"}\n";
    write("config.yml", config);
    write("data", "a file, where a directory should be");
    let output = entrepot(directory.path(), &["serve", "config.yml"], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(all_output(&output).contains("rootdirectory"), "{}", all_output(&output));
}

/// Runs the command as a user without rights. Tests may run as root, which could write everywhere.
fn as_nobody(directory: &Path, arguments: &[&str]) -> Output {
    use std::os::unix::process::CommandExt as _;
    let mut command = Command::new(env!("CARGO_BIN_EXE_entrepot"));
    command.args(arguments).current_dir(directory).env_clear();
    if rustix::process::geteuid().is_root() {
        command.uid(65534).gid(65534);
    }
    command.output().unwrap()
}

#[test]
fn error_suggests_ownership_changes_only_for_stores() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let directory = tempfile::tempdir().unwrap();
    let mode = |name: &str, mode: u32| {
        std::fs::set_permissions(directory.path().join(name), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    std::fs::create_dir_all(directory.path().join("lib/store/docker/registry")).unwrap();
    std::fs::create_dir_all(directory.path().join("lib/empty")).unwrap();
    for name in ["lib/store", "lib/empty", "lib", ""] {
        mode(name, 0o555);
    }
    let ours = std::fs::metadata(directory.path()).unwrap().uid() != 0;
    let place = directory.path().join("lib").display().to_string();
    let [new, empty, store] = if ours {
        ["`mkdir -p ", "`chmod u+rwx ", "`chmod -R u+rwX "]
    } else {
        [
            "`mkdir -p PLACE/new/deep && chown 65534:65534 PLACE/new/deep` as root",
            "`chown 65534:65534 PLACE/empty`",
            "`chown -R 65534:65534 PLACE/store`",
        ]
    };
    mode("", 0o755);
    for (name, advice) in [("new/deep", new), ("empty", empty), ("store", store)] {
        let config = format!(
            "version: 0.1\nstorage:\n  filesystem: {{rootdirectory: {place}/{name}}}\nhttp: {{addr: \"127.0.0.1:0\"}}\n"
        );
        std::fs::write(directory.path().join("config.yml"), config).unwrap();
        for command in ["serve", "check"] {
            let output = as_nobody(directory.path(), &[command, "config.yml"]);
            let words = all_output(&output);
            assert!(
                output.status.code() == Some(1)
                    && words.contains("config.yml:3:31: storage.filesystem.rootdirectory cannot be used"),
                "{name}: {words}"
            );
            assert!(words.contains(&advice.replace("PLACE", &place)), "{name}: {words}");
            assert!(words.contains("name another directory"), "{words}");
        }
    }
    mode("lib", 0o755);
}

/// Runs the command that a message gives between backticks, as an operator with all rights would.
fn follow(message: &str) {
    let command = message.split('`').nth(1).unwrap_or_else(|| panic!("no advice in {message}"));
    assert!(command.starts_with("chown ") || command.starts_with("chmod "), "{message}");
    let status = Command::new("sh").args(["-c", command]).status().unwrap();
    assert!(status.success(), "{command}");
}

/// The message names the directory that cannot be used, and one step makes the store usable. Once, it named the directory above,
/// and the advice led to the same message again.
#[test]
fn advice_for_a_directory_without_permission_works_when_it_is_followed() {
    use std::os::unix::fs::{PermissionsExt as _, chown};
    let is_root = rustix::process::geteuid().is_root();
    // With a false, the server works and a warning names the directory.
    for (part, is_fatal) in [
        ("", true),
        ("entrepot", true),
        ("entrepot/locks", true),
        ("cache", true),
        ("cache/partial", true),
        ("cache/blobs/sha256", true),
        ("docker/registry/v2/repositories", true),
        ("docker/registry/v2/blobs/sha256", true),
        ("docker/registry/v2/repositories/team", false),
        ("docker/registry/v2/repositories/team/app", false),
    ] {
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let store = directory.path().join("store");
        let mut all = vec![store.clone()];
        for path in ["entrepot/locks", "cache/partial", "cache/blobs/sha256", "docker/registry/v2/blobs/sha256"] {
            std::fs::create_dir_all(store.join(path)).unwrap();
        }
        std::fs::create_dir_all(store.join("docker/registry/v2/repositories/team/app/_layers")).unwrap();
        while let Some(path) = all.pop() {
            if is_root {
                chown(&path, Some(65534), Some(65534)).unwrap();
            }
            all.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        let damaged = if part.is_empty() { store.clone() } else { store.join(part) };
        if is_root {
            chown(&damaged, Some(0), Some(0)).unwrap();
        }
        // The root itself can be read, so that it is known to be a store.
        let mode = match (part, is_root) {
            ("", true) => 0o755,
            ("", false) => 0o555,
            (_, true) => 0o700,
            (_, false) => 0,
        };
        std::fs::set_permissions(&damaged, std::fs::Permissions::from_mode(mode)).unwrap();
        let config = "version: 0.1\nstorage: {filesystem: {rootdirectory: store}}\nhttp: {addr: \"127.0.0.1:0\"}\n";
        let config = config.replace("store}}", &format!("{}}}}}", store.display()));
        std::fs::write(directory.path().join("config.yml"), config).unwrap();
        let check = || as_nobody(directory.path(), &["check", "config.yml"]);
        let before = check();
        let words = all_output(&before);
        assert_eq!(before.status.success(), !is_fatal, "{part}: {words}");
        assert!(words.contains(damaged.to_str().unwrap()), "{part}: {words}");
        follow(&words);
        let after = check();
        let words = all_output(&after);
        assert!(after.status.success() && !words.contains("cannot be used"), "{part}: {words}");
    }
}

#[test]
fn variables_of_other_programs_are_no_mistake() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("config.yml"), "version: 0.1\nstorage: filesystem\n").unwrap();
    let others = [
        ("REGISTRY_AUTH_FILE", "/run/auth.json"),
        ("REGISTRY_PORT", "tcp://10.0.0.1:5000"),
        ("REGISTRY_HTPP_ADDR", ":1"),
    ];
    let root = ("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", "data");
    let output = entrepot(directory.path(), &["check", "config.yml"], &[others.as_slice(), &[root]].concat());
    let words = all_output(&output);
    assert!(output.status.success(), "{words}");
    for expected in ["podman", "Kubernetes", "REGISTRY_HTTP_ADDR"] {
        assert!(words.contains(expected), "{expected}: {words}");
    }
}

/// The commands of the guide work as they are written, also before anything was pushed or pulled.
#[test]
fn backup_of_the_guide_works_on_a_fresh_store() {
    let guide = include_str!("../../docs/guide/operate.md");
    let written = |start: &str| guide.lines().find(|line| line.starts_with(start)).unwrap();
    for sections in ["", "mirror: {upstreams: {docker.io: {default: true}}}"] {
        let (registry, place) = (Registry::with(sections), tempfile::tempdir().unwrap());
        let restored = place.path().join("restored");
        std::fs::create_dir(&restored).unwrap();
        for (start, data) in
            [("tar -C /var/lib/registry -cf", &registry.data()), ("tar -C /var/lib/registry -xf", &restored)]
        {
            let command = written(start).replace("/var/lib/registry", data.to_str().unwrap());
            let done = Command::new("sh").args(["-c", &command]).current_dir(place.path()).output().unwrap();
            assert!(done.status.success(), "{command}: {}", String::from_utf8_lossy(&done.stderr));
        }
        assert!(restored.join("docker/registry/v2/repositories").is_dir());
    }
}
