//! `entrepot check`: every mistake of a configuration, each with its place and its remedy.

use std::path::Path;
use std::process::Command;

use super::runner::{all_output, entrepot, message_lines};
use crate::support::tls::Authority;

#[test]
fn check_names_every_mistake_with_its_line() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.yml");
    std::fs::write(&file, "version: 0.1\nstorrage: {}\nhttp: {addr: 5}\nlog: {level: loud}\n").unwrap();
    let output = entrepot(directory.path(), &["check", "config.yml"], &[]);
    assert_eq!(output.status.code(), Some(1));
    let words = all_output(&output);
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
fn shipped_configurations_are_valid() {
    let directory = tempfile::tempdir().unwrap();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let root = ("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", directory.path().to_str().unwrap());
    for name in ["default.yml", "reference.yml"] {
        let file = shipped.join(name);
        let output = entrepot(directory.path(), &["check", file.to_str().unwrap()], &[root]);
        assert!(output.status.success(), "{name}: {}", all_output(&output));
    }
    let printed = entrepot(
        directory.path(),
        &["check", "--print", shipped.join("default.yml").to_str().unwrap()],
        &[root, ("REGISTRY_HTTP_ADDR", ":1234")],
    );
    assert!(all_output(&printed).contains(":1234"), "{}", all_output(&printed));
}

#[test]
fn first_configuration_of_the_guide_passes_unchanged() {
    let directory = tempfile::tempdir().unwrap();
    let guide = include_str!("../../docs/guide/configuration.md");
    let block = guide.split("```yaml\n").find(|rest| rest.starts_with("version: 0.1\nstorage:")).unwrap();
    std::fs::write(directory.path().join("config.yml"), block.split("```").next().unwrap()).unwrap();
    // The machine's own /var/lib/registry must not matter.
    let root = ("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", "data");
    let output = entrepot(directory.path(), &["check", "config.yml"], &[root]);
    assert!(output.status.success(), "{}", all_output(&output));
}

#[test]
fn endless_files_are_not_read() {
    let directory = tempfile::tempdir().unwrap();
    let check = |path: &str| entrepot(directory.path(), &["check", path], &[]);
    let output = check("/dev/zero");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(message_lines(&output).len(), 1, "{}", all_output(&output));
    assert!(
        all_output(&output).contains("/dev/zero: it is a device; write the path of a file"),
        "{}",
        all_output(&output)
    );
    std::fs::write(directory.path().join("long.yml"), vec![b'\n'; (4 << 20) + 1]).unwrap();
    assert!(
        all_output(&check("long.yml")).contains("long.yml: it has more than 4 MiB"),
        "{}",
        all_output(&check("long.yml"))
    );

    let config = "version: 0.1\nstorage: {filesystem: {rootdirectory: data}}\nauth: {htpasswd: {realm: r, path: /dev/zero}}\n\
        mirror: {upstreams: {docker.io: {default: true, ca: /dev/zero, credentials: /dev/zero, password: file:/dev/zero, username: u}}}\n";
    std::fs::write(directory.path().join("config.yml"), config).unwrap();
    let output = check("config.yml");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(all_output(&output).matches("it is a device").count(), 4, "{}", all_output(&output));
}

/// `entrepot check <(…)`, and `check /dev/stdin` behind a pipe.
#[test]
fn configuration_is_read_from_a_pipe() {
    let directory = tempfile::tempdir().unwrap();
    let script = "printf 'version: 0.1\nstorage: {filesystem: {rootdirectory: data}}\n' | \"$0\" check /dev/stdin";
    let shell = |script: &str| {
        let entrepot = env!("CARGO_BIN_EXE_entrepot");
        Command::new("sh").args(["-c", script, entrepot]).current_dir(directory.path()).output().unwrap()
    };
    let output = shell(script);
    assert!(output.status.success(), "{}", all_output(&output));
    let output = shell("tr '\\000' '\\n' </dev/zero | \"$0\" check /dev/stdin");
    assert!(!output.status.success() && all_output(&output).contains("more than 4 MiB"), "{}", all_output(&output));
}

