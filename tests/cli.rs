//! The commands beside `serve`: `ls`, `rm`, `du`, `user`, `client`, `completions`, and how all of them fail.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use entrepot::oci::{Digest, MediaType};
use saphyr::LoadableYamlNode;
use serde_json::{Value, json};

use crate::support::client::{Client, digest_of, noise};
use crate::support::fault::Fault;
use crate::support::mirror::{blob, cache, manifest, mirror, mirror_with};
use crate::support::registry::{Registry, eventually, free_address};
use crate::support::upstream::Upstream;

/// `alice:secret`, as `htpasswd -B` writes it.
const ALICE: &str = "alice:$2y$05$Z2UyzlpcairrQQKgFnpHnelQ.J6CK7OXQtyT9HbBvC8MAthihNobu\n";

/// What is said once when something hosted is deleted.
const LEFT: &str = "the bytes stay until garbage is collected\n";

/// The command, with nothing of this machine's environment but where programs are.
fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_entrepot"));
    command.args(arguments).env_clear().env("PATH", std::env::var("PATH").unwrap()).env("HOME", "/nonexistent");
    command
}

fn run_with(mut command: Command, input: &str) -> Output {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // One that refuses its arguments reads nothing.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn run(arguments: &[&str]) -> Output {
    run_with(command(arguments), "")
}

