//! `entrepot rm`: deletion of pushed content and eviction of cached content.

use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::runner::{LEFT, bad, command, good, objects, run_at, stderr, stdout, words};
use crate::support::client::{digest_of, noise};
use crate::support::mirror::{blob, cache, manifest, mirror};
use crate::support::registry::Registry;
use crate::support::upstream::Upstream;

#[test]
fn rm_deletes_and_says_what() {
    let registry = Registry::start();
    let client = registry.client();
    let (one, two) = (client.push_image("team/app", "1", b"one"), client.push_image("team/app", "2", b"two"));
    client.put_manifest("team/app", "latest", &two.manifest);
    assert_eq!(
        good(&run_at(&registry, &["rm", "team/app:1"])),
        format!("deleted team/app:1, which named {}\n{LEFT}", one.digest)
    );
    assert_eq!(client.get("/v2/team/app/manifests/1").status, 404);
    assert_eq!(client.get(&manifest("team/app", one.digest)).status, 200, "only the tag is deleted");
    let digest = two.digest;
    assert_eq!(
        good(&run_at(&registry, &["rm", &format!("team/app@{digest}")])),
        format!("deleted team/app@{digest} and the tags 2, latest\n{LEFT}")
    );
    assert_eq!(client.get("/v2/team/app/manifests/latest").status, 404);
    bad(&run_at(&registry, &["rm", "team/app:1"]), 1, &["team/app:1: tag 1 is not in team/app"]);

    client.push_image("more", "1", b"x");
    client.push_image("more", "2", b"y");
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    drop(reader);
    let mut unread = command(&["rm", "more:1", "more:2", "--server", &format!("http://{}", registry.addr())]);
    assert!(unread.stdin(Stdio::null()).stdout(writer).status().unwrap().success());
    assert_eq!(client.get("/v2/more/manifests/2").status, 404, "everything was deleted, although the output is closed");

    let other = client.push_image("other", "1", b"x").digest;
    let some = run_at(&registry, &["rm", "team/app:9", "other:1", "none:1"]);
    assert_eq!(
        (some.status.code(), stdout(&some).as_str()),
        (Some(1), &*format!("deleted other:1, which named {other}\n{LEFT}"))
    );
    let message = stderr(&some);
    assert!(message.contains("team/app:9") && message.contains("none:1") && message.contains("2 of 3"), "{message}");
}

/// The manifest of a deleted tag stays until it is deleted by its digest, so a tag that was deleted by mistake can be put back.
#[test]
fn rm_names_what_puts_a_tag_back() {
    let registry = Registry::start();
    let client = registry.client();
    let image = client.push_image("team/app", "1", b"one");
    let removed = objects(&good(&run_at(&registry, &["rm", "--json", "team/app:1"])));
    let digest = removed[0]["removed_tags"][0]["digest"].as_str().unwrap().to_owned();
    assert_eq!(
        (digest.as_str(), &removed[0]["removed_tags"][0]["tag"]),
        (image.digest.to_string().as_str(), &json!("1"))
    );
    let body = client.get(&manifest("team/app", &digest)).body;
    assert_eq!(client.put_manifest("team/app", "1", &body).status, 201);
    assert!(client.get(&manifest("team/app", "1")).body == image.manifest);
    // A tag that cannot be read can be deleted, and the command does not say what it named.
    let link = registry.data().join("docker/registry/v2/repositories/team/app/_manifests/tags/1/current/link");
    std::fs::write(link, "nonsense").unwrap();
    assert_eq!(good(&run_at(&registry, &["rm", "team/app:1"])), format!("deleted team/app:1\n{LEFT}"));
}

#[test]
fn rm_of_a_repository_requires_confirmation() {
    let registry = Registry::start();
    let client = registry.client();
    let image = client.push_image("team/app", "1", b"one");
    let second = client.push_image("team/app", "2", b"two").digest;
    client.push_image("team/app/tests", "1", b"three");
    bad(&run_at(&registry, &["rm", "team/app", "team/app:1"]), 2, &["--yes", "team/app", ":TAG"]);
    assert_eq!(client.get("/v2/team/app/manifests/1").status, 200, "nothing was deleted");
    let removed = good(&run_at(&registry, &["rm", "--yes", "--json", "team/app"]));
    let tags = json!([
        {"tag": "1", "digest": image.digest.to_string()}, {"tag": "2", "digest": second.to_string()}
    ]);
    let want = json!({
        "name": "team/app", "kind": "hosted", "reference": null, "tags": 2, "freed": 0, "removed_tags": tags
    });
    assert_eq!(objects(&removed), [want]);
    for path in ["/v2/team/app/tags/list".to_owned(), manifest("team/app", "1"), blob("team/app", image.layer)] {
        assert_eq!(client.get(&path).status, 404, "{path}");
    }
    assert_eq!(client.get("/v2/team/app/tests/manifests/1").status, 200);
    for absent in [&["rm", "-y", "team/app"][..], &["rm", "team/app"]] {
        bad(&run_at(&registry, absent), 1, &["nothing was pushed to team/app yet"]);
    }
    let some = run_at(&registry, &["rm", "team/app", "team/app/tests"]);
    assert_eq!(some.status.code(), Some(2));
    assert!(stderr(&some).contains("this deletes all of team/app/tests:"), "{}", stderr(&some));
    client.push_image("team/app", "1", b"one");
    assert_eq!(client.get("/v2/team/app/manifests/1").status, 200, "the repository can be pushed again");
    let want = format!("deleted all of team/app: 1 tag\n  team/app:1 named {}\n{LEFT}", image.digest);
    assert_eq!(good(&run_at(&registry, &["rm", "-y", "team/app"])), want);
}

