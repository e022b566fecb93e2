//! Upstreams that are mirrors themselves: another Entrepot, or a registry that keeps other registries below a prefix.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use entrepot::oci::MediaType;

use crate::support::client::{Answer, digest_of, image_manifest};
use crate::support::fault::Fault;
use crate::support::mirror::{age, blob, cache, manifest};
use crate::support::registry::Registry;
use crate::support::scripted::{Asked, Script, Scripted};
use crate::support::upstream::{Auth, Bearer, Image, Upstream};

const OLD: Duration = Duration::from_secs(3600);

/// Starts an Entrepot with these upstreams: name, endpoint and further keys. The first is the default.
fn entrepot(upstreams: &[(&str, &str, &str)]) -> Registry {
    let lines: String = upstreams
        .iter()
        .enumerate()
        .map(|(at, (name, endpoint, keys))| {
            let default = if at == 0 { ", default: true" } else { "" };
            format!("    {name}: {{endpoints: [\"{endpoint}\"]{default}{keys}}}\n")
        })
        .collect();
    Registry::with(&format!("mirror:\n  cache: {{reserve: 0}}\n  upstreams:\n{lines}"))
}

fn url(registry: &Registry) -> String {
    format!("http://{}", registry.addr())
}

/// Two registries that have different images under the same name.
fn hub_and_ghcr() -> ([Upstream; 2], [Image; 2]) {
    let upstreams = [Upstream::start(), Upstream::start()];
    let images = [(&upstreams[0], "hub"), (&upstreams[1], "ghcr")]
        .map(|(upstream, layer)| upstream.image("org/app", "1", &[layer.as_bytes()]));
    (upstreams, images)
}

#[test]
fn three_entrepots_in_a_row_keep_the_registries_apart() {
    let ([hub, ghcr], [of_hub, of_ghcr]) = hub_and_ghcr();
    let last = entrepot(&[("docker.io", &hub.url(), ""), ("ghcr.io", &ghcr.url(), "")]);
    let middle = entrepot(&[("docker.io", &url(&last), ""), ("ghcr.io", &url(&last), "")]);
    let first = entrepot(&[("docker.io", &url(&middle), ""), ("ghcr.io", &url(&middle), "")]);
    let client = first.client();
    for (name, image) in [("ghcr.io/org/app", &of_ghcr), ("docker.io/org/app", &of_hub), ("org/app", &of_hub)] {
        let found = client.get(&manifest(name, "1"));
        assert_eq!((found.status, found.body.as_slice()), (200, &image.manifest[..]), "{name}");
        let head = client.head(&manifest(name, "1"));
        assert_eq!(head.header("docker-content-digest"), Some(image.manifest_digest.to_string().as_str()), "{name}");
        let layer = client.get(&blob(name, image.layers[0]));
        assert!(layer.status == 200 && layer.whole, "{name}: {}", layer.text());
        let tags = client.get(&format!("/v2/{name}/tags/list"));
        assert_eq!((tags.status, tags.json()["tags"][0].as_str()), (200, Some("1")), "{name}");
    }
    assert_eq!(client.get(&blob("ghcr.io/org/app", of_hub.layers[0])).status, 404, "the layer of another registry");
    assert_eq!(client.get(&manifest("ghcr.io/org/app", "2")).status, 404);
}

/// A mirror of a private Entrepot, at an address that is not the upstream's name.
#[test]
fn entrepot_without_upstreams_is_an_ordinary_registry() {
    let private = Registry::start();
    let image = private.client().push_image("team/app", "1", b"private");
    let mirror = entrepot(&[("registry.corp", &url(&private), "")]);
    let client = mirror.client();
    assert_eq!(client.get(&manifest("team/app", "2")).status, 404, "an absent tag comes first");
    assert_eq!(client.get(&manifest("absent/app", "1")).status, 404);
    for head in [client.head(&manifest("team/app", "1")), client.get(&manifest("team/app", "1"))] {
        assert_eq!((head.status, head.header("x-registry-proxy")), (200, Some("ns")));
    }
    assert!(client.get(&blob("team/app", image.layer)).body == b"private");
    assert_eq!(client.get("/v2/team/app/tags/list").json()["tags"][0].as_str(), Some("1"));
    assert_eq!(private.client().get("/v2/").header("x-registry-proxy"), Some("none"));
}