#[test]
fn check_finds_unusable_stores() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("file"), "").unwrap();
    std::os::unix::fs::symlink("nowhere", directory.path().join("link")).unwrap();
    std::os::unix::fs::symlink("/dev/null", directory.path().join("null")).unwrap();
    for (root, said) in [
        ("file", "is file, which is a file, not a directory"),
        ("file/x/y", "is file/x/y, below file, which is a file, not a directory"),
        ("link", "is link, which is a link to a path that does not exist, not a directory"),
        ("/dev/null", "is /dev/null, which is a device, a pipe or a socket, not a directory"),
        ("/proc/nope", "no directory can be made in /proc; name a directory"),
    ] {
        let config = format!(
            "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {root}\nhttp: {{addr: \"127.0.0.1:0\"}}\n"
        );
        std::fs::write(directory.path().join("config.yml"), config).unwrap();
        let checked = entrepot(directory.path(), &["check", "config.yml"], &[]);
        let place = "config.yml:4:20: storage.filesystem.rootdirectory ";
        assert!(
            checked.status.code() == Some(1) && all_output(&checked).starts_with(place),
            "{root}: {}",
            all_output(&checked)
        );
        assert!(all_output(&checked).contains(said), "{root}: {}", all_output(&checked));
        assert!(all_output(&checked).ends_with("1 mistake\n"), "{root}: {}", all_output(&checked));
        let served = entrepot(directory.path(), &["serve", "config.yml"], &[]);
        assert!(
            served.status.code() == Some(1) && all_output(&served).contains(said),
            "{root}: {}",
            all_output(&served)
        );
    }
    let config = "version: 0.1\nstorage: {filesystem: {rootdirectory: new/deep}}\n";
    std::fs::write(directory.path().join("config.yml"), config).unwrap();
    let output = entrepot(directory.path(), &["check", "config.yml"], &[]);
    assert!(output.status.success(), "{}", all_output(&output));
    let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 4, "check leaves nothing: {left:?}");
}

#[test]
fn check_reads_the_password_file() {
    let directory = tempfile::tempdir().unwrap();
    let config =
        "version: 0.1\nstorage: {filesystem: {rootdirectory: data}}\nauth: {htpasswd: {realm: r, path: users}}\n";
    std::fs::write(directory.path().join("config.yml"), config).unwrap();
    assert!(entrepot(directory.path(), &["check", "config.yml"], &[]).status.success(), "serve creates a missing file");
    assert!(!directory.path().join("users").exists(), "check creates no file");
    std::fs::write(directory.path().join("users"), "alice:plain\n").unwrap();
    let output = entrepot(directory.path(), &["check", "config.yml"], &[]);
    assert!(!output.status.success() && all_output(&output).contains("users:1"), "{}", all_output(&output));
}

#[test]
fn check_finds_mistakes_in_the_text_and_in_named_files_in_one_run() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| std::fs::write(directory.path().join(name), content).unwrap();
    let authority = Authority::new();
    write("ours.pem", authority.client_certificate());
    write("ours.key", authority.client_key());
    write("docker.json", "{\"auths\": ");
    write("users", "alice:plain\nbob\n# nobody\n");
    write("config.yml", include_str!("wrong.yml"));
    let variable = ("REGISTRY_HTTP_DRAINTIMEOUT", "-60");
    let output = entrepot(directory.path(), &["check", "config.yml"], &[variable]);
    assert_eq!(output.status.code(), Some(1));
    let found = message_lines(&output);
    // The place, the problem, and the remedy.
    let expected = [
        ("config.yml:4:3: warning: log.hooks", "no mail is sent"),
        ("config.yml:29:11: warning: mirror.fill.keep", "write 168h"),
        ("config.yml:2:8: the key `adr` in http is unknown", "did you mean `addr`?"),
        ("config.yml:8:35: auth.htpasswd.path names users:1: ", "`entrepot user add users alice`"),
        ("config.yml:8:35: auth.htpasswd.path names users:2: ", "USER:HASH"),
        (
            "config.yml:12:11: mirror.upstreams.a.io.ca names nowhere.pem: it does not exist",
            "write the path of an existing file",
        ),
        ("config.yml:13:19: mirror.upstreams.a.io.clientcert names ours.key: it holds the key", "exchange the two"),
        (
            "config.yml:16:20: mirror.upstreams.b.io.credentials names docker.json: it is not JSON",
            "docker login writes it",
        ),
        ("config.yml:18:11: mirror.upstreams.c.io.ca names ours.key: it holds a private key", "BEGIN CERTIFICATE"),
        ("config.yml:20:17: mirror.upstreams.c.io.password names /nowhere/secret: it does not exist", "make it"),
        ("config.yml:22:19: mirror.upstreams.d.io.clientcert names .: it is a directory", "a file in it"),
        ("config.yml:23:18: mirror.upstreams.d.io.clientkey names nowhere.key: it does not exist", "write the path"),
        (
            "config.yml:26:16: mirror.upstreams.e.io.default: d.io is the default already",
            "write `default: true` only once",
        ),
        ("REGISTRY_HTTP_DRAINTIMEOUT: http.draintimeout is \"-60\"", "with its unit"),
        ("12 mistakes, 2 warnings", ""),
    ];
    for ((place, instead), line) in expected.iter().zip(&found) {
        assert!(line.starts_with(place) && line.contains(instead), "want {place} … {instead}, got {line}\n{found:#?}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");

    let served = entrepot(directory.path(), &["serve", "config.yml"], &[variable]);
    assert_eq!(served.status.code(), Some(1));
    let mistakes: Vec<String> = found[2..14].iter().map(|line| format!("entrepot: {line}")).collect();
    assert_eq!(message_lines(&served), mistakes, "serve says the same");
}