/// A client that pushes meanwhile must push again at worst. No repository is left incomplete, and repositories below in the tree of
/// names are not touched.
#[test]
fn rm_during_pushes_leaves_nothing_incomplete() {
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
fn rm_evicts_mirrored_content() {
    let upstream = Upstream::start();
    let base = noise(1, 50_000);
    let app = upstream.image("library/app", "1", &[&base, b"app"]);
    upstream.image("library/other", "1", &[&base]);
    let mirror = mirror(&upstream);
    good(&run_at(&mirror, &["warm", "app:1", "other:1"]));
    assert_eq!(
        good(&run_at(&mirror, &["rm", "app:1"])),
        format!("evicted docker.io/library/app:1, which named {}\n", app.manifest_digest)
    );
    good(&run_at(&mirror, &["warm", "app:1"]));
    let evicted = objects(&good(&run_at(&mirror, &["rm", "--yes", "--json", "app"])));
    assert_eq!(evicted[0]["name"], "docker.io/library/app");
    assert!(evicted[0]["freed"].as_u64().is_some_and(|freed| freed > 0 && freed < 50_000), "{evicted:?}");
    bad(&run_at(&mirror, &["ls", "app"]), 1, &["nothing of docker.io/library/app is cached"]);
    let client = mirror.client();
    assert_eq!(cache(&client.get(&blob("library/other", app.layers[0]))), "hit", "another repository keeps the blob");
    upstream.forget_log();
    assert_eq!(client.get(&manifest("library/app", "1")).status, 200, "a pull fetches the image again");
    assert!(!upstream.log().is_empty());
}

#[test]
fn rm_fails_where_deletion_is_off() {
    let registry =
        Registry::configured(|place| format!("{}{}storage:{}\n", place.version(), place.http(), place.root()));
    registry.client().push_image("app", "1", b"x");
    bad(&run_at(&registry, &["rm", "app:1", "app:2"]), 1, &["deletion is off", "storage.delete.enabled: true"]);
    bad(&run_at(&registry, &["rm", "--yes", "app"]), 1, &["deletion is off"]);
    assert_eq!(registry.client().get("/v2/app/manifests/1").status, 200);
    let refused = registry.client().request("DELETE", "/api/v1/images/app:1").send();
    assert_eq!((refused.status, refused.header("allow")), (405, Some("")), "no method is allowed there");
    for (arguments, words) in
        [(&["rm"][..], "REPO"), (&["rm", "App"], "lower-case"), (&["rm", "app:1@sha256:0"], "not an image's name")]
    {
        let output = run_at(&registry, arguments);
        assert!(output.status.code() == Some(2) && stderr(&output).contains(words), "{}", stderr(&output));
    }
}

/// Content of an upstream that is no longer configured can be listed, accounted for and evicted, although no client can pull it.
#[test]
fn content_of_a_removed_upstream_can_be_managed() {
    let (upstream, other) = (Upstream::start(), Upstream::start());
    upstream.image("library/app", "1", &[&noise(1, 100_000)]);
    let second = upstream.image("library/app", "2", &[b"two"]);
    let name = "docker.io/library/app";
    for mirror_section in
        ["", &format!("mirror: {{upstreams: {{ghcr.io: {{default: true, endpoints: [\"{}\"]}}}}}}", other.url())]
    {
        let mut server = mirror(&upstream);
        good(&run_at(&server, &["warm", "app:1", "app:2"]));
        let config = server.data().with_file_name("config.yml");
        let before = std::fs::read_to_string(&config).unwrap();
        let private = &before[..before.find("mirror:").unwrap()];
        std::fs::write(&config, format!("{private}{mirror_section}\n")).unwrap();
        server.restart();
        assert_eq!(words(&good(&run_at(&server, &["ls"]))), [[name, "mirrored", "2"]]);
        assert_eq!(objects(&good(&run_at(&server, &["ls", name, "--json"]))).len(), 2);
        assert_eq!(objects(&good(&run_at(&server, &["du", name, "--json"])))[0]["kind"], "mirrored");
        assert_eq!(server.client().get(&manifest(name, "1")).status, 404, "ls does not pull");
        let want = format!("evicted {name}:2, which named {}\n", second.manifest_digest);
        assert_eq!(good(&run_at(&server, &["rm", &format!("{name}:2")])), want);
        if mirror_section.is_empty() {
            // All names are local now, and pushed content goes before cached content.
            let pushed = server.client().push_image(name, "1", b"pushed").digest;
            let want = format!("deleted all of {name}: 1 tag\n  {name}:1 named {pushed}\n{LEFT}");
            assert_eq!(good(&run_at(&server, &["rm", "-y", name])), want);
        }
        let evicted = good(&run_at(&server, &["rm", "-y", name]));
        assert!(evicted.starts_with(&format!("evicted all of {name}: 1 tag, ")), "{evicted}");
        assert_eq!(words(&stdout(&run_at(&server, &["ls"]))).len(), 0);
        assert_eq!(objects(&good(&run_at(&server, &["du", "--json"]))).last().unwrap()["cache"]["bytes"], 0);
        assert_eq!(run_at(&server, &["rm", "-y", name]).status.code(), Some(1));
    }
    // `/v2/` shows whether the endpoint refuses every parameter, and so also `?ns=`.
    let asked: std::collections::BTreeSet<String> = other.log().into_iter().map(|request| request.path).collect();
    let pull = "/v2/docker.io/library/app/manifests/1";
    assert!(asked.contains(pull), "{asked:?}");
    assert!(
        asked.iter().all(|path| path == pull || path == "/v2/"),
        "only the pull reaches the other upstream: {asked:?}"
    );
}
