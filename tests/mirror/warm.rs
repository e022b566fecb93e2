//! `entrepot warm`, `POST /api/v1/warm` and `mirror.prefetch`, which fetch images before a client pulls them.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

use entrepot::oci::{Digest, MediaType};
use serde_json::{Value, json};

use crate::support::client::{Client, noise};
use crate::support::fault::Fault;
use crate::support::mirror::{Slow, blob, cache, manifest, mirror, mirror_with};
use crate::support::registry::{Registry, eventually, free_address};
use crate::support::upstream::{Image, Upstream};

const LAYER: usize = 200_000;

/// `alice:secret`, as `htpasswd -B` writes it.
const ALICE: &str = "alice:$2y$05$Z2UyzlpcairrQQKgFnpHnelQ.J6CK7OXQtyT9HbBvC8MAthihNobu\n";

/// Runs `entrepot warm` against a server, in a directory without a configuration.
fn warm_with(registry: &Registry, arguments: &[&str], environment: &[(&str, &str)], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_entrepot"));
    command.arg("warm").args(arguments).env_clear().env("ENTREPOT_SERVER", format!("http://{}", registry.addr()));
    let command = command.envs(environment.iter().copied()).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that rejects its arguments does not read its input, so the write may fail.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn warm(registry: &Registry, arguments: &[&str]) -> Output {
    warm_with(registry, arguments, &[], "")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Reads all lines that the server sends.
fn lines(client: &Client, order: &Value) -> Vec<Value> {
    let body = order.to_string();
    let request = client.request("POST", "/api/v1/warm").header("Content-Type", "application/json");
    let answer = request.body(body.as_bytes()).send();
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, Some("application/x-ndjson")),
        "{}",
        answer.text()
    );
    assert!(answer.whole);
    let text = answer.text();
    text.lines().filter(|line| !line.is_empty()).map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Checks that the cache answers all requests for an image.
fn assert_pulls(registry: &Registry, name: &str, image: &Image) {
    let client = registry.client();
    let pulled = client.get(&manifest(name, image.manifest_digest));
    assert_eq!((pulled.status, cache(&pulled)), (200, "hit"));
    for digest in image.layers.iter().chain([&image.config]) {
        let pulled = client.get(&blob(name, digest));
        assert_eq!((pulled.status, cache(&pulled)), (200, "hit"), "{digest}");
    }
}

/// Adds an index: an image for each of three platforms, attestations of the first two, and an entry that only `all` selects.
struct Index {
    amd64: Image,
    arm64: Image,
    arm: Image,
    about_amd64: Image,
    about_arm64: Image,
    about_nothing: Image,
    foreign: Digest,
}

fn index(upstream: &Upstream, name: &str, tag: &str) -> Index {
    let image = |seed| upstream.image(name, "", &[&noise(seed, LAYER)]);
    let (arm, about_amd64, about_arm64, about_nothing) = (image(3), image(4), image(5), image(6));
    let [amd64, arm64] = [1, 2].map(image);
    let foreign = upstream.blob(name, &noise(7, LAYER));
    // The image for arm64 has a layer that clients fetch from another place.
    let mut with_foreign: Value = serde_json::from_slice(&arm64.manifest).unwrap();
    let layers = with_foreign["layers"].as_array_mut().unwrap();
    let media_type = "application/vnd.oci.image.layer.nondistributable.v1.tar";
    layers.push(json!({"mediaType": media_type, "digest": foreign.to_string(), "size": LAYER}));
    let manifest = with_foreign.to_string();
    let manifest_digest = upstream.manifest(name, "", MediaType::OCI_MANIFEST, manifest.as_bytes());
    let arm64 = Image { manifest: manifest.into(), manifest_digest, ..arm64 };
    let child = |image: &Image, platform: Value, about: Option<&Image>| {
        let mut child = json!({"mediaType": MediaType::OCI_MANIFEST, "digest": image.manifest_digest.to_string(), "size": image.manifest.len(), "platform": platform});
        if let Some(about) = about {
            let digest = about.manifest_digest.to_string();
            child["annotations"] =
                json!({"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": digest});
        }
        child
    };
    let unknown = || json!({"os": "unknown", "architecture": "unknown"});
    let children = [
        child(&amd64, json!({"os": "linux", "architecture": "amd64"}), None),
        child(&arm64, json!({"os": "linux", "architecture": "arm64", "variant": "v8"}), None),
        child(&arm, json!({"os": "linux", "architecture": "arm", "variant": "v7"}), None),
        child(&about_amd64, unknown(), Some(&amd64)),
        child(&about_arm64, unknown(), Some(&arm64)),
        child(&about_nothing, unknown(), None),
    ];
    let index = json!({"schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": children});
    upstream.manifest(name, tag, MediaType::OCI_INDEX, index.to_string().as_bytes());
    Index { amd64, arm64, arm, about_amd64, about_arm64, about_nothing, foreign }
}

#[test]
fn warmed_platform_is_pulled_without_the_upstream() {
    let upstream = Upstream::start();
    let index = index(&upstream, "library/app", "1");
    let mirror = mirror(&upstream);
    let first = warm(&mirror, &["app:1", "--platform", "linux/arm64"]);
    assert!(first.status.success(), "{}", stderr(&first));
    assert!(stdout(&first).starts_with("app:1: ") && stdout(&first).contains("0 B shared"), "{}", stdout(&first));
    assert_eq!(stderr(&first), "", "plain lines, where there is no terminal");
    for image in [&index.arm64, &index.about_arm64] {
        assert_eq!(upstream.bytes_sent(&image.layers[0]), LAYER as u64);
    }
    for image in [&index.amd64, &index.arm, &index.about_amd64, &index.about_nothing] {
        assert_eq!(upstream.requests("*", &image.manifest_digest.to_string()), 0);
        assert_eq!(upstream.requests("*", &image.layers[0].to_string()), 0);
    }
    assert_eq!(upstream.requests("*", &index.foreign.to_string()), 0, "clients fetch this layer from another place");

    upstream.forget_log();
    let second = warm(&mirror, &["docker.io/library/app:1", "--platform", "linux/arm64"]);
    assert!(second.status.success(), "{}", stderr(&second));
    assert!(stdout(&second).contains(": 0 B fetched, "), "{}", stdout(&second));
    assert_eq!(upstream.log().len(), 0, "a fresh tag costs nothing");

    upstream.gone();
    assert_eq!(cache(&mirror.client().get(&manifest("library/app", "1"))), "hit");
    assert_pulls(&mirror, "library/app", &index.arm64);
    let metrics = mirror.client().get("/metrics").text();
    assert!(metrics.contains("entrepot_warm_images_total{outcome=\"done\"} 2"), "{metrics}");
}

#[test]
fn platform_defaults_to_this_machine_and_all_selects_every_one() {
    let upstream = Upstream::start();
    let native = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
    let (ours, other) = (upstream.image("library/app", "", &[b"ours"]), upstream.image("library/app", "", &[b"other"]));
    upstream.index("library/app", "latest", &[(native, &ours), ("s390x", &other)]);
    let mirror = mirror(&upstream);
    assert!(warm(&mirror, &["app"]).status.success());
    assert_eq!((upstream.bytes_sent(&ours.layers[0]), upstream.bytes_sent(&other.layers[0])), (4, 0));
    assert!(warm(&mirror, &["app", "--platform", "all"]).status.success());
    assert_eq!((upstream.bytes_sent(&ours.layers[0]), upstream.bytes_sent(&other.layers[0])), (4, 5));
    let none = warm(&mirror, &["app", "--platform", "linux/riscv64,linux/s390x"]);
    assert_eq!(none.status.code(), Some(1));
    assert!(stderr(&none).contains("has no image for linux/riscv64; it has images for linux/"), "{}", stderr(&none));
}

#[test]
fn bad_image_fails_alone_with_its_reason() {
    let upstream = Upstream::start();
    let good = upstream.image("library/app", "1", &[&noise(1, LAYER)]);
    let mirror = mirror(&upstream);
    let output = warm(&mirror, &["none:1", "app:1", "local/app:1", "quay.io/org/app"]);
    assert_eq!(output.status.code(), Some(1));
    let (messages, done) = (stderr(&output), stdout(&output));
    for line in [
        "entrepot: none:1: tag 1 is not in docker.io/library/none",
        "entrepot: local/app:1: local/app is hosted here",
        "entrepot: quay.io/org/app: quay.io is not mirrored here; to mirror it, add the configuration key mirror.upstreams.quay.io",
        "entrepot: 3 of 4 images could not be warmed",
    ] {
        assert!(messages.lines().any(|found| found.starts_with(line)), "{line}: {messages}");
    }
    assert_eq!((messages.lines().count(), done.lines().count()), (4, 1), "{messages}{done}");
    upstream.gone();
    assert_pulls(&mirror, "library/app", &good);
    let gone = warm(&mirror, &["other:1"]);
    assert_eq!((gone.status.code(), stdout(&gone).as_str()), (Some(1), ""));
    assert!(stderr(&gone).starts_with("entrepot: other:1: no connection to 127.0.0.1"), "{}", stderr(&gone));
    assert_eq!(stderr(&gone).lines().count(), 1, "{}", stderr(&gone));
    assert!(warm(&mirror, &["app:1"]).status.success(), "a fresh stored image needs no upstream");
}

#[test]
fn wrong_usage_starts_nothing() {
    let upstream = Upstream::start();
    upstream.image("library/app", "1", &[b"x"]);
    let mirror = mirror(&upstream);
    for (arguments, input, words) in [
        (&[][..], "", "IMAGE"),
        (&["App:1"], "", "is not an image's name"),
        (&["app:1", "--platform", "amd64"], "", "linux/amd64"),
        (&["app:1", "--platform", "all,linux/amd64"], "", "alone"),
        (&["app:1", "--server", "http://me:secret@127.0.0.1:1"], "", "--user"),
        (&["app:1", "--server", "ftp://127.0.0.1"], "", "http://mirror.lan:5000"),
        (&["app:1", "--user", "alice"], "", "ENTREPOT_PASSWORD"),
        (&["--file", "-"], "# nothing\n", "empty"),
        (&["--file", "-"], "app:1\nApp:2\n", "standard input:2: "),
    ] {
        let output = warm_with(&mirror, arguments, &[], input);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(words) && !stderr(&output).contains("secret"), "{}", stderr(&output));
    }
    assert_eq!(upstream.log().len(), 0);
    let nowhere = warm(&mirror, &["app:1", "--file", "/nowhere"]);
    assert_eq!(nowhere.status.code(), Some(1));
}

