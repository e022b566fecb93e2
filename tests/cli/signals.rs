//! Signals to the server: SIGTERM ends it within `http.draintimeout`, whatever its clients and its disk do; SIGHUP reads the
//! configuration again and never ends it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use rustix::process::{Pid, Signal, kill_process};

use super::runner::{command, run_with, stdout};
use crate::support::client::{Client, noise};
use crate::support::fault::Fault;
use crate::support::mirror::{Slow, blob, manifest};
use crate::support::registry::{Place, Registry, eventually};
use crate::support::slow_disk::SlowDisk;
use crate::support::upstream::Upstream;

fn send(registry: &Registry, signal: Signal) {
    kill_process(Pid::from_raw(registry.pid().cast_signed()).unwrap(), signal).unwrap();
}

#[test]
fn requests_get_eight_seconds_to_finish_by_default() {
    for text in ["version: 0.1\n", "version: 0.1\nhttp: {draintimeout: 0s}\n"] {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("config.yml");
        fs::write(&config, text).unwrap();
        let shown = stdout(&run_with(command(&["check", "--print", config.to_str().unwrap()]), ""));
        assert!(shown.contains("draintimeout: 8s"), "{shown}");
    }
}

/// A client that holds a connection and does nothing more.
fn stuck(registry: &Registry, kind: &str, upstream: &Upstream) -> TcpStream {
    let client = registry.client();
    let mut stream = client.connect();
    match kind {
        "no byte" => {}
        "half a head" => stream.write_all(b"GET /v2/ HTTP/1.1\r\nHost:").unwrap(),
        "half a body" => {
            let mut stream =
                client.request("PATCH", &client.begin("local/app")).header("Content-Length", "9").send_head();
            stream.write_all(b"half").unwrap();
            return stream;
        }
        "no reader" => {
            let digest = client.push_blob("local/app", &noise(1, 32 << 20));
            return client.request("GET", &blob("local/app", digest)).send_head();
        }
        "half a preface of HTTP/2" => stream.write_all(b"PRI * HTTP/2.0\r\n").unwrap(),
        "an upstream that hangs" => {
            upstream.fault("GET", "/manifests/", Fault::Hang);
            return client.request("GET", &manifest("library/app", "1")).send_head();
        }
        _ => panic!("{kind}"),
    }
    stream
}

#[test]
fn stop_ends_beside_clients_that_are_stuck() {
    for kind in
        ["no byte", "half a head", "half a body", "no reader", "half a preface of HTTP/2", "an upstream that hangs"]
    {
        let upstream = Upstream::start();
        let mut registry = mirror_with(&upstream, "  draintimeout: 1s\n  stall: 1h\n");
        let mut stream = stuck(&registry, kind, &upstream);
        registry.terminate();
        assert!(registry.wait().success(), "{kind}");
        registry.wait_for_log("\"stopped\"");
        // The connection was open all the time.
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    }
}

/// The disk hangs in the write of a push, and in the removal of files.
#[test]
fn stop_ends_beside_a_disk_that_hangs() {
    for rule in ["write hold path=/_uploads", "sync hold path=/_uploads", "remove hold path=/entrepot/trash"] {
        let Some(disk) = SlowDisk::new() else { return };
        let mut registry = Registry::configured_in(&disk.environment(), |place| {
            place.usual().replace("http:\n", "http:\n  draintimeout: 1s\n")
        });
        let client = registry.client();
        client.push_image("team/app", "1", &noise(1, 100));
        let upload = client.begin("team/app");
        disk.set(&[rule]);
        let _hanging = match rule.starts_with("remove") {
            true => client.request("DELETE", "/v2/team/app/manifests/1").send_head(),
            false => {
                let target = format!("{upload}?digest={}", crate::support::client::digest_of(b"x"));
                let mut stream = client.request("PUT", &target).header("Content-Length", "1").send_head();
                stream.write_all(b"x").unwrap();
                stream
            }
        };
        disk.wait_for(&["begun"]);
        registry.terminate();
        registry.wait();
        registry.wait_for_log("\"stopped\"");
    }
}

/// Returns a mirror whose section `http` has these keys too.
fn mirror_with(upstream: &Upstream, http: &str) -> Registry {
    let http = http.to_owned();
    Registry::configured(|place| {
        written(place, &http, &format!("docker.io: {{default: true, endpoints: [\"{}\"]}}", upstream.url()))
    })
}

fn written(place: &Place, http: &str, upstreams: &str) -> String {
    let usual = place.usual().replace("http:\n", &format!("http:\n{http}"));
    format!("{usual}\nmirror:\n  local: [local/**]\n  cache: {{reserve: 0}}\n  upstreams: {{{upstreams}}}\n")
}

/// The configuration of a running server, which tests replace.
struct Reloaded {
    registry: Registry,
    client: Client,
    place: Place,
}

