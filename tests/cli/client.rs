//! `entrepot client`: configuration for docker, containerd, podman, buildkit and k3s.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

use saphyr::LoadableYamlNode;
use serde_json::{Value, json};

use super::runner::{bad, command, good, run, run_at, run_with, stderr, stdout};
use crate::support::registry::Registry;

#[test]
fn client_prints_configuration_to_paste() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("config.yml");
    std::fs::write(&config, "version: 0.1\nmirror: {upstreams: {docker.io: {default: true}, ghcr.io: {}}}\n").unwrap();
    let client = |arguments: &[&str]| {
        let mut command = command(&[&["client"], arguments].concat());
        command.env("ENTREPOT_CONFIG", &config).current_dir(directory.path());
        run_with(command, "")
    };
    let docker = client(&["docker", "--host", "127.0.0.1:5000"]);
    let json: Value = serde_json::from_slice(&docker.stdout).unwrap();
    assert_eq!(json, json!({"registry-mirrors": ["http://127.0.0.1:5000"]}));
    assert!(stderr(&docker).contains("/etc/docker/daemon.json") && stderr(&docker).contains("restart docker"));
    let far = client(&["docker", "--host", "mirror.lan:5000"]);
    assert!(stdout(&far).contains("insecure-registries"), "{}", stdout(&far));

    for (name, file, part) in [
        ("containerd", "/etc/containerd/certs.d/ghcr.io/hosts.toml", "[host.\"http://m.lan:5000\"]"),
        ("podman", "/etc/containers/registries.conf.d/entrepot.conf", "location = \"m.lan:5000/ghcr.io\""),
        ("buildkit", "/etc/buildkit/buildkitd.toml", "mirrors = [\"m.lan:5000\"]"),
        ("k3s", "/etc/rancher/k3s/registries.yaml", "- \"http://m.lan:5000\""),
    ] {
        let text = good(&client(&[name, "--host", "m.lan:5000"]));
        assert!(text.contains(&format!("# FILE: {file}\n")) && text.contains(part), "{text}");
        match name {
            // Two tables have the same name, since they belong into separate files.
            "containerd" => {}
            "k3s" => assert_eq!(saphyr::Yaml::load_from_str(&text).unwrap().len(), 1),
            _ => drop(text.parse::<toml::Table>().unwrap()),
        }
    }
    let missing = client(&["containerd", "--host", "https://m.lan", "--ca", "ca.pem"]);
    bad(&missing, 1, &["cannot read --ca ca.pem", "PEM file"]);
    let authority = crate::support::tls::Authority::new();
    std::fs::write(directory.path().join("ca.pem"), authority.pem()).unwrap();
    for trust in [&["--insecure"][..], &["--ca", "ca.pem"]] {
        let plain = client(&[&["containerd", "--host", "m.lan:5000"], trust].concat());
        bad(&plain, 2, &[trust[0], "http://m.lan:5000", "--host https://m.lan:5000"]);
    }
    let ca = good(&client(&["containerd", "--host", "https://m.lan", "--ca", "ca.pem"]));
    let ca_file = directory.path().canonicalize().unwrap().join("ca.pem");
    assert!(ca.contains(&format!("ca = {:?}", ca_file.to_str().unwrap())), "{ca}");
    let guessed = good(&client(&["k3s"]));
    assert!(guessed.contains("http://127.0.0.1:5000") && guessed.contains("give --host HOST:PORT"), "{guessed}");
    bad(&client(&["docker", "--host", "a b"]), 2, &["HOST:PORT"]);
    let both = client(&["docker", "--ca", "x", "--insecure"]);
    assert_eq!(both.status.code(), Some(2));
}

#[test]
fn client_writes_files_and_overwrites_only_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("config.yml");
    std::fs::write(&config, "version: 0.1\nmirror: {upstreams: {docker.io: {default: true}}}\n").unwrap();
    let hosts = directory.path().join("certs.d");
    let (config, place) = (config.to_str().unwrap(), hosts.to_str().unwrap());
    let client = || run(&["client", "containerd", "--host", "m.lan:5000", "--config", config, "--dir", place]);
    let written = client();
    assert!(written.status.success(), "{}", stderr(&written));
    let file = hosts.join("docker.io/hosts.toml");
    assert_eq!(stdout(&written), format!("{}\n{}\n", file.display(), hosts.join("m.lan:5000/hosts.toml").display()));
    let table: toml::Table = std::fs::read_to_string(&file).unwrap().parse().unwrap();
    assert!(table["host"].get("http://m.lan:5000").is_some());
    assert!(client().status.success(), "again");
    std::fs::write(&file, "# mine\n").unwrap();
    std::fs::remove_file(hosts.join("m.lan:5000/hosts.toml")).unwrap();
    bad(&client(), 1, &["docker.io/hosts.toml", "was not made by this command", "--dir"]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "# mine\n");
    assert!(!hosts.join("m.lan:5000/hosts.toml").exists(), "nothing was written");
}