#[test]
fn list_is_read_from_a_file_or_standard_input() {
    let upstream = Upstream::start();
    for tag in ["1", "2", "3"] {
        upstream.image("library/app", tag, &[tag.as_bytes()]);
    }
    let mirror = mirror(&upstream);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("list");
    std::fs::write(&file, "# two of them\napp:1\nlibrary/app:2  # the second\n\napp:1\n").unwrap();
    let output = warm(&mirror, &["--file", file.to_str().unwrap()]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stdout(&output).lines().count(), 2, "{}", stdout(&output));
    let output = warm_with(&mirror, &["--file", "-", "app:1"], &[], "app:3\n");
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stdout(&output).lines().count(), 2, "{}", stdout(&output));
    assert_eq!(upstream.requests("GET", "/manifests/"), 3);
}

#[test]
fn unreachable_or_guarded_server_is_named() {
    let upstream = Upstream::start();
    upstream.image("library/app", "1", &[b"x"]);
    let registry = Registry::configured(|place| {
        let users = place.write("htpasswd", ALICE);
        format!(
            "{}{}storage:{}\nauth: {{htpasswd: {{realm: here, path: {}}}}}\nmirror:\n  cache: {{reserve: 0}}\n  upstreams:\n    docker.io: \
             {{default: true, endpoints: [\"{}\"]}}\n",
            place.version(),
            place.http(),
            place.root(),
            users.display(),
            upstream.url()
        )
    });
    let without_login = warm(&registry, &["app:1"]);
    assert_eq!(without_login.status.code(), Some(1));
    let messages = stderr(&without_login);
    assert!(
        messages.contains("wants a login") && messages.contains("--user NAME") && messages.lines().count() == 1,
        "{messages}"
    );
    let wrong = warm_with(&registry, &["app:1", "--user", "alice"], &[("ENTREPOT_PASSWORD", "hunter2")], "");
    assert!(wrong.status.code() == Some(1) && !stderr(&wrong).contains("hunter2"), "{}", stderr(&wrong));
    assert_eq!(upstream.log().len(), 0);
    let alice = warm_with(&registry, &["app:1", "--user", "alice"], &[("ENTREPOT_PASSWORD", "secret")], "");
    assert!(alice.status.success(), "{}", stderr(&alice));

    let closed = format!("http://{}", free_address());
    let output = warm(&registry, &["app:1", "--server", &closed]);
    assert_eq!(output.status.code(), Some(1));
    let messages = stderr(&output);
    assert!(messages.contains(&closed) && messages.contains("--server") && messages.lines().count() == 1, "{messages}");
}