/// Against a server that is named by the environment.
fn at(registry: &Registry, arguments: &[&str]) -> Output {
    let mut command = command(arguments);
    command.env("ENTREPOT_SERVER", format!("http://{}", registry.addr()));
    run_with(command, "")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What a command printed, which did what was asked and had nothing to complain about.
#[track_caller]
fn good(output: &Output) -> String {
    assert!(output.status.success() && stderr(output).is_empty(), "{:?}: {}", output.status, stderr(output));
    stdout(output)
}

/// A command's one line of complaint.
#[track_caller]
fn bad(output: &Output, code: i32, words: &[&str]) {
    let told = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{told}");
    for word in words {
        assert!(told.contains(word), "{word:?}: {told}");
    }
    assert!(told.lines().count() == 1 && told.starts_with("entrepot: "), "{told}");
}

fn objects(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Each line's words.
fn words(text: &str) -> Vec<Vec<&str>> {
    text.lines().map(|line| line.split_whitespace().collect()).collect()
}

/// Whose login is wanted.
fn guarded() -> Registry {
    Registry::configured(|place| {
        let users = place.write("users", ALICE);
        format!("{}\nauth: {{htpasswd: {{realm: here, path: {}}}}}\n", place.usual(), users.display())
    })
}

/// A mirror that holds `library/app:1` for two platforms and `org/tool:1`, and a pushed `local/team/app` with two tags.
fn filled(upstream: &Upstream) -> Registry {
    let (amd64, arm64) = (upstream.image("library/app", "", &[b"amd"]), upstream.image("library/app", "", &[b"arm"]));
    upstream.index("library/app", "1", &[("amd64", &amd64), ("arm64", &arm64)]);
    upstream.image("org/tool", "1", &[b"tool"]);
    let mirror = mirror(upstream);
    good(&at(&mirror, &["warm", "app:1", "org/tool:1", "--platform", "linux/amd64"]));
    let client = mirror.client();
    client.push_image("local/team/app", "1", b"one");
    client.push_image("local/team/app", "2", b"two");
    mirror
}

#[test]
fn ls_shows_repositories_and_tags() {
    let upstream = Upstream::start();
    let mirror = filled(&upstream);
    upstream.gone();
    upstream.forget_log();
    let listed = good(&at(&mirror, &["ls"]));
    let want: [[&str; 3]; 3] = [
        ["docker.io/library/app", "mirrored", "1"],
        ["docker.io/org/tool", "mirrored", "1"],
        ["local/team/app", "hosted", "2"],
    ];
    assert_eq!(words(&listed), want, "{listed}");
    assert_eq!(listed.find("mirrored"), listed.lines().next().unwrap().find("mirrored"));
    let columns: Vec<_> = listed.lines().map(|line| line.find("mirrored").or(line.find("hosted"))).collect();
    assert!(columns.iter().all(|column| *column == columns[0]), "aligned: {listed}");
    let first = json!({"name": "docker.io/library/app", "kind": "mirrored", "tags": 1});
    assert_eq!(objects(&good(&at(&mirror, &["ls", "--json"])))[0], first);

    for name in ["app", "docker.io/library/app", &format!("{}/app", mirror.addr())] {
        let tags = objects(&good(&at(&mirror, &["ls", name, "--json"])));
        let [tag] = tags.as_slice() else { panic!("{name}: {tags:?}") };
        assert_eq!(tag["media_type"], MediaType::OCI_INDEX);
        assert_eq!((&tag["tag"], &tag["platforms"]), (&json!("1"), &json!(["linux/amd64", "linux/arm64"])));
        assert!(tag["size"].as_u64() > Some(0) && tag["size"] == tag["held"], "what is named by what is held: {tag}");
        assert!(tag["since"].as_str().unwrap().ends_with('Z'));
        let digest =
            mirror.client().head(&manifest("library/app", "1")).header("docker-content-digest").unwrap().to_owned();
        assert_eq!(tag["digest"], digest.as_str());
    }
    let tags = good(&at(&mirror, &["ls", "local/team/app"]));
    let tags = words(&tags);
    assert_eq!((tags.len(), tags[0][0], tags[1][0]), (2, "1", "2"));
    assert!(tags[0].contains(&"all") && tags[0].last() == Some(&"linux/amd64"), "{tags:?}");
    assert_eq!(upstream.log().len(), 0, "looking asks no upstream");
}

#[test]
fn ls_says_what_is_not_there() {
    let registry = Registry::start();
    let empty = at(&registry, &["ls"]);
    assert_eq!((empty.status.code(), stdout(&empty).as_str()), (Some(0), ""));
    assert!(stderr(&empty).contains("no repository yet"), "{}", stderr(&empty));
    bad(&at(&registry, &["ls", "none/such"]), 1, &["nothing was pushed to none/such yet"]);
    let output = at(&registry, &["ls", "none/such:1"]);
    assert!(output.status.code() == Some(2) && stderr(&output).contains("write none/such"), "{}", stderr(&output));
    let output = at(&registry, &["ls", "None"]);
    assert!(output.status.code() == Some(2) && stderr(&output).contains("lower-case"), "{}", stderr(&output));
    let nobody = format!("http://{}", free_address());
    bad(&run(&["ls", "--server", &nobody]), 1, &[&nobody, "does not answer", "--server", "entrepot serve"]);
    let upstream = Upstream::start();
    let mirror = mirror(&upstream);
    bad(&at(&mirror, &["ls", "alpine"]), 1, &["nothing is held of docker.io/library/alpine"]);
}

#[test]
fn a_part_that_is_held_is_told_from_the_whole() {
    let upstream = Upstream::start();
    let image = upstream.image("library/app", "1", &[&noise(1, 100_000)]);
    let mirror = mirror(&upstream);
    let client = mirror.client();
    assert_eq!(client.get(&manifest("library/app", "1")).status, 200);
    let tag = || objects(&good(&at(&mirror, &["ls", "app", "--json"])))[0].clone();
    let known = tag();
    let manifest = image.manifest.len() as u64;
    assert_eq!(known["held"], manifest);
    assert!(known["size"].as_u64().unwrap() > 100_000);
    for digest in [&image.config, &image.layers[0]] {
        assert_eq!(client.get(&blob("library/app", digest)).status, 200);
    }
    eventually("the whole image", || (tag()["held"] == known["size"]).then_some(()));
    // Known by a HEAD alone: nothing of it is here.
    upstream.image("library/app", "2", &[b"other"]);
    assert_eq!(client.head("/v2/library/app/manifests/2").status, 200);
    let tags = objects(&good(&at(&mirror, &["ls", "app", "--json"])));
    assert_eq!((&tags[1]["media_type"], &tags[1]["held"]), (&Value::Null, &json!(0)));
}

/// What a manifest says of a size, nobody has checked.
#[test]
fn sizes_that_nothing_has_are_told_all_the_same() {
    let registry = Registry::start();
    let client = registry.client();
    let (config, layer) = (client.push_blob("app", b"{}"), client.push_blob("app", b"x"));
    let descriptor = |digest: &Digest| json!({"mediaType": "a/b", "digest": digest.to_string(), "size": u64::MAX});
    let manifest = json!({"schemaVersion": 2, "config": descriptor(&config), "layers": [descriptor(&layer)]});
    assert_eq!(client.put_manifest("app", "1", manifest.to_string().as_bytes()).status, 201);
    let tags = objects(&good(&at(&registry, &["ls", "app", "--json"])));
    assert_eq!((&tags[0]["size"], &tags[0]["held"]), (&json!(u64::MAX), &json!(u64::MAX)));
}

#[test]
fn lists_come_in_pages() {
    let registry = Registry::start();
    let client = registry.client();
    for name in ["a", "a-b", "a/b", "b"] {
        client.push_image(name, "1", b"x");
    }
    let mut seen = Vec::new();
    let mut page = Some("/api/v1/repositories?n=2".to_owned());
    while let Some(path) = page {
        let answer = client.get(&path);
        let entries = answer.json()["repositories"].as_array().unwrap().clone();
        seen.extend(entries.iter().map(|entry| entry["name"].as_str().unwrap().to_owned()));
        page = answer.header("link").map(|link| link[1..link.find('>').unwrap()].to_owned());
    }
    assert_eq!(seen, ["a", "a-b", "a/b", "b"]);
    for n in 0..105 {
        client.put_manifest("a", &format!("t{n:03}"), &client.push_image("a", "1", b"x").manifest);
    }
    let first = client.get("/api/v1/repositories/a/tags");
    assert_eq!(first.json()["tags"].as_array().unwrap().len(), 100);
    assert_eq!(first.header("link"), Some("</api/v1/repositories/a/tags?last=t098>; rel=\"next\""));
    assert_eq!(good(&at(&registry, &["ls", "a"])).lines().count(), 106, "the command follows them");
    for (path, status) in [
        ("/api/v1/repositories?n=x", 400),
        ("/api/v1/repositories?n=0", 200),
        ("/api/v1/repositories/A/tags", 400),
        ("/api/v1/repositories/a", 404),
        ("/api/v1/images/a", 405),
    ] {
        assert_eq!(client.get(path).status, status, "{path}");
    }
}

/// A tag that names nothing, as a push that broke off leaves one, hides none that comes after it.
#[test]
fn a_page_of_nothing_is_not_the_end() {
    let registry = Registry::start();
    for tag in ["a", "b", "c"] {
        registry.client().push_image("app", tag, b"x");
    }
    let tags = registry.data().join("docker/registry/v2/repositories/app/_manifests/tags");
    std::fs::remove_dir_all(tags.join("b/current")).unwrap();
    let page = |query: &str| registry.client().get(&format!("/api/v1/repositories/app/tags?{query}")).json();
    assert_eq!((&page("n=1")["tags"][0]["tag"], &page("n=1&last=a")["tags"][0]["tag"]), (&json!("a"), &json!("c")));
    assert_eq!(page("n=1&last=c")["tags"], json!([]));
}

#[test]
fn rm_deletes_and_says_what() {
    let registry = Registry::start();
    let client = registry.client();
    let (one, two) = (client.push_image("team/app", "1", b"one"), client.push_image("team/app", "2", b"two"));
    client.put_manifest("team/app", "latest", &two.manifest);
    assert_eq!(good(&at(&registry, &["rm", "team/app:1"])), "deleted team/app:1\n");
    assert_eq!(client.get("/v2/team/app/manifests/1").status, 404);
    assert_eq!(client.get(&manifest("team/app", one.digest)).status, 200, "the tag alone");
    let digest = two.digest;
    assert_eq!(
        good(&at(&registry, &["rm", &format!("team/app@{digest}")])),
        format!("deleted team/app@{digest}\n{LEFT}")
    );
    assert_eq!(client.get("/v2/team/app/manifests/latest").status, 404);
    bad(&at(&registry, &["rm", "team/app:1"]), 1, &["team/app:1: tag 1 is not in team/app"]);

    client.push_image("more", "1", b"x");
    client.push_image("more", "2", b"y");
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    drop(reader);
    let mut unread = command(&["rm", "more:1", "more:2", "--server", &format!("http://{}", registry.addr())]);
    assert!(unread.stdin(Stdio::null()).stdout(writer).status().unwrap().success());
    assert_eq!(client.get("/v2/more/manifests/2").status, 404, "all of it, though nobody reads it");

    client.push_image("other", "1", b"x");
    let some = at(&registry, &["rm", "team/app:9", "other:1", "none:1"]);
    assert_eq!((some.status.code(), stdout(&some).as_str()), (Some(1), "deleted other:1\n"));
    let told = stderr(&some);
    assert!(told.contains("team/app:9") && told.contains("none:1") && told.contains("2 of 3"), "{told}");
}

#[test]
fn rm_of_a_whole_repository_wants_to_be_sure() {
    let registry = Registry::start();
    let client = registry.client();
    let image = client.push_image("team/app", "1", b"one");
    client.push_image("team/app", "2", b"two");
    client.push_image("team/app/tests", "1", b"three");
    bad(&at(&registry, &["rm", "team/app", "team/app:1"]), 2, &["--yes", "team/app", ":TAG"]);
    assert_eq!(client.get("/v2/team/app/manifests/1").status, 200, "nothing was begun");
    let removed = good(&at(&registry, &["rm", "--yes", "--json", "team/app"]));
    let want = json!({"name": "team/app", "kind": "hosted", "reference": null, "tags": 2, "freed": 0});
    assert_eq!(objects(&removed), [want]);
    for path in ["/v2/team/app/tags/list".to_owned(), manifest("team/app", "1"), blob("team/app", image.layer)] {
        assert_eq!(client.get(&path).status, 404, "{path}");
    }
    assert_eq!(client.get("/v2/team/app/tests/manifests/1").status, 200);
    bad(&at(&registry, &["rm", "-y", "team/app"]), 1, &["nothing was pushed to team/app yet"]);
    client.push_image("team/app", "1", b"one");
    assert_eq!(client.get("/v2/team/app/manifests/1").status, 200, "it can be pushed again");
    assert_eq!(good(&at(&registry, &["rm", "-y", "team/app"])), format!("deleted all of team/app: 1 tag\n{LEFT}"));
}

/// Whoever pushes meanwhile has to push again, at worst: nothing is half there, and what lies below in the tree of names is not
/// touched.
#[test]
fn rm_of_what_is_being_pushed_to() {
    let registry = Registry::start();
    let pushed = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let push = |seed: u64, repository: &'static str| {
            let client = registry.client();
            scope.spawn(move || (0..40).for_each(|at| _ = client.push_blob(repository, &noise(seed + at, 10))))
        };
        let pushes = [push(0, "local/a"), push(1000, "local/a"), push(2000, "local/a/b")];
        let (client, pushed) = (registry.client(), &pushed);
        let remove = scope.spawn(move || {
            while !pushed.load(Ordering::Relaxed) {
                let answer = client.request("DELETE", "/api/v1/images/local/a").send();
                assert!([200, 404].contains(&answer.status), "{}", answer.text());
            }
        });
        let ended: Vec<_> = pushes.into_iter().map(|push| push.join()).collect();
        pushed.store(true, Ordering::Relaxed);
        assert!(remove.join().is_ok() && ended.iter().all(Result::is_ok));
    });
    for at in 0..40 {
        let below = format!("/v2/local/a/b/blobs/{}", digest_of(&noise(2000 + at, 10)));
        assert_eq!(registry.client().head(&below).status, 200);
    }
}

