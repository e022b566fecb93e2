//! `entrepot ls`, and the lists of `/api/v1` that it reads.

use entrepot::oci::{Digest, MediaType};
use serde_json::{Value, json};

use super::runner::{bad, good, objects, run, run_at, stderr, stdout, words};
use crate::support::client::noise;
use crate::support::mirror::{blob, manifest, mirror};
use crate::support::registry::{Registry, eventually, free_address};
use crate::support::upstream::Upstream;

/// Returns a mirror that holds `library/app:1` for two platforms and `org/tool:1`, and a pushed `local/team/app` with two tags.
fn filled(upstream: &Upstream) -> Registry {
    let (amd64, arm64) = (upstream.image("library/app", "", &[b"amd"]), upstream.image("library/app", "", &[b"arm"]));
    upstream.index("library/app", "1", &[("amd64", &amd64), ("arm64", &arm64)]);
    upstream.image("org/tool", "1", &[b"tool"]);
    let mirror = mirror(upstream);
    good(&run_at(&mirror, &["warm", "app:1", "org/tool:1", "--platform", "linux/amd64"]));
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
    let listed = good(&run_at(&mirror, &["ls"]));
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
    assert_eq!(objects(&good(&run_at(&mirror, &["ls", "--json"])))[0], first);

    for name in ["app", "docker.io/library/app", &format!("{}/app", mirror.addr())] {
        let tags = objects(&good(&run_at(&mirror, &["ls", name, "--json"])));
        let [tag] = tags.as_slice() else { panic!("{name}: {tags:?}") };
        assert_eq!(tag["media_type"], MediaType::OCI_INDEX);
        assert_eq!((&tag["tag"], &tag["platforms"]), (&json!("1"), &json!(["linux/amd64", "linux/arm64"])));
        assert!(
            tag["size"].as_u64() > Some(0) && tag["size"] == tag["held"],
            "the named size and the stored size are equal: {tag}"
        );
        assert!(tag["since"].as_str().unwrap().ends_with('Z'));
        let digest =
            mirror.client().head(&manifest("library/app", "1")).header("docker-content-digest").unwrap().to_owned();
        assert_eq!(tag["digest"], digest.as_str());
    }
    let tags = good(&run_at(&mirror, &["ls", "local/team/app"]));
    let tags = words(&tags);
    assert_eq!((tags.len(), tags[0][0], tags[1][0]), (2, "1", "2"));
    assert!(tags[0].contains(&"all") && tags[0].last() == Some(&"linux/amd64"), "{tags:?}");
    assert_eq!(upstream.log().len(), 0, "ls sends no request to the upstream");
}

#[test]
fn ls_names_missing_content() {
    let registry = Registry::start();
    let empty = run_at(&registry, &["ls"]);
    assert_eq!((empty.status.code(), stdout(&empty).as_str()), (Some(0), ""));
    assert!(stderr(&empty).contains("no repository yet"), "{}", stderr(&empty));
    bad(&run_at(&registry, &["ls", "none/such"]), 1, &["nothing was pushed to none/such yet"]);
    let output = run_at(&registry, &["ls", "none/such:1"]);
    assert!(
        output.status.code() == Some(2) && stderr(&output).contains("without a tag or digest: write none/such"),
        "{}",
        stderr(&output)
    );
    let output = run_at(&registry, &["ls", "None"]);
    assert!(output.status.code() == Some(2) && stderr(&output).contains("lower-case"), "{}", stderr(&output));
    let closed = format!("http://{}", free_address());
    bad(&run(&["ls", "--server", &closed]), 1, &[&closed, "does not answer", "--server", "entrepot serve"]);
    let upstream = Upstream::start();
    let mirror = mirror(&upstream);
    bad(&run_at(&mirror, &["ls", "alpine"]), 1, &["nothing of docker.io/library/alpine is cached"]);
}

#[test]
fn ls_shows_the_stored_part_of_an_image() {
    let upstream = Upstream::start();
    let image = upstream.image("library/app", "1", &[&noise(1, 100_000)]);
    let mirror = mirror(&upstream);
    let client = mirror.client();
    assert_eq!(client.get(&manifest("library/app", "1")).status, 200);
    let tag = || objects(&good(&run_at(&mirror, &["ls", "app", "--json"])))[0].clone();
    let known = tag();
    let manifest = image.manifest.len() as u64;
    assert_eq!(known["held"], manifest);
    assert!(known["size"].as_u64().unwrap() > 100_000);
    for digest in [&image.config, &image.layers[0]] {
        assert_eq!(client.get(&blob("library/app", digest)).status, 200);
    }
    eventually("the whole image", || (tag()["held"] == known["size"]).then_some(()));
    // A HEAD made the tag known, but none of it is stored.
    upstream.image("library/app", "2", &[b"other"]);
    assert_eq!(client.head("/v2/library/app/manifests/2").status, 200);
    let tags = objects(&good(&run_at(&mirror, &["ls", "app", "--json"])));
    assert_eq!((&tags[1]["media_type"], &tags[1]["held"]), (&Value::Null, &json!(0)));
}