#[test]
fn check_prints_the_configuration_before_its_mistakes() {
    let directory = tempfile::tempdir().unwrap();
    let write = |content: &str| std::fs::write(directory.path().join("config.yml"), content).unwrap();
    let storage = "version: 0.1\nstorage: {filesystem: {rootdirectory: data}}\n";
    // Debian's docker-registry ships this configuration. registry:2 starts with it and answers every login with an error.
    write(&format!("{storage}auth:\n  htpasswd:\n    realm: basic-realm\n    path: /etc\n"));
    let output = entrepot(directory.path(), &["check", "--print", "config.yml"], &[]);
    assert_eq!(output.status.code(), Some(1));
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.contains("path: /etc\n") && printed.contains("rootdirectory: data\n"), "{printed}");
    let found = message_lines(&output);
    assert!(found[0].starts_with("config.yml:6:11: auth.htpasswd.path names /etc, which is a directory"), "{found:?}");
    assert!(found[0].contains("/etc/htpasswd") && found[0].contains("remove `auth`"), "{found:?}");
    assert_eq!(found[1..], ["1 mistake"]);
    let served = entrepot(directory.path(), &["serve", "config.yml"], &[]);
    assert!(all_output(&served).contains("config.yml:6:11: "), "{}", all_output(&served));

    // With a mistake in a value there is no effective configuration.
    write(&format!("{storage}http: {{addr: 5000}}\n"));
    let output = entrepot(directory.path(), &["check", "--print", "config.yml"], &[]);
    assert!(output.stdout.is_empty() && output.status.code() == Some(1), "{}", all_output(&output));

    write(storage);
    let output = entrepot(directory.path(), &["check", "--print", "config.yml"], &[]);
    assert!(output.status.success() && output.stderr.is_empty(), "{}", all_output(&output));
    write(&String::from_utf8_lossy(&output.stdout));
    let again = entrepot(directory.path(), &["check", "--print", "config.yml"], &[]);
    assert_eq!(String::from_utf8_lossy(&again.stdout), String::from_utf8_lossy(&output.stdout), "it can be read again");
}

#[test]
fn working_but_unintended_settings_are_warnings() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("users"), "# nobody yet\n").unwrap();
    let config = "version: 0.1\nstorage: {filesystem: {rootdirectory: data}}\nauth: {htpasswd: {path: users}}\nmirror:\n  \
                  cache: {maxsize: 1000PiB, reserve: 1000PiB}\n  upstreams: {docker.io: {default: true}}\n";
    std::fs::write(directory.path().join("config.yml"), config).unwrap();
    let output = entrepot(directory.path(), &["check", "config.yml"], &[]);
    assert!(output.status.success(), "{}", all_output(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "config.yml is valid\n");
    let found = message_lines(&output);
    for (line, (place, about)) in found.iter().zip([
        (
            "config.yml:3:25: warning: auth.htpasswd.path names users, which has no users",
            "`entrepot user add users USER`",
        ),
        ("config.yml:5:20: warning: mirror.cache.maxsize is ", "but the file system of data has"),
        ("config.yml:5:38: warning: mirror.cache.reserve leaves nothing", "write less"),
        ("3 warnings", ""),
    ]) {
        assert!(line.starts_with(place) && line.contains(about), "{found:#?}");
    }
    assert_eq!(found.len(), 4, "{found:#?}");
    std::fs::remove_file(directory.path().join("users")).unwrap();
    let output = entrepot(directory.path(), &["check", "config.yml"], &[]);
    assert!(message_lines(&output)[0].contains("does not exist: `serve` creates it"), "{}", all_output(&output));
}

#[test]
fn check_prints_the_schema() {
    let directory = tempfile::tempdir().unwrap();
    let output = entrepot(directory.path(), &["check", "--schema"], &[]);
    assert!(output.status.success() && output.stderr.is_empty(), "{}", all_output(&output));
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    assert!(validator.is_valid(&serde_json::json!({"version": 0.1, "http": {"addr": ":5000"}})));
    assert!(!validator.is_valid(&serde_json::json!({"version": 0.1, "http": {"adr": ":5000"}})));
    assert_eq!(entrepot(directory.path(), &["check", "--schema", "config.yml"], &[]).status.code(), Some(2));
}
