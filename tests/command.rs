//! The command itself: `serve`, `check`, `health`, and how a configuration meets the store that is there.

use std::path::Path;
use std::process::{Command, Output};

use crate::support::registry::{Registry, free_address};
use crate::support::tls::Authority;

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
fn the_readme_s_first_configuration_passes_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let readme = include_str!("../README.md");
    let block = readme.split("```yaml\n").find(|rest| rest.starts_with("version: 0.1\nstorage:")).unwrap();
    std::fs::write(directory.path().join("config.yml"), block.split("```").next().unwrap()).unwrap();
    // What this machine keeps in /var/lib/registry is not the example's.
    let root = ("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", "data");
    let output = entrepot(directory.path(), &["check", "config.yml"], &[root]);
    assert!(output.status.success(), "{}", words(&output));
}

#[test]
fn health_asks_a_running_server() {
    let registry = Registry::start();
    let directory = tempfile::tempdir().unwrap();
    let url = format!("http://{}", registry.addr());
    assert!(entrepot(directory.path(), &["health", &url], &[]).status.success());
    let nobody = format!("http://{}", free_address());
    let variable = ("ENTREPOT_SERVER", nobody.as_str());
    for (arguments, variables) in
        [(&["health", &nobody][..], &[][..]), (&["health", "--server", &nobody], &[]), (&["health"], &[variable])]
    {
        let output = entrepot(directory.path(), arguments, variables);
        assert_eq!(output.status.code(), Some(1));
        assert!(words(&output).contains(&nobody), "{}", words(&output));
    }
    assert!(entrepot(directory.path(), &["health", &url], &[variable]).status.success());
}

/// Answers every connection with these bytes, and then with `more` until the other side has had enough; an answer that has an end
/// is left open before it.
fn speaker(answer: &'static [u8], more: &'static [u8]) -> String {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map(Result::unwrap) {
            std::thread::spawn(move || {
                let mut sent = stream.read(&mut [0; 4096]).and_then(|_| stream.write_all(answer));
                while sent.is_ok() && !more.is_empty() {
                    sent = stream.write_all(more);
                }
                // Until it is closed over there.
                let _ = stream.read(&mut [0; 1]);
            });
        }
    });
    url
}