#[test]
fn rm_evicts_what_is_mirrored() {
    let upstream = Upstream::start();
    let base = noise(1, 50_000);
    let app = upstream.image("library/app", "1", &[&base, b"app"]);
    upstream.image("library/other", "1", &[&base]);
    let mirror = mirror(&upstream);
    good(&at(&mirror, &["warm", "app:1", "other:1"]));
    assert_eq!(good(&at(&mirror, &["rm", "app:1"])), "evicted docker.io/library/app:1\n");
    good(&at(&mirror, &["warm", "app:1"]));
    let evicted = objects(&good(&at(&mirror, &["rm", "--yes", "--json", "app"])));
    assert_eq!(evicted[0]["name"], "docker.io/library/app");
    assert!(evicted[0]["freed"].as_u64().is_some_and(|freed| freed > 0 && freed < 50_000), "{evicted:?}");
    bad(&at(&mirror, &["ls", "app"]), 1, &["nothing is held of docker.io/library/app"]);
    let client = mirror.client();
    assert_eq!(cache(&client.get(&blob("library/other", app.layers[0]))), "hit", "another has it too");
    upstream.forget_log();
    assert_eq!(client.get(&manifest("library/app", "1")).status, 200, "it comes back");
    assert!(!upstream.log().is_empty());
}