#[test]
fn client_fails_without_a_mirror() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("config.yml");
    std::fs::write(&config, "version: 0.1\nstorage: {filesystem: {rootdirectory: /tmp}}\n").unwrap();
    let (config, place) = (config.to_str().unwrap(), directory.path().join("made"));
    for client in ["docker", "containerd", "podman", "buildkit", "k3s"] {
        for more in [&[][..], &["--dir", place.to_str().unwrap()]] {
            let output = run(&[&["client", client, "--config", config][..], more].concat());
            bad(&output, 1, &["nothing is mirrored", config, "--server URL or --config FILE"]);
            assert!(stdout(&output).is_empty() && !place.exists(), "{client}");
        }
    }
    // The address alone does not tell which registries that mirror has.
    let mut elsewhere = command(&["client", "docker", "--host", "mirror.lan:5000"]);
    elsewhere.env("ENTREPOT_CONFIG", config);
    let unknown = run_with(elsewhere, "");
    bad(&unknown, 1, &["mirror.lan:5000 mirrors is unknown", config, "--server http://mirror.lan:5000"]);
    assert!(!stderr(&unknown).contains("need no configuration"));
}

#[test]
fn client_asks_a_running_server() {
    let registry = Registry::with("mirror: {upstreams: {docker.io: {default: true}, r.corp:443: {aliases: [r.corp]}}}");
    let text = good(&run_at(&registry, &["client", "podman"]));
    let host = registry.addr();
    for part in [
        format!("location = \"{host}/docker.io\""),
        format!(
            "prefix = \"r.corp:443\"\nlocation = \"r.corp:443\"\n[[registry.mirror]]\nlocation = \"{host}/r.corp\""
        ),
        "local/**".to_owned(),
    ] {
        assert!(text.contains(&part), "{part}: {text}");
    }
    let upstreams = registry.client().get("/api/v1/upstreams").json();
    assert_eq!(upstreams["local"], json!(["local/**"]));
    let second = &upstreams["upstreams"][1];
    assert_eq!((&second["aliases"], &second["default"]), (&json!(["r.corp"]), &json!(false)));
}

/// Users paste the output into files that root reads, so a server must not be able to add a line to it.
#[test]
fn client_takes_only_names_from_a_server() {
    let body =
        json!({"upstreams": [{"name": "docker.io", "default": true}], "local": ["team/**", "x)\nlocation = \"evil.example\"\n\u{1b}[2J("]}).to_string();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = BufReader::new(stream.try_clone().unwrap()).lines();
        while head.next().is_some_and(|line| !line.unwrap().is_empty()) {}
        write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    });
    let text = good(&run(&["client", "podman", "--server", &address]));
    server.join().unwrap();
    assert!(text.contains("(team/**)"), "{text}");
    assert!(!text.contains("evil.example") && !text.contains('\u{1b}'), "{text}");
}

/// The configuration on this machine may not be the one that the server uses.
#[test]
fn client_asks_the_running_server_first() {
    let registry = Registry::with("mirror: {upstreams: {docker.io: {default: true}, quay.io: {}}}");
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("config.yml");
    let write = |addr: &str, more: &str| {
        std::fs::write(&config, format!("version: 0.1\nhttp: {{addr: \"{addr}\"}}\n{more}")).unwrap();
    };
    let client = |arguments: &[&str]| {
        let mut command = command(&[&["client"], arguments].concat());
        command.env("ENTREPOT_CONFIG", &config);
        run_with(command, "")
    };
    let (addr, silent) = (registry.addr().to_string(), crate::support::registry::free_address().to_string());
    // The server that listens where the configuration says.
    for more in ["", "mirror: {upstreams: {ghcr.io: {}}}\n"] {
        write(&addr, more);
        let text = good(&client(&["podman", "--host", "m.invalid:5000"]));
        assert!(text.contains("location = \"m.invalid:5000/quay.io\"") && !text.contains("ghcr.io"), "{text}");
        assert!(text.contains(&format!("those of http://{addr}")), "{text}");
        let local = good(&client(&["podman"]));
        assert!(local.contains("quay.io") && local.contains("give --host HOST:PORT"), "{local}");
    }
    // The server at --host.
    write(&silent, "");
    let text = good(&client(&["podman", "--host", &addr]));
    assert!(text.contains(&format!("location = \"{addr}/quay.io\"")), "{text}");
    // No server: the configuration.
    write(&silent, "mirror: {upstreams: {ghcr.io: {}}}\n");
    let text = good(&client(&["podman", "--host", "m.invalid:5000"]));
    assert!(text.contains("ghcr.io") && !text.contains("quay.io"), "{text}");
    let named = good(&client(&["podman", "--config", config.to_str().unwrap()]));
    assert!(named.contains("ghcr.io") && !named.contains("quay.io"), "{named}");
}
