//! The way from a command to its server: address, login, certificates, and image names that begin with the server's address.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;

use serde_json::{Value, json};

use super::runner::{ALICE, LEFT, bad, command, good, objects, run, run_at, run_with, stderr, words};
use crate::support::mirror::mirror_with;
use crate::support::registry::{Registry, free_address};
use crate::support::upstream::Upstream;

/// Starts a registry that requires a login.
fn guarded() -> Registry {
    Registry::configured(|place| {
        let users = place.write("users", ALICE);
        format!("{}\nauth: {{htpasswd: {{realm: here, path: {}}}}}\n", place.usual(), users.display())
    })
}

#[test]
fn login_comes_from_arguments_the_environment_or_docker() {
    let registry = guarded();
    let url = format!("http://{}", registry.addr());
    let ls = |environment: &[(&str, &str)], arguments: &[&str], input: &str| {
        let mut command = command(&[&["ls", "--server", &url], arguments].concat());
        command.envs(environment.iter().copied());
        run_with(command, input)
    };
    let host = registry.addr().to_string();
    bad(&ls(&[], &[], ""), 1, &["wants a login", &format!("docker login {host}"), "--user NAME", "$ENTREPOT_PASSWORD"]);
    let empty = |output: Output| assert!(output.status.success(), "{}", stderr(&output));
    empty(ls(&[("ENTREPOT_USERNAME", "alice"), ("ENTREPOT_PASSWORD", "secret")], &[], ""));
    empty(ls(&[("ENTREPOT_PASSWORD", "secret")], &["--username", "alice"], ""));
    empty(ls(&[], &["--user", "alice", "--password-stdin"], "secret\n"));
    let wrong = ls(&[], &["--user", "alice", "--password-stdin"], "hunter2");
    bad(&wrong, 1, &["refuses the login of alice", "--user"]);
    assert!(!stderr(&wrong).contains("hunter2"));
    bad(&ls(&[], &["--user", "alice"], ""), 2, &["$ENTREPOT_PASSWORD", "--password-stdin"]);
    bad(&ls(&[], &["--password-stdin"], "secret"), 2, &["--user NAME"]);
    bad(&ls(&[], &["--user", "alice", "--password-stdin"], ""), 2, &["empty"]);

    let docker = tempfile::tempdir().unwrap();
    let directory = docker.path().to_str().unwrap().to_owned();
    let write = |content: Value| std::fs::write(docker.path().join("config.json"), content.to_string()).unwrap();
    let with_docker = || ls(&[("DOCKER_CONFIG", &directory)], &[], "");
    let port = registry.addr().port();
    // The login is alice:secret. On this machine, each of the names is valid.
    for key in [host.clone(), format!("localhost:{port}"), format!("http://{host}/v2/")] {
        write(json!({"auths": {key: {"auth": "YWxpY2U6c2VjcmV0"}}}));
        empty(with_docker());
    }
    write(json!({"auths": {"elsewhere:5000": {"auth": "YWxpY2U6c2VjcmV0"}}}));
    bad(&with_docker(), 1, &["wants a login"]);
    write(json!({"auths": {&host: {"auth": "YWxpY2U6d3Jvbmc="}}}));
    bad(&with_docker(), 1, &["refuses the login of alice", "config.json"]);
    let helper = docker.path().join("docker-credential-test");
    std::fs::write(&helper, "#!/bin/sh\necho '{\"Username\":\"alice\",\"Secret\":\"secret\"}'\n").unwrap();
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
    write(json!({"credHelpers": {&host: "test"}}));
    let path = format!("{directory}:{}", std::env::var("PATH").unwrap());
    empty(ls(&[("DOCKER_CONFIG", &directory), ("PATH", &path)], &[], ""));
    bad(&with_docker(), 1, &["cannot be used", "docker-credential-test", "--user NAME"]);
    write(json!({"auths": {&host: {"auth": "YWxpY2U6c2VjcmV0"}}}));
    for arguments in [&["du"][..], &["rm", "--yes", "none"], &["warm", "none"], &["client", "docker"]] {
        let mut command = command(arguments);
        command.env("DOCKER_CONFIG", &directory).env("ENTREPOT_SERVER", &url);
        let message = stderr(&run_with(command, ""));
        assert!(!message.contains("wants a login:"), "{arguments:?}: {message}");
    }
}