#[test]
fn rm_where_deletion_is_off() {
    let registry =
        Registry::configured(|place| format!("{}{}storage:{}\n", place.version(), place.http(), place.root()));
    registry.client().push_image("app", "1", b"x");
    bad(&at(&registry, &["rm", "app:1", "app:2"]), 1, &["deletion is off", "storage.delete.enabled: true"]);
    bad(&at(&registry, &["rm", "--yes", "app"]), 1, &["deletion is off"]);
    assert_eq!(registry.client().get("/v2/app/manifests/1").status, 200);
    let refused = registry.client().request("DELETE", "/api/v1/images/app:1").send();
    assert_eq!((refused.status, refused.header("allow")), (405, Some("")), "no method is allowed there");
    for (arguments, words) in
        [(&["rm"][..], "REPO"), (&["rm", "App"], "lower-case"), (&["rm", "app:1@sha256:0"], "not an image's name")]
    {
        let output = at(&registry, arguments);
        assert!(output.status.code() == Some(2) && stderr(&output).contains(words), "{}", stderr(&output));
    }
}

/// What `ls` shows can be looked at, accounted for and evicted, when nobody could pull it any more.
#[test]
fn what_is_left_of_an_upstream_that_is_not_configured_any_more() {
    let (upstream, other) = (Upstream::start(), Upstream::start());
    upstream.image("library/app", "1", &[&noise(1, 100_000)]);
    upstream.image("library/app", "2", &[b"two"]);
    let name = "docker.io/library/app";
    for mirror_section in
        ["", &format!("mirror: {{upstreams: {{ghcr.io: {{default: true, endpoints: [\"{}\"]}}}}}}", other.url())]
    {
        let mut server = mirror(&upstream);
        good(&at(&server, &["warm", "app:1", "app:2"]));
        let config = server.data().with_file_name("config.yml");
        let before = std::fs::read_to_string(&config).unwrap();
        let private = &before[..before.find("mirror:").unwrap()];
        std::fs::write(&config, format!("{private}{mirror_section}\n")).unwrap();
        server.restart();
        assert_eq!(words(&good(&at(&server, &["ls"]))), [[name, "mirrored", "2"]]);
        assert_eq!(objects(&good(&at(&server, &["ls", name, "--json"]))).len(), 2);
        assert_eq!(objects(&good(&at(&server, &["du", name, "--json"])))[0]["kind"], "mirrored");
        assert_eq!(server.client().get(&manifest(name, "1")).status, 404, "looking is no pull");
        assert_eq!(good(&at(&server, &["rm", &format!("{name}:2")])), format!("evicted {name}:2\n"));
        if mirror_section.is_empty() {
            // All names are local now: what was pushed comes before what is left.
            server.client().push_image(name, "1", b"pushed");
            assert_eq!(good(&at(&server, &["rm", "-y", name])), format!("deleted all of {name}: 1 tag\n{LEFT}"));
        }
        let evicted = good(&at(&server, &["rm", "-y", name]));
        assert!(evicted.starts_with(&format!("evicted all of {name}: 1 tag, ")), "{evicted}");
        assert_eq!(words(&stdout(&at(&server, &["ls"]))).len(), 0);
        assert_eq!(objects(&good(&at(&server, &["du", "--json"]))).last().unwrap()["cache"]["bytes"], 0);
        assert_eq!(at(&server, &["rm", "-y", name]).status.code(), Some(1));
    }
    let asked: Vec<String> = other.log().into_iter().map(|request| request.path).collect();
    assert_eq!(asked, [format!("/v2/{name}/manifests/1")], "the pull, by the rules of names, and nothing else");
}