#[test]
fn server_reports_progress_in_lines() {
    let upstream = Upstream::start();
    let (base, own) = (noise(1, LAYER), noise(2, 10 * LAYER));
    let first = upstream.image("library/app", "1", &[&base]);
    let second = upstream.image("library/app", "2", &[&base, &own]);
    let mirror = mirror(&upstream);
    let client = mirror.client();
    lines(&client, &json!({"images": ["app:1"], "platforms": ["all"]}));
    upstream.fault("GET", &second.layers[1].to_string(), Fault::Throttle(LAYER as u64 * 4));
    let messages = lines(&client, &json!({"images": ["app:2", "Bad"], "platforms": ["linux/amd64"]}));
    let of = |event: &str| messages.iter().filter(|line| line["event"] == event).collect::<Vec<_>>();
    let begin = json!({"event": "begin", "image": "app:2", "repository": "docker.io/library/app", "reference": "2"});
    assert_eq!(of("begin"), [&begin]);
    let size = second.manifest.len() as u64;
    let digest = second.manifest_digest.to_string();
    let read = json!({"event": "manifest", "image": "app:2", "digest": digest, "size": size, "cache": "miss"});
    assert_eq!(of("manifest"), [&read]);
    assert_eq!((of("plan")[0]["blobs"].as_u64(), of("plan").len()), (Some(3), 1));
    let states: Vec<_> =
        of("blob").iter().map(|line| (line["digest"].as_str().unwrap(), line["state"].as_str())).collect();
    for (digest, state) in [(first.layers[0], "shared"), (second.layers[1], "fetching"), (second.config, "fetching")] {
        assert!(states.contains(&(digest.to_string().as_str(), Some(state))), "{states:?}");
    }
    let big = second.layers[1].to_string();
    let arriving: Vec<u64> = of("progress").iter().map(|line| line["arrived"].as_u64().unwrap()).collect();
    assert!(arriving.len() > 1 && arriving.is_sorted() && of("progress")[0]["digest"] == big.as_str(), "{arriving:?}");
    assert!(
        of("arrived").iter().any(|line| line["digest"] == big.as_str() && line["size"] == 10 * LAYER),
        "{messages:?}"
    );
    let done = of("done")[0];
    assert_eq!((done["image"].as_str(), done["shared"].as_u64()), (Some("app:2"), Some(LAYER as u64)));
    assert!(done["fetched"].as_u64().unwrap() > 10 * LAYER as u64 && done["seconds"].is_number(), "{done}");
    assert!(of("failed").len() == 1 && of("failed")[0]["image"] == "Bad", "{messages:?}");
    assert_eq!(messages.last(), Some(&json!({"event": "end", "images": 2, "failed": 1})));

    for (content_type, body, words) in [
        ("text/plain", r#"{"images":["a"],"platforms":["all"]}"#, "application/json"),
        ("application/json", r#"{"images":["a"]}"#, "platforms"),
        ("application/json", r#"{"images":["a"],"platforms":[]}"#, "no platform"),
        ("application/json", r#"{"images":[],"platforms":["all"]}"#, "is empty"),
        ("application/json", r#"{"images":["a"],"platform":["all"]}"#, "unknown field"),
        ("application/json", "app:1", "is not a list of images to warm"),
    ] {
        let request = client.request("POST", "/api/v1/warm").header("Content-Type", content_type);
        let answer = request.body(body.as_bytes()).send();
        assert!(answer.status == 400 && answer.text().contains(words), "{body}: {}", answer.text());
    }
    assert_eq!(client.get("/api/v1/warm").status, 405);
}

#[test]
fn shared_layers_are_fetched_once() {
    let upstream = Upstream::start();
    let base = noise(1, LAYER);
    let images: Vec<Image> =
        ["1", "2", "3", "4"].iter().map(|tag| upstream.image("library/app", tag, &[&base, tag.as_bytes()])).collect();
    upstream.fault("GET", &images[0].layers[0].to_string(), Fault::Throttle(LAYER as u64));
    let mirror = mirror(&upstream);
    let output = warm(&mirror, &["app:1", "app:2", "app:3", "app:4"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(upstream.bytes_sent(&images[0].layers[0]), LAYER as u64);
    upstream.gone();
    for image in &images {
        assert_pulls(&mirror, "library/app", image);
    }
}

#[test]
fn leaving_client_stops_no_started_image_and_starts_no_more() {
    let upstream = Upstream::start();
    let images: Vec<Image> =
        (0..4).map(|n| upstream.image("library/app", &n.to_string(), &[&noise(n, LAYER)])).collect();
    upstream.fault("GET", "/blobs/", Fault::Throttle(LAYER as u64 / 3));
    let mirror = mirror(&upstream);
    let client = mirror.client();
    let order = json!({"images": ["app:0", "app:1", "app:2", "app:3"], "platforms": ["all"]}).to_string();
    let request = client.request("POST", "/api/v1/warm").header("Content-Type", "application/json");
    let mut stream = request.header("Content-Length", &order.len().to_string()).send_head();
    stream.write_all(order.as_bytes()).unwrap();
    let mut reader = BufReader::new(stream);
    let mut begun = 0;
    while begun < 3 {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        begun += usize::from(line.contains("\"begin\""));
    }
    drop(reader);
    eventually("three images to be warm", || {
        let metrics = client.get("/metrics").text();
        metrics.contains("entrepot_warm_images_total{outcome=\"done\"} 3").then_some(())
    });
    for image in &images[..3] {
        assert_pulls(&mirror, "library/app", image);
    }
    sleep(Duration::from_millis(300));
    assert_eq!(upstream.requests("*", "/manifests/3"), 0);
}

#[test]
fn old_tag_is_revalidated_without_the_time_limit_of_a_pull() {
    let upstream = Upstream::start();
    upstream.image("library/app", "1", &[b"old"]);
    let mirror = mirror_with(&upstream, ", tagttl: 1s", "");
    assert!(warm(&mirror, &["app:1"]).status.success());
    let new = upstream.image("library/app", "1", &[b"new"]);
    sleep(Duration::from_millis(3200));
    upstream.close_connections();
    // The delay is longer than a client waits for a tag that is stored.
    upstream.fault_once("HEAD", "/manifests/", Fault::Latency(Duration::from_secs(3)));
    assert!(warm(&mirror, &["app:1"]).status.success());
    assert_eq!(upstream.bytes_sent(&new.layers[0]), 3);
}

#[test]
fn image_that_is_not_stored_is_not_warm() {
    let upstream = Upstream::start();
    upstream.image("library/app", "1", &[&noise(1, 4 * LAYER)]);
    let mirror = mirror_with(&upstream, "", &format!("  cache: {{maxsize: {}, reserve: 0}}", 2 * LAYER));
    let output = warm(&mirror, &["app:1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("mirror.cache.maxsize"), "{}", stderr(&output));
}

#[test]
fn prefetch_warms_by_pattern_repeatedly() {
    let upstream = Upstream::start();
    let image = |tag: &str| upstream.image("library/app", tag, &[tag.as_bytes()]);
    let (first, second, other) = (image("1.0"), image("1.1"), image("2.0"));
    let prefetch = "  prefetch:\n    - {image: \"app:1.*\", platforms: all, every: 1s}\n    - {image: docker.io/org/none, every: 1h}";
    let mirror = mirror_with(&upstream, ", tagttl: 1s", prefetch);
    let held = |image: &Image| upstream.bytes_sent(&image.layers[0]) > 0;
    eventually("the tags that match", || (held(&first) && held(&second)).then_some(()));
    mirror.wait_for_log("docker.io/library/app:1.1");
    let third = image("1.2");
    eventually("the tag that came later", || held(&third).then_some(()));
    mirror.wait_for_log("docker.io/library/app:1.2");
    let warning = mirror.wait_for_log("docker.io/org/none:latest");
    assert!(warning.contains("an image could not be warmed") && warning.contains("tag latest is not in"), "{warning}");
    assert_eq!(upstream.requests("*", "/manifests/2.0"), 0);
    assert_eq!(upstream.bytes_sent(&first.layers[0]), 3, "the image is fetched once over all runs");
    assert!(!held(&other));
    upstream.gone();
    for image in [&first, &second, &third] {
        assert_pulls(&mirror, "library/app", image);
    }
}

#[test]
fn limit_counts_only_blobs_that_are_fetched_for_a_job() {
    let upstream = Upstream::start();
    let images: Vec<Image> = (0..3u64)
        .map(|image| {
            let layers: Vec<Vec<u8>> = (0..3).map(|layer| noise(10 + 10 * image + layer, LAYER)).collect();
            let layers: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
            upstream.image(&format!("org/i{image}"), "1", &layers)
        })
        .collect();
    let mirror = mirror(&upstream);
    upstream.fault("GET", "/org/i0/blobs/", Fault::Latency(Duration::from_secs(4)));
    upstream.fault("GET", "/org/i1/blobs/", Fault::Throttle(1000));
    let start = |image: &str| {
        let (client, order) = (mirror.client(), json!({"images": [format!("org/{image}:1")], "platforms": ["all"]}));
        std::thread::spawn(move || {
            let request = client.request("POST", "/api/v1/warm").header("Content-Type", "application/json");
            request.body(order.to_string().as_bytes()).send()
        })
    };
    // The first job takes all three places. The blobs of the second one wait, and a client requests them meanwhile.
    let _first = start("i0");
    eventually("three fetches", || (upstream.requests("GET", "/org/i0/blobs/") == 3).then_some(()));
    let _second = start("i1");
    eventually("the second manifest", || (upstream.requests("GET", "/org/i1/manifests/") == 1).then_some(()));
    sleep(Duration::from_millis(300));
    let client = mirror.client();
    let _readers: Vec<_> =
        images[1].layers.iter().map(|layer| Slow::begin(&client, &blob("org/i1", layer), 1)).collect();
    // The client's fills take minutes. They leave the places to others.
    let _third = start("i2");
    eventually("the third image", || (upstream.requests("GET", "/org/i2/blobs/") == 4).then_some(()));
    assert!(images[1].layers.iter().all(|layer| upstream.bytes_sent(layer) < LAYER as u64));
}

#[test]
fn platform_is_chosen_as_containerd_chooses_it() {
    for (offered, wanted, fetched) in [
        (&[("arm", Some("v6")), ("arm", Some("v5"))][..], "linux/arm/v7", Some(0)),
        (&[("arm", Some("v7")), ("arm", Some("v5"))], "linux/arm/v6", Some(1)),
        (&[("arm", Some("v7"))], "linux/arm/v6", None),
        (&[("amd64", None), ("amd64", Some("v2"))], "linux/amd64/v3", Some(1)),
        (&[("386", None), ("s390x", None)], "linux/amd64", Some(0)),
        (&[("arm", Some("v6")), ("arm", Some("v7"))], "linux/arm64", Some(1)),
        (&[("", None)], "linux/amd64", Some(0)),
        (&[("unknown", None)], "linux/amd64", None),
        (&[("s390x", None)], "linux/amd64", None),
    ] {
        let upstream = Upstream::start();
        let images: Vec<Image> = (0..offered.len())
            .map(|number| {
                upstream.image("library/app", &format!("image{number}"), &[format!("layer {number}").as_bytes()])
            })
            .collect();
        let children: Vec<Value> = offered
            .iter()
            .zip(&images)
            .map(|((architecture, variant), image)| {
                let os = if architecture.is_empty() { "" } else { "linux" };
                let mut platform = json!({"os": os, "architecture": architecture});
                if let Some(variant) = variant {
                    platform["variant"] = (*variant).into();
                }
                let (digest, size) = (image.manifest_digest.to_string(), image.manifest.len());
                json!({"mediaType": MediaType::OCI_MANIFEST, "digest": digest, "size": size, "platform": platform})
            })
            .collect();
        let index = json!({"schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": children}).to_string();
        upstream.manifest("library/app", "1", MediaType::OCI_INDEX, index.as_bytes());
        let mirror = mirror(&upstream);
        let output = warm(&mirror, &["docker.io/library/app:1", "--platform", wanted]);
        let case = format!("{wanted} of {offered:?}: {}{}", stdout(&output), stderr(&output));
        assert_eq!(output.status.code(), Some(i32::from(fetched.is_none())), "{case}");
        let asked: Vec<usize> = (0..images.len())
            .filter(|number| upstream.requests("GET", &images[*number].layers[0].to_string()) > 0)
            .collect();
        assert_eq!(asked, Vec::from_iter(fetched), "{case}");
        if fetched.is_none() {
            assert!(case.contains("no image for"), "{case}");
        }
    }
}