impl Reloaded {
    fn start(write: impl Fn(&Place) -> String) -> Self {
        let mut at = None;
        let registry = Registry::configured(|place| {
            at = Some(Place { directory: place.directory.clone(), addr: place.addr });
            write(place)
        });
        Self { client: registry.client(), registry, place: at.unwrap() }
    }

    /// Writes another configuration, sends SIGHUP, and waits for a line of the log that was written since.
    fn reload(&self, config: &str, words: &str) -> String {
        fs::write(self.place.directory.join("config.yml"), config).unwrap();
        let before = self.registry.log().len();
        send(&self.registry, Signal::HUP);
        let line = || self.registry.log()[before..].lines().find(|line| line.contains(words)).map(ToOwned::to_owned);
        eventually(&format!("{words:?} in the log"), line)
    }
}

const IN_FORCE: &str = "was read again and is in force";

/// The log of a running server names each bad entry of the store once.
#[test]
fn hangup_names_no_bad_entry_again() {
    let server = Reloaded::start(|place| {
        let root = place.directory.join("data/docker/registry/v2/repositories");
        fs::create_dir_all(&root).unwrap();
        fs::write(root.join("notes.txt"), "not a repository").unwrap();
        written(place, "", "docker.io: {default: true}")
    });
    assert_eq!(server.client.get("/v2/_catalog").status, 200);
    server.registry.wait_for_log("notes.txt");
    for _ in 0..3 {
        server.reload(&written(&server.place, "", "docker.io: {default: true}"), IN_FORCE);
    }
    let named = |log: &str| log.matches("notes.txt").count();
    let log = server.registry.log();
    let (start, reloads) = log.split_once("SIGHUP").unwrap();
    assert!(named(start) > 0 && named(reloads) == 0, "{log}");
}

#[test]
fn hangup_replaces_the_upstreams_while_transfers_go_on() {
    let (hub, other) = (Upstream::start(), Upstream::start());
    let layer = noise(1, 8 << 20);
    let of_hub = blob("library/app", hub.blob("library/app", &layer));
    let of_other = other.blob("team/app", &noise(2, 1000));
    other.blob("library/new", &noise(3, 1000));
    let docker = |upstream: &Upstream| format!("docker.io: {{default: true, endpoints: [\"{}\"]}}", upstream.url());
    let ghcr = format!("ghcr.io: {{endpoints: [\"{}\"]}}", other.url());
    let server = Reloaded::start(|place| written(place, "", &docker(&hub)));
    let (client, place) = (&server.client, &server.place);
    let target = format!("/v2/team/app/blobs/{of_other}?ns=ghcr.io");
    assert_eq!(client.get(&target).code(), "NAME_UNKNOWN");

    hub.fault("GET", "/blobs/", Fault::Throttle(4 << 20));
    let (running, mut begun) = Slow::begin(client, &of_hub, 1000);
    server.reload(&written(place, "", &format!("{}, {ghcr}", docker(&hub))), IN_FORCE);
    assert_eq!(client.get(&target).status, 200, "the new upstream is asked");
    // Another registry takes the place of the first.
    server.reload(&written(place, "", &docker(&other)), IN_FORCE);
    begun.extend(running.rest());
    assert!(begun == layer, "a transfer goes on");
    assert_eq!(client.get(&target).code(), "NAME_UNKNOWN", "the upstream was removed");
    assert_eq!(client.get(&blob("library/new", crate::support::client::digest_of(&noise(3, 1000)))).status, 200);
    let upstreams = client.get("/api/v1/upstreams").text();
    assert!(upstreams.contains(&other.url()) && !upstreams.contains(&hub.url()), "{upstreams}");

    let local = written(place, "", &docker(&other)).replace("[local/**]", "[local/**, team/**]");
    assert_eq!(client.request("POST", "/v2/team/app/blobs/uploads/").send().status, 403);
    server.reload(&local, IN_FORCE);
    assert_eq!(client.request("POST", "/v2/team/app/blobs/uploads/").send().status, 202);
    let small = local.replace("{reserve: 0}", "{reserve: 0, maxsize: 1MiB}");
    server.reload(&small, IN_FORCE);
    eventually("a cache within its new limit", || {
        let cache = client.get("/api/v1/usage").json()["cache"].clone();
        (cache["limit"] == 1 << 20 && cache["bytes"].as_u64().unwrap() <= 1 << 20).then_some(())
    });
}