#[test]
fn du_accounts_for_everything_once() {
    let upstream = Upstream::start();
    let (base, own) = (noise(1, 100_000), noise(2, 10_000));
    upstream.image("library/one", "1", &[&base, &own]);
    upstream.image("library/two", "1", &[&base]);
    let mirror = mirror_with(&upstream, "", "  cache: {maxsize: 10MiB, reserve: 0}");
    good(&at(&mirror, &["warm", "one:1", "two:1"]));
    let client = mirror.client();
    client.push_image("local/a", "1", &base);
    client.push_image("local/b", "1", &base);
    let location = client.begin("local/a");
    assert_eq!(client.request("PATCH", &location).body(&noise(3, 777)).send().status, 202);

    let lines = objects(&good(&at(&mirror, &["du", "--json"])));
    let names: Vec<_> = lines.iter().filter_map(|line| line["name"].as_str()).collect();
    assert_eq!(names, ["docker.io/library/one", "docker.io/library/two", "local/a", "local/b"]);
    let number = |line: &Value, key: &str| line[key].as_u64().unwrap();
    let one = &lines[0];
    assert!(
        number(one, "bytes") > 110_000 && number(one, "own_bytes") < 12_000 && number(one, "own_bytes") > 10_000,
        "{one}"
    );
    let two = &lines[1];
    assert!(number(two, "bytes") > 100_000 && number(two, "own_bytes") < 2_000, "{two}");
    assert_eq!(
        (&lines[2]["kind"], &lines[2]["tags"], number(&lines[2], "own_bytes")),
        (&json!("hosted"), &json!(1), 0),
        "all is b's too"
    );
    let totals = lines.last().unwrap();
    let cache = number(&totals["cache"], "bytes");
    assert_eq!(cache, number(one, "own_bytes") + number(two, "bytes"), "what is shared counts once");
    assert_eq!(number(&totals["hosted"], "bytes"), number(&lines[2], "bytes"));
    assert_eq!(totals["uploads"], json!({"count": 1, "bytes": 777}));
    assert_eq!((&totals["cache"]["limit"], &totals["cache"]["reserve"]), (&json!(10 << 20), &json!(0)));
    assert!(number(&totals["disk"], "free") > 0 && number(&totals["disk"], "total") > 0);
    assert_eq!(&objects(&good(&at(&mirror, &["du", "one", "--json"])))[0], one, "one repository says the same");

    let text = good(&at(&mirror, &["du"]));
    for part in ["docker.io/library/one", "private store", "uploads", "of 10.00 MiB", "unfinished", "free"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(words(&good(&at(&mirror, &["du", "local/a"]))).len(), 1);
    bad(&at(&mirror, &["du", "none"]), 1, &["nothing is held of docker.io/library/none"]);
}

#[test]
fn du_shows_what_no_repository_has() {
    let upstream = Upstream::start();
    for name in ["library/one", "library/two"] {
        upstream.image(name, "1", &[&noise(1, 100_000), name.as_bytes()]);
    }
    let mut mirror = mirror(&upstream);
    good(&at(&mirror, &["warm", "one:1", "two:1"]));
    let client = mirror.client();
    client.push_image("local/a", "1", b"one");
    client.push_image("local/b", "1", b"one and more");
    client.push_blob("local/b", b"");
    let du = |mirror: &Registry| {
        let lines = objects(&good(&at(mirror, &["du", "--json"])));
        let [rows @ .., unlinked, totals] = lines.as_slice() else { panic!("{lines:?}") };
        assert!(rows.iter().all(|row| row["name"].is_string()), "{rows:?}");
        (rows.to_vec(), unlinked["unlinked"].clone(), totals.clone())
    };
    let (rows, unlinked, before) = du(&mirror);
    let nothing = json!({"blobs": 0, "bytes": 0});
    assert_eq!((rows.len(), unlinked), (4, json!({"hosted": nothing, "cache": nothing})));
    let own = |row: &Value| json!({"blobs": row["own_blobs"], "bytes": row["own_bytes"]});
    let two = own(&rows[1]);
    good(&at(&mirror, &["rm", "-y", "local/b"]));
    // As a copy that was brought back without it.
    std::fs::remove_dir_all(mirror.data().join("cache/repositories/docker.io/library/two")).unwrap();
    mirror.restart();
    let (left, unlinked, totals) = du(&mirror);
    assert_eq!(left.len(), 2);
    assert_eq!(unlinked["cache"], two);
    let (bytes, blobs) = (own(&rows[3])["bytes"].as_u64(), own(&rows[3])["blobs"].as_u64());
    assert_eq!(unlinked["hosted"]["bytes"].as_u64(), bytes);
    // That an empty blob is there, no row says: its size is what tells that one is.
    assert_eq!(unlinked["hosted"]["blobs"].as_u64(), blobs.map(|blobs| blobs + 1));
    for (part, row) in [("cache", &left[0]), ("hosted", &left[1])] {
        assert_eq!(totals[part]["bytes"], before[part]["bytes"], "nothing is freed");
        let sum = row["bytes"].as_u64().unwrap() + unlinked[part]["bytes"].as_u64().unwrap();
        assert_eq!(totals[part]["bytes"], sum, "{part}: rows and rest are the whole");
    }
    // What is being pushed has no manifest yet, and is a repository's all the same.
    client.push_blob("local/new", b"a layer that comes before its manifest");
    let (more, still, _) = du(&mirror);
    assert_eq!((more.len(), &more[2]["name"], &more[2]["bytes"]), (3, &json!("local/new"), &json!(38)));
    assert_eq!(still, unlinked);
    let text = good(&at(&mirror, &["du"]));
    let lines: Vec<_> = words(&text).into_iter().filter(|line| line.first() == Some(&"unlinked")).collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[0].ends_with(&["until", "garbage", "is", "collected"]), "{text}");
    assert!(lines[1].ends_with(&["until", "room", "is", "wanted"]), "{text}");
}