/// Commands against a server with a certificate of a private authority.
#[test]
fn private_authority_must_be_named() {
    let upstream = Upstream::start_tls();
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, upstream.authority().pem()).unwrap();
    let (https, ca) = (upstream.url(), ca.to_str().unwrap());
    for command in [&["ls", "--server", &https][..], &["health", &https], &["du", "--server", &https]] {
        bad(
            &run(command),
            1,
            &["this machine does not trust the issuer of the server's certificate; name its authority with --ca FILE"],
        );
        // The server is not an Entrepot, but the command reaches it.
        for trust in [&["--ca", ca][..], &["--insecure"]] {
            bad(&run(&[command, trust].concat()), 1, &["404"]);
        }
    }
    bad(&run(&["rm", "app:1", "--server", &https, "--insecure"]), 1, &[&https, "404", "is it an Entrepot"]);
    bad(&run(&["ls", "--server", &https, "--ca", "/nowhere.pem"]), 1, &["--ca /nowhere.pem: "]);

    let registry = Registry::start();
    let plain = format!("https://{}", registry.addr());
    bad(&run(&["ls", "--server", &plain]), 1, &[&format!("answers plain HTTP: write http://{}", registry.addr())]);
    let closed = format!("http://{}", free_address());
    bad(&run(&["ls", "--server", &closed]), 1, &["does not answer", "entrepot serve"]);
}

#[test]
fn hosted_image_may_begin_with_the_servers_name() {
    let registry = Registry::start();
    let client = registry.client();
    let port = registry.addr().to_string().rsplit_once(':').unwrap().1.to_owned();
    for host in ["localhost", "127.0.0.1"] {
        client.push_image("local/a/b", "1", b"x");
        let image = format!("{host}:{port}/local/a/b");
        assert!(good(&run_at(&registry, &["ls", &image])).starts_with("1 "));
        assert!(good(&run_at(&registry, &["du", &image])).contains("local/a/b"));
        let removed = good(&run_at(&registry, &["rm", &format!("{image}:1")]));
        assert!(
            removed.starts_with("deleted local/a/b:1, which named sha256:") && removed.ends_with(LEFT),
            "{removed}"
        );
    }
}

/// Clients name the mirror by the address from which they pull, which may have several names.
#[test]
fn mirrored_image_may_begin_with_the_servers_name() {
    let upstream = Upstream::start();
    upstream.image("library/app", "1", &[b"x"]);
    let mirror = mirror_with(&upstream, "", "  names: [mirror.lan:5000]");
    let port = mirror.addr().port();
    for host in [format!("localhost:{port}"), format!("127.0.0.1:{port}"), "mirror.lan:5000".to_owned()] {
        let name = format!("{host}/docker.io/library/app");
        let short = format!("{host}/app:1");
        let warmed = good(&run_at(&mirror, &["warm", &format!("{name}:1"), &short]));
        assert_eq!(warmed.lines().count(), 2, "{warmed}");
        assert_eq!(words(&good(&run_at(&mirror, &["ls", &name])))[0][0], "1");
        assert_eq!(objects(&good(&run_at(&mirror, &["du", &name, "--json"])))[0]["name"], "docker.io/library/app");
        let evicted = good(&run_at(&mirror, &["rm", &short]));
        assert!(evicted.starts_with("evicted docker.io/library/app:1, which named sha256:"), "{evicted}");
        assert!(good(&run_at(&mirror, &["rm", "-y", &name])).starts_with("evicted all of docker.io/library/app"));
    }
    let stranger = "other.lan:5000/docker.io/library/app";
    for command in [&["ls", stranger][..], &["du", stranger], &["rm", "-y", stranger], &["warm", stranger]] {
        bad(
            &run_at(&mirror, command),
            1,
            &["other.lan:5000 is not mirrored here", "mirror.upstreams.", "mirror.names"],
        );
    }
}