#[test]
fn hangup_changes_the_level_of_the_log() {
    let level = |place: &Place, level: &str| {
        place.usual().replace("formatter: json", &format!("formatter: json, level: {level}"))
    };
    let server = Reloaded::start(|place| level(place, "warn"));
    server.client.get("/v2/quiet/app/tags/list");
    server.reload(&level(&server.place, "info"), IN_FORCE);
    server.client.get("/v2/loud/app/tags/list");
    server.registry.wait_for_log("/v2/loud/app");
    assert!(!server.registry.log().contains("/v2/quiet/app"));
    // The line about a mistake is logged at each level. The log writes it after all lines before it.
    const REFUSED: &str = "the configuration was not read again";
    let refused = || server.registry.log().matches(REFUSED).count();
    let hang_up = |config: &str| {
        fs::write(server.place.directory.join("config.yml"), config).unwrap();
        send(&server.registry, Signal::HUP);
    };
    let mut attempt = 0;
    eventually("a quiet log", || {
        attempt += 1;
        hang_up(&level(&server.place, "error"));
        server.client.get(&format!("/v2/again{attempt}/app/tags/list"));
        let known = refused();
        hang_up("{");
        eventually("a refused configuration", || (refused() > known).then_some(()));
        (!server.registry.log().contains(&format!("/v2/again{attempt}/"))).then_some(())
    });
}

#[test]
fn hangup_reads_the_users_again() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("htpasswd");
    let add = |user: &str| {
        let output = run_with(command(&["user", "add", file.to_str().unwrap(), user]), "password\n");
        assert!(output.status.success(), "{output:?}");
    };
    add("alice");
    let modified = fs::metadata(&file).unwrap().modified().unwrap();
    let auth = format!("auth: {{htpasswd: {{realm: r, path: {}}}}}", file.display());
    let server = Reloaded::start(|place| format!("{}\n{auth}\n", place.usual()));
    let status = |user: &str| server.client.login(user, "password").get("/v2/").status;
    assert_eq!((status("alice"), status("clara")), (200, 401));
    // Neither the size nor the time of the file tells that it has changed.
    let text = fs::read_to_string(&file).unwrap().replace("alice", "clara");
    let open = fs::File::options().write(true).open(&file).unwrap();
    (&open).write_all(text.as_bytes()).unwrap();
    open.set_modified(modified).unwrap();
    let config = fs::read_to_string(server.place.directory.join("config.yml")).unwrap();
    server.reload(&config, IN_FORCE);
    assert_eq!((status("alice"), status("clara")), (401, 200));
}

#[test]
fn hangup_with_mistakes_changes_nothing_and_says_so() {
    let upstream = Upstream::start();
    let good = format!("docker.io: {{default: true, endpoints: [\"{}\"]}}", upstream.url());
    let server = Reloaded::start(|place| written(place, "", &good));
    let right = fs::read_to_string(server.place.directory.join("config.yml")).unwrap();
    for (wrong, words) in [
        (right.replace("mirror:", "miror:"), "miror"),
        (right.replace("docker.io: {", "docker.io: {tagttl: soon, "), "tagttl"),
        (right.replace("docker.io: {", "docker.io: {ca: /nowhere.pem, "), "/nowhere.pem"),
        ("{".to_owned(), "config.yml"),
        (
            right.replace("docker.io: {default: true, ", "docker.io: {default: true, aliases: [docker.io:x/y], "),
            "aliases",
        ),
    ] {
        let line = server.reload(&wrong, "the configuration was not read again");
        assert!(line.contains(words), "{line}");
        upstream.image("library/app", "1", &[&b"x"[..]]);
        assert_eq!(server.client.get(&manifest("library/app", "1")).status, 200, "{words}");
    }
    fs::remove_file(server.place.directory.join("config.yml")).unwrap();
    let before = server.registry.log().len();
    send(&server.registry, Signal::HUP);
    eventually("a line about the missing file", || {
        server.registry.log()[before..].contains("the configuration was not read again").then_some(())
    });
    server.reload(&right, IN_FORCE);
}

#[test]
fn hangup_names_the_changes_that_need_a_restart() {
    let server = Reloaded::start(|place| place.usual());
    let right = server.place.usual();
    for (from, to, key) in [
        ("http:\n", "http:\n  stall: 50s\n", "http"),
        ("delete: {enabled: true}", "delete: {enabled: false}", "storage"),
        ("log: {formatter: json}", "log: {formatter: text}", "log"),
        ("version: 0.1\n", "version: 0.1\nhealth: {storagedriver: {enabled: true, interval: 60s}}\n", "health"),
        ("version: 0.1\n", "version: 0.1\nvalidation: {manifests: {sparse: allow}}\n", "validation"),
    ] {
        assert!(right.contains(from), "{from}");
        let line = server.reload(&right.replace(from, to), "need a restart");
        assert!(line.contains(&format!("\"keys\":\"{key}\"")), "{key}: {line}");
    }
    server.reload(&right, IN_FORCE);
    for _ in 0..20 {
        send(&server.registry, Signal::HUP);
    }
    assert_eq!(server.client.get("/v2/").status, 200);
}