/// A mirror passes on the headers of the private Entrepot behind it, which say that it mirrors nothing.
#[test]
fn statement_of_the_server_behind_a_mirror_is_not_the_mirrors() {
    let upstream = Scripted::start("127.0.0.1", |asked| match asked.target.contains("ns=ghcr.io") {
        true => Script::new(404, r#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#).with("X-Registry-Proxy", "none"),
        false => silent_mirror(asked),
    });
    let mirror = entrepot(&[("ghcr.io", &upstream.url(), "")]);
    for tag in ["1", "2"] {
        let refused = mirror.client().get(&manifest("org/app", tag));
        assert_eq!(refused.status, 502, "{}", refused.text());
    }
}

/// The mirror that is asked also hosts repositories, and the mirror that asks is told to leave out the parameter.
#[test]
fn hosted_repositories_of_a_mirror_are_mirrored_with_ns_never() {
    let hub = Upstream::start();
    let inner = Registry::with(&format!(
        "mirror:\n  cache: {{reserve: 0}}\n  local: [\"team/**\"]\n  upstreams:\n    docker.io: {{endpoints: [\"{}\"], default: true}}\n",
        hub.url()
    ));
    inner.client().push_image("team/app", "1", b"private");
    let refused = entrepot(&[("registry.corp", &url(&inner), "")]).client().get(&manifest("team/app", "1"));
    assert!(refused.status == 502 && refused.text().contains("set `ns: never` here"), "{}", refused.text());
    let mirror = entrepot(&[("registry.corp", &url(&inner), ", ns: never")]);
    assert_eq!(mirror.client().get(&manifest("team/app", "1")).status, 200);
}

#[test]
fn mirror_without_that_upstream_is_never_taken_for_it() {
    let ([hub, _], _) = hub_and_ghcr();
    let last = entrepot(&[("docker.io", &hub.url(), "")]);
    let first = entrepot(&[("docker.io", &url(&last), ""), ("ghcr.io", &url(&last), "")]);
    let client = first.client();
    for target in [manifest("ghcr.io/org/app", "1"), "/v2/ghcr.io/org/app/tags/list".to_owned()] {
        let refused = client.get(&target);
        assert_eq!(refused.status, 502, "{target}: {}", refused.text());
        assert!(refused.text().contains("mirror.upstreams.ghcr.io"), "{}", refused.text());
    }
    assert_eq!(client.get(&manifest("org/app", "1")).status, 200);
    assert_eq!(
        client.get(&manifest("ghcr.io/org/app", "1")).status,
        502,
        "the other upstream's answers change nothing"
    );
}

#[test]
fn repository_that_a_mirror_hosts_is_not_the_upstreams() {
    let ([hub, ghcr], [_, of_ghcr]) = hub_and_ghcr();
    let last = Registry::with(&format!(
        "mirror:\n  local: [\"org/**\"]\n  cache: {{reserve: 0}}\n  upstreams:\n    docker.io: {{endpoints: [\"{}\"], default: true}}\n    ghcr.io: {{endpoints: [\"{}\"]}}\n",
        hub.url(),
        ghcr.url()
    ));
    last.client().push_image("org/app", "1", b"hosted");
    let first = entrepot(&[("ghcr.io", &url(&last), "")]);
    assert_eq!(first.client().get(&manifest("ghcr.io/org/app", "1")).body, of_ghcr.manifest);
}

#[test]
fn registries_below_a_prefix_are_asked_there() {
    let harbor = Upstream::start();
    harbor.set_auth(Auth::Bearer(Bearer::default()));
    let of_hub = harbor.image("hub-proxy/library/app", "1", &[b"hub"]);
    let of_quay = harbor.image("quay-proxy/org/app", "1", &[b"quay"]);
    let [hub, quay] = ["hub-proxy", "quay-proxy"].map(|prefix| format!("{}/v2/{prefix}", harbor.url()));
    let last = entrepot(&[("docker.io", &hub, ""), ("quay.io", &quay, "")]);
    let first = entrepot(&[("docker.io", &url(&last), ""), ("quay.io", &format!("{}/v2/quay.io", url(&last)), "")]);
    for (name, image) in [("app", &of_hub), ("quay.io/org/app", &of_quay)] {
        for registry in [&last, &first] {
            let client = registry.client();
            assert_eq!(client.get(&manifest(name, "1")).body, image.manifest, "{name}");
            assert!(client.get(&blob(name, image.layers[0])).whole, "{name}");
            assert_eq!(client.get(&format!("/v2/{name}/tags/list")).json()["tags"][0], "1", "{name}");
        }
    }
    let log = harbor.log();
    assert!(log.iter().all(|asked| !asked.query.contains("ns=")), "the prefix names the registry");
    let scopes = log.iter().filter(|asked| asked.path == "/token" && asked.query.contains("hub-proxy%2Flibrary%2Fapp"));
    assert_eq!(scopes.count(), 1, "a token is for the name that the repository has there");
}

/// `/hub-proxy` in the place of `/v2/hub-proxy`: the server behind it serves nothing at the path, and says so.
#[test]
fn path_that_the_endpoint_does_not_serve_is_no_absence() {
    let ([hub, _], _) = hub_and_ghcr();
    let last = entrepot(&[("docker.io", &hub.url(), "")]);
    let first = entrepot(&[("docker.io", &format!("{}/hub-proxy", url(&last)), "")]);
    for target in [manifest("org/app", "1"), "/v2/org/app/tags/list".to_owned(), blob("org/app", digest_of(b"hub"))] {
        let failed = first.client().get(&target);
        assert_eq!(failed.status, 502, "{target}: {}", failed.text());
        assert!(failed.text().contains("after /v2/"), "{}", failed.text());
    }
}

#[test]
fn namespace_is_sent_as_configured() {
    let name = "org/app";
    for (keys, ns) in [("", Some("ns=ghcr.io")), (", ns: always", Some("ns=ghcr.io")), (", ns: never", None)] {
        let upstream = Upstream::start();
        upstream.image(name, "1", &[b"x"]);
        let mirror = entrepot(&[("ghcr.io", &upstream.url(), keys)]);
        for tag in ["1", "none", "1"] {
            let _ = mirror.client().get(&manifest(name, tag));
        }
        let log = upstream.log();
        assert_eq!(log[0].query.as_str(), ns.unwrap_or_default(), "{keys}: the first request");
        let last = log.last().unwrap();
        assert_eq!(last.query.contains("ns="), keys == ", ns: always", "{keys}: this registry does not read it");
    }
}

/// Answers for the registry that `?ns=` names, or docker.io, and does not name it in its answers. docker.io has every tag, and
/// ghcr.io has those below 5.
fn silent_mirror(asked: &Asked) -> Script {
    let registry = asked.target.split_once("ns=").map_or("docker.io", |(_, rest)| rest.split('&').next().unwrap());
    let config = registry.as_bytes().to_vec();
    let content = image_manifest((&digest_of(&config), config.len()), (&digest_of(&config), config.len()));
    let by_digest = digest_of(&content).to_string();
    let reference = asked.path().rsplit('/').next().unwrap();
    let is_known = registry == "docker.io" || ["1", "2", "3", "4", &by_digest].contains(&reference);
    match asked.path() {
        "/v2/" => Script::new(200, "{}"),
        path if path.contains("/manifests/") && is_known => Script::new(200, content)
            .with("Content-Type", MediaType::OCI_MANIFEST)
            .with("Docker-Content-Digest", by_digest),
        path if path.contains("/blobs/") && path.ends_with(&digest_of(&config).to_string()) => Script::new(200, config),
        _ => Script::new(404, r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#),
    }
}

#[test]
fn content_of_another_registry_is_never_used() {
    let all = [["1", "2", "3", "5"], ["5", "1", "2", "6"], ["5", "6", "1", "2"]];
    for (tags, is_strict) in all.into_iter().flat_map(|tags| [(tags, false), (tags, true)]) {
        // Some servers match `/v2/` as text, with its query.
        let upstream =
            Scripted::start("127.0.0.1", move |asked| match is_strict && asked.target.starts_with("/v2/?") {
                true => Script::new(404, "404 page not found"),
                false => silent_mirror(asked),
            });
        let mirror = entrepot(&[("ghcr.io", &upstream.url(), "")]);
        let layer = digest_of(b"ghcr.io");
        for tag in tags {
            let found = mirror.client().get(&manifest("org/app", tag));
            match tag < "5" {
                true => assert!(found.status == 200 && found.text().contains(&layer.to_string()), "{tags:?}: {tag}"),
                false => assert_eq!(found.status, 404, "{tags:?}: {tag}: {}", found.text()),
            }
        }
        assert_eq!(mirror.client().get(&blob("org/app", layer)).body, b"ghcr.io");
        let of_others = mirror.client().get(&blob("org/app", digest_of(b"docker.io")));
        assert_eq!(of_others.status, 404, "a layer of another registry");
        let log = upstream.log();
        let content = log.iter().filter(|asked| asked.path() != "/v2/");
        // The name of a registry that does not exist shows whether the server reads the parameter.
        let is_probe = |asked: &Asked| asked.method == "HEAD" && asked.target.contains("ns=registry.invalid");
        let is_named = |asked: &Asked| asked.target.contains("ns=ghcr.io") || is_probe(asked);
        assert!(is_strict || content.clone().all(is_named), "{tags:?}");
        assert!(content.rev().take(3).all(is_named), "{tags:?}");
    }
}

/// A gateway passes on the parameters that it knows, `ns` among them, and refuses others.
#[test]
fn refusal_of_other_parameters_does_not_show_that_ns_is_unread() {
    let known = |asked: &Asked| {
        let query = asked.target.split_once('?').map_or("", |(_, query)| query);
        query.split('&').filter(|pair| !pair.is_empty()).all(|pair| pair.starts_with("ns="))
    };
    let refusals: [fn() -> Script; 4] = [
        || Script::new(400, r#"{"title":"unknown parameter"}"#).with("Content-Type", "application/problem+json"),
        || Script::new(404, "<html>no such page</html>").with("Content-Type", "text/html"),
        || Script::new(403, r#"{"errors":[{"code":"DENIED"}]}"#),
        || Script::new(404, r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#),
    ];
    for refusal in refusals {
        let upstream = Scripted::start("127.0.0.1", move |asked| match known(asked) {
            true => silent_mirror(asked),
            false => refusal(),
        });
        let mirror = entrepot(&[("ghcr.io", &upstream.url(), "")]);
        let get = |target: String| mirror.client().get(&target);
        // docker.io has it, and ghcr.io does not.
        let absent = get(manifest("org/app", "5"));
        assert_eq!(absent.status, 404, "{}", absent.text());
        assert_eq!(get(blob("org/app", digest_of(b"docker.io"))).status, 404);
        let found = get(manifest("org/app", "1"));
        assert!(found.status == 200 && found.text().contains(&digest_of(b"ghcr.io").to_string()), "{}", found.text());
        let log = upstream.log();
        let content = log.iter().filter(|asked| asked.path() != "/v2/");
        assert!(content.clone().all(|asked| asked.target.contains("ns=")), "{log:?}");
    }
}

/// The server knows the parameter, and refuses only the name of a registry that it does not mirror.
#[test]
fn mirror_that_refuses_the_name_is_never_asked_without_it() {
    let other = |asked: &Asked| match asked.target.contains("ns=ghcr.io") {
        true => Script::new(404, r#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#),
        false => silent_mirror(asked),
    };
    let front_of = |back: &Scripted| {
        let back = back.url();
        move |asked: &Asked| Script::new(307, "").with("Location", format!("{back}{}", asked.target))
    };
    let direct = Scripted::start("127.0.0.1", other);
    let back = Scripted::start("127.0.0.2", other);
    let redirecting = Scripted::start("127.0.0.1", front_of(&back));
    for upstream in [&direct, &redirecting] {
        let mirror = entrepot(&[("ghcr.io", &upstream.url(), "")]);
        for target in [manifest("org/app", "1"), manifest("org/app", "2"), blob("org/app", digest_of(b"docker.io"))] {
            let refused = mirror.client().get(&target);
            assert_eq!(refused.status, 502, "{target}: {}", refused.text());
            assert!(refused.text().contains("it refuses requests with ?ns=ghcr.io"), "{}", refused.text());
        }
        let is_named = |asked: &Asked| asked.path() == "/v2/" || asked.target.contains("ns=ghcr.io");
        assert!(upstream.log().iter().all(is_named));
    }
}

/// A server that refuses everything for a while, as while it restarts, is not taken for one that refuses parameters.
#[test]
fn outage_does_not_show_that_parameters_are_refused() {
    let asked_before = AtomicUsize::new(0);
    let upstream = Scripted::start("127.0.0.1", move |asked| match asked_before.fetch_add(1, Ordering::SeqCst) < 2 {
        true => Script::new(404, r#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#),
        false => silent_mirror(asked),
    });
    let mirror = entrepot(&[("ghcr.io", &upstream.url(), "")]);
    assert_eq!(mirror.client().get(&manifest("org/app", "1")).status, 502, "the answer of the outage");
    for tag in ["1", "2"] {
        let found = mirror.client().get(&manifest("org/app", tag));
        assert!(found.text().contains(&digest_of(b"ghcr.io").to_string()), "{tag}: {}", found.text());
    }
}

/// A server that matches paths as text, with their queries, refuses every parameter, at `/v2/` too.
#[test]
fn registry_that_refuses_every_parameter_is_asked_without_one() {
    let refusals = [Fault::Page(404), Fault::Status(404), Fault::Status(400), Fault::Status(403), Fault::Page(403)];
    for (refusal, has_ping) in refusals.into_iter().flat_map(|refusal| [(refusal.clone(), true), (refusal, false)]) {
        let upstream = Upstream::start();
        let image = upstream.image("org/app", "1", &[b"x"]);
        upstream.fault("*", "=", refusal);
        if !has_ping {
            upstream.fault("*", "/v2/?", Fault::Status(404));
        }
        let mirror = entrepot(&[("ghcr.io", &upstream.url(), "")]);
        assert_eq!(mirror.client().get(&manifest("org/app", "1")).body, image.manifest);
        assert!(mirror.client().get(&blob("org/app", image.layers[0])).whole);
        assert_eq!(mirror.client().get("/v2/org/app/tags/list").json()["tags"][0], "1");
        assert_eq!(mirror.client().get(&manifest("org/app", "2")).status, 404);
        mirror.wait_for_log("leave out ?ns=");
    }
}

/// A server that reads no `ns`, and finds another file for a path with a query. Its answer with the parameter is not used.
#[test]
fn answer_for_a_registry_that_does_not_exist_shows_that_ns_is_unread() {
    let content = |layer: &[u8]| image_manifest((&digest_of(layer), layer.len()), (&digest_of(layer), layer.len()));
    let (plain, queried) = (content(b"plain"), content(b"with a query"));
    let body = plain.clone();
    let upstream = Scripted::start("127.0.0.1", move |asked| {
        let body = if asked.target.contains('?') { &queried } else { &body };
        match asked.path() {
            path if path.contains("/manifests/") => Script::new(200, body.clone())
                .with("Content-Type", MediaType::OCI_MANIFEST)
                .with("Docker-Content-Digest", digest_of(body).to_string()),
            _ => Script::new(404, "no such file"),
        }
    });
    let mirror = entrepot(&[("ghcr.io", &upstream.url(), "")]);
    for tag in ["1", "2"] {
        assert_eq!(mirror.client().get(&manifest("org/app", tag)).body, plain.clone(), "{tag}");
    }
}

/// A mirror that answers for its default registry where it does not know the one that is named.
#[test]
fn mirror_with_a_default_for_unknown_registries_is_asked_by_name() {
    let upstream = Scripted::start("127.0.0.1", |asked| match asked.target.contains("ns=registry.invalid") {
        true => {
            let mut other = asked.clone();
            other.target = asked.target.replace("registry.invalid", "docker.io");
            silent_mirror(&other)
        }
        false => silent_mirror(asked),
    });
    let mirror = entrepot(&[("ghcr.io", &upstream.url(), "")]);
    for tag in ["1", "2"] {
        let found = mirror.client().get(&manifest("org/app", tag));
        assert!(found.text().contains(&digest_of(b"ghcr.io").to_string()), "{tag}: {}", found.text());
    }
    assert_eq!(mirror.client().get(&manifest("org/app", "5")).status, 404);
}

/// `X-Cache` tells what this server did. Of an upstream that is a mirror, only `stale` is passed on.
#[test]
fn cache_status_of_a_mirror_is_its_own() {
    let ([hub, _], [image, _]) = hub_and_ghcr();
    let last = entrepot(&[("docker.io", &hub.url(), "")]);
    let first = entrepot(&[("docker.io", &url(&last), "")]);
    let targets = [manifest("org/app", "1"), blob("org/app", image.layers[0])];
    for target in &targets {
        assert_eq!(last.client().get(target).status, 200);
        crate::support::mirror::wait_until_stored(&last);
        assert_eq!(cache(&last.client().get(target)), "hit", "{target}");
        for want in ["miss", "hit"] {
            assert_eq!(cache(&first.client().get(target)), want, "{target}");
            crate::support::mirror::wait_until_stored(&first);
        }
    }
    hub.fault("*", "", Fault::Status(429));
    hub.fault("*", "", Fault::RetryAfter("33"));
    let refused = first.client().get(&manifest("org/app", "other"));
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("33")), "{}", refused.text());
}

#[test]
fn stale_answer_of_a_mirror_is_passed_on_with_its_warning() {
    let ([hub, _], [image, _]) = hub_and_ghcr();
    let last = entrepot(&[("docker.io", &hub.url(), "")]);
    let middle = entrepot(&[("docker.io", &url(&last), "")]);
    let first = entrepot(&[("docker.io", &url(&middle), "")]);
    let all = [&last, &middle, &first];
    let get = |registry: &Registry| registry.client().get(&manifest("org/app", "1"));
    assert_eq!(get(&first).status, 200);
    hub.gone();
    let make_old = |registries: &[&Registry]| registries.iter().for_each(|one| age(one, "org/app", "_tags/1", OLD));
    make_old(&all);
    let is_stale = |answer: &Answer| {
        assert_eq!((answer.status, cache(answer)), (200, "stale"), "{}", answer.text());
        assert_eq!(answer.body, image.manifest);
        let warning = answer.header("warning").unwrap_or_default();
        assert!(warning.contains("docker.io has not answered since"), "{warning}");
    };
    // Nothing confirms the tag, so it stays stale.
    (0..3).for_each(|_| is_stale(&get(&first)));
    // A mirror that has nothing yet passes the warning on too.
    let new = entrepot(&[("docker.io", &url(&middle), "")]);
    assert_eq!(cache(&new.client().head(&manifest("org/app", "1"))), "stale");
    is_stale(&get(&new));
    is_stale(&get(&new));
    // With an upstream that answers again, the next request ends it.
    hub.back();
    make_old(&[&last, &middle]);
    crate::support::registry::eventually("a fresh answer", || {
        make_old(&[&last, &middle]);
        (cache(&get(&first)) != "stale").then_some(())
    });
}

#[test]
fn wait_that_an_upstream_asks_for_is_passed_through_the_chain() {
    for (status, told) in [(429, 429), (503, 502)] {
        let ([hub, _], _) = hub_and_ghcr();
        let last = entrepot(&[("docker.io", &hub.url(), "")]);
        let first = entrepot(&[("docker.io", &url(&last), "")]);
        hub.fault("*", "", Fault::Status(status));
        hub.fault("*", "", Fault::RetryAfter("77"));
        let refused = first.client().get(&manifest("org/app", "1"));
        let wait: u64 = refused.header("retry-after").expect("a Retry-After").parse().unwrap();
        assert_eq!(refused.status, told, "{}", refused.text());
        assert!((60..=77).contains(&wait), "{status}: {wait}");
    }
}