#[test]
fn a_login_comes_from_arguments_the_environment_or_docker() {
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
    // alice:secret; on this machine either name will do.
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
        let told = stderr(&run_with(command, ""));
        assert!(!told.contains("wants a login:"), "{arguments:?}: {told}");
    }
}

#[test]
fn user_edits_a_file_that_a_running_server_reads_again() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("users");
    let path = file.to_str().unwrap();
    let user = |arguments: &[&str], input: &str| run_with(command(&[&["user"], arguments].concat()), input);
    let made = user(&["add", path, "alice"], "secret\n");
    assert!(made.status.success() && stderr(&made).contains("0600"), "{}", stderr(&made));
    assert_eq!(stdout(&made), format!("alice was added to {path}\n"));
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&file), 0o600);
    let registry = Registry::configured(|place| {
        format!("{}\nauth: {{htpasswd: {{realm: here, path: {}}}}}\n", place.usual(), file.display())
    });
    let may = |name: &str, password: &str| registry.client().login(name, password).get("/v2/").status == 200;
    assert!(may("alice", "secret") && !may("bob", "pass word"));
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(
        good(&user(&["add", path, "bob", "--password-stdin"], "pass word")),
        format!("bob was added to {path}\n")
    );
    assert_eq!(mode(&file), 0o644, "its mode stays");
    eventually("bob", || may("bob", "pass word").then_some(()));
    assert!(good(&user(&["add", path, "alice"], "other")).contains("has another password now"));
    eventually("alice's new password", || may("alice", "other").then_some(()));
    assert!(!may("alice", "secret"));
    assert_eq!(good(&user(&["list", path], "")), "alice\nbob\n");
    assert_eq!(objects(&good(&user(&["ls", path, "--json"], ""))), [json!({"name": "alice"}), json!({"name": "bob"})]);
    good(&user(&["remove", path, "bob"], ""));
    eventually("bob's end", || (!may("bob", "pass word")).then_some(()));
    bad(&user(&["remove", path, "bob"], ""), 1, &["no user \"bob\"", path]);

    let before = std::fs::read(&file).unwrap();
    for (arguments, input, code, words) in [
        (&["add", path, "a:b"][..], "x", 2, "colon"),
        (&["add", path, "carol"], &"x".repeat(73), 2, "73 bytes"),
        (&["add", path, "carol"], "", 2, "empty"),
        (&["add", path, "carol"], "a\nb", 2, "more than one line"),
        (&["list", "/nowhere"], "", 1, "/nowhere"),
        (&["remove", "/nowhere", "a"], "", 1, "/nowhere"),
        (&["add", "/nowhere/users", "a"], "x", 1, "the directory /nowhere does not exist"),
    ] {
        bad(&user(arguments, input), code, &[words]);
    }
    assert_eq!(std::fs::read(&file).unwrap(), before);
    // A file with another kind of line may be something else altogether.
    let damaged = [&before[..], b"dave:plain\n"].concat();
    std::fs::write(&file, &damaged).unwrap();
    for arguments in [&["add", path, "bob"][..], &["list", path]] {
        bad(&user(arguments, "x"), 1, &["users:2: this is no line of a password file", "nothing was written"]);
    }
    assert_eq!(std::fs::read(&file).unwrap(), damaged);
    good(&user(&["add", path, "dave"], "x"));
}