#[test]
fn health_reads_an_answer_to_its_end_and_not_beyond_reason() {
    let directory = tempfile::tempdir().unwrap();
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (url, good, wanted) in [
        (speaker(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nready\n", b""), true, "ready\n"),
        (
            speaker(b"HTTP/1.1 503 No\r\nContent-Length: 4\r\n\r\nbusy", b""),
            false,
            "/readyz: 503 Service Unavailable: busy\n",
        ),
        (speaker(chunked, b"8\r\nready...\r\n"), false, "/readyz: 200 OK, but it says more than any readiness takes"),
        (speaker(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nrea", b""), false, "its answer did not come to an end"),
    ] {
        let output = entrepot(directory.path(), &["health", &url], &[]);
        assert_eq!(output.status.success(), good, "{}", words(&output));
        assert!(words(&output).contains(wanted), "{}", words(&output));
    }
}

/// It waits for as long as people are left in the dark.
#[test]
fn who_waits_for_a_silent_server_is_told_so() {
    use std::io::{BufRead as _, BufReader};
    let url = speaker(b"", b"");
    let mut asking = Command::new(env!("CARGO_BIN_EXE_entrepot"))
        .args(["ls", "--server", &url])
        .env_clear()
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    BufReader::new(asking.stderr.take().unwrap()).read_line(&mut said).unwrap();
    assert!(said.contains(&format!("{url} has not answered for 10 s; waiting")), "{said}");
    assert!(asking.try_wait().unwrap().is_none(), "it goes on waiting");
    asking.kill().unwrap();
    asking.wait().unwrap();
}

#[test]
fn what_has_no_end_is_not_read_to_it() {
    let directory = tempfile::tempdir().unwrap();
    let check = |path: &str| entrepot(directory.path(), &["check", path], &[]);
    let output = check("/dev/zero");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(said(&output).len(), 1, "{}", words(&output));
    assert!(words(&output).contains("/dev/zero: it is a device; write the path of a file"), "{}", words(&output));
    std::fs::write(directory.path().join("long.yml"), vec![b'\n'; (4 << 20) + 1]).unwrap();
    assert!(words(&check("long.yml")).contains("long.yml: it has more than 4 MiB"), "{}", words(&check("long.yml")));

    let config = "version: 0.1\nstorage: {filesystem: {rootdirectory: data}}\nauth: {htpasswd: {realm: r, path: /dev/zero}}\n\
        mirror: {upstreams: {docker.io: {default: true, ca: /dev/zero, credentials: /dev/zero, password: file:/dev/zero, username: u}}}\n";
    std::fs::write(directory.path().join("config.yml"), config).unwrap();
    let output = check("config.yml");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(words(&output).matches("it is a device").count(), 4, "{}", words(&output));
}

/// `entrepot check <(…)`, and `check /dev/stdin` behind a pipe.
#[test]
fn a_configuration_may_come_through_a_pipe() {
    let directory = tempfile::tempdir().unwrap();
    let script = "printf 'version: 0.1\nstorage: {filesystem: {rootdirectory: data}}\n' | \"$0\" check /dev/stdin";
    let shell = |script: &str| {
        let entrepot = env!("CARGO_BIN_EXE_entrepot");
        Command::new("sh").args(["-c", script, entrepot]).current_dir(directory.path()).output().unwrap()
    };
    let output = shell(script);
    assert!(output.status.success(), "{}", words(&output));
    let output = shell("tr '\\000' '\\n' </dev/zero | \"$0\" check /dev/stdin");
    assert!(!output.status.success() && words(&output).contains("more than 4 MiB"), "{}", words(&output));
}

#[test]
fn a_wrong_command_line_is_answered_in_one_line() {
    let directory = tempfile::tempdir().unwrap();
    for (arguments, want) in [
        (&["serve", "--config", "a.yml"][..], "usage: entrepot serve [CONFIG]"),
        (&["rm"], "usage: entrepot rm"),
        (&["chek"], "a similar subcommand exists: 'check'"),
        (&["warm", "--platfrom", "linux/amd64", "a"], "'--platform'"),
    ] {
        let output = entrepot(directory.path(), arguments, &[]);
        let words = words(&output);
        assert_eq!(output.status.code(), Some(2), "{words}");
        assert!(words.starts_with("entrepot: ") && words.contains(want) && words.lines().count() == 1, "{words}");
    }
    let help = entrepot(directory.path(), &["rm", "--help"], &[]);
    assert!(help.status.success() && help.stderr.is_empty());
}

#[test]
fn the_built_in_store_is_shown_where_it_is() {
    let places = ["entrepot", "distribution", "docker/registry"].map(|place| format!("/etc/{place}/config.yml"));
    if let Some(place) = places.iter().find(|place| Path::new(place).exists()) {
        println!("skipped: this machine has {place}, which goes before the built-in configuration");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let shown = words(&entrepot(directory.path(), &["check", "--print"], &[]));
    let root = if Path::new("/var/lib/registry").is_dir() { "/var/lib/registry" } else { "./data" };
    assert!(shown.contains(&format!("rootdirectory: {root}")), "{shown}");
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
}

/// The command as a user who owns nothing; root, who runs some machines' tests, could write everywhere.
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
fn nobody_is_told_to_give_away_what_is_no_store() {
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
        ["`mkdir -p ", "`chmod u+rwx ", "`chmod u+rwx "]
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
            let words = words(&output);
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

#[test]
fn check_finds_what_keeps_serve_from_its_store() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("file"), "").unwrap();
    std::os::unix::fs::symlink("nowhere", directory.path().join("link")).unwrap();
    std::os::unix::fs::symlink("/dev/null", directory.path().join("null")).unwrap();
    for (root, said) in [
        ("file", "is file, which is a file, not a directory"),
        ("file/x/y", "is file/x/y, below file, which is a file, not a directory"),
        ("link", "is link, which is a link that leads nowhere, not a directory"),
        ("/dev/null", "is /dev/null, which is a device, a pipe or a socket, not a directory"),
        ("/proc/nope", "no directory can be made in /proc; name a directory"),
    ] {
        let config = format!(
            "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {root}\nhttp: {{addr: \"127.0.0.1:0\"}}\n"
        );
        std::fs::write(directory.path().join("config.yml"), config).unwrap();
        let checked = entrepot(directory.path(), &["check", "config.yml"], &[]);
        let place = "config.yml:4:20: storage.filesystem.rootdirectory ";
        assert!(checked.status.code() == Some(1) && words(&checked).starts_with(place), "{root}: {}", words(&checked));
        assert!(words(&checked).contains(said), "{root}: {}", words(&checked));
        assert!(words(&checked).ends_with("1 mistake\n"), "{root}: {}", words(&checked));
        let served = entrepot(directory.path(), &["serve", "config.yml"], &[]);
        assert!(served.status.code() == Some(1) && words(&served).contains(said), "{root}: {}", words(&served));
    }
    let config = "version: 0.1\nstorage: {filesystem: {rootdirectory: new/deep}}\n";
    std::fs::write(directory.path().join("config.yml"), config).unwrap();
    let output = entrepot(directory.path(), &["check", "config.yml"], &[]);
    assert!(output.status.success(), "{}", words(&output));
    let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 4, "check leaves nothing: {left:?}");
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

/// What `check` says, line by line.
fn said(output: &Output) -> Vec<String> {
    String::from_utf8_lossy(&output.stderr).lines().map(str::to_owned).collect()
}

#[test]
fn check_finds_what_is_wrong_in_the_text_and_behind_it_in_one_run() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| std::fs::write(directory.path().join(name), content).unwrap();
    let authority = Authority::new();
    write("ours.pem", authority.client_certificate());
    write("ours.key", authority.client_key());
    write("docker.json", "{\"auths\": ");
    write("users", "alice:plain\nbob\n# nobody\n");
    write("config.yml", include_str!("command/wrong.yml"));
    let variable = ("REGISTRY_HTTP_DRAINTIMEOUT", "60");
    let output = entrepot(directory.path(), &["check", "config.yml"], &[variable]);
    assert_eq!(output.status.code(), Some(1));
    let found = said(&output);
    // Place, what, and what to write instead.
    let expected = [
        ("config.yml:4:3: warning: log.hooks", "no mail is sent"),
        ("config.yml:29:11: warning: mirror.fill.keep", "write 168h"),
        ("config.yml:2:8: nobody knows the key `adr` in http", "did you mean `addr`?"),
        ("config.yml:8:35: auth.htpasswd.path names users:1: ", "`entrepot user add users alice`"),
        ("config.yml:8:35: auth.htpasswd.path names users:2: ", "USER:HASH"),
        (
            "config.yml:12:11: mirror.upstreams.a.io.ca names nowhere.pem: it does not exist",
            "write the path of one that does",
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
        ("config.yml:26:16: mirror.upstreams.e.io.default: d.io is the default already", "write `default: true` once"),
        ("REGISTRY_HTTP_DRAINTIMEOUT: http.draintimeout is \"60\"", "with its unit"),
        ("12 mistakes, 2 warnings", ""),
    ];
    for ((place, instead), line) in expected.iter().zip(&found) {
        assert!(line.starts_with(place) && line.contains(instead), "want {place} … {instead}, got {line}\n{found:#?}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");

    let served = entrepot(directory.path(), &["serve", "config.yml"], &[variable]);
    assert_eq!(served.status.code(), Some(1));
    let mistakes: Vec<String> = found[2..14].iter().map(|line| format!("entrepot: {line}")).collect();
    assert_eq!(said(&served), mistakes, "serve says the same");
}

#[test]
fn what_is_printed_is_followed_by_what_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let write = |content: &str| std::fs::write(directory.path().join("config.yml"), content).unwrap();
    let storage = "version: 0.1\nstorage: {filesystem: {rootdirectory: data}}\n";
    // As Debian's docker-registry ships it: registry:2 starts, and answers every login with an error.
    write(&format!("{storage}auth:\n  htpasswd:\n    realm: basic-realm\n    path: /etc\n"));
    let output = entrepot(directory.path(), &["check", "--print", "config.yml"], &[]);
    assert_eq!(output.status.code(), Some(1));
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.contains("path: /etc\n") && printed.contains("rootdirectory: data\n"), "{printed}");
    let found = said(&output);
    assert!(found[0].starts_with("config.yml:6:11: auth.htpasswd.path names /etc: it is a directory"), "{found:?}");
    assert!(found[0].contains("/etc/htpasswd") && found[0].contains("remove `auth`"), "{found:?}");
    assert_eq!(found[1..], ["1 mistake"]);
    let served = entrepot(directory.path(), &["serve", "config.yml"], &[]);
    assert!(words(&served).contains("config.yml:6:11: "), "{}", words(&served));

    // With a mistake in a value there is nothing effective.
    write(&format!("{storage}http: {{addr: 5000}}\n"));
    let output = entrepot(directory.path(), &["check", "--print", "config.yml"], &[]);
    assert!(output.stdout.is_empty() && output.status.code() == Some(1), "{}", words(&output));

    write(storage);
    let output = entrepot(directory.path(), &["check", "--print", "config.yml"], &[]);
    assert!(output.status.success() && output.stderr.is_empty(), "{}", words(&output));
    write(&String::from_utf8_lossy(&output.stdout));
    let again = entrepot(directory.path(), &["check", "--print", "config.yml"], &[]);
    assert_eq!(String::from_utf8_lossy(&again.stdout), String::from_utf8_lossy(&output.stdout), "it can be read again");
}

#[test]
fn what_works_and_is_not_meant_is_a_warning() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("users"), "# nobody yet\n").unwrap();
    let config = "version: 0.1\nstorage: {filesystem: {rootdirectory: data}}\nauth: {htpasswd: {path: users}}\nmirror:\n  \
                  cache: {maxsize: 1000PiB, reserve: 1000PiB}\n  upstreams: {docker.io: {default: true}}\n";
    std::fs::write(directory.path().join("config.yml"), config).unwrap();
    let output = entrepot(directory.path(), &["check", "config.yml"], &[]);
    assert!(output.status.success(), "{}", words(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "config.yml is right\n");
    let found = said(&output);
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
    assert!(said(&output)[0].contains("does not exist: `serve` makes it"), "{}", words(&output));
}

#[test]
fn the_schema_is_printed() {
    let directory = tempfile::tempdir().unwrap();
    let output = entrepot(directory.path(), &["check", "--schema"], &[]);
    assert!(output.status.success() && output.stderr.is_empty(), "{}", words(&output));
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    assert!(validator.is_valid(&serde_json::json!({"version": 0.1, "http": {"addr": ":5000"}})));
    assert!(!validator.is_valid(&serde_json::json!({"version": 0.1, "http": {"adr": ":5000"}})));
    assert_eq!(entrepot(directory.path(), &["check", "--schema", "config.yml"], &[]).status.code(), Some(2));
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