#[test]
fn ls_names_damaged_manifests() {
    let upstream = Upstream::start();
    let cached = upstream.image("library/app", "1", &[b"layer"]);
    let mirror = mirror(&upstream);
    let client = mirror.client();
    good(&run_at(&mirror, &["warm", "app:1"]));
    let image = client.push_image("local/app", "one", b"one");
    let child = client.push_image("local/app", "two", b"two");
    let index = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_INDEX,
        "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": child.digest.to_string(),
            "size": child.manifest.len(),
        }],
    });
    let put = client.request("PUT", "/v2/local/app/manifests/index").header("Content-Type", MediaType::OCI_INDEX);
    assert_eq!(put.body(index.to_string().as_bytes()).send().status, 201);
    let file = |digest: &Digest| {
        let hex = digest.hex();
        mirror.data().join("docker/registry/v2/blobs/sha256").join(&hex[..2]).join(&hex).join("data")
    };
    let state = |arguments: &[&str]| -> Vec<(String, bool)> {
        let tags = objects(&good(&run_at(&mirror, arguments)));
        tags.iter().map(|tag| (tag["tag"].as_str().unwrap().to_owned(), tag["damaged"].as_bool().unwrap())).collect()
    };
    let hosted = || state(&["ls", "--json", "local/app"]).into_iter().map(|(_, damaged)| damaged).collect::<Vec<_>>();
    assert_eq!(hosted(), [false; 3]);
    let mut altered = image.manifest.clone();
    altered.swap(10, 11);
    for damage in [Some(&b""[..]), Some(&image.manifest[..100]), Some(&altered), None] {
        match damage {
            Some(bytes) => std::fs::write(file(&image.digest), bytes).unwrap(),
            None => std::fs::remove_file(file(&image.digest)).unwrap(),
        }
        assert_eq!(hosted(), [false, true, false], "{damage:?}");
    }
    let listed = run_at(&mirror, &["ls", "local/app"]);
    let lines = stdout(&listed);
    let line = words(&lines).into_iter().find(|line| line[0] == "one").unwrap();
    assert_eq!(line[1], "damaged", "{lines}");
    assert!(stderr(&listed).contains("damaged on the server's disk: one; push"), "{}", stderr(&listed));
    client.push_image("local/app", "one", b"one");
    assert_eq!(hosted(), [false; 3], "a push repairs it");

    std::fs::write(file(&child.digest), b"").unwrap();
    assert_eq!(hosted(), [true, false, true], "the index names a damaged manifest");

    let hex = cached.manifest_digest.hex();
    let cached_file = mirror.data().join("cache/blobs/sha256").join(&hex[..2]).join(&hex);
    let mut altered = cached.manifest.to_vec();
    altered.swap(10, 11);
    std::fs::write(cached_file, altered).unwrap();
    assert_eq!(state(&["ls", "--json", "app"]), [("1".to_owned(), true)]);
}

/// No program has checked the sizes in a manifest.
#[test]
fn ls_shows_impossible_sizes() {
    let registry = Registry::start();
    let client = registry.client();
    let (config, layer) = (client.push_blob("app", b"{}"), client.push_blob("app", b"x"));
    let descriptor = |digest: &Digest| json!({"mediaType": "a/b", "digest": digest.to_string(), "size": u64::MAX});
    let manifest = json!({"schemaVersion": 2, "config": descriptor(&config), "layers": [descriptor(&layer)]});
    assert_eq!(client.put_manifest("app", "1", manifest.to_string().as_bytes()).status, 201);
    let tags = objects(&good(&run_at(&registry, &["ls", "app", "--json"])));
    assert_eq!((&tags[0]["size"], &tags[0]["held"]), (&json!(u64::MAX), &json!(u64::MAX)));
}

#[test]
fn lists_are_paged() {
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
    assert_eq!(good(&run_at(&registry, &["ls", "a"])).lines().count(), 106, "the command reads all pages");
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

/// A tag without a manifest, as an interrupted push leaves it, does not hide the tags after it.
#[test]
fn empty_page_is_not_the_end() {
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