/// Apache's own tool takes what we write, where it is installed.
#[test]
fn htpasswd_takes_our_lines() {
    if Command::new("htpasswd").output().is_err() {
        println!("skipped: htpasswd is not installed");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("users");
    let path = path.to_str().unwrap();
    let longest = "x".repeat(72);
    for (name, password) in [("alice", "pass:wörd"), ("bob", longest.as_str())] {
        assert!(run_with(command(&["user", "add", path, name]), password).status.success());
        let verified = |password: &str| Command::new("htpasswd").args(["-vb", path, name, password]).output().unwrap();
        assert!(verified(password).status.success(), "{}", stderr(&verified(password)));
        assert!(!verified("wrong").status.success());
    }
}

#[test]
fn client_prints_what_can_be_pasted() {
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
            // Two tables of one name: pasted as several files.
            "containerd" => {}
            "k3s" => assert_eq!(saphyr::Yaml::load_from_str(&text).unwrap().len(), 1),
            _ => drop(text.parse::<toml::Table>().unwrap()),
        }
    }
    let ca = good(&client(&["containerd", "--host", "https://m.lan", "--ca", "ca.pem"]));
    let ca_file = directory.path().canonicalize().unwrap().join("ca.pem");
    assert!(ca.contains(&format!("ca = {:?}", ca_file.to_str().unwrap())), "{ca}");
    let guessed = good(&client(&["k3s"]));
    assert!(guessed.contains("http://127.0.0.1:5000") && guessed.contains("say --host"), "{guessed}");
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
fn client_has_nothing_to_say_where_nothing_is_mirrored() {
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
}

/// A server with a certificate of a private authority, and what is said of it.
#[test]
fn a_private_authority_has_to_be_named() {
    let upstream = Upstream::start_tls();
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, upstream.authority().pem()).unwrap();
    let (https, ca) = (upstream.url(), ca.to_str().unwrap());
    for command in [&["ls", "--server", &https][..], &["health", &https], &["du", "--server", &https]] {
        bad(&run(command), 1, &["is signed by nobody that is trusted here: --ca FILE"]);
        // It is no Entrepot, but it is spoken to.
        for trust in [&["--ca", ca][..], &["--insecure"]] {
            bad(&run(&[command, trust].concat()), 1, &["404"]);
        }
    }
    bad(&run(&["rm", "app:1", "--server", &https, "--insecure"]), 1, &[&https, "404", "is it an Entrepot"]);
    bad(&run(&["ls", "--server", &https, "--ca", "/nowhere.pem"]), 1, &["--ca /nowhere.pem: "]);

    let registry = Registry::start();
    let plain = format!("https://{}", registry.addr());
    bad(&run(&["ls", "--server", &plain]), 1, &[&format!("answers plain HTTP: write http://{}", registry.addr())]);
    let nobody = format!("http://{}", free_address());
    bad(&run(&["ls", "--server", &nobody]), 1, &["does not answer", "entrepot serve"]);
}

#[test]
fn the_servers_own_name_may_stand_before_an_image() {
    let registry = Registry::start();
    let client = registry.client();
    let port = registry.addr().to_string().rsplit_once(':').unwrap().1.to_owned();
    for host in ["localhost", "127.0.0.1"] {
        client.push_image("local/a/b", "1", b"x");
        let image = format!("{host}:{port}/local/a/b");
        assert!(good(&at(&registry, &["ls", &image])).starts_with("1 "));
        assert!(good(&at(&registry, &["du", &image])).contains("local/a/b"));
        assert_eq!(good(&at(&registry, &["rm", &format!("{image}:1")])), "deleted local/a/b:1\n");
    }
}

/// As clients write it: with the address that they pull from, by whatever name they know that.
#[test]
fn a_mirrored_image_may_have_the_servers_name_before_it_too() {
    let upstream = Upstream::start();
    upstream.image("library/app", "1", &[b"x"]);
    let mirror = mirror_with(&upstream, "", "  names: [mirror.lan:5000]");
    let port = mirror.addr().port();
    for host in [format!("localhost:{port}"), format!("127.0.0.1:{port}"), "mirror.lan:5000".to_owned()] {
        let name = format!("{host}/docker.io/library/app");
        let short = format!("{host}/app:1");
        let warmed = good(&at(&mirror, &["warm", &format!("{name}:1"), &short]));
        assert_eq!(warmed.lines().count(), 2, "{warmed}");
        assert_eq!(words(&good(&at(&mirror, &["ls", &name])))[0][0], "1");
        assert_eq!(objects(&good(&at(&mirror, &["du", &name, "--json"])))[0]["name"], "docker.io/library/app");
        assert_eq!(good(&at(&mirror, &["rm", &short])), "evicted docker.io/library/app:1\n");
        assert!(good(&at(&mirror, &["rm", "-y", &name])).starts_with("evicted all of docker.io/library/app"));
    }
    let stranger = "other.lan:5000/docker.io/library/app";
    for command in [&["ls", stranger][..], &["du", stranger], &["rm", "-y", stranger], &["warm", stranger]] {
        bad(&at(&mirror, command), 1, &["other.lan:5000 is not mirrored here", "mirror.upstreams.", "mirror.names"]);
    }
}

#[test]
fn client_asks_a_running_server() {
    let registry = Registry::with("mirror: {upstreams: {docker.io: {default: true}, r.corp:443: {aliases: [r.corp]}}}");
    let text = good(&at(&registry, &["client", "podman"]));
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

/// What is printed is pasted into files that root reads: no server gets a line of its own into it.
#[test]
fn client_takes_names_and_nothing_else_from_a_server() {
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

#[test]
fn completions_for_every_shell() {
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
fn who_has_read_enough_ends_it_quietly() {
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
    assert_eq!(registry.client().get("/v2/app/manifests/1").status, 404, "it did what was asked");
}

#[test]
fn slips_of_the_hand_are_understood() {
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
        ("ftp://127.0.0.1", "ftp://, and http:// or https:// is wanted"),
        ("", "address is empty"),
    ] {
        let output = run(&["ls", "--server", server]);
        bad(&output, 2, &[words]);
        assert!(!stderr(&output).contains("secret"));
    }
}

#[test]
fn who_stops_watching_is_told_what_goes_on() {
    let upstream = Upstream::start();
    let image = upstream.image("library/app", "1", &[&noise(1, 200_000)]);
    upstream.fault("GET", &image.layers[0].to_string(), Fault::Throttle(100_000));
    let mirror = mirror(&upstream);
    let mut warm = command(&["warm", "app:1", "--platform", "all"]);
    warm.env("ENTREPOT_SERVER", format!("http://{}", mirror.addr()));
    let mut child = warm.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("the layer to begin", || (upstream.requests("GET", &image.layers[0].to_string()) > 0).then_some(()));
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT).unwrap();
    let mut told = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_to_string(&mut told).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{told}");
    assert!(told.contains("finishes the images that have begun"), "{told}");
    eventually("the layer to be held", || {
        (cache(&mirror.client().head(&blob("library/app", image.layers[0]))) == "hit").then_some(())
    });
}

/// Waits until the terminal of what `script` runs does not show what is typed.
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

/// At a terminal passwords and whole repositories are asked for; `script` of util-linux makes one.
#[test]
fn a_terminal_is_asked() {
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
        let mut told = Vec::new();
        for (question, answer) in answers {
            // Read up to the question, as people do: what is typed before it is not seen by who asks.
            while !String::from_utf8_lossy(&told).contains(question) {
                let piece = output.fill_buf().unwrap().to_vec();
                assert!(!piece.is_empty(), "{}", String::from_utf8_lossy(&told));
                output.consume(piece.len());
                told.extend(piece);
            }
            if !question.contains("[y/N]") {
                wait_for_silence(child.id());
            }
            input.write_all(format!("{answer}\n").as_bytes()).unwrap();
        }
        output.read_to_end(&mut told).unwrap();
        (child.wait().unwrap().code(), String::from_utf8_lossy(&told).into_owned())
    };
    let add = format!("user add {} alice", file.display());
    let (code, told) = at_terminal(&add, &[("New password", "secret"), ("again", "secret")]);
    assert!(code == Some(0) && !told.contains("secret"), "{told}");
    let (code, told) = at_terminal(&add, &[("New password", "secret"), ("again", "other")]);
    assert!(code == Some(1) && told.contains("not the same"), "{told}");

    let registry = Registry::start();
    let client: Client = registry.client();
    client.push_image("app", "1", b"x");
    let rm = format!("rm app --server http://{}", registry.addr());
    let (code, told) = at_terminal(&rm, &[("[y/N]", "n")]);
    assert!(code == Some(1) && told.contains("nothing was deleted"), "{told}");
    assert_eq!(client.get("/v2/app/manifests/1").status, 200);
    let (code, told) = at_terminal(&rm, &[("[y/N]", "y")]);
    assert!(code == Some(0) && told.contains("deleted all of app: 1 tag"), "{told}");
    assert_eq!(client.get("/v2/app/manifests/1").status, 404);
}
